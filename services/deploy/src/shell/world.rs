//! What both reconcilers look at, and what they tell each other.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bcs_kit::{Clock, machine::Machine};
use jiff::Timestamp;

use super::{statuses::Statuses, views::Views};
use crate::domain::{
    app::{App, AppKey},
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
    pub(crate) clock: Clock,
}

impl World {
    /// One application, as it is seen now.
    pub(crate) fn look(&self, key: &AppKey, app: &App, now: Timestamp) -> Observed {
        Observed::join(key, app, &self.machine.live().state.clusters, &self.views.look(now), now)
    }

    /// Held while steps are planned and begun, so that no two plans count on the same spare instance.
    pub(crate) fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
