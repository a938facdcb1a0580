//! `App`: what runs, how many of it, where, and which registries must know it before it counts as available.

mod register;
mod surge;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use self::{
    register::{MAX_WEIGHT, Registration},
    surge::Surge,
};
use super::{ApiVersion, Labels, Metadata};
use crate::{FieldError, Millis, Name};

/// The kind of an application document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AppKind {
    /// `App`.
    #[default]
    App,
}

/// An application document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct App {
    /// `bcs/v1`.
    pub api_version: ApiVersion,
    /// `App`.
    pub kind: AppKind,
    /// Who it is.
    pub metadata: Metadata,
    /// What is wanted of it.
    pub spec: AppSpec,
}

/// What is wanted of an application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppSpec {
    /// How many instances, over all clusters together.
    #[serde(default = "one")]
    pub replicas: u32,
    /// In which clusters, and how they share the instances.
    pub placement: Placement,
    /// What to run.
    pub image: Image,
    /// Replaces the image's entry point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment. Secrets do not belong here: they travel as references.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Ports on which an instance serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// What an instance needs of its node.
    #[serde(default)]
    pub resources: Resources,
    /// Handed to the engine as they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// How long a stopping instance may take to finish.
    #[serde(default = "thirty_seconds")]
    pub stop_timeout: Millis,
    /// Registries in which the instances are entered, each of which must have confirmed one before it counts as available.
    /// Absent: every registry that a sidecar keeps for the cluster and that takes them unasked. Empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register: Option<Vec<Registration>>,
    /// Lets the engine too count an instance as ready only when every registry has confirmed it: its pods get the readiness
    /// gate `bcs/registered`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub readiness_gate: bool,
    /// How a new revision replaces the old one.
    #[serde(default)]
    pub update: Update,
    /// How an instance is taken out of service before it is stopped.
    #[serde(default)]
    pub drain: Drain,
}

const fn one() -> u32 {
    1
}

/// What an instance is: the part of a spec of which a change makes a new revision. It travels to agents, and readers
/// of it are tolerant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Template {
    /// What to run.
    pub image: Image,
    /// Replaces the image's entry point.
    #[serde(default)]
    pub command: Vec<String>,
    /// Arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Ports on which an instance serves.
    #[serde(default)]
    pub ports: Vec<Port>,
    /// What an instance needs of its node.
    #[serde(default)]
    pub resources: Resources,
    /// Handed to the engine as they are.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// How long a stopping instance may take to finish.
    pub stop_timeout: Millis,
    /// Whether the engine waits for the registries as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub readiness_gate: bool,
    /// Counts restarts asked for: a restart is a new revision of the same image.
    #[serde(default)]
    pub restarts: u64,
}

const fn thirty_seconds() -> Millis {
    Millis::from_secs(30)
}

/// A container image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Without the tag: `registry.example/shop/web`.
    pub repository: String,
    /// Tag, or a digest that begins with `sha256:`.
    pub tag: String,
}

impl std::fmt::Display for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let separator = if self.tag.starts_with("sha256:") { '@' } else { ':' };
        write!(f, "{}{separator}{}", self.repository, self.tag)
    }
}

/// A port on which an instance serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Name, unique within the app.
    pub name: Name,
    /// 1 to 65535.
    pub port: u16,
    /// Transport.
    #[serde(default)]
    pub protocol: Protocol,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// TCP.
    #[default]
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
}

/// What an instance needs of its node, as Kubernetes quantities: `250m`, `128Mi`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// Processor: `250m` is a quarter of a core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Memory: `128Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
}

/// In which clusters: named ones, or those whose labels fit. One of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Named clusters with weights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<ClusterWeight>,
    /// Every cluster that carries all of these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<ClusterSelector>,
}

/// A cluster and its part of the instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterWeight {
    /// The cluster.
    pub name: Name,
    /// Its part, relative to the others.
    #[serde(default = "one")]
    pub weight: u32,
}

/// Clusters by label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSelector {
    /// A cluster fits when it carries all of them.
    pub match_labels: Labels,
    /// Weights of single clusters; 1 for the others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<Name, u32>,
}

/// How a new revision replaces the old one: surge first, one instance at a time unless more may be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Update {
    /// A new instance that is not available after this long stops the rollout.
    pub progress_deadline: Millis,
    /// How many instances more than wanted there may be meanwhile, and so how many are replaced at a time.
    #[serde(skip_serializing_if = "Surge::is_default")]
    pub max_surge: Surge,
}

impl Default for Update {
    fn default() -> Self {
        Self { progress_deadline: Millis::from_secs(600), max_surge: Surge::default() }
    }
}

/// How an instance is taken out of service before it is stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Drain {
    /// How long to wait for every registry to confirm that it has forgotten the instance.
    pub deadline: Millis,
    /// What happens when the deadline passes.
    pub on_deadline: OnDeadline,
}

impl Default for Drain {
    fn default() -> Self {
        Self { deadline: thirty_seconds(), on_deadline: OnDeadline::Force }
    }
}

/// What happens to an instance whose drain was not confirmed in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDeadline {
    /// Stop it all the same, and say so.
    #[default]
    Force,
    /// Keep it and wait for a person.
    Ask,
}

/// More instances than any one application has; larger numbers are typing errors.
pub const MAX_REPLICAS: u32 = 100_000;

impl AppSpec {
    /// What an instance is after `restarts` restarts.
    pub fn template(&self, restarts: u64) -> Template {
        Template {
            image: self.image.clone(),
            command: self.command.clone(),
            args: self.args.clone(),
            env: self.env.clone(),
            ports: self.ports.clone(),
            resources: self.resources.clone(),
            annotations: self.annotations.clone(),
            stop_timeout: self.stop_timeout,
            readiness_gate: self.readiness_gate,
            restarts,
        }
    }

    /// What the types alone cannot tell.
    pub fn validate(&self) -> Vec<FieldError> {
        let mut errors = self.placement.validate();
        let mut refuse = |field: &str, problem: String| errors.push(FieldError::new(field, problem));
        if self.replicas > MAX_REPLICAS {
            refuse("replicas", format!("{} is too many: expected 0 to {MAX_REPLICAS}", self.replicas));
        }
        let Image { repository, tag } = &self.image;
        for (field, text) in [("image.repository", repository), ("image.tag", tag)] {
            if text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
                refuse(field, format!("{text:?} is no image name: expected text without white space"));
            }
        }
        for key in self.annotations.keys() {
            // They tell an agent, and the engine, what the platform has decided.
            if key.starts_with("bcs.io/") || key == "controller.kubernetes.io/pod-deletion-cost" {
                refuse("annotations", format!("{key} belongs to the platform: leave it out"));
            }
        }
        let mut names = BTreeSet::new();
        for (i, port) in self.ports.iter().enumerate() {
            if port.port == 0 {
                refuse(&format!("ports[{i}].port"), "0 is no port: expected 1 to 65535".to_owned());
            }
            if !names.insert(&port.name) {
                refuse(
                    &format!("ports[{i}].name"),
                    format!("{} stands twice: expected unique names", port.name),
                );
            }
        }
        errors.extend(self.resources.validate().into_iter().map(|e| e.under("resources")));
        errors.extend(register::validate(self.register.as_deref().unwrap_or_default(), &self.ports));
        errors
    }
}

impl Resources {
    /// What is wrong with it, by field.
    pub fn validate(&self) -> Vec<FieldError> {
        let quantities = [("cpu", &self.cpu), ("memory", &self.memory)];
        let wrong = quantities.into_iter().filter_map(|(field, text)| {
            let text = text.as_ref().filter(|text| !plausible_quantity(text))?;
            Some(FieldError::new(field, format!("{text:?} is no quantity: expected such as 250m or 128Mi")))
        });
        wrong.collect()
    }
}

fn plausible_quantity(text: &str) -> bool {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    digits.parse::<f64>().is_ok_and(|n| n >= 0.0 && n.is_finite())
        && ["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"].contains(&unit)
}

impl Placement {
    fn validate(&self) -> Vec<FieldError> {
        let refuse = |field: &str, problem: &str| vec![FieldError::new(field, problem)];
        match (&self.selector, self.clusters.as_slice()) {
            (Some(_), [_, ..]) => {
                refuse("placement", "names clusters and has a selector: expected one of the two")
            }
            (None, []) => refuse("placement", "names no cluster: expected clusters or a selector"),
            (Some(selector), []) if selector.match_labels.is_empty() => {
                refuse("placement.selector.matchLabels", "is empty: expected at least one label")
            }
            (Some(_), []) => Vec::new(),
            (None, named) if named.iter().all(|c| c.weight == 0) => {
                refuse("placement.clusters", "all weights are 0: expected at least one above")
            }
            (None, named) => {
                let mut seen = BTreeSet::new();
                let twice = named.iter().enumerate().filter(|(_, c)| !seen.insert(&c.name));
                twice
                    .map(|(i, c)| {
                        FieldError::new(
                            format!("placement.clusters[{i}].name"),
                            format!("{} stands twice: expected each cluster once", c.name),
                        )
                    })
                    .collect()
            }
        }
    }
}

impl Template {
    /// Short name of this template: the same template has the same name, anywhere. It becomes part of the names of
    /// what the engine creates.
    pub fn revision(&self) -> Name {
        // Serialising plain structs and ordered maps of strings cannot fail.
        let text = serde_json::to_string(self).unwrap_or_default();
        let digest = Sha256::digest(text.as_bytes());
        let hex: String = digest.iter().take(5).map(|b| format!("{b:02x}")).collect();
        Name::new(hex).unwrap_or_else(|_| Name::system())
    }
}

#[cfg(test)]
mod tests;
