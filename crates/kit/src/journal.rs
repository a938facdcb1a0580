//! The journal: every decision of a service, in order, for ever; and the outcome of every command, in the same
//! transaction. SQLite and PostgreSQL through the same code.
//!
//! Terms are the fence: whoever takes the journal over begins a new one, and every append names the term that it is of, in its
//! transaction. An append of an earlier term is refused, whatever its writer believes, and so nothing is ever decided on an old
//! state. The primary keys see to the rest: nothing is written twice.

mod fault;
mod schema;
mod select;
mod store;
#[cfg(test)]
pub(crate) mod test_database;
#[cfg(test)]
pub(crate) mod trouble;

use bcs_schemas::{CommandId, EventId};
use bytes::Bytes;
use jiff::Timestamp;

pub use select::Selection;
pub use store::{Journal, Term};

/// A decision as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Position: last + 1, without gaps.
    pub seq: u64,
    /// Identity of the event.
    pub id: EventId,
    /// The object: `demo/app/shop-web`.
    pub target: String,
    /// Message type: `bcs.deploy.app.scaled.v1`.
    pub type_name: String,
    /// When it was decided.
    pub at: Timestamp,
    /// Who asked for it.
    pub actor: String,
    /// The command that caused it.
    pub command: CommandId,
    /// First command of the chain of causes.
    pub correlation: CommandId,
    /// W3C trace context of the command.
    pub traceparent: Option<String>,
    /// MessagePack.
    pub payload: Bytes,
}

/// The outcome of a command as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct OutcomeRow {
    /// The command.
    pub command: CommandId,
    /// When it was decided.
    pub at: Timestamp,
    /// MessagePack of an [`bcs_schemas::outcome::Outcome`].
    pub payload: Bytes,
}

/// The folded state at some position. Only a cache: without it, the fold begins at the first event.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Position that it reflects.
    pub seq: u64,
    /// MessagePack of the state.
    pub payload: Vec<u8>,
}

/// What can go wrong between us and the database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another writer has taken the journal over: what we believe may be old. Nothing was written.
    #[error("another instance of the service has taken the journal over")]
    Fenced,
    /// A position or the outcome of a command is there already: of an append of ours of which we did not hear. Nothing was
    /// written.
    #[error("the journal has that position or that outcome already")]
    Taken,
    /// The database was written by a newer program.
    #[error("journal has schema version {found}, this program knows up to {known}: run the newer program")]
    Newer {
        /// Version in the database.
        found: i64,
        /// Newest version known here.
        known: i64,
    },
    /// The URL names no database that we know.
    #[error("journal_url: {0:?} names no journal: expected sqlite:<path> or postgres://…")]
    Url(String),
    /// A row cannot be understood.
    #[error("journal row {seq} is damaged: {problem}")]
    Damaged {
        /// Its position.
        seq: i64,
        /// What is wrong.
        problem: String,
    },
    /// Anything else that the database says.
    #[error("{what} failed")]
    Database {
        /// What we tried.
        what: &'static str,
        /// What the database says.
        #[source]
        source: sqlx::Error,
    },
}

impl Error {
    /// Whether the same call may succeed later: once the journal was read again, or when the database or the way to it is out
    /// of trouble. `false`: what was given to the database, or what lies in it, is at fault, or it is another's by now, and a
    /// repeat fails in the same way.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Taken => true,
            Self::Fenced | Self::Newer { .. } | Self::Url(_) | Self::Damaged { .. } => false,
            Self::Database { source, .. } => !fault::is_of_the_data(source),
        }
    }
}
