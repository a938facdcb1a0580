//! Who holds a lease, whatever happens to its holders and to the bus.

use std::{
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use bcs_kit::{
    Bus, Clock, Tasks,
    lease::{Candidate, Lease},
};
use bcs_schemas::bucket::LEASES;
use bcs_testbus::Servers;
use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
    time::Instant,
};

use crate::server::Server;

bcs_testbus::on_one_and_three!(
    when_a_holder_is_killed_another_takes_over_within_5_s,
    a_holder_that_was_paused_finds_out_before_it_acts_again,
    work_has_ended_before_its_lease_is_given_away_and_the_next_begins_at_once,
);

const LONG: Duration = Duration::from_secs(60);

/// The epochs of those who acted, in the order of their acts.
type Acts = Arc<Mutex<Vec<u64>>>;

/// Somebody who acts whenever it holds the lease. It has one thread for everything, so it can be stopped dead and paused
/// like a process.
struct Actor {
    runtime: Option<Runtime>,
    lease: watch::Receiver<Option<Lease>>,
}

impl Actor {
    fn begin(bus: Bus, acts: &Acts) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let (got, lease) = watch::channel(None);
        let acts = acts.clone();
        runtime.spawn(async move {
            let lease = Candidate::new(&bus, &Clock::system(), "test").acquire(&Tasks::new()).await;
            got.send_replace(Some(lease.clone()));
            loop {
                if lease.holds() {
                    acts.lock().expect("unharmed").push(lease.epoch());
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        Self { runtime: Some(runtime), lease }
    }

    async fn lease(&self) -> Lease {
        let mut lease = self.lease.clone();
        let got = tokio::time::timeout(LONG, lease.wait_for(Option::is_some)).await.expect("gets the lease");
        got.expect("lives").clone().expect("was waited for")
    }

    /// As `kill -9` does.
    fn kill(mut self) {
        self.runtime.take().expect("lives").shutdown_background();
    }

    /// As `kill -STOP` does, until the sender is dropped.
    fn pause(&self) -> mpsc::Sender<()> {
        let (resume, paused) = mpsc::channel::<()>();
        self.runtime.as_ref().expect("lives").spawn(async move {
            let _ = paused.recv();
        });
        resume
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Whoever acted once after another one never acts again under its old epoch.
fn one_after_another(acts: &Acts) {
    let acts = acts.lock().expect("unharmed");
    assert!(
        acts.is_sorted(),
        "two acted at once: {:?}",
        acts.iter().collect::<std::collections::BTreeSet<_>>()
    );
}

async fn when_a_holder_is_killed_another_takes_over_within_5_s(servers: Servers) {
    let server = Server::of(servers).await;
    let acts = Acts::default();
    let first = Actor::begin(server.bus("first").await, &acts);
    let before = first.lease().await;
    let second = Actor::begin(server.bus("second").await, &acts);
    // Renewed more than once, so the other one has had its chance.
    let leases = server.bus("reader").await.bucket(LEASES).await.expect("a bucket");
    let revision = async || leases.get("test").await.expect("reads").expect("is there").1;
    while revision().await < before.epoch() + 4 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(second.lease.borrow().is_none() && before.holds());

    let killed = Instant::now();
    first.kill();
    let after = second.lease().await;
    assert!(killed.elapsed() < Duration::from_secs(5), "took over after {:?}", killed.elapsed());
    assert!(after.epoch() > before.epoch());
    one_after_another(&acts);
}

async fn a_holder_that_was_paused_finds_out_before_it_acts_again(servers: Servers) {
    let server = Server::of(servers).await;
    let acts = Acts::default();
    let first = Actor::begin(server.bus("first").await, &acts);
    let before = first.lease().await;
    let second = Actor::begin(server.bus("second").await, &acts);
    let resume = first.pause();
    let after = second.lease().await;
    // It has acted, so that an act of the other one would be seen.
    while acts.lock().expect("unharmed").last() != Some(&after.epoch()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!before.holds(), "its time is over, though nobody could tell it");
    drop(resume);
    tokio::time::timeout(LONG, before.lost().cancelled()).await.expect("is told");
    assert!(after.holds() && !after.lost().is_cancelled());
    one_after_another(&acts);
}

/// On one server: of three, those that come back first may give it away before the holder has found them.
#[tokio::test]
async fn a_bus_that_was_away_and_forgot_everything_takes_no_lease_from_its_holder() {
    let mut server = Server::of(Servers::One).await;
    let acts = Acts::default();
    let first = Actor::begin(server.bus("first").await, &acts);
    let lease = first.lease().await;
    let second = Actor::begin(server.bus("second").await, &acts);
    server.begin_anew().await;
    let leases = server.bus("reader").await.bucket(LEASES).await.expect("a bucket");
    let deadline = Instant::now() + LONG;
    while leases.get("test").await.expect("reads").is_none() || !lease.holds() {
        assert!(Instant::now() < deadline, "it does not hold the lease again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!lease.lost().is_cancelled() && second.lease.borrow().is_none());
    one_after_another(&acts);
}

/// While its bucket has no leader nobody renews and nobody takes; whoever acts afterwards, no two do.
#[tokio::test]
async fn a_lease_has_one_holder_also_when_the_servers_that_keep_it_die_one_after_another() {
    let mut server = Server::of(Servers::Three).await;
    let acts = Acts::default();
    let first = Actor::begin(server.bus("first").await, &acts);
    first.lease().await;
    let _second = Actor::begin(server.bus("second").await, &acts);
    for _ in 0..2 {
        let dead = server.kill_leader_of("KV_leases").await;
        let before = acts.lock().expect("unharmed").len();
        // Nobody acts longer than its term without a renewal, so whoever acts after that has renewed on the others.
        let quiet = Instant::now() + Duration::from_secs(3);
        let acted = async || Instant::now() > quiet && acts.lock().expect("unharmed").len() > before + 1_000;
        let deadline = Instant::now() + LONG;
        while !acted().await {
            assert!(Instant::now() < deadline, "nobody acts any more");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server.start_again(dead).await;
    }
    one_after_another(&acts);
}

async fn work_has_ended_before_its_lease_is_given_away_and_the_next_begins_at_once(servers: Servers) {
    let server = Server::of(servers).await;
    // How many began, how many work now, and the most who ever worked at once.
    let (counts, seen) = watch::channel((0, 0, 0));
    let lead = |bus: Bus| {
        let (group, counts) = (Tasks::new(), counts.clone());
        let candidate = Candidate::new(&bus, &Clock::system(), "test");
        let work = candidate.lead(group.clone(), move |_, tasks: Tasks| {
            let (counts, stopping) = (counts.clone(), tasks.stopping());
            tasks.spawn("work", async move {
                counts.send_modify(|(begun, now, most)| {
                    (*begun, *now) = (*begun + 1, *now + 1);
                    *most = (*most).max(*now);
                });
                stopping.cancelled().await;
                tokio::time::sleep(Duration::from_millis(300)).await;
                counts.send_modify(|(_, now, _)| *now -= 1);
            });
            std::future::ready(Ok::<_, std::fmt::Error>(()))
        });
        group.spawn("lead", work);
        group
    };
    let begun = async |count| {
        let mut seen = seen.clone();
        let all = tokio::time::timeout(LONG, seen.wait_for(|(begun, ..)| *begun == count)).await;
        *all.expect("begins").expect("lives")
    };
    let first = lead(server.bus("first").await);
    begun(1).await;
    let second = lead(server.bus("second").await);
    let stopped = Instant::now();
    assert!(first.stop(LONG).await);
    assert_eq!(begun(2).await, (2, 1, 1));
    assert!(stopped.elapsed() < Duration::from_millis(2_500), "nobody waits for what was given away");
    assert!(second.stop(LONG).await);
}
