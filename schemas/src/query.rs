//! Questions and answers: core request/reply with each service, never through JetStream. Every answer carries the
//! revision that it reflects and its time; a question may ask to wait for a revision.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    CommandId, EventId, FieldError, Name,
    cluster::Health,
    observation::Capacity,
    resource::{AppSpec, ClusterSpec, Labels},
};

/// A question about one object, or about all of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    /// Only this project; all of them when absent.
    pub project: Option<Name>,
    /// Only this object; all of them when absent.
    pub name: Option<Name>,
    /// Answer once this position of the journal is reflected.
    pub wait_for: Option<u64>,
    /// A list: give at most so many, and no more than fit into one message. Without it everything is given, or refused
    /// when it does not fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// A list: go on after the page that ended with this [`Answered::next`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// A question about what was decided, as `bcs.qry.<service>.event.list` takes it: each field that is given leaves fewer
/// events, and without any of them all that the service ever decided are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HistoryQuery {
    /// Only about this object: `demo/app/shop-web`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Only the event with this id, or those of the command with this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// Only those decided in this second or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The newest first; the oldest when absent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub newest_first: bool,
    /// At most so many, and no more than fit into one message. Without it everything is given, or refused when it does
    /// not fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Go on after the page that ended with this [`Answered::next`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Answer once this position of the journal is reflected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_for: Option<u64>,
}

/// A decision as the journal keeps it, as `bcs.qry.<service>.event.list` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventView {
    /// Position in the journal of the service; the revision of the object at that moment.
    pub seq: u64,
    /// Identity.
    pub id: EventId,
    /// The object: `demo/app/shop-web`.
    pub object: String,
    /// Message type: `bcs.deploy.app.scaled.v1`.
    #[serde(rename = "type")]
    pub type_name: String,
    /// When it was decided.
    pub time: Timestamp,
    /// Who asked for it; `system` for what the service decided by itself.
    pub actor: String,
    /// The command that caused it.
    pub command_id: CommandId,
    /// First command of the chain of causes.
    pub correlation_id: CommandId,
    /// W3C trace context of the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// What was decided.
    pub payload: serde_json::Value,
}

/// A question about one object as it was, as `bcs.qry.deploy.app.past` and `bcs.qry.cluster.cluster.past` take it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PastQuery {
    /// Its project; clusters have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<Name>,
    /// Its name.
    pub name: Name,
    /// As it was at this position of the journal, which counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// As it was at this instant, which counts. One of the two is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
}

/// An application as it was wanted at some moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AppPast {
    /// Project.
    pub project: Name,
    /// Name.
    pub name: Name,
    /// Free key-value pairs.
    pub labels: Labels,
    /// What was wanted.
    pub spec: AppSpec,
    /// Counts the accepted intents.
    pub generation: u64,
    /// Position of the last event about it at that moment.
    pub revision: u64,
    /// When the application was first applied.
    pub created_at: Timestamp,
}

/// A cluster as it was meant to be at some moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterPast {
    /// Name.
    pub name: Name,
    /// Free key-value pairs.
    pub labels: Labels,
    /// How it was reached.
    pub spec: ClusterSpec,
    /// Counts the accepted intents.
    pub generation: u64,
    /// Position of the last event about it at that moment.
    pub revision: u64,
    /// Health, as it was decided.
    pub health: Health,
}

/// A question about the outcome of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutcomeQuery {
    /// The command.
    pub command_id: CommandId,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum Answer<T> {
    /// What was asked for.
    Ok(Answered<T>),
    /// The question could not be answered.
    Error(Refused),
}

/// What was asked for, and how fresh it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Answered<T> {
    /// Position of the journal that the data reflects.
    pub revision: u64,
    /// When the answer was made.
    pub as_of: Timestamp,
    /// The data.
    pub data: T,
    /// There is more of the list: ask again with this as `after`. Each page reflects its own revision; what exists all the
    /// while is on exactly one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Why a question was not answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Refused {
    /// One sentence.
    pub message: String,
    /// The fields to mend.
    #[serde(default)]
    pub fields: Vec<FieldError>,
}

/// An application, as `bcs.qry.deploy.app.list` and `.get` answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AppView {
    /// Project.
    pub project: Name,
    /// Name.
    pub name: Name,
    /// Free key-value pairs.
    pub labels: Labels,
    /// What is wanted.
    pub spec: AppSpec,
    /// Counts the accepted intents.
    pub generation: u64,
    /// Position of the last event about it: what `bcs-expected-revision` compares with.
    pub revision: u64,
    /// When the application was first applied.
    pub created_at: Timestamp,
    /// What is.
    pub status: AppStatus,
}

/// What an application is, beside what is wanted of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AppStatus {
    /// In one word.
    pub phase: AppPhase,
    /// Intent that this status has taken into account; older than `generation` means "not looked at yet".
    pub observed_generation: u64,
    /// Why it waits, in one sentence.
    #[serde(default)]
    pub reason: Option<String>,
    /// What it waits for.
    #[serde(default)]
    pub blocking: Option<String>,
    /// Since when it is in this phase for this reason.
    pub since: Timestamp,
    /// When the waiting ends by itself.
    #[serde(default)]
    pub deadline: Option<Timestamp>,
    /// The wanted revision.
    pub revision: Name,
    /// The last revision that was available as a whole.
    #[serde(default)]
    pub healthy_revision: Option<Name>,
    /// Instances wanted.
    pub replicas: u32,
    /// Instances of the wanted revision.
    pub updated: u32,
    /// Instances ready, of any revision.
    pub ready: u32,
    /// Instances ready and registered wherever they must be, of any revision.
    pub available: u32,
    /// Instances on their way out.
    pub draining: u32,
    /// The same by cluster.
    pub clusters: BTreeMap<Name, ClusterStatus>,
    /// When this was last worked out.
    pub observed_at: Timestamp,
}

/// The part of an application in one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterStatus {
    /// Instances wanted here.
    pub replicas: u32,
    /// Instances of the wanted revision.
    pub updated: u32,
    /// Instances ready.
    pub ready: u32,
    /// Instances ready and registered.
    pub available: u32,
    /// Age of what is known, in one sentence, when it is not fresh.
    #[serde(default)]
    pub stale: Option<String>,
}

/// An application in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AppPhase {
    /// Accepted, not looked at yet.
    #[default]
    Pending,
    /// On its way to what is wanted.
    Progressing,
    /// What is wanted is.
    Available,
    /// Was available; some instances are not.
    Degraded,
    /// Does not move on; see the reason.
    Stalled,
    /// On its way out.
    Deleting,
    /// A phase that this reader does not know yet.
    #[serde(other)]
    Unknown,
}

impl std::fmt::Display for AppPhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Pending => "Pending",
            Self::Progressing => "Progressing",
            Self::Available => "Available",
            Self::Degraded => "Degraded",
            Self::Stalled => "Stalled",
            Self::Deleting => "Deleting",
            Self::Unknown => "Unknown",
        })
    }
}

/// A cluster, as `bcs.qry.cluster.cluster.list` and `.get` answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterView {
    /// Name.
    pub name: Name,
    /// Free key-value pairs.
    pub labels: Labels,
    /// How it is reached.
    pub spec: ClusterSpec,
    /// Counts the accepted intents.
    pub generation: u64,
    /// Position of the last event about it.
    pub revision: u64,
    /// Health, decided with hysteresis.
    pub health: Health,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Since when it has this health.
    pub since: Timestamp,
    /// Version of the engine.
    #[serde(default)]
    pub version: Option<String>,
    /// Nodes.
    pub nodes: u32,
    /// Nodes that are ready.
    pub nodes_ready: u32,
    /// Sum over the nodes.
    pub capacity: Capacity,
    /// When its agent last reported.
    #[serde(default)]
    pub observed_at: Option<Timestamp>,
}

/// An address in use, as `bcs.qry.network.address.list` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AddressView {
    /// The address.
    pub address: std::net::IpAddr,
    /// Cluster, project, application and instance that has it.
    pub cluster: Name,
    /// Project.
    pub project: Name,
    /// Application.
    pub app: Name,
    /// Instance.
    pub instance: String,
    /// Identity of the incarnation.
    pub uid: String,
    /// Since when the instance is in its present phase.
    pub since: Timestamp,
    /// When this was observed.
    pub observed_at: Timestamp,
}

/// How a service does, as `bcs.qry.<service>.service.status` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceStatus {
    /// The service.
    pub service: String,
    /// Version of the program.
    pub version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// Last position of its journal.
    pub revision: u64,
    /// Events not on the bus yet.
    pub unpublished: u64,
    /// Commands answered since it started.
    pub commands: u64,
    /// Messages put into quarantine since it started.
    pub quarantined: u64,
}
