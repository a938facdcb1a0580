//! What the sidecar said that its registry confirmed, and when that was heard on the bus.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Result;
use bcs_kit::{Bus, Tasks};
use bcs_schemas::{
    bucket,
    observation::{Registration, RegistrationState},
};
use tokio::time::{Instant, sleep};

use crate::bench::registry::Instance;

/// By uid and state: when it was said first.
type Heard = HashMap<(String, RegistrationState), Instant>;

/// What was heard so far. Clones share it.
#[derive(Clone, Default)]
pub(in crate::bench) struct Confirmed(Arc<Mutex<Heard>>);

impl Confirmed {
    /// Listens until the tasks stop.
    pub(super) async fn follow(bus: &Bus, tasks: &Tasks) -> Result<Self> {
        let view = bus.bucket(bucket::REGISTRATIONS).await?.watch(tasks, ">");
        let (mut changes, confirmed, stopping) = (view.changes(), Self::default(), tasks.stopping());
        let noted = confirmed.clone();
        tasks.spawn("confirmations", async move {
            loop {
                let change = tokio::select! {
                    () = stopping.cancelled() => return,
                    change = changes.next() => change,
                };
                let (Some(change), at) = (change, Instant::now()) else { return };
                if change.everything() {
                    view.snapshot().values().for_each(|registration| noted.note(registration, at));
                }
                if let Some(registration) = change.value {
                    noted.note(&registration, at);
                }
            }
        });
        Ok(confirmed)
    }

    fn note(&self, registration: &Registration, at: Instant) {
        self.heard().entry((registration.uid.clone(), registration.state)).or_insert(at);
    }

    /// When each was said to be in this state, as soon as all were; what is not heard within this time is missing.
    pub(in crate::bench) async fn wait(
        &self,
        instances: &[Instance],
        state: RegistrationState,
        within: Duration,
    ) -> Vec<Option<Instant>> {
        let end = Instant::now() + within;
        loop {
            let found: Vec<Option<Instant>> = {
                let heard = self.heard();
                instances.iter().map(|one| heard.get(&(one.uid(), state)).copied()).collect()
            };
            if Instant::now() > end || found.iter().all(Option::is_some) {
                return found;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) fn forget(&self) {
        self.heard().clear();
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
