//! What is commanded: verbs and payloads, as any program would send them.

use std::fmt;

use serde_json::{Value, json};

/// A command about an application or a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// An application shall be so.
    Apply { app: usize, replicas: u32, tag: u32 },
    /// An application shall have so many instances.
    Scale { app: usize, replicas: u32 },
    /// Every instance of an application shall be replaced.
    Restart { app: usize },
    /// An application shall be gone.
    Delete { app: usize },
    /// A cluster shall have this label.
    Label { cluster: usize, value: u32 },
}

/// Name of an application.
pub(super) fn app_name(number: usize) -> String {
    format!("app-{number}")
}

/// Name of a cluster.
pub(super) fn cluster_name(number: usize) -> String {
    format!("sim-{number}")
}

impl Order {
    /// Where it is published.
    pub(super) fn subject(&self) -> String {
        let (app, verb) = match self {
            Self::Apply { app, .. } => (app, "apply"),
            Self::Scale { app, .. } => (app, "scale"),
            Self::Restart { app } => (app, "restart"),
            Self::Delete { app } => (app, "delete"),
            Self::Label { cluster, .. } => {
                return format!("bcs.cmd.cluster.local.system.cluster.{}.label", cluster_name(*cluster));
            }
        };
        format!("bcs.cmd.deploy.local.demo.app.{}.{verb}", app_name(*app))
    }

    /// What is published; applications are placed on `clusters` clusters.
    pub(super) fn payload(&self, clusters: usize) -> Value {
        match self {
            Self::Apply { replicas, tag, .. } => json!({ "spec": spec(clusters, *replicas, *tag) }),
            Self::Scale { replicas, .. } => json!({ "replicas": replicas }),
            Self::Restart { .. } | Self::Delete { .. } => json!({}),
            Self::Label { value, .. } => json!({ "labels": { "round": value.to_string() } }),
        }
    }
}

/// Instances start and stop fast. No drain is ever given up: whoever is stopped must have been let go by every registry.
fn spec(clusters: usize, replicas: u32, tag: u32) -> Value {
    let clusters: Vec<Value> = (0..clusters).map(|number| json!({ "name": cluster_name(number) })).collect();
    json!({
        "replicas": replicas,
        "placement": { "clusters": clusters },
        "image": { "repository": "shop/chaos", "tag": format!("v{tag}") },
        "ports": [{ "name": "http", "port": 8080 }],
        "annotations": { "sim.bcs/startup": "20ms" },
        "drain": { "deadline": "1h" },
    })
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apply { app, replicas, tag } => {
                write!(f, "apply {}: {replicas} of v{tag}", app_name(*app))
            }
            Self::Scale { app, replicas } => write!(f, "scale {} to {replicas}", app_name(*app)),
            Self::Restart { app } => write!(f, "restart {}", app_name(*app)),
            Self::Delete { app } => write!(f, "delete {}", app_name(*app)),
            Self::Label { cluster, value } => write!(f, "label {} with {value}", cluster_name(*cluster)),
        }
    }
}
