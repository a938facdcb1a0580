//! The command loop: the heart of every service. It takes commands, decides them on the service's state machine,
//! journals the decisions and only then lets anyone see them.

mod batch;
mod door;
mod fold;
mod handle;
mod in_hand;
mod lead;
mod metrics;
mod past;
mod publisher;
mod runner;
mod silent;
#[cfg(test)]
mod tests;

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use bcs_schemas::{
    CommandId, MessageSet, Name, TypeName,
    outcome::{Outcome, Rejection},
    subject::Target,
};
use imbl::HashMap;
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::oneshot;

use crate::journal;
pub use handle::{Machine, Stats};
pub use past::Moment;
pub use silent::Silent;

/// The pure heart of a service. Both functions are deterministic: what is not comes in through [`Ctx`].
pub trait StateMachine:
    Clone + Default + Send + Sync + Serialize + DeserializeOwned + fmt::Debug + 'static
{
    /// What others may ask for over the bus.
    type Command: MessageSet;
    /// What the service's own reconcilers and process managers ask for; it never crosses the bus.
    type Internal: Clone + Send + Sync + fmt::Debug + 'static;
    /// What was decided.
    type Event: MessageSet;
    /// Counts changes in the shape of the serialised state. A snapshot of another version is not used.
    const SNAPSHOT_VERSION: u32;

    /// What a request means: events to write, or why it is refused. No events: it is so already.
    fn decide(
        &self,
        target: &Target,
        request: &Request<Self::Command, Self::Internal>,
        ctx: &Ctx,
    ) -> Result<Vec<(Target, Self::Event)>, Rejection>;

    /// What an event changes.
    fn evolve(&mut self, fact: &Fact<'_, Self::Event>);
}

/// A command from the bus or from inside.
#[derive(Clone, Debug)]
pub enum Request<C, I> {
    /// From the bus.
    Command(C),
    /// From the service's own reconcilers and process managers.
    Internal(I),
}

/// Everything about a decision that is not deterministic.
#[derive(Clone, Debug)]
pub struct Ctx {
    /// When the decision is made.
    pub now: Timestamp,
    /// Who asks.
    pub actor: String,
    /// The command.
    pub command: CommandId,
}

/// An event that was decided.
#[derive(Clone, Copy, Debug)]
pub struct Fact<'a, E> {
    /// Position in the journal.
    pub seq: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// The object.
    pub target: &'a Target,
    /// What was decided.
    pub event: &'a E,
}

/// The state at one position of the journal. A copy costs a few pointers.
#[derive(Clone, Debug, Default, Serialize, serde::Deserialize)]
#[serde(bound = "S: Serialize + DeserializeOwned")]
pub struct Live<S> {
    /// Position of the last event that it reflects.
    pub seq: u64,
    /// Position of the last event about each object, by `project/kind/name`: its revision.
    pub revisions: HashMap<String, u64>,
    /// The service's own state.
    pub state: S,
}

impl<S> Live<S> {
    /// Revision of an object; 0 when there never was an event about it.
    pub fn revision(&self, target: &Target) -> u64 {
        self.revisions.get(&target.to_string()).copied().unwrap_or_default()
    }
}

/// A look at a command before it is decided: it may reject, and nothing else. Only for what cannot be known without
/// asking the world, such as whether a kubeconfig works.
pub type Admission<C> =
    Arc<dyn Fn(Target, C) -> Pin<Box<dyn Future<Output = Result<(), Rejection>> + Send>> + Send + Sync>;

/// What the loop takes.
pub(crate) struct Incoming<S: StateMachine> {
    id: CommandId,
    correlation: Option<CommandId>,
    target: Option<Target>,
    /// The request, or why it could not even be read.
    request: Result<Request<S::Command, S::Internal>, Rejection>,
    plan: bool,
    expected_revision: Option<u64>,
    not_after: Option<Timestamp>,
    actor: String,
    traceparent: Option<String>,
    /// Open from the moment the request came in until it is settled.
    span: tracing::Span,
    done: Done,
}

/// Who waits for the outcome.
pub(crate) enum Done {
    /// A message on the bus: acknowledge it, and answer its sender if it asked for that.
    Bus(door::Delivery),
    /// Somebody in this process.
    Local(oneshot::Sender<Result<Outcome, Error>>),
}

/// Why a request got no outcome.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The journal could not be read or written; nothing was decided.
    #[error("journal")]
    Journal(#[from] journal::Error),
    /// The journal holds an event that this program does not understand.
    #[error("journal event {seq} is not understood: {problem}")]
    Replay {
        /// Its position.
        seq: u64,
        /// What is wrong.
        problem: String,
    },
    /// The journal holds a type of event that this program does not know.
    #[error(
        "journal event {seq} is a {type_name}, which this program does not know: it was written by a newer program, run that \
         one"
    )]
    Unknown {
        /// Its position.
        seq: u64,
        /// Its type.
        type_name: TypeName,
    },
    /// The state machine panicked on it.
    #[error("the decision panicked: {0}")]
    Panicked(String),
    /// The journal does not take what was decided, and never will.
    #[error("cannot be written: {0}")]
    Unwritten(String),
    /// Another process decides for this service.
    #[error("another instance of the service leads")]
    Follows,
    /// The loop has ended.
    #[error("the service is stopping")]
    Stopping,
    /// The bus refused something at the start.
    #[error("bus")]
    Bus(#[from] crate::bus::Error),
}

impl Error {
    /// Whether the same may succeed later.
    fn is_transient(&self) -> bool {
        match self {
            Self::Journal(error) => error.is_transient(),
            // An event of a newer program: that one is about to take over, or this one is about to be replaced.
            Self::Replay { .. } | Self::Unknown { .. } | Self::Bus(_) => true,
            Self::Panicked(_) | Self::Unwritten(_) | Self::Follows | Self::Stopping => false,
        }
    }

    /// Why a command lies in quarantine, in a word.
    const fn code(&self) -> &'static str {
        match self {
            Self::Panicked(_) => "panicked",
            _ => "unwritable",
        }
    }
}

/// The object `name` of `kind` in `project`. A kind is a literal in the code: one that is no label is a typing error.
pub fn target(project: &Name, kind: &str, name: &Name) -> Target {
    let kind = Name::new(kind).unwrap_or_else(|_| Name::system());
    Target { project: project.clone(), kind, name: name.clone() }
}

/// How long a reader may ask to wait for a revision.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);
