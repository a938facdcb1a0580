//! Runs level-triggered reconcilers: woken by an event or an observation, and for everything every 30 s anyway. One
//! key is never worked on twice at once; a key that fails is tried again with growing pauses, and holds up no other.
//! Keys of one lane share its places, so that trouble behind one lane (a cluster that answers late) delays no other.

mod queue;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

use self::queue::Queue;
use crate::{Tasks, telemetry};

/// Every key is looked at this often, whatever happens; the keys are spread over this time.
const EVERY: Duration = Duration::from_secs(30);
/// When all keys are woken, they are looked at this far apart, so that a change for everyone is no storm.
const APART: Duration = Duration::from_micros(500);

/// Brings the world closer to what is wanted, for one key at a time.
pub trait Reconciler: Send + Sync + 'static {
    /// What is reconciled: an application, a cluster.
    type Key: Ord + Clone + fmt::Display + Send + Sync + 'static;
    /// What keys may have to wait for together: a cluster. `()` when there is nothing of the kind.
    type Lane: Ord + Clone + Send + 'static;
    /// Why it failed.
    type Error: std::error::Error + Send + 'static;
    /// Keys of one lane that are worked on at once.
    const PLACES: usize;

    /// Every key that there is.
    fn keys(&self) -> Vec<Self::Key>;

    /// The lane of a key, always the same one.
    fn lane(&self, key: &Self::Key) -> Self::Lane;

    /// Looks at the present state and does what is missing. Asks to be called again after a while, if it waits for
    /// something that wakes nobody (a deadline).
    fn reconcile(
        &self,
        key: &Self::Key,
    ) -> impl Future<Output = Result<Option<Duration>, Self::Error>> + Send;
}

/// Wakes the reconciler. Clones share it.
pub struct Waker<K>(mpsc::UnboundedSender<Wake<K>>);

/// What a reconciler is woken for: the other end of a [`Waker`].
pub struct Wakes<K>(mpsc::UnboundedReceiver<Wake<K>>);

enum Wake<K> {
    One(K),
    All,
}

impl<K> Clone for Waker<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Waker<K> {
    /// Asks for a look at `key`. Asking twice before the look is asking once.
    pub fn wake(&self, key: K) {
        // The reconciler has stopped: there is nobody to wake.
        let _ = self.0.send(Wake::One(key));
    }

    /// Asks for a look at every key, soon, but not at all of them at once.
    pub fn wake_all(&self) {
        let _ = self.0.send(Wake::All);
    }
}

/// Makes a waker, for those who must have it before the reconciler exists.
pub fn waker<K>() -> (Waker<K>, Wakes<K>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Waker(sender), Wakes(receiver))
}

/// Runs `reconciler` until the group stops.
pub fn run<R: Reconciler>(tasks: &Tasks, name: &'static str, reconciler: Arc<R>, wakes: Wakes<R::Key>) {
    let stopping = tasks.stopping();
    tasks.spawn(name, async move {
        tokio::select! {
            () = stopping.cancelled() => (),
            () = work(name, reconciler, wakes) => (),
        }
    });
}

async fn work<R: Reconciler>(name: &'static str, reconciler: Arc<R>, mut wakes: Wakes<R::Key>) {
    let mut queue: Queue<R::Key, R::Lane> = Queue::new(R::PLACES);
    let mut every = tokio::time::interval_at(Instant::now() + EVERY, EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut working = JoinSet::new();
    let mut keys: HashMap<tokio::task::Id, R::Key> = HashMap::new();
    look_at_all(&mut queue, &*reconciler, APART);
    loop {
        while let Some(key) = queue.take(Instant::now()) {
            let (reconciler, of) = (reconciler.clone(), key.clone());
            let handle = working.spawn(async move { reconciler.reconcile(&of).await });
            keys.insert(handle.id(), key);
        }
        tokio::select! {
            woken = wakes.0.recv() => match woken {
                Some(Wake::One(key)) => queue.wake(reconciler.lane(&key), key),
                Some(Wake::All) => look_at_all(&mut queue, &*reconciler, APART),
                None => return,
            },
            _ = every.tick() => look_at_all(&mut queue, &*reconciler, EVERY),
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
            () = due(queue.next_due()) => (),
        }
    }
}

/// Puts a look at every key into the queue, `apart` from each other, but all of them within [`EVERY`]. A little chance
/// keeps several services from looking in step.
fn look_at_all<R: Reconciler>(queue: &mut Queue<R::Key, R::Lane>, reconciler: &R, apart: Duration) {
    let (now, keys) = (Instant::now(), reconciler.keys());
    let step = apart.min(EVERY / u32::try_from(keys.len()).unwrap_or(u32::MAX).max(1));
    let mut at = now;
    for key in keys {
        queue.look_by(reconciler.lane(&key), key, at + step.min(APART).mul_f64(rand::random()));
        at += step;
    }
}

/// Sleeps until then; for ever when nothing is due.
async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
