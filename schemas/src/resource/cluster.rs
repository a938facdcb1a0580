//! `Cluster`: a member cluster and how its agent reaches it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ApiVersion, Metadata};
use crate::FieldError;

/// The kind of a cluster document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClusterKind {
    /// `Cluster`.
    #[default]
    Cluster,
}

/// A cluster document. Clusters belong to the platform: their project is `system`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Cluster {
    /// `bcs/v1`.
    pub api_version: ApiVersion,
    /// `Cluster`.
    pub kind: ClusterKind,
    /// Who it is.
    pub metadata: Metadata,
    /// What is wanted of it.
    pub spec: ClusterSpec,
}

/// How a cluster is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSpec {
    /// What runs there.
    #[serde(default)]
    pub engine: EngineKind,
    /// Where the agent finds its credentials. The credentials themselves never enter a message.
    pub kubeconfig: SecretRef,
    /// Context inside the kubeconfig; its current one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Where the agent runs.
    #[serde(default)]
    pub agent: AgentPlace,
}

/// A kind of engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// Kubernetes.
    #[default]
    Kubernetes,
}

/// Where an agent runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentPlace {
    /// Inside the cluster service.
    #[default]
    Direct,
    /// Inside the member cluster, dialling out to the bus.
    Remote,
}

/// Where a secret lies. Only the process that needs it reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Absolute path of a file on the machine of the process that needs the secret.
    pub file: PathBuf,
}

impl SecretRef {
    pub(super) fn validate(&self, field: &str) -> Vec<FieldError> {
        if self.file.is_absolute() {
            return Vec::new();
        }
        let shown = self.file.display();
        vec![FieldError::new(
            format!("{field}.file"),
            format!("{shown} is relative: expected an absolute path"),
        )]
    }
}

impl ClusterSpec {
    /// What the types alone cannot tell.
    pub fn validate(&self) -> Vec<FieldError> {
        self.kubeconfig.validate("kubeconfig")
    }
}
