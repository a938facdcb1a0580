//! Pure: which pods a ReplicaSet controller stops when its number is lowered. The controller takes, in this order:
//! pods without a node, pods that have not begun, pods that are not ready, and only then the lowest deletion cost. So
//! a cost alone does not choose the victim: it loses against an unrelated pod that happens not to be ready.

use bcs_schemas::step::Instance;
use k8s_openapi::api::core::v1::Pod;

use super::{label, translate};

/// What the controller looks at, in its order; the smallest goes first. It goes on with ages and restarts, which we
/// do not follow: where two pods are equal this far, either may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    assigned: bool,
    phase: Phase,
    ready: bool,
    cost: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Pending,
    Unknown,
    Running,
}

/// A pod that the controller counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) instance: Instance,
    pub(crate) rank: Rank,
}

impl Candidate {
    /// None when the controller does not count the pod: it has ended or is being deleted.
    pub(crate) fn of(pod: &Pod) -> Option<Self> {
        let phase = match pod.status.as_ref().and_then(|s| s.phase.as_deref()) {
            Some("Succeeded" | "Failed") => return None,
            Some("Running") => Phase::Running,
            Some("Unknown") => Phase::Unknown,
            _ => Phase::Pending,
        };
        if pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let cost = translate::annotation(&pod.metadata, label::DELETION_COST);
        let rank = Rank {
            assigned: pod.spec.as_ref().is_some_and(|s| s.node_name.is_some()),
            phase,
            ready: translate::pod::ready(pod),
            cost: cost.and_then(|c| c.parse().ok()).unwrap_or(0),
        };
        let name = pod.metadata.name.clone()?;
        Some(Self { instance: Instance { name, uid: pod.metadata.uid.clone()? }, rank })
    }

    /// The same with the lowest cost, as a victim has it.
    #[must_use]
    pub(crate) fn cheapest(mut self) -> Self {
        self.rank.cost = i32::MIN;
        self
    }

    /// It has run, so it may be in service: ready now, or a moment ago.
    pub(crate) const fn may_serve(&self) -> bool {
        self.rank.assigned && !matches!(self.rank.phase, Phase::Pending)
    }
}

/// Everything that may be stopped when `keep` remain.
pub(crate) fn doomed(candidates: &[Candidate], keep: usize) -> Vec<&Candidate> {
    let go = candidates.len().saturating_sub(keep);
    let mut ranks: Vec<Rank> = candidates.iter().map(|c| c.rank).collect();
    ranks.sort_unstable();
    match go.checked_sub(1).and_then(|last| ranks.get(last)) {
        None => Vec::new(),
        Some(limit) => candidates.iter().filter(|c| c.rank <= *limit).collect(),
    }
}

#[cfg(test)]
mod tests;
