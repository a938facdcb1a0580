//! What is asked of a registry and what it answers: the language between the engine and the drivers.

use std::sync::Arc;

use super::{Entry, Place};

/// A change of one entry. Every change names what it expects to find, so that a registry with compare-and-set refuses it
/// when somebody else was there first.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Write the entry.
    Put {
        /// Where.
        place: Place,
        /// What.
        entry: Entry,
        /// Its fingerprint, kept with what was written.
        digest: u64,
        /// Version of our own entry that it replaces; none: nothing must be there.
        over: Option<u64>,
    },
    /// Take our entry out.
    Remove {
        /// Where.
        place: Place,
        /// Version that was seen.
        version: u64,
    },
}

impl Change {
    /// Version of our own entry that has to be there; none: nothing.
    pub const fn expects(&self) -> Option<u64> {
        match self {
            Self::Put { over, .. } => *over,
            Self::Remove { version, .. } => Some(*version),
        }
    }

    /// Where it happens.
    pub const fn place(&self) -> &Place {
        match self {
            Self::Put { place, .. } | Self::Remove { place, .. } => place,
        }
    }
}

/// An entry of ours as a registry holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Where it lies.
    pub place: Place,
    /// Key of the endpoint that it was made from.
    pub key: Arc<str>,
    /// Incarnation that it stands for.
    pub uid: Arc<str>,
    /// Fingerprint, as [`super::Layout::digest`] would give it.
    pub digest: u64,
    /// The registry's own version of it, for compare-and-set; 0 where there is none.
    pub version: u64,
}

/// Fingerprint of an entry that is there for some and not for all: whatever is wanted, it differs.
pub const fn unfinished(digest: u64) -> u64 {
    !digest
}

/// What became of one change of a batch that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The registry confirmed it and gave it this version.
    Done(u64),
    /// Not done: this entry of ours, or nothing, was there instead of what was expected.
    Differs(Option<Item>),
    /// Not done: the place belongs to somebody else.
    Foreign(String),
    /// Not done: the registry does not want this one, in its own words. The others of the batch are not meant.
    Refused(String),
    /// Not done yet: the registry needs time for it, such as for connections to end, in its own words. New traffic does not
    /// come any more, if it was to be taken out; what was to be written may be there for some already.
    Waits(String),
    /// Not done, though nothing was wrong with it: another change of the batch stood in the way.
    Again,
}

/// Why a call as a whole failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nobody knows whether it was done. Read the registry again before believing anything.
    #[error("{0}")]
    Unavailable(String),
    /// The registry understood the batch and wants nothing of it: at least one change in it is bad.
    #[error("{0}")]
    Rejected(String),
    /// A newer sidecar has taken over.
    #[error("a newer sidecar with epoch {0} keeps this registry")]
    Fenced(u64),
}

impl Failure {
    /// Whether nothing that is known of the registry can be believed any more; else it was the batch.
    pub const fn is_of_the_registry(&self) -> bool {
        !matches!(self, Self::Rejected(_))
    }
}
