//! The journal: every decision of a service, in order, for ever; and the outcome of every command, in the same
//! transaction. SQLite and PostgreSQL through the same code.
//!
//! The primary key on `seq` is the fence: a second writer cannot append, whatever it believes.

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
pub use store::Journal;

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
    /// Another writer appended: what we believed is old. Nothing was written.
    #[error("another writer has appended to the journal")]
    Fenced,
    /// The database was written by a newer program.
    #[error("journal has schema version {found}, this program knows up to {known}: run the newer program")]
    Newer {
        /// Version in the database.
        found: i64,
        /// Newest version known here.
        known: i64,
    },
    /// The URL names no database that we know.
    #[error("{0:?} names no journal: expected sqlite:<path> or postgres://…")]
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
    /// Whether the same call may succeed later: another writer was faster, or the database or the way to it is in trouble.
    /// `false`: what was given to the database, or what lies in it, is at fault, and a repeat fails in the same way.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Fenced => true,
            Self::Newer { .. } | Self::Url(_) | Self::Damaged { .. } => false,
            Self::Database { source, .. } => !fault::is_of_the_data(source),
        }
    }
}
