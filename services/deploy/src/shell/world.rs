//! What both reconcilers look at, and what they tell each other.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bcs_kit::{Clock, machine::Machine};
use bcs_schemas::Name;
use jiff::Timestamp;
use tokio::time::Instant;

use super::{statuses::Statuses, views::Views};
use crate::domain::{
    app::{App, AppKey},
    doubt::Doubts,
    observed::Observed,
    state::Deploy,
    under_way::UnderWay,
};

/// The state, the observations, and what is being done about them.
pub(crate) struct World {
    pub(crate) machine: Machine<Deploy>,
    pub(crate) views: Views,
    pub(crate) statuses: Statuses,
    pub(crate) under_way: Mutex<UnderWay>,
    pub(crate) doubts: Mutex<Doubts>,
    pub(crate) begun: Instant,
    pub(crate) clock: Clock,
}

impl World {
    /// One application, as it is seen now.
    pub(crate) fn look(&self, key: &AppKey, app: &App, now: Timestamp) -> Observed {
        Observed::join(key, app, &self.machine.live().state.clusters, &self.views.look(now), now)
    }

    /// Notes that something is asked to start in a cluster.
    pub(crate) fn start_begins(&self, key: &AppKey, cluster: &Name) {
        self.doubts().begin(key, cluster, self.up());
    }

    /// Notes how that ended.
    pub(crate) fn start_ends(&self, key: &AppKey, cluster: &Name, started: bool) {
        self.doubts().end(key, cluster, started, self.up());
    }

    /// Clusters of which it cannot be told yet whether they hold something of an application.
    pub(crate) fn doubtful(&self, key: &AppKey, observed: &Observed) -> BTreeSet<Name> {
        self.doubts().look(key, observed, self.up())
    }

    /// This process decides from now on; another one may have asked for steps just before.
    pub(crate) fn takes_over(&self) {
        let live = self.machine.live();
        let apps = live.state.apps.iter().map(|(key, app)| (key, &app.held));
        let left = live.state.tombstones.iter().map(|(key, left)| (key, &left.clusters));
        self.doubts().inherit(apps.chain(left), self.up());
    }

    fn up(&self) -> Duration {
        self.begun.elapsed()
    }

    fn doubts(&self) -> MutexGuard<'_, Doubts> {
        self.doubts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while steps are planned and begun, so that no two plans count on the same spare instance.
    pub(crate) fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
