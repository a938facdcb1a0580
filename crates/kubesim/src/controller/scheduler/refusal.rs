//! Why a pod cannot go to a node, in the words of the real scheduler. Pure.

use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nobody knows this node.
    Unknown,
    Cordoned,
    Taint,
    Choice,
    /// The pod names other nodes.
    Unnamed,
    Ports,
    Resources,
    /// Too many of its like would be in one domain, or the node is in none.
    Spread,
    NoDomain,
    Affinity,
    AntiAffinity,
    /// Pods there do not want it.
    Shunned,
}

impl Refusal {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Unknown => "node(s) were not found",
            Self::Cordoned => "node(s) were unschedulable",
            Self::Taint => "node(s) had untolerated taint(s)",
            Self::Choice => "node(s) didn't match Pod's node affinity/selector",
            Self::Unnamed => "node(s) didn't satisfy plugin(s) [NodeAffinity]",
            Self::Ports => "node(s) didn't have free ports for the requested pod ports",
            Self::Resources => "node(s) had too little of something",
            Self::Spread => "node(s) didn't match pod topology spread constraints",
            Self::NoDomain => "node(s) didn't match pod topology spread constraints (missing required label)",
            Self::Affinity => "node(s) didn't match pod affinity rules",
            Self::AntiAffinity => "node(s) didn't match pod anti-affinity rules",
            Self::Shunned => "node(s) didn't satisfy existing pods anti-affinity rules",
        }
    }
}

/// Reasons, each with the number of nodes that have it.
#[derive(Debug, Default)]
pub(super) struct Reasons(BTreeMap<String, usize>);

impl Reasons {
    pub(super) fn count(&mut self, reason: &str) {
        match self.0.get_mut(reason) {
            Some(count) => *count += 1,
            None => drop(self.0.insert(reason.to_owned(), 1)),
        }
    }

    /// The sentence about all of them.
    pub(super) fn sentence(&self, nodes: usize) -> String {
        if nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let mut list: Vec<String> =
            self.0.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        list.sort();
        format!("0/{nodes} nodes are available: {}.", list.join(", "))
    }
}
