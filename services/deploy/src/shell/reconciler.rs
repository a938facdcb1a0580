//! Looks after one application: works out its status, notes what follows from it, and has the parts of it worked on
//! where something is to be done.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bcs_kit::{
    machine,
    reconcile::{Reconciler, Waker},
};
use bcs_schemas::{CommandId, Name};
use jiff::{SignedDuration, Timestamp};

use super::{parts::PartKey, statuses::Known, world::World};
use crate::domain::{
    app::{App, AppKey},
    doubt,
    observed::Observed,
    state::Internal,
    status::{self, Assessment, Before, Verdict},
    tombstone::Tombstone,
};

/// Applications.
pub(crate) struct Apps {
    pub(crate) world: Arc<World>,
    pub(crate) parts: Waker<PartKey>,
}

/// Why an application was not looked after.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("noting the result")]
    Note(#[from] machine::Error),
}

/// How long a cluster must be seen to hold nothing until that is believed.
const SURE: SignedDuration = SignedDuration::from_secs(2);

impl Reconciler for Apps {
    type Key = AppKey;
    type Lane = ();
    type Error = Error;
    const PLACES: usize = 64;

    fn keys(&self) -> Vec<AppKey> {
        let state = self.world.machine.live().state.clone();
        let back = |left: &&(&AppKey, &Tombstone)| {
            left.1.clusters.iter().any(|cluster| state.clusters.contains_key(cluster))
        };
        let left = state.tombstones.iter().filter(|left| back(&left)).map(|(key, _)| key);
        state.apps.keys().chain(left).cloned().collect()
    }

    /// None of them waits for anything outside of this service.
    fn lane(&self, _: &AppKey) {}

    async fn reconcile(&self, key: &AppKey) -> Result<Option<Duration>, Error> {
        let World { machine, views, statuses, clock, .. } = &*self.world;
        views.synced().await;
        let (live, now) = (machine.live(), clock.now());
        if let Some(app) = live.state.apps.get(key) {
            let observed = self.world.look(key, app, now);
            self.assess(key, app, &observed, now).await?;
            let idle = self.begin(key, app, observed, now);
            return Ok(statuses.get(key).status.and_then(|status| status::look_again(&status, idle, now)));
        }
        match live.state.tombstones.get(key) {
            Some(left) => self.sweep(key, left, now).await,
            None => {
                statuses.forget(key);
                Ok(None)
            }
        }
    }
}

impl Apps {
    /// Has the parts worked on where something is to be done. Whether nothing is.
    fn begin(&self, key: &AppKey, app: &App, observed: Observed, now: Timestamp) -> bool {
        let mut under_way = self.world.under_way();
        let next = under_way.next(key, app, observed, now);
        let open = |cluster: &Name| next.contains_key(cluster) || under_way.holds(key, cluster);
        self.world.statuses.keep_troubles(key, open);
        let idle = next.is_empty();
        for cluster in next.into_keys() {
            self.parts.wake(PartKey { cluster, app: key.clone() });
        }
        idle
    }

    /// Stops what is left of a deleted application, and notes which clusters hold nothing of it any more. That must be
    /// seen for a while: the news that a cluster was read can come before what was read there.
    async fn sweep(&self, key: &AppKey, left: &Tombstone, now: Timestamp) -> Result<Option<Duration>, Error> {
        let observed = self.world.look(key, &left.app, now);
        let doubtful = self.world.doubtful(key, &observed);
        let empty = left.empty(&observed, &doubtful);
        self.begin(key, &left.app, observed, now);
        let known = self.world.statuses.get(key).swept;
        let since = |cluster: Name| (known.get(&cluster).copied().unwrap_or(now), cluster);
        let swept: BTreeMap<Name, Timestamp> =
            empty.into_iter().map(since).map(|(since, cluster)| (cluster, since)).collect();
        let sure = |since: &Timestamp| now.duration_since(*since) >= SURE;
        let clusters: BTreeSet<Name> =
            swept.iter().filter(|(_, since)| sure(since)).map(|(cluster, _)| cluster.clone()).collect();
        let again = (!swept.is_empty() || !doubtful.is_empty()).then_some(SURE.unsigned_abs());
        self.world.statuses.set_swept(key, swept);
        if !clusters.is_empty() && self.world.machine.leads() {
            let cause = format!("{key} {} {} {clusters:?}", left.app.created_at, left.app.generation);
            let id = CommandId::derived(&cause, "sweep");
            self.world.machine.submit(id, key.target(), Internal::Swept { clusters }).await?;
        }
        Ok(again)
    }

    /// Publishes the status, and notes in the journal what follows from it.
    async fn assess(
        &self,
        key: &AppKey,
        app: &App,
        observed: &Observed,
        now: Timestamp,
    ) -> Result<(), Error> {
        let statuses = &self.world.statuses;
        let doubtful = self.world.doubtful(key, observed);
        let Known { status, progress, troubles, .. } = statuses.get(key);
        let trouble = troubles.values().next().map(String::as_str);
        let before = Before { status: status.as_ref(), progress: progress.as_ref() };
        let Assessment { status, progress, verdict } = status::assess(app, observed, trouble, before, now);
        let (reason, blocking) = (status.reason.clone(), status.blocking.clone());
        statuses.set_status(key, status, progress);
        let generation = app.generation;
        let wish = match verdict {
            Verdict::Complete if app.healthy_revision.as_ref() != Some(&app.revision) => {
                Some(("complete", Internal::Complete { revision: app.revision.clone() }))
            }
            Verdict::Stalled if app.stalled_generation != Some(generation) => {
                let (reason, blocking) = (reason.unwrap_or_default(), blocking.unwrap_or_default());
                Some(("stall", Internal::Stall { generation, reason, blocking }))
            }
            Verdict::Gone => {
                let leftovers = doubt::leftovers(app, observed, &doubtful);
                Some(("forget", Internal::Forget { generation, leftovers }))
            }
            Verdict::None | Verdict::Complete | Verdict::Stalled => None,
        };
        if let Some((purpose, wish)) = wish.filter(|_| self.world.machine.leads()) {
            // Derived from the intent: noting it twice is noting it once. An application that is made again after its
            // deletion begins at generation 1 again, so its birth belongs to the cause.
            let cause = format!("{key} {} {generation} {}", app.created_at, app.revision);
            self.world.machine.submit(CommandId::derived(&cause, purpose), key.target(), wish).await?;
        }
        Ok(())
    }
}
