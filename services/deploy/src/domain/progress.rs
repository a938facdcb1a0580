//! How far an application has come since its wish last changed. One look cannot tell a start from a loss, nor progress
//! from an instance that comes and goes: that takes a memory, which is kept beside the status and made anew after a
//! restart.

use jiff::Timestamp;

use super::{
    app::App,
    observed::{InCluster, Instance, Observed, Stage},
};

/// How far an application has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The wish that this is about: when it changed.
    changed_at: Timestamp,
    /// Whether all that is wanted was there at once.
    pub whole: bool,
    /// When it last came further than ever before.
    pub at: Timestamp,
    /// The most wanted instances that were available at once.
    most: u32,
    /// The least that was left of what is to go.
    least: u32,
}

impl Progress {
    /// After one more look. `settled`: all that is wanted is there now.
    pub fn next(
        before: Option<&Self>,
        app: &App,
        observed: &Observed,
        settled: bool,
        now: Timestamp,
    ) -> Self {
        let (there, left) = (wanted_available(app, observed), left(app, observed));
        match before.filter(|before| before.changed_at == app.changed_at) {
            None => {
                let at = match &app.healthy_revision {
                    Some(revision) if *revision == app.revision => app.changed_at,
                    _ => newest(app, observed).max(Some(app.changed_at)).unwrap_or(app.changed_at),
                };
                Self { changed_at: app.changed_at, whole: settled, at, most: there, least: left }
            }
            Some(before) => {
                let further = there > before.most || left < before.least;
                Self {
                    changed_at: before.changed_at,
                    whole: before.whole || settled,
                    at: if further { now } else { before.at },
                    most: before.most.max(there),
                    least: before.least.min(left),
                }
            }
        }
    }
}

/// Wanted instances that are available where they are wanted.
pub fn wanted_available(app: &App, observed: &Observed) -> u32 {
    let there = |(name, cluster)| available(app, cluster).min(app.share(name));
    observed.clusters.iter().map(there).sum()
}

fn available(app: &App, cluster: &InCluster) -> u32 {
    let fits = |i: &&Instance| i.available() && i.revision == app.revision;
    u32::try_from(cluster.instances.iter().filter(fits).count()).unwrap_or(u32::MAX)
}

/// When the last of the wanted instances became available.
fn newest(app: &App, observed: &Observed) -> Option<Timestamp> {
    let fits = |i: &&Instance| i.available() && i.revision == app.revision;
    observed.instances().map(|(_, i)| i).filter(fits).map(|i| i.since).max()
}

/// What is left of other revisions and above the shares, weighed: it sinks whenever one begins or ends its way out.
fn left(app: &App, observed: &Observed) -> u32 {
    let weight = |i: &Instance| match i.stage {
        Stage::Waiting(_) | Stage::Available => 2,
        Stage::Draining(_) => 1,
        Stage::Drained(_) | Stage::Stopping => 0,
    };
    let others: u32 =
        observed.instances().map(|(_, i)| i).filter(|i| i.revision != app.revision).map(weight).sum();
    let excess = |(name, cluster)| available(app, cluster).saturating_sub(app.share(name));
    others + 2 * observed.clusters.iter().map(excess).sum::<u32>()
}
