//! The controllers: each turns changes of the store into keys, and each key into the next step for that object.

pub(crate) mod autoscaler;
pub(crate) mod backoff;
pub(crate) mod claim;
pub(crate) mod cron_job;
pub(crate) mod daemon_set;
pub(crate) mod definition;
pub(crate) mod deployment;
pub(crate) mod disruption;
pub(crate) mod endpoint;
pub(crate) mod fit;
pub(crate) mod garbage;
pub(crate) mod job;
pub(crate) mod metric;
pub(crate) mod namespace;
pub(crate) mod node;
pub(crate) mod percent;
pub(crate) mod pod;
pub(crate) mod quota;
pub(crate) mod recorder;
pub(crate) mod replica_set;
pub(crate) mod request;
pub(crate) mod revision;
pub(crate) mod scheduler;
pub(crate) mod service;
pub(crate) mod stateful_set;
pub(crate) mod volume;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

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
    /// How many times as long as a batch of steps took the next one is waited for: for those whose step looks at many objects
    /// whichever of them changed, so that a step is for many changes when there are many.
    const REST: u32 = 0;

    fn kinds(&self) -> Vec<&'static Kind>;
    /// Every change that it wants to know of, beginning with what there is.
    fn feed(&self, store: &Store) -> mpsc::UnboundedReceiver<Arc<Event>> {
        store.feed(&self.kinds())
    }
    /// Notes which objects an event concerns.
    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>);
    /// Brings one object a step forward. It must bear being called for no reason.
    fn reconcile(&mut self, key: &Key) -> impl Future<Output = Outcome> + Send;
    /// Waits for news from outside the store and notes which objects they concern. May be dropped while it waits.
    fn woken(&mut self, _queue: &mut BTreeSet<Key>) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

/// How long a step that failed waits for its first repetition; it doubles every time.
const RETRY: Duration = Duration::from_millis(20);
const RETRY_LIMIT: u32 = 6;
const BATCH: usize = 4096;
const LONGEST_REST: Duration = Duration::from_millis(100);

/// Keys with the earliest instant at which each is to be looked at again.
#[derive(Default)]
struct Alarms {
    by_time: BTreeSet<(Instant, Key)>,
    by_key: HashMap<Key, Instant>,
}

impl Alarms {
    fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// The earlier one stays: whoever is woken says again how long to wait.
    fn set(&mut self, key: Key, at: Instant) {
        match self.by_key.get(&key) {
            Some(known) if *known <= at => return,
            Some(known) => self.by_time.remove(&(*known, key.clone())),
            None => false,
        };
        self.by_key.insert(key.clone(), at);
        self.by_time.insert((at, key));
    }

    fn take(&mut self, now: Instant, queue: &mut BTreeSet<Key>) {
        while self.next().is_some_and(|at| at <= now) {
            if let Some((_, key)) = self.by_time.pop_first() {
                self.by_key.remove(&key);
                queue.insert(key);
            }
        }
    }
}

pub(crate) async fn run<C: Controller>(store: Arc<Store>, mut controller: C) {
    let mut feed = controller.feed(&store);
    let (mut queue, mut alarms, mut batch) = (BTreeSet::new(), Alarms::default(), Vec::new());
    let mut failures: HashMap<Key, u32> = HashMap::new();
    loop {
        let due = alarms.next();
        tokio::select! {
            count = feed.recv_many(&mut batch, BATCH) => if count == 0 { return },
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            () = controller.woken(&mut queue) => {}
        }
        for event in batch.drain(..) {
            controller.observe(&event, &mut queue);
        }
        let began = Instant::now();
        alarms.take(began, &mut queue);
        for key in std::mem::take(&mut queue) {
            let again = match controller.reconcile(&key).await {
                Ok(again) => {
                    failures.remove(&key);
                    again
                }
                Err(status) => {
                    tracing::debug!(error = %status, key = ?key, "step failed, trying again");
                    let count = failures.entry(key.clone()).or_default();
                    *count += 1;
                    Some(RETRY * 2_u32.pow((*count - 1).min(RETRY_LIMIT)))
                }
            };
            if let Some(delay) = again {
                alarms.set(key, Instant::now() + delay);
            }
        }
        let rest = (began.elapsed() * C::REST).min(LONGEST_REST);
        // Timers are no finer.
        if rest < Duration::from_millis(1) {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(rest).await;
        }
    }
}
