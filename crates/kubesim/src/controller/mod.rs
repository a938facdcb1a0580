//! The controllers: each turns changes of the store into keys, and each key into the next step for that object.

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

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

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
    /// Notes which objects an event concerns.
    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>);
    /// Brings one object a step forward. It must bear being called for no reason.
    fn reconcile(&mut self, key: &Key) -> Outcome;
    /// Waits for news from outside the store and notes which objects they concern. May be dropped while it waits.
    fn woken(&mut self, _queue: &mut BTreeSet<Key>) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

const RETRY: Duration = Duration::from_millis(20);
const BATCH: usize = 4096;

pub(crate) async fn run<C: Controller>(store: Arc<Store>, mut controller: C) {
    let mut feed = store.feed(&controller.kinds());
    let (mut queue, mut later, mut batch) = (BTreeSet::new(), Agenda::default(), Vec::new());
    loop {
        let due = later.first();
        tokio::select! {
            count = feed.recv_many(&mut batch, BATCH) => if count == 0 { return },
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            () = controller.woken(&mut queue) => {}
        }
        for event in batch.drain(..) {
            controller.observe(&event, &mut queue);
        }
        later.due(Instant::now(), &mut queue);
        for key in std::mem::take(&mut queue) {
            let again = controller.reconcile(&key).unwrap_or_else(|status| {
                tracing::debug!(error = %status, key = ?key, "step failed, trying again");
                Some(RETRY)
            });
            if let Some(delay) = again {
                later.add(Instant::now() + delay, key);
            }
        }
        if C::PAUSE.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(C::PAUSE).await;
        }
    }
}

/// When to look at which object again; only the next time of each counts, or those that look often would pile up.
#[derive(Default)]
struct Agenda {
    times: BTreeSet<(Instant, Key)>,
    of: HashMap<Key, Instant>,
}

impl Agenda {
    fn first(&self) -> Option<Instant> {
        self.times.first().map(|(at, _)| *at)
    }

    fn add(&mut self, at: Instant, key: Key) {
        match self.of.get(&key) {
            Some(known) if *known <= at => return,
            Some(known) => self.times.remove(&(*known, key.clone())),
            None => false,
        };
        self.of.insert(key.clone(), at);
        self.times.insert((at, key));
    }

    fn due(&mut self, now: Instant, queue: &mut BTreeSet<Key>) {
        while self.first().is_some_and(|at| at <= now)
            && let Some((_, key)) = self.times.pop_first()
        {
            self.of.remove(&key);
            queue.insert(key);
        }
    }
}
