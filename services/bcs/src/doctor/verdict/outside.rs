//! Clusters and registries, as their agents and sidecars say.

use bcs_schemas::{cluster::Health, observation::RegistryStatus, query::ClusterView};
use jiff::{SignedDuration, Timestamp};

use super::{or_all_well, seconds};
use crate::{
    doctor::{Finding, facts::Facts},
    view::age,
};

/// Agents and sidecars speak every 2 s.
const SILENT: SignedDuration = SignedDuration::from_secs(15);
/// A registry that is well takes a change within a moment.
const WAITS: SignedDuration = SignedDuration::from_secs(60);

/// Whether each cluster is heard, reachable and healthy.
pub(super) fn clusters(facts: &Facts) -> Vec<Finding> {
    const CLUSTERS: &str = "clusters";
    let (clusters, heartbeats) = match (&facts.clusters, &facts.heartbeats) {
        (Ok(clusters), Ok(heartbeats)) => (clusters, heartbeats),
        (Err(why), _) | (_, Err(why)) => return vec![Finding::unknown(CLUSTERS, "", why)],
    };
    if clusters.is_empty() {
        return vec![Finding::ok(
            CLUSTERS,
            "",
            "there are none yet: `bcs import cluster NAME --kubeconfig FILE`",
        )];
    }
    let now = facts.bus_now();
    let findings = clusters.iter().filter_map(|cluster| {
        let heartbeat = heartbeats.get(cluster.name.as_str());
        let (found, grave) = complaint(cluster, heartbeat.map(|(beat, taken)| (beat, *taken)), now)?;
        let advice = if heartbeat.is_none_or(|(_, taken)| now.duration_since(*taken) > SILENT) {
            "look at the log of its agent (in the service cluster, or bcs-cluster-agent) and at the agent's way to the bus; nothing is \
             changed there meanwhile"
        } else {
            "look at `bcs describe cluster NAME`, and ask its API server with its kubeconfig; nothing is changed there meanwhile"
        };
        let make = if grave { Finding::problem } else { Finding::warning };
        Some(make(CLUSTERS, cluster.name.to_string(), found, advice))
    });
    or_all_well(findings.collect(), CLUSTERS, || {
        let oldest =
            heartbeats.values().map(|(_, taken)| now.duration_since(*taken)).max().unwrap_or_default();
        let oldest = seconds(oldest.max(SignedDuration::ZERO));
        format!("{} are healthy, the oldest heartbeat is {oldest} old", clusters.len())
    })
}

type Heartbeat<'a> = Option<(&'a bcs_schemas::observation::ClusterHealth, Timestamp)>;

/// What is not well with a cluster, and whether that is grave.
fn complaint(cluster: &ClusterView, heartbeat: Heartbeat<'_>, now: Timestamp) -> Option<(String, bool)> {
    let Some((beat, taken)) = heartbeat else {
        return Some(("its agent was never heard".to_owned(), true));
    };
    let silent = now.duration_since(taken);
    if silent > SILENT {
        return Some((format!("its agent is silent for {}", seconds(silent)), true));
    }
    if !beat.reachable {
        let why = beat.reason.as_deref().unwrap_or("no reason is given");
        return Some((format!("its API server does not answer: {why}"), true));
    }
    if !beat.synced {
        return Some(("its agent has not seen everything in it yet".to_owned(), false));
    }
    if cluster.health != Health::Healthy {
        let why = cluster.reason.as_deref().unwrap_or("no reason is given");
        let grave = cluster.health != Health::Suspect;
        return Some((format!("is {} since {}: {why}", cluster.health, age(cluster.since, now)), grave));
    }
    let away = beat.nodes.saturating_sub(beat.nodes_ready);
    (away > 0).then(|| (format!("{away} of {} nodes are not ready", beat.nodes), false))
}

/// Whether each registry is kept, reachable and up to date.
pub(super) fn registries(facts: &Facts) -> Vec<Finding> {
    const REGISTRIES: &str = "registries";
    let registries = match &facts.registries {
        Ok(registries) => registries,
        Err(why) => return vec![Finding::unknown(REGISTRIES, "", why)],
    };
    if registries.is_empty() {
        return vec![Finding::ok(
            REGISTRIES,
            "",
            "no sidecar keeps one: instances are available without being registered",
        )];
    }
    let now = facts.bus_now();
    let findings = registries.iter().filter_map(|(key, (status, taken))| {
        let silent = now.duration_since(*taken);
        if silent > SILENT {
            let found = format!("its sidecar is silent for {}", seconds(silent));
            let advice = "start the sidecar, or look at its log; if nobody shall keep this registry any more, see docs/operations.md";
            return Some(Finding::problem(REGISTRIES, key.clone(), found, advice));
        }
        unwell(key, status, now)
    });
    or_all_well(findings.collect(), REGISTRIES, || {
        let entries: u64 = registries.values().map(|(status, _)| status.entries).sum();
        format!("{} are reachable and up to date, with {entries} entries", registries.len())
    })
}

fn unwell(key: &str, status: &RegistryStatus, now: Timestamp) -> Option<Finding> {
    const REGISTRIES: &str = "registries";
    if !status.reachable {
        let why = status.reason.as_deref().unwrap_or("no reason is given");
        let advice = "mend the registry or the way to it; what changed is written when it is back, and rollouts wait for it";
        return Some(Finding::problem(REGISTRIES, key, format!("is not reachable: {why}"), advice));
    }
    if status.quarantined > 0 {
        let found = format!("refuses {} entries, which are tried again by themselves", status.quarantined);
        return Some(Finding::warning(REGISTRIES, key, found, "`bcs get registrations` says which, and why"));
    }
    let waits =
        status.oldest_pending_since.map(|since| now.duration_since(since)).filter(|waits| *waits > WAITS)?;
    let found = format!("{} changes wait, the oldest for {}", status.pending, seconds(waits));
    let advice = "look at the sidecar's log and at the registry's load: rollouts and drains wait for this";
    Some(Finding::warning(REGISTRIES, key, found, advice))
}
