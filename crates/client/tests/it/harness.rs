//! A bus of its own for each test, a service on it, and a client.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use bcs_client::Client;
use bcs_kit::{Bus, Clock, Tasks, bus::BusConfig, machine::Machine, reads::Reads};
use bcs_schemas::{Service, outcome::Outcome, subject::Target};
use bcs_testbus::{Servers, TestBus};
use tempfile::TempDir;

use crate::ledger::Ledger;

/// Longer than anything here takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A bus that ends with its owner, and a place for a journal.
pub(crate) struct Server {
    nats: TestBus,
    dir: TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::of(Servers::asked())
    }

    pub(crate) fn of(servers: Servers) -> Self {
        Self { nats: TestBus::start(servers), dir: TempDir::new().expect("a directory") }
    }

    /// One server, with more in its settings.
    pub(crate) fn start_with(more: &str) -> Self {
        let nats = TestBus::start_with(Servers::One, more);
        Self { nats, dir: TempDir::new().expect("a directory") }
    }

    /// As `kill -9` of every server does.
    pub(crate) fn kill(&mut self) {
        self.nats.kill();
    }

    pub(crate) fn start_again(&mut self) {
        self.nats.start_again();
    }

    pub(crate) fn address(&self) -> String {
        self.nats.address()
    }

    pub(crate) fn config(&self) -> BusConfig {
        BusConfig { url: self.nats.url(), replicas: self.nats.replicas(), ..BusConfig::default() }
    }

    /// Returns once somebody listens.
    pub(crate) async fn listens(&self) {
        for _ in 0..1_200 {
            if tokio::net::TcpStream::connect(self.address()).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nats-server does not listen on {}", self.address());
    }

    /// A connection, once the server listens.
    pub(crate) async fn bus(&self, name: &str) -> Bus {
        self.bus_with(&self.config(), name).await
    }

    /// A connection with these settings, once the server listens.
    pub(crate) async fn bus_with(&self, config: &BusConfig, name: &str) -> Bus {
        for _ in 0..200 {
            if let Ok(bus) = Bus::connect(config, name).await {
                return bus;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nats-server does not listen on {}", self.nats.url());
    }

    pub(crate) async fn client(&self) -> Client {
        Client::over(self.bus("test").await, Clock::system()).await.expect("a client")
    }

    pub(crate) fn journal(&self) -> String {
        format!("sqlite:{}/journal.db", self.dir.path().display())
    }
}

/// A service that answers commands and questions.
pub(crate) struct Running {
    pub(crate) machine: Machine<Ledger>,
    pub(crate) bus: Bus,
    tasks: Tasks,
}

impl Running {
    pub(crate) async fn start(server: &Server) -> Self {
        Self::start_with(server, &server.config(), Clock::system()).await
    }

    /// On a connection of its own.
    pub(crate) async fn over(server: &Server, bus: Bus) -> Self {
        Self::with(server, bus, Clock::system()).await
    }

    /// With settings and a clock of its own.
    pub(crate) async fn start_with(server: &Server, config: &BusConfig, clock: Clock) -> Self {
        Self::with(server, server.bus_with(config, "deploy").await, clock).await
    }

    async fn with(server: &Server, bus: Bus, clock: Clock) -> Self {
        bus.provision_within(LONG).await.expect("streams and buckets");
        let tasks = Tasks::new();
        let machine: Machine<Ledger> =
            Machine::start(&server.journal(), &clock, &tasks).await.expect("a machine");
        machine.lead(&bus, &clock, &tasks, None, async |_| Ok(()));
        let mut reads = Reads::new(Service::Deploy, machine.clone(), &clock);
        reads.serve("app", "effects", |live, _| Ok(live.state.effects.clone()));
        reads.serve_list("app", |live, query, page| {
            let after = |name: &str| query.after.as_deref().is_none_or(|after| name > after);
            for (name, _) in live.state.apps.iter().filter(|(name, _)| after(name)) {
                // Some kilobytes each, as real ones have.
                if !page.add(|| name.clone(), (name.clone(), "x".repeat(5000))) {
                    break;
                }
            }
            Ok(())
        });
        reads.serve_past("app", |live, target| live.state.apps.get(&target.to_string()).copied());
        reads.open(&bus, &tasks).await.expect("reads");
        Self { machine, bus, tasks }
    }

    pub(crate) async fn stop(self) {
        assert!(self.tasks.stop(Duration::from_secs(10)).await, "the service stops in time");
    }

    pub(crate) fn effects(&self) -> Vec<u32> {
        self.machine.live().state.effects.clone()
    }
}

/// Waits for a state, and says what was seen last if it never comes.
pub(crate) async fn until<F: Future<Output = Result<(), String>>>(look: impl Fn() -> F) {
    let mut seen = Ok(());
    for _ in 0..600 {
        seen = look().await;
        if seen.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not reached: {seen:?}");
}

pub(crate) fn shop() -> Target {
    "demo/app/shop".parse().expect("is a target")
}

/// A target that no other test, and no other call, has.
pub(crate) fn fresh() -> Target {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("demo/app/a{}", NEXT.fetch_add(1, Ordering::Relaxed)).parse().expect("is a target")
}

pub(crate) fn accepted(outcome: Outcome) -> bcs_schemas::outcome::Accepted {
    match outcome {
        Outcome::Accepted(accepted) => accepted,
        Outcome::Rejected(rejected) => panic!("rejected: {rejected:?}"),
    }
}

pub(crate) fn rejected(outcome: Outcome) -> bcs_schemas::outcome::Rejected {
    match outcome {
        Outcome::Rejected(rejected) => rejected,
        Outcome::Accepted(accepted) => panic!("accepted: {accepted:?}"),
    }
}
