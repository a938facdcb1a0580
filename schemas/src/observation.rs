//! What BCS observes: state with an age. One key per object in a JetStream KV bucket, one writer per key, the latest
//! value wins. A missing key says "unknown", never "gone": only a positive fact removes one.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Name,
    resource::{
        Labels,
        app::{self, Protocol},
        registry::{Applicant, Scope},
    },
};

/// An instance and where it answers. Bucket `endpoints`, key `<cluster>.<project>.<app>.<instance>`, written by the
/// cluster's agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Endpoint {
    /// Cluster that runs it.
    pub cluster: Name,
    /// Project of its application.
    pub project: Name,
    /// Its application.
    pub app: Name,
    /// Revision that it runs.
    pub revision: Name,
    /// Name in its cluster (the pod's name).
    pub instance: String,
    /// Identity of this incarnation: a name can come back, a uid cannot.
    pub uid: String,
    /// Node that runs it, once it has one.
    #[serde(default)]
    pub node: Option<String>,
    /// Zone of that node: what fails together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// IP addresses, the preferred first.
    #[serde(default)]
    pub addresses: Vec<std::net::IpAddr>,
    /// Ports on which it serves.
    #[serde(default)]
    pub ports: Vec<EndpointPort>,
    /// Relative part of the traffic, 100 when nothing else was asked.
    pub weight: u32,
    /// Labels of its application.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// In which registries it belongs, and as what. Absent: in all that take it unasked. Empty: in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register: Option<Vec<app::Registration>>,
    /// Whether the engine was told that every registry has confirmed it. Absent: it does not wait for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered: Option<bool>,
    /// Where it stands in its life.
    pub phase: EndpointPhase,
    /// Whether the engine is stopping it already (it has a deletion timestamp), whoever asked for that. An instance that
    /// we drain and that is not stopping yet still counts among the replicas that the engine keeps.
    #[serde(default)]
    pub stopping: bool,
    /// Why it stands there, in one sentence, when that needs saying: `image pull fails: …`.
    #[serde(default)]
    pub reason: Option<String>,
    /// Since when it stands there.
    pub since: Timestamp,
    /// Generation of the application's intent that was stamped on it.
    pub generation: u64,
    /// When the agent last saw a change of it. A fresh [`ClusterHealth`] vouches for it in between.
    pub observed_at: Timestamp,
}

impl Endpoint {
    /// What its application wants of registries.
    pub fn applicant(&self) -> Applicant<'_> {
        Applicant {
            project: &self.project,
            app: &self.app,
            labels: &self.labels,
            register: self.register.as_deref(),
        }
    }
}

/// A port of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndpointPort {
    /// Name, as the application gives it.
    pub name: Name,
    /// 1 to 65535.
    pub port: u16,
    /// Transport.
    #[serde(default)]
    pub protocol: Protocol,
}

/// Where an instance stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndpointPhase {
    /// Not ready, or not ready any more: gets no traffic.
    Starting,
    /// Ready: belongs into every registry.
    Ready,
    /// On its way out: belongs into no registry.
    Draining,
    /// Ended.
    Gone,
    /// Written by a newer version of the platform.
    #[serde(other)]
    Unknown,
}

/// Instances of one revision of an application in one cluster, as the engine counts them. Bucket `workloads`, key
/// `<cluster>.<project>.<app>.<revision>`, written by the cluster's agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Workload {
    /// Cluster.
    pub cluster: Name,
    /// Project of the application.
    pub project: Name,
    /// The application.
    pub app: Name,
    /// The revision.
    pub revision: Name,
    /// How many instances the engine is told to keep.
    pub replicas: u32,
    /// How many of them it sees ready.
    pub ready: u32,
    /// Generation of the application's intent that was stamped on it.
    pub generation: u64,
    /// What the engine complains of: `exceeded quota`.
    #[serde(default)]
    pub reason: Option<String>,
    /// When the agent last saw a change of it.
    pub observed_at: Timestamp,
}

/// A node. Bucket `nodes`, key `<cluster>.<node>`, written by the cluster's agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// Cluster that it belongs to.
    pub cluster: Name,
    /// Name in its cluster.
    pub name: String,
    /// Whether it takes instances at all.
    pub ready: bool,
    /// Whether it was closed for new instances.
    pub cordoned: bool,
    /// What it has to give.
    pub capacity: Capacity,
    /// Version of its node agent.
    pub version: String,
    /// `linux` or `windows`.
    pub os: String,
    /// `amd64`, `arm64`.
    pub arch: String,
    /// Zone that it is in: what fails together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
    /// Why it is not ready.
    #[serde(default)]
    pub reason: Option<String>,
    /// When the agent last saw a change of it.
    pub observed_at: Timestamp,
}

/// What a node or a cluster can hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Capacity {
    /// Processor, in thousandths of a core.
    pub cpu_millis: u64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Instances.
    pub instances: u64,
}

/// What an agent says of its cluster, every few seconds: the heartbeat. Bucket `clusters`, key `<cluster>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterHealth {
    /// The cluster.
    pub cluster: Name,
    /// Whether the engine answered the last probe.
    pub reachable: bool,
    /// What it said instead, when it did not.
    #[serde(default)]
    pub reason: Option<String>,
    /// Whether the agent has seen a complete list of everything since it started. Until then, what is missing says
    /// nothing.
    pub synced: bool,
    /// Version of the engine: `v1.36.0`.
    #[serde(default)]
    pub version: Option<String>,
    /// Nodes.
    pub nodes: u32,
    /// Nodes that are ready.
    pub nodes_ready: u32,
    /// Sum over the nodes.
    pub capacity: Capacity,
    /// When the probe ended.
    pub observed_at: Timestamp,
}

/// What one registry knows of one instance. Bucket `registrations`, key
/// `<cluster>.<project>.<app>.<instance>.<registry>`, written by the sidecar that keeps the registry for the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Registration {
    /// Cluster of the instance.
    pub cluster: Name,
    /// Project of its application.
    pub project: Name,
    /// Its application.
    pub app: Name,
    /// The instance.
    pub instance: String,
    /// Which incarnation of it.
    pub uid: String,
    /// The registry.
    pub registry: Name,
    /// What was or will be written: `10.1.2.3:8080`.
    pub address: String,
    /// How far it got.
    pub state: RegistrationState,
    /// Why it failed or waits, in one sentence.
    #[serde(default)]
    pub reason: Option<String>,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// When it is tried again, if it failed.
    #[serde(default)]
    pub retry_at: Option<Timestamp>,
    /// When the sidecar wrote this.
    pub observed_at: Timestamp,
}

/// How far a registration got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RegistrationState {
    /// Wanted, not written yet.
    Pending,
    /// The registry says that it has the entry.
    Confirmed,
    /// To be taken out, still there as far as is known.
    Draining,
    /// The registry says that it has the entry no more, or never had it.
    Drained,
    /// The last attempt failed; see the reason.
    Failed,
    /// Written by a newer version of the platform.
    #[serde(other)]
    Unknown,
}

/// A registry as one sidecar sees it. Bucket `registries`, key `<cluster>.<registry>`, written by that sidecar every
/// few seconds: its presence says that the registry must confirm what runs in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegistryStatus {
    /// Cluster whose instances are written.
    pub cluster: Name,
    /// The registry.
    pub registry: Name,
    /// Kind of driver: `etcd`, `file`.
    pub driver: String,
    /// Whose instances it takes.
    #[serde(default)]
    pub scope: Scope,
    /// Name of the sidecar, if it has one: what it finds under its own name and keeps no more, it removes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<Name>,
    /// Whether the last call succeeded.
    pub reachable: bool,
    /// What it said instead, when it did not.
    #[serde(default)]
    pub reason: Option<String>,
    /// Epoch that fences this sidecar's writes.
    pub epoch: u64,
    /// Entries of ours that it holds.
    pub entries: u64,
    /// Changes not written yet.
    pub pending: u64,
    /// Since when the oldest of them waits.
    #[serde(default)]
    pub oldest_pending_since: Option<Timestamp>,
    /// Entries found changed by somebody else, and repaired, since the sidecar started.
    pub drift_repaired: u64,
    /// Entries that it refuses, each tried again on its own time.
    #[serde(default)]
    pub quarantined: u64,
    /// Changes that it confirmed since the sidecar started.
    #[serde(default)]
    pub writes: u64,
    /// Calls of it that failed since the sidecar started.
    #[serde(default)]
    pub failures: u64,
    /// When the sidecar wrote this.
    pub observed_at: Timestamp,
}
