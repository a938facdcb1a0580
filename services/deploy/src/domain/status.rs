//! What an application is, beside what is wanted of it: phase, counts, and why it waits for what since when.

use std::{collections::BTreeMap, time::Duration};

use bcs_schemas::{
    Name,
    query::{AppPhase, AppStatus, ClusterStatus},
};
use jiff::Timestamp;

use super::{
    app::App,
    observed::{InCluster, Observed, Stage},
};

/// The status, and what follows from it for the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// What readers see.
    pub status: AppStatus,
    /// What the service should note, if it has not.
    pub verdict: Verdict,
}

/// What follows from a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    None,
    /// Every wanted instance of the revision is available, and no other is left.
    Complete,
    /// It does not move on.
    Stalled,
    /// It was to be deleted, and nothing is left.
    Gone,
}

/// One thing that an application waits for.
struct Wait {
    reason: String,
    blocking: String,
    since: Timestamp,
    /// What its deadline is.
    limit: Limit,
}

/// How long something may be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// A new instance: when its time is over, the rollout is stalled.
    Progress,
    /// A drain: when its time is over, what the application says about that happens.
    Drain,
    /// A cluster or an agent that is in trouble: it is tried for as long as that lasts.
    Trouble,
}

/// Works out the status. `trouble` is what the last step said when it failed.
pub fn assess(app: &App, observed: &Observed, trouble: Option<&str>, now: Timestamp) -> Assessment {
    let clusters: BTreeMap<Name, ClusterStatus> = observed
        .clusters
        .iter()
        .map(|(name, cluster)| (name.clone(), in_cluster(app, name, cluster)))
        .collect();
    let sum = |part: fn(&ClusterStatus) -> u32| clusters.values().map(part).sum::<u32>();
    let draining = observed.instances().filter(|(_, i)| !i.live()).count();
    let wait = waits_for(app, observed, trouble);
    let deadline = wait.as_ref().and_then(|w| {
        let (from, limit) = match w.limit {
            Limit::Drain => (w.since, app.spec.drain.deadline),
            Limit::Progress => (w.since.max(app.changed_at), app.spec.update.progress_deadline),
            Limit::Trouble => return None,
        };
        from.saturating_add(limit.signed()).ok()
    });
    // Only a rollout that is under way can be stalled; what was healthy once is degraded, and a deletion goes on.
    let moving = app.deleting_since.is_none() && app.healthy_revision.as_ref() != Some(&app.revision);
    let stalls = moving && wait.as_ref().is_some_and(|w| w.limit == Limit::Progress);
    let late = stalls && deadline.is_some_and(|deadline| now > deadline);
    let settled = settled(app, observed);
    let (phase, verdict) = match (app.deleting_since, settled, late) {
        (Some(_), true, _) => (AppPhase::Deleting, Verdict::Gone),
        (Some(_), false, _) => (AppPhase::Deleting, Verdict::None),
        (None, true, _) => (AppPhase::Available, Verdict::Complete),
        (None, false, true) => (AppPhase::Stalled, Verdict::Stalled),
        (None, false, false) if degraded(app, observed) => (AppPhase::Degraded, Verdict::None),
        (None, false, false) => (AppPhase::Progressing, Verdict::None),
    };
    let wait = wait.filter(|_| !settled);
    let status = AppStatus {
        phase,
        observed_generation: app.generation,
        since: wait.as_ref().map(|w| w.since).or(app.deleting_since).unwrap_or(app.changed_at),
        reason: wait.as_ref().map(|w| w.reason.clone()),
        blocking: wait.map(|w| w.blocking),
        deadline: deadline.filter(|_| !settled),
        revision: app.revision.clone(),
        healthy_revision: app.healthy_revision.clone(),
        replicas: app.total(),
        updated: sum(|c| c.updated),
        ready: sum(|c| c.ready),
        available: sum(|c| c.available),
        draining: u32::try_from(draining).unwrap_or(u32::MAX),
        clusters,
        observed_at: now,
    };
    Assessment { status, verdict }
}

/// Pauses between looks at something that waits: short at first, and longer the longer it waits, since news wakes anyway.
const PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

/// When an application wants to be looked at again, if nothing is heard of it before. `idle`: nothing is to be done.
pub fn look_again(status: &AppStatus, idle: bool, now: Timestamp) -> Option<Duration> {
    let waits = |since: Timestamp| Duration::try_from(now.duration_since(since)).unwrap_or_default();
    let pause = (waits(status.since) / 4).clamp(PAUSES.0, PAUSES.1);
    let left = status.deadline.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
    // A deadline is passed a moment after it, not in it.
    let left = left.filter(|left| !left.is_zero()).map(|left| left + Duration::from_millis(10));
    (!idle || status.reason.is_some()).then(|| left.map_or(pause, |left| left.min(pause)))
}

fn in_cluster(app: &App, name: &Name, cluster: &InCluster) -> ClusterStatus {
    let count = |test: &dyn Fn(&super::observed::Instance) -> bool| {
        u32::try_from(cluster.instances.iter().filter(|i| test(i)).count()).unwrap_or(u32::MAX)
    };
    ClusterStatus {
        replicas: app.share(name),
        updated: count(&|i| i.live() && i.revision == app.revision),
        ready: count(&|i| i.live() && i.ready),
        available: count(&|i| i.available()),
        stale: cluster.unusable.clone(),
    }
}

/// What is wanted is, and nothing else.
fn settled(app: &App, observed: &Observed) -> bool {
    let placed = app.deleting_since.is_some() || app.total() == app.spec.replicas;
    let quiet = |(name, cluster): (&Name, &InCluster)| {
        let share = app.share(name);
        let kept = |revision: &Name| cluster.workloads.get(revision).map_or(0, |kept| kept.replicas);
        let new = cluster.instances.iter().filter(|i| i.available() && i.revision == app.revision).count();
        let only = cluster.instances.len() == new && cluster.workloads.keys().all(|r| *r == app.revision);
        let forgotten = share > 0 || cluster.workloads.is_empty();
        cluster.unusable.is_none()
            && only
            && forgotten
            && u32::try_from(new) == Ok(share)
            && kept(&app.revision) == share
    };
    placed && observed.clusters.iter().all(quiet)
}

/// It was available as a whole once in this revision, nothing of it was changed since, and instances are missing.
fn degraded(app: &App, observed: &Observed) -> bool {
    let same = app.healthy_revision.as_ref() == Some(&app.revision);
    let kept = |(name, cluster): (&Name, &InCluster)| {
        cluster.workloads.get(&app.revision).map_or(0, |kept| kept.replicas) == app.share(name)
    };
    let nothing_leaves = observed.instances().all(|(_, i)| i.live());
    same && nothing_leaves && observed.clusters.iter().all(kept)
}

/// The first thing that holds it up: no news, then what failed, then the instance that has waited longest.
fn waits_for(app: &App, observed: &Observed, trouble: Option<&str>) -> Option<Wait> {
    let silent = observed.clusters.iter().find_map(|(name, cluster)| {
        let reason = cluster.unusable.clone()?;
        Some(Wait {
            reason,
            blocking: format!("cluster {name}"),
            since: app.changed_at,
            limit: Limit::Trouble,
        })
    });
    let failed = trouble.map(|words| Wait {
        reason: words.to_owned(),
        blocking: "the last step".to_owned(),
        since: app.changed_at,
        limit: Limit::Trouble,
    });
    silent
        .or(failed)
        .or_else(|| longest_waiting(observed))
        .or_else(|| engine_complains(app, observed))
        .or_else(|| {
            let missing = app.total() != app.spec.replicas && app.deleting_since.is_none();
            missing.then(|| Wait {
                reason: "no cluster fits its placement".to_owned(),
                blocking: "spec.placement".to_owned(),
                since: app.changed_at,
                limit: Limit::Trouble,
            })
        })
}

fn longest_waiting(observed: &Observed) -> Option<Wait> {
    let waiting = observed.instances().filter_map(|(cluster, instance)| {
        let reason = match &instance.stage {
            Stage::Waiting(why) => format!("instance {} is not available: {why}", instance.name),
            Stage::Draining(why) => format!("instance {} is being drained: {why}", instance.name),
            Stage::Drained(Some(note)) => format!("instance {} is being stopped: {note}", instance.name),
            Stage::Drained(None) | Stage::Stopping => format!("instance {} is being stopped", instance.name),
            Stage::Available => return None,
        };
        let limit = if matches!(instance.stage, Stage::Draining(_)) { Limit::Drain } else { Limit::Progress };
        Some(Wait { reason, blocking: format!("{cluster}/{}", instance.name), since: instance.since, limit })
    });
    waiting.min_by(|a, b| a.since.cmp(&b.since))
}

fn engine_complains(app: &App, observed: &Observed) -> Option<Wait> {
    observed.clusters.iter().find_map(|(name, cluster)| {
        let (revision, kept) = cluster.workloads.iter().find(|(_, kept)| kept.reason.is_some())?;
        let reason = kept.reason.clone()?;
        Some(Wait {
            reason,
            blocking: format!("{name}/{revision}"),
            since: app.changed_at,
            limit: Limit::Progress,
        })
    })
}

#[cfg(test)]
mod tests;
