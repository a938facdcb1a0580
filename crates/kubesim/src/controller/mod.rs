//! The controllers: each turns changes of the store into keys, and each key into the next step for that object.

pub(crate) mod definition;
pub(crate) mod deployment;
pub(crate) mod disruption;
pub(crate) mod endpoint;
pub(crate) mod garbage;
pub(crate) mod namespace;
pub(crate) mod node;
pub(crate) mod recorder;
pub(crate) mod replica_set;
pub(crate) mod scheduler;
pub(crate) mod service;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};

use crate::{
    kind::Kind,
    object::Key,
    status::Status,
    store::{Event, Store},
};

/// `Some` asks to look again after that time.
pub(crate) type Outcome = Result<Option<Duration>, Status>;

pub(crate) trait Controller: Send + 'static {
    /// A breath between batches, for those whose step costs more the more objects there are.
    const PAUSE: Duration = Duration::ZERO;

    fn kinds(&self) -> Vec<&'static Kind>;
    /// Every change that it wants to know of, beginning with what there is.
    fn feed(&self, store: &Store) -> mpsc::UnboundedReceiver<Arc<Event>> {
        store.feed(&self.kinds())
    }
    /// Notes which objects an event concerns.
    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>);
    /// Brings one object a step forward. It must bear being called for no reason.
    fn reconcile(&mut self, key: &Key) -> Outcome;
}

const RETRY: Duration = Duration::from_millis(20);
const BATCH: usize = 4096;

pub(crate) async fn run<C: Controller>(store: Arc<Store>, mut controller: C) {
    let mut feed = controller.feed(&store);
    let (mut queue, mut later, mut batch) = (BTreeSet::new(), BTreeSet::<(Instant, Key)>::new(), Vec::new());
    loop {
        let due = later.first().map(|(at, _)| *at);
        tokio::select! {
            count = feed.recv_many(&mut batch, BATCH) => if count == 0 { return },
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
        for event in batch.drain(..) {
            controller.observe(&event, &mut queue);
        }
        let now = Instant::now();
        while let Some((_, key)) = later.first().filter(|(at, _)| *at <= now).cloned() {
            later.pop_first();
            queue.insert(key);
        }
        for key in std::mem::take(&mut queue) {
            let again = controller.reconcile(&key).unwrap_or_else(|status| {
                tracing::debug!(error = %status, key = ?key, "step failed, trying again");
                Some(RETRY)
            });
            if let Some(delay) = again {
                later.insert((Instant::now() + delay, key));
            }
        }
        if C::PAUSE.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(C::PAUSE).await;
        }
    }
}
