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
    progress::{Progress, wanted_available},
};

/// The status, and what follows from it for the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// What readers see.
    pub status: AppStatus,
    /// How far it has come, for the next look.
    pub progress: Progress,
    /// What the service should note, if it has not.
    pub verdict: Verdict,
}

/// What the last look found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Before<'a> {
    /// The status.
    pub status: Option<&'a AppStatus>,
    /// How far it had come.
    pub progress: Option<&'a Progress>,
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
pub fn assess(
    app: &App,
    observed: &Observed,
    trouble: Option<&str>,
    before: Before<'_>,
    now: Timestamp,
) -> Assessment {
    let clusters: BTreeMap<Name, ClusterStatus> = observed
        .clusters
        .iter()
        .map(|(name, cluster)| (name.clone(), in_cluster(app, name, cluster)))
        .collect();
    let sum = |part: fn(&ClusterStatus) -> u32| clusters.values().map(part).sum::<u32>();
    let draining = observed.instances().filter(|(_, i)| !i.live()).count();
    let settled = settled(app, observed);
    let progress = Progress::next(before.progress, app, observed, settled, now);
    let wait = if settled { left_behind(app, observed) } else { Some(waits_for(app, observed, trouble)) };
    let deadline = wait.as_ref().and_then(|wait| deadline(app, &progress, wait));
    let late = deadline.is_some_and(|deadline| now > deadline)
        && wait.as_ref().is_some_and(|w| w.limit == Limit::Progress);
    let (phase, verdict) = if app.deleting_since.is_some() {
        (AppPhase::Deleting, if settled { Verdict::Gone } else { Verdict::None })
    } else if settled {
        (AppPhase::Available, Verdict::Complete)
    } else if app.healthy_revision.as_ref() != Some(&app.revision) {
        // Only a rollout that is under way can be stalled; what was healthy once is degraded.
        if late { (AppPhase::Stalled, Verdict::Stalled) } else { (AppPhase::Progressing, Verdict::None) }
    } else if (progress.whole || late) && wanted_available(app, observed) < app.total() {
        (AppPhase::Degraded, Verdict::None)
    } else {
        (AppPhase::Progressing, Verdict::None)
    };
    let since = since(app, phase, wait.as_ref(), before.status, now);
    let (reason, blocking) = wait.map(|wait| (wait.reason, wait.blocking)).unzip();
    let status = AppStatus {
        phase,
        observed_generation: app.generation,
        since,
        reason,
        blocking,
        deadline,
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
    Assessment { status, progress, verdict }
}

/// When the waiting ends by itself. A start is given its time from the last progress: an instance that comes and goes
/// makes none.
fn deadline(app: &App, progress: &Progress, wait: &Wait) -> Option<Timestamp> {
    let (from, limit) = match wait.limit {
        Limit::Drain => (wait.since, app.spec.drain.deadline),
        Limit::Progress if progress.whole => {
            (wait.since.max(app.changed_at), app.spec.update.progress_deadline)
        }
        Limit::Progress => (progress.at, app.spec.update.progress_deadline),
        Limit::Trouble => return None,
    };
    from.saturating_add(limit.signed()).ok()
}

/// Since when it is in this phase on account of the same thing. What comes and goes meanwhile does not count anew.
fn since(
    app: &App,
    phase: AppPhase,
    wait: Option<&Wait>,
    before: Option<&AppStatus>,
    now: Timestamp,
) -> Timestamp {
    let waits = wait.map(|w| w.since);
    let first = waits.or(app.deleting_since).unwrap_or(app.changed_at);
    match before.filter(|before| before.observed_generation == app.generation) {
        Some(before) if before.phase != phase => waits.unwrap_or(now),
        Some(before) if before.blocking.as_ref() == wait.map(|w| &w.blocking) => before.since.min(first),
        // Whatever settled was settled by what was seen just now.
        Some(_) if wait.is_none() => now,
        _ => first,
    }
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

/// What is wanted is, and nothing else where anything can be done about it.
fn settled(app: &App, observed: &Observed) -> bool {
    let placed = app.deleting_since.is_some() || app.total() == app.spec.replicas;
    placed && observed.clusters.iter().all(|(name, cluster)| quiet(app, name, cluster))
}

/// Whether a cluster holds what is wanted of it, as far as the application has to wait for it.
fn quiet(app: &App, name: &Name, cluster: &InCluster) -> bool {
    if cluster.unusable.is_some() {
        return match app.deleting_since {
            // What may be left there is stopped when it is back.
            Some(_) => {
                app.forced || (cluster.empty() && app.shares.get(name).is_none_or(|share| *share == 0))
            }
            None => app.share(name) == 0,
        };
    }
    let share = app.share(name);
    let kept = cluster.workloads.get(&app.revision).map_or(0, |kept| kept.replicas);
    let new = cluster.instances.iter().filter(|i| i.available() && i.revision == app.revision).count();
    let only = cluster.instances.len() == new && cluster.workloads.keys().all(|r| *r == app.revision);
    let forgotten = share > 0 || cluster.workloads.is_empty();
    only && forgotten && u32::try_from(new) == Ok(share) && kept == share
}

/// What is still in a cluster without news where nothing of it is wanted: no reason to wait, but worth a word.
fn left_behind(app: &App, observed: &Observed) -> Option<Wait> {
    observed.clusters.iter().filter(|(_, cluster)| !cluster.empty()).find_map(|(name, cluster)| {
        let (why, there) = (cluster.unusable.as_ref()?, cluster.instances.len());
        Some(Wait {
            reason: format!("{there} instances that are not wanted there are stopped when it is back: {why}"),
            blocking: format!("cluster {name}"),
            since: cluster.heard_at.unwrap_or(app.changed_at),
            limit: Limit::Trouble,
        })
    })
}

/// The first thing that holds it up: no news, then what failed, then the instance that has waited longest, then what is
/// not there yet.
fn waits_for(app: &App, observed: &Observed, trouble: Option<&str>) -> Wait {
    let open = || observed.clusters.iter().filter(|(name, cluster)| !quiet(app, name, cluster));
    let silent = open().find_map(|(name, cluster)| silent(app, name, cluster));
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
        .or_else(|| open().next().map(|(name, cluster)| outstanding(app, name, cluster)))
        .unwrap_or_else(|| Wait {
            reason: "no cluster fits its placement".to_owned(),
            blocking: "spec.placement".to_owned(),
            since: app.changed_at,
            limit: Limit::Trouble,
        })
}

fn silent(app: &App, name: &Name, cluster: &InCluster) -> Option<Wait> {
    let why = cluster.unusable.clone()?;
    let reason = match app.deleting_since {
        Some(_) => format!("{why}: delete the app with force to go on without it"),
        None => why,
    };
    let since = cluster.heard_at.unwrap_or(app.changed_at);
    Some(Wait { reason, blocking: format!("cluster {name}"), since, limit: Limit::Trouble })
}

/// What is not as wanted in a cluster although no instance waits for anything.
fn outstanding(app: &App, name: &Name, cluster: &InCluster) -> Wait {
    let share = app.share(name);
    let mine = || cluster.instances.iter().filter(|i| i.revision == app.revision).count();
    let there = u32::try_from(mine()).unwrap_or(u32::MAX);
    let kept = cluster.workloads.get(&app.revision);
    let others = cluster.workloads.keys().find(|revision| **revision != app.revision);
    let (reason, since) = match (kept, others) {
        (Some(kept), _) if there < kept.replicas.min(share) => {
            let missing = kept.replicas.min(share) - there;
            (format!("{missing} of {share} instances have not shown up in cluster {name}"), kept.observed_at)
        }
        _ if there < share => {
            let missing = share - there;
            (
                format!("{missing} of {share} instances are still to be started in cluster {name}"),
                app.changed_at,
            )
        }
        _ if there > share => {
            let more = there - share;
            (format!("{more} instances more than wanted are to leave cluster {name}"), app.changed_at)
        }
        (_, Some(revision)) => (format!("revision {revision} is to leave cluster {name}"), app.changed_at),
        _ => (format!("cluster {name} keeps more than it is to hold"), app.changed_at),
    };
    let blocking = format!("{name}/{}", app.revision);
    Wait { reason, blocking, since: since.max(app.changed_at), limit: Limit::Progress }
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
