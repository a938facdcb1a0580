//! A cluster as it is answered: what was decided, joined with what its agent last said.

use bcs_schemas::{Name, observation::ClusterHealth, query::ClusterView};

use super::Member;

/// `heard` may be old; the answer carries its age.
pub fn view(name: &Name, member: &Member, revision: u64, heard: Option<&ClusterHealth>) -> ClusterView {
    ClusterView {
        name: name.clone(),
        labels: member.labels.clone(),
        spec: member.spec.clone(),
        generation: member.generation,
        revision,
        health: member.health,
        reason: member.reason.clone(),
        since: member.since,
        version: heard.and_then(|h| h.version.clone()),
        nodes: heard.map_or(0, |h| h.nodes),
        nodes_ready: heard.map_or(0, |h| h.nodes_ready),
        capacity: heard.map(|h| h.capacity).unwrap_or_default(),
        observed_at: heard.map(|h| h.observed_at),
    }
}
