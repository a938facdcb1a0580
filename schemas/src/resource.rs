//! Resources: what users write in files and what the platform keeps for them. A resource is kind, metadata and spec;
//! its status is answered by queries and never written by users.

pub mod app;
pub mod cluster;
pub mod registry;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{FieldError, Name};

pub use app::{App, AppSpec};
pub use cluster::{Cluster, ClusterSpec};
pub use registry::{Registry, RegistrySpec};

/// The version of resource documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The first.
    #[default]
    #[serde(rename = "bcs/v1")]
    V1,
}

/// Free key-value pairs, for people and selectors.
pub type Labels = BTreeMap<String, String>;

/// Who a resource is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Metadata {
    /// Project (tenant) that owns it; the default project of the client when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<Name>,
    /// Name, unique within project and kind.
    pub name: Name,
    /// Free key-value pairs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Labels,
}

/// A resource document of any kind.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Resource {
    /// An application.
    App(App),
    /// A member cluster.
    Cluster(Cluster),
    /// A registry that a sidecar keeps.
    Registry(Registry),
}

impl Resource {
    /// The kinds, as documents write them.
    pub const KINDS: [&'static str; 3] = ["App", "Cluster", "Registry"];

    /// Reads a document that was parsed already; every error names the field and what was expected.
    pub fn from_value(value: serde_json::Value) -> Result<Self, FieldError> {
        let one_of = || format!("expected one of {}", Self::KINDS.join(", "));
        let kind = match value.get("kind") {
            Some(serde_json::Value::String(kind)) => kind.clone(),
            Some(other) => return Err(FieldError::new("kind", format!("{other} is no text: {}", one_of()))),
            None => return Err(FieldError::new("kind", format!("is missing: {}", one_of()))),
        };
        match kind.as_str() {
            "App" => read(value).map(Self::App),
            "Cluster" => read(value).map(Self::Cluster),
            "Registry" => read(value).map(Self::Registry),
            other => Err(FieldError::new("kind", format!("{other:?} is unknown: {}", one_of()))),
        }
    }

    /// The metadata, whatever the kind.
    pub fn metadata(&self) -> &Metadata {
        match self {
            Self::App(app) => &app.metadata,
            Self::Cluster(cluster) => &cluster.metadata,
            Self::Registry(registry) => &registry.metadata,
        }
    }

    /// What the types alone cannot tell.
    pub fn validate(&self) -> Vec<FieldError> {
        let found = match self {
            Self::App(app) => app.spec.validate(),
            Self::Cluster(cluster) => cluster.spec.validate(),
            Self::Registry(registry) => registry.spec.validate(),
        };
        let labels = validate_labels(&self.metadata().labels).into_iter().map(|e| e.under("metadata"));
        found.into_iter().map(|e| e.under("spec")).chain(labels).collect()
    }
}

fn read<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Result<T, FieldError> {
    crate::codec::strict(value)
}

/// Labels must be what Kubernetes can carry: at most 63 characters, beginning and ending with a letter or digit.
pub fn validate_labels(labels: &Labels) -> Vec<FieldError> {
    let word = |text: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        text.len() <= 63
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && edge(text.chars().next())
            && edge(text.chars().last())
    };
    let key = |text: &str| match text.split_once('/') {
        Some((prefix, rest)) => !prefix.is_empty() && prefix.len() <= 253 && word(rest),
        None => word(text),
    };
    let rule =
        "expected at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit";
    labels
        .iter()
        .filter_map(|(k, v)| match (key(k), v.is_empty() || word(v)) {
            (false, _) => Some(FieldError::new("labels", format!("key {k:?}: {rule}"))),
            (_, false) => Some(FieldError::new(format!("labels.{k}"), format!("{v:?}: {rule}"))),
            _ => None,
        })
        .collect()
}
