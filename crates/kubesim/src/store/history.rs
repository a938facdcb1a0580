//! The bounded past of one collection: what a watch can still be told.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use serde_json::Value;

use crate::{kind::Kind, status::Status};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Modified,
    Deleted,
}

impl Change {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Event {
    pub kind: &'static Kind,
    pub change: Change,
    pub object: Arc<Value>,
    pub previous: Option<Arc<Value>>,
    pub version: u64,
    /// A thousand watchers read the same event; it is written as JSON once.
    encoded: OnceLock<Bytes>,
}

impl Event {
    pub(crate) fn new(
        kind: &'static Kind,
        change: Change,
        object: Arc<Value>,
        previous: Option<Arc<Value>>,
        version: u64,
    ) -> Self {
        Self { kind, change, object, previous, version, encoded: OnceLock::new() }
    }

    pub(crate) fn encoded(&self, encode: impl FnOnce() -> Bytes) -> Bytes {
        self.encoded.get_or_init(encode).clone()
    }
}

/// A collection remembers twice as many changes as it has objects, within these bounds: every change of a pod is a pod that is kept,
/// and many small clusters are to fit into one process.
const LIMITS: (usize, usize) = (2_000, 10_000);

#[derive(Default)]
pub(crate) struct History {
    events: VecDeque<Arc<Event>>,
    /// Everything up to here is forgotten.
    floor: u64,
}

impl History {
    /// Takes in a change of a collection that has so many objects now.
    pub(crate) fn push(&mut self, event: Arc<Event>, objects: usize) {
        self.events.push_back(event);
        let limit = (2 * objects).clamp(LIMITS.0, LIMITS.1);
        // Two at most, so that nothing takes long when a collection shrinks.
        for _ in 0..2 {
            if self.events.len() > limit
                && let Some(old) = self.events.pop_front()
            {
                self.floor = old.version;
            }
        }
    }

    pub(crate) fn forget_until(&mut self, version: u64) {
        self.floor = version;
        self.events.retain(|e| e.version > version);
    }

    pub(crate) fn since(&self, version: u64) -> Result<Vec<Arc<Event>>, Status> {
        if version < self.floor {
            return Err(Status::expired(version, self.floor));
        }
        let start = self.events.partition_point(|e| e.version <= version);
        Ok(self.events.range(start..).cloned().collect())
    }
}
