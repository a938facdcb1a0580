//! What was decided about clusters so far: a fold of the journal.

use bcs_schemas::{
    Name,
    cluster::Health,
    resource::{ClusterSpec, Labels},
};
use imbl::OrdMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Every cluster that belongs to the platform.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The members, by name.
    pub members: OrdMap<Name, Member>,
    /// Last generation of clusters that were removed. A cluster that comes back counts on from there: its nodes carry
    /// the old stamps.
    pub retired: OrdMap<Name, u64>,
}

/// One cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Free key-value pairs.
    pub labels: Labels,
    /// How it is reached.
    pub spec: ClusterSpec,
    /// Counts the accepted intents.
    pub generation: u64,
    /// Health as it was last decided.
    pub health: Health,
    /// Why.
    pub reason: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// What was asked of its nodes, by node.
    pub nodes: OrdMap<String, Cordon>,
}

/// What was last asked of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cordon {
    /// Closed, or open.
    pub cordoned: bool,
    /// The intent that asked for it.
    pub generation: u64,
}

/// What the service asks of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Internal {
    /// Enough probes agree.
    SetHealth {
        /// What they say.
        to: Health,
        /// One sentence that says why.
        reason: String,
    },
    /// The node is gone, and with it what was asked of it.
    ForgetNode {
        /// Its name.
        node: String,
        /// The intent that is void; a newer one is not.
        generation: u64,
    },
}
