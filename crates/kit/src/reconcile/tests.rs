use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Semaphore;

use super::*;

/// Counts looks by key. Those at a key from a million on never come to an end.
struct Looks {
    keys: Vec<u32>,
    seen: Mutex<BTreeMap<u32, u32>>,
    looked: Semaphore,
}

impl Looks {
    fn at(keys: Vec<u32>) -> Arc<Self> {
        Arc::new(Self { keys, seen: Mutex::default(), looked: Semaphore::new(0) })
    }

    async fn wait_for(&self, looks: u32) {
        self.looked.acquire_many(looks).await.expect("open").forget();
    }

    fn seen(&self) -> BTreeMap<u32, u32> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Reconciler for Looks {
    type Key = u32;
    type Lane = bool;
    type Error = Infallible;
    const PLACES: usize = 4;

    fn keys(&self) -> Vec<u32> {
        self.keys.clone()
    }

    fn lane(&self, key: &u32) -> bool {
        *key >= 1_000_000
    }

    async fn reconcile(&self, key: &u32) -> Result<Option<Duration>, Infallible> {
        if self.lane(key) {
            std::future::pending::<()>().await;
        }
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner).entry(*key).or_default() += 1;
        self.looked.add_permits(1);
        Ok(None)
    }
}

#[tokio::test(start_paused = true)]
async fn every_key_is_looked_at_at_the_start_and_every_half_minute() {
    let (tasks, looks) = (Tasks::new(), Looks::at((0..100).collect()));
    let (_waker, wakes) = waker();
    let start = Instant::now();
    run(&tasks, "looks", looks.clone(), wakes);
    looks.wait_for(100).await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    looks.wait_for(100).await;
    assert!(looks.seen().values().all(|n| *n == 2), "{:?}", looks.seen());
    assert!(start.elapsed() > Duration::from_secs(59), "spread over the half minute: {:?}", start.elapsed());
    tasks.stop(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn waking_all_is_no_storm_and_leaves_nobody_out() {
    let (tasks, looks) = (Tasks::new(), Looks::at((0..10_000).collect()));
    let (waker, wakes) = waker();
    run(&tasks, "looks", looks.clone(), wakes);
    looks.wait_for(10_000).await;
    let woken = Instant::now();
    waker.wake_all();
    waker.wake_all();
    looks.wait_for(10_000).await;
    assert!(looks.seen().values().all(|n| *n == 2));
    let took = woken.elapsed();
    assert!(took > Duration::from_secs(4) && took < Duration::from_secs(7), "{took:?}");
    tasks.stop(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_hangs_leaves_the_others_alone() {
    let (tasks, looks) = (Tasks::new(), Looks::at(Vec::new()));
    let (waker, wakes) = waker();
    run(&tasks, "looks", looks.clone(), wakes);
    (1_000_000..1_000_100).for_each(|key| waker.wake(key));
    (0..100).for_each(|key| waker.wake(key));
    looks.wait_for(100).await;
    assert_eq!(looks.seen().len(), 100);
    tasks.stop(Duration::from_secs(1)).await;
}
