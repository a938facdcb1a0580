//! Runs level-triggered reconcilers: woken by an event or an observation, and for everything every 30 s anyway. One
//! key is never worked on twice at once; a key that fails is tried again with growing pauses, and holds up no other.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinSet, time::Instant};

use crate::{Tasks, telemetry};

/// Every key is looked at this often, whatever happens.
const EVERY: Duration = Duration::from_secs(30);
/// Keys worked on at once.
const CONCURRENCY: usize = 64;
/// Pauses after failures, from first to longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Brings the world closer to what is wanted, for one key at a time.
pub trait Reconciler: Send + Sync + 'static {
    /// What is reconciled: an application, a cluster.
    type Key: Ord + Clone + fmt::Display + Send + Sync + 'static;
    /// Why it failed.
    type Error: std::error::Error + Send + 'static;

    /// Every key that there is.
    fn keys(&self) -> Vec<Self::Key>;

    /// Looks at the present state and does what is missing. Asks to be called again after a while, if it waits for
    /// something that wakes nobody (a deadline).
    fn reconcile(
        &self,
        key: &Self::Key,
    ) -> impl Future<Output = Result<Option<Duration>, Self::Error>> + Send;
}

/// Wakes the reconciler for a key. Clones share it.
pub struct Waker<K>(mpsc::UnboundedSender<K>);

impl<K> Clone for Waker<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Waker<K> {
    /// Asks for a look at `key`. Asking twice before the look is asking once.
    pub fn wake(&self, key: K) {
        // The reconciler has stopped: there is nobody to wake.
        let _ = self.0.send(key);
    }
}

/// Makes a waker, for those who must have it before the reconciler exists.
pub fn waker<K>() -> (Waker<K>, mpsc::UnboundedReceiver<K>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Waker(sender), receiver)
}

/// Runs `reconciler` until the group stops.
pub fn run<R: Reconciler>(
    tasks: &Tasks,
    name: &'static str,
    reconciler: Arc<R>,
    wakes: mpsc::UnboundedReceiver<R::Key>,
) {
    let stopping = tasks.stopping();
    tasks.spawn(name, async move {
        let mut queue = Queue::default();
        tokio::select! {
            () = stopping.cancelled() => (),
            () = work(name, reconciler, wakes, &mut queue) => (),
        }
    });
}

async fn work<R: Reconciler>(
    name: &'static str,
    reconciler: Arc<R>,
    mut wakes: mpsc::UnboundedReceiver<R::Key>,
    queue: &mut Queue<R::Key>,
) {
    let mut every = tokio::time::interval(EVERY);
    let mut working = JoinSet::new();
    let mut keys: HashMap<tokio::task::Id, R::Key> = HashMap::new();
    loop {
        while working.len() < CONCURRENCY
            && let Some(key) = queue.take(Instant::now())
        {
            let (reconciler, of) = (reconciler.clone(), key.clone());
            let handle = working.spawn(async move { reconciler.reconcile(&of).await });
            keys.insert(handle.id(), key);
        }
        tokio::select! {
            woken = wakes.recv() => match woken {
                Some(key) => queue.wake(key),
                None => return,
            },
            _ = every.tick() => reconciler.keys().into_iter().for_each(|key| queue.wake(key)),
            Some(done) = working.join_next_with_id() => {
                let (id, result) = match done {
                    Ok((id, Ok(again))) => (id, Ok(again)),
                    Ok((id, Err(error))) => (id, Err(telemetry::chain(&error))),
                    Err(panic) => (panic.id(), Err(panic.to_string())),
                };
                let Some(key) = keys.remove(&id) else { continue };
                match result {
                    Ok(again) => queue.done(&key, again.map(|after| Instant::now() + after)),
                    Err(error) => {
                        let pause = queue.failed(&key, Instant::now());
                        tracing::warn!(reconciler = name, %key, error, ?pause, "not reconciled, trying again");
                    }
                }
            },
            () = queue.next_due() => (),
        }
    }
}

/// Which keys are to be looked at, and when.
struct Queue<K> {
    ready: BTreeSet<K>,
    later: BTreeMap<K, Instant>,
    /// Keys being worked on, and whether they were woken meanwhile.
    busy: BTreeMap<K, bool>,
    failures: BTreeMap<K, u32>,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self {
            ready: BTreeSet::new(),
            later: BTreeMap::new(),
            busy: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone> Queue<K> {
    fn wake(&mut self, key: K) {
        match self.busy.get_mut(&key) {
            Some(again) => *again = true,
            // A failing key keeps its pause: news about it must not turn into a storm.
            None if self.failures.contains_key(&key) && self.later.contains_key(&key) => (),
            None => drop(self.ready.insert(key)),
        }
    }

    fn take(&mut self, now: Instant) -> Option<K> {
        let due: Vec<K> =
            self.later.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for key in due {
            self.later.remove(&key);
            self.ready.insert(key);
        }
        let key = self.ready.pop_first()?;
        self.later.remove(&key);
        self.busy.insert(key.clone(), false);
        Some(key)
    }

    fn done(&mut self, key: &K, again: Option<Instant>) {
        self.failures.remove(key);
        if let Some(at) = again {
            self.later.insert(key.clone(), at);
        }
        if self.busy.remove(key) == Some(true) {
            self.ready.insert(key.clone());
        }
    }

    fn failed(&mut self, key: &K, now: Instant) -> Duration {
        self.busy.remove(key);
        let failures = self.failures.entry(key.clone()).or_default();
        let pause = (PAUSES.0 * 2_u32.saturating_pow((*failures).min(16))).min(PAUSES.1);
        *failures += 1;
        self.later.insert(key.clone(), now + pause);
        pause
    }

    /// Sleeps until the next pause is over; for ever when there is none.
    async fn next_due(&self) {
        match self.later.values().min() {
            Some(at) => tokio::time::sleep_until(*at).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_woken_while_it_is_worked_on_is_looked_at_once_more() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.wake("a");
        queue.wake("a");
        assert_eq!(queue.take(now), Some("a"));
        queue.wake("a");
        assert_eq!(queue.take(now), None);
        queue.done(&"a", None);
        assert_eq!(queue.take(now), Some("a"));
        queue.done(&"a", None);
        assert_eq!(queue.take(now), None);
    }

    #[tokio::test]
    async fn a_failing_key_waits_longer_each_time_and_holds_up_nobody() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.wake("bad");
        assert_eq!(queue.take(now), Some("bad"));
        let first = queue.failed(&"bad", now);
        queue.wake("bad");
        queue.wake("good");
        assert_eq!(queue.take(now), Some("good"));
        assert_eq!(queue.take(now + first), Some("bad"));
        assert!(queue.failed(&"bad", now) > first);
        let longest = (0..40).map(|_| queue.failed(&"bad", now)).max();
        assert_eq!(longest, Some(PAUSES.1));
    }

    #[tokio::test]
    async fn a_deadline_brings_the_key_back() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.wake("a");
        queue.take(now);
        queue.done(&"a", Some(now + Duration::from_secs(5)));
        assert_eq!(queue.take(now), None);
        assert_eq!(queue.take(now + Duration::from_secs(5)), Some("a"));
    }
}
