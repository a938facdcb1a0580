//! The `Engine` trait: the whole of what an agent needs from whatever runs containers in its cluster.

use bcs_schemas::{
    Name,
    bucket::Keyed,
    observation::{Endpoint, Node, Workload},
    resource::cluster::EngineKind,
    step::{MarkRequest, StepRequest, StepResult},
};
use futures::{future::BoxFuture, stream::BoxStream};

/// Something that runs containers.
pub trait Engine: Send + Sync + 'static {
    /// What it is.
    fn kind(&self) -> EngineKind;

    /// What it can do, and what it cannot.
    fn capabilities(&self) -> Capabilities;

    /// Asks whether it answers, and what it is. Ends within seconds, whatever the network does.
    fn probe(&self) -> BoxFuture<'_, Result<Description, ProbeError>>;

    /// Carries out a step. Idempotent; ends within seconds; after a failure the same step can be tried again.
    fn execute<'a>(&'a self, request: &'a StepRequest) -> BoxFuture<'a, StepResult>;

    /// Writes a mark onto instances. As [`Engine::execute`].
    fn mark<'a>(&'a self, request: &'a MarkRequest) -> BoxFuture<'a, StepResult>;

    /// What happens in the cluster, as observations of `cluster`, for as long as the stream is held. It never ends by
    /// itself: it survives lost connections and lists again when it has to.
    fn watch(&self, cluster: Name) -> BoxStream<'static, News>;
}

/// What an engine can do. A `false` is a promise too: a caller must not count on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a matrix of independent abilities is a row of booleans")]
pub struct Capabilities {
    /// A caller can name the instances that go when the number shrinks.
    pub choose_victims: bool,
    /// An instance that is drained stays marked so, whatever restarts.
    pub durable_drain: bool,
    /// The engine itself stops sending traffic to a drained instance.
    pub drain_gate: bool,
    /// Instances live on when the platform is away.
    pub autonomous: bool,
    /// Nodes can be closed for new instances.
    pub cordon: bool,
    /// An instance can be given an address of the caller's choice.
    pub fixed_ip: bool,
    /// Resources of a running instance can be changed.
    pub resize_in_place: bool,
    /// A command can be run inside an instance through the agent.
    pub exec: bool,
    /// Output of an instance can be read through the agent.
    pub logs: bool,
}

/// What an engine says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Version: `v1.36.0`.
    pub version: String,
}

/// Why an engine did not answer a probe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// No answer, or none that makes sense: it may be there later.
    #[error("does not answer: {0}")]
    Unreachable(String),
    /// It answers and does not let us in: somebody has to mend the credentials.
    #[error("refuses the credentials: {0}")]
    Refused(String),
}

/// Kinds of observations that an engine streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Instances.
    Endpoints,
    /// Instances as the engine counts them.
    Workloads,
    /// Nodes.
    Nodes,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Endpoints, Self::Workloads, Self::Nodes];
}

/// One thing as the engine sees it now.
#[derive(Clone, Debug, PartialEq)]
pub enum Observed {
    /// An instance.
    Endpoint(Endpoint),
    /// Instances as the engine counts them.
    Workload(Workload),
    /// A node.
    Node(Node),
}

impl Observed {
    /// What it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Endpoint(_) => Kind::Endpoints,
            Self::Workload(_) => Kind::Workloads,
            Self::Node(_) => Kind::Nodes,
        }
    }

    /// Its key in its bucket.
    pub fn key(&self) -> String {
        match self {
            Self::Endpoint(it) => it.key(),
            Self::Workload(it) => it.key(),
            Self::Node(it) => it.key(),
        }
    }
}

/// What a watch tells.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// A complete list of this kind begins.
    ListBegan(Kind),
    /// The thing is there and looks like this; inside a list or as a change.
    Seen(Observed),
    /// The thing was deleted.
    Gone(Kind, String),
    /// The list is complete: whatever of this kind was not seen since it began is gone.
    ListEnded(Kind),
    /// The watch of this kind broke; it is tried again. What was seen before is stale, not gone.
    Failed(Kind, String),
}
