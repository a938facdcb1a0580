//! Looks after one application: works out its status, notes what follows from it, and has the parts of it worked on
//! where something is to be done.

use std::{sync::Arc, time::Duration};

use bcs_kit::{
    machine,
    reconcile::{Reconciler, Waker},
};
use bcs_schemas::CommandId;
use jiff::Timestamp;

use super::{parts::PartKey, world::World};
use crate::domain::{
    app::{App, AppKey},
    observed::Observed,
    state::Internal,
    status::{self, Assessment, Verdict},
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

impl Reconciler for Apps {
    type Key = AppKey;
    type Lane = ();
    type Error = Error;
    const PLACES: usize = 64;

    fn keys(&self) -> Vec<AppKey> {
        self.world.machine.live().state.apps.keys().cloned().collect()
    }

    /// None of them waits for anything outside of this service.
    fn lane(&self, _: &AppKey) {}

    async fn reconcile(&self, key: &AppKey) -> Result<Option<Duration>, Error> {
        let World { machine, views, statuses, clock, .. } = &*self.world;
        views.synced().await;
        let live = machine.live();
        let Some(app) = live.state.apps.get(key) else {
            statuses.forget(key);
            return Ok(None);
        };
        let now = clock.now();
        let observed = self.world.look(key, app, now);
        self.assess(key, app, &observed, now).await?;
        let mut under_way = self.world.under_way();
        let next = under_way.next(key, app, observed, now);
        statuses.keep_troubles(key, |cluster| next.contains_key(cluster) || under_way.holds(key, cluster));
        let idle = next.is_empty();
        for cluster in next.into_keys() {
            self.parts.wake(PartKey { cluster, app: key.clone() });
        }
        Ok(statuses.get(key).status.and_then(|status| status::look_again(&status, idle, now)))
    }
}

impl Apps {
    /// Publishes the status, and notes in the journal what follows from it.
    async fn assess(
        &self,
        key: &AppKey,
        app: &App,
        observed: &Observed,
        now: Timestamp,
    ) -> Result<(), Error> {
        let statuses = &self.world.statuses;
        let troubles = statuses.get(key).troubles;
        let trouble = troubles.values().next().map(String::as_str);
        let Assessment { status, verdict } = status::assess(app, observed, trouble, now);
        let (reason, blocking) = (status.reason.clone(), status.blocking.clone());
        statuses.set_status(key, status);
        let generation = app.generation;
        let wish = match verdict {
            Verdict::Complete if app.healthy_revision.as_ref() != Some(&app.revision) => {
                Some(("complete", Internal::Complete { revision: app.revision.clone() }))
            }
            Verdict::Stalled if app.stalled_generation != Some(generation) => {
                let (reason, blocking) = (reason.unwrap_or_default(), blocking.unwrap_or_default());
                Some(("stall", Internal::Stall { generation, reason, blocking }))
            }
            Verdict::Gone => Some(("forget", Internal::Forget { generation })),
            Verdict::None | Verdict::Complete | Verdict::Stalled => None,
        };
        if let Some((purpose, wish)) = wish {
            // Derived from the intent: noting it twice is noting it once. An application that is made again after its
            // deletion begins at generation 1 again, so its birth belongs to the cause.
            let cause = format!("{key} {} {generation} {}", app.created_at, app.revision);
            self.world.machine.submit(CommandId::derived(&cause, purpose), key.target(), wish).await?;
        }
        Ok(())
    }
}
