//! Commands and events of `cluster`: member clusters and their nodes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    message::message_set,
    resource::{ClusterSpec, Labels},
};

/// `cluster.import`: take a running cluster into the platform, or change how it is reached. The kubeconfig is read and
/// the cluster is asked for its version before the command is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportCluster {
    /// Free key-value pairs, which placements select by.
    #[serde(default)]
    pub labels: Labels,
    /// How it is reached.
    pub spec: ClusterSpec,
}

/// `cluster.label`: replace the labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelCluster {
    /// The labels from now on.
    pub labels: Labels,
}

/// `cluster.remove`: let the cluster go. What runs there goes on running.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveCluster {}

/// `cluster.cordon`: let nothing new start on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CordonNode {
    /// Name of the node in its cluster.
    pub node: String,
}

/// `cluster.uncordon`: let new instances start on a node again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UncordonNode {
    /// Name of the node in its cluster.
    pub node: String,
}

message_set! {
    /// What `cluster` can be asked to do.
    ClusterCommand of Cluster, strict: true {
        ImportCluster => "cluster" "import" v 1,
        LabelCluster => "cluster" "label" v 1,
        RemoveCluster => "cluster" "remove" v 1,
        CordonNode => "cluster" "cordon" v 1,
        UncordonNode => "cluster" "uncordon" v 1,
    }
}

/// `cluster.imported`: the cluster belongs to the platform, reached like this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterImported {
    /// Counts the accepted intents for this cluster, from 1.
    pub generation: u64,
    /// Free key-value pairs.
    pub labels: Labels,
    /// How it is reached.
    pub spec: ClusterSpec,
}

/// `cluster.labelled`: the labels were replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterLabelled {
    /// The labels from now on.
    pub labels: Labels,
}

/// `cluster.removed`: the cluster belongs to the platform no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterRemoved {}

/// `cluster.health-changed`: enough probes agreed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterHealthChanged {
    /// What it was.
    pub from: Health,
    /// What it is.
    pub to: Health,
    /// One sentence that says why.
    pub reason: String,
}

/// `cluster.node-cordoned`: nothing new may start on the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeCordoned {
    /// Name of the node in its cluster.
    pub node: String,
    /// See [`ClusterImported::generation`].
    pub generation: u64,
}

/// `cluster.node-uncordoned`: new instances may start on the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeUncordoned {
    /// Name of the node in its cluster.
    pub node: String,
    /// See [`ClusterImported::generation`].
    pub generation: u64,
}

/// `cluster.node-gone`: the node is not in its cluster any more, and what was asked of it is void. A node of the same name
/// that comes later is another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeGone {
    /// Name of the node in its cluster.
    pub node: String,
    /// Generation of the intent that is void.
    pub generation: u64,
}

message_set! {
    /// What `cluster` has decided.
    ClusterEvent of Cluster, strict: false {
        ClusterImported => "cluster" "imported" v 1,
        ClusterLabelled => "cluster" "labelled" v 1,
        ClusterRemoved => "cluster" "removed" v 1,
        ClusterHealthChanged => "cluster" "health-changed" v 1,
        NodeCordoned => "cluster" "node-cordoned" v 1,
        NodeUncordoned => "cluster" "node-uncordoned" v 1,
        NodeGone => "cluster" "node-gone" v 1,
    }
}

/// Health of a cluster, decided with hysteresis: no single probe changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Its agent reports, and its engine answers.
    Healthy,
    /// Some probes failed; not enough to decide.
    Suspect,
    /// Its agent reports that the engine does not answer.
    Failed,
    /// No news: neither good nor bad can be said, and nothing is done there.
    #[default]
    #[serde(other)]
    Unknown,
}

impl std::fmt::Display for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Healthy => "Healthy",
            Self::Suspect => "Suspect",
            Self::Unknown => "Unknown",
            Self::Failed => "Failed",
        })
    }
}
