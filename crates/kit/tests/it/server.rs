//! A bus of its own for each test.

use std::time::Duration;

use bcs_kit::{Bus, bus::BusConfig};
use bcs_testbus::{Servers, TestBus};

/// Longer than anything here takes on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// A bus that ends with its owner.
pub(crate) struct Server {
    nats: TestBus,
}

impl Server {
    /// Of so many servers, with every stream and bucket.
    pub(crate) async fn of(servers: Servers) -> Self {
        let server = Self::empty(servers);
        server.provision().await;
        server
    }

    /// Without streams and buckets.
    pub(crate) fn empty(servers: Servers) -> Self {
        Self { nats: TestBus::start(servers) }
    }

    async fn provision(&self) {
        let bus = self.bus("provision").await;
        bus.provision_within(LONG).await.expect("streams and buckets");
    }

    /// Killed, everything that it kept is lost, and started anew.
    pub(crate) async fn begin_anew(&mut self) {
        self.nats.kill_and_forget();
        self.nats.start_again();
        self.provision().await;
    }

    /// Kills the server that leads a stream; which one that was.
    pub(crate) async fn kill_leader_of(&mut self, stream: &str) -> usize {
        let bus = self.bus("looker").await;
        let found = bus.jetstream().get_stream(stream).await.expect("is there");
        let group = found.cached_info().cluster.clone().expect("is a cluster");
        let leads = |node: &usize| group.leader.as_deref() == Some(self.nats.name(*node).as_str());
        let node = self.nats.nodes().find(leads).expect("one leads");
        self.nats.kill_one(node);
        node
    }

    /// Starts a server that was killed, and waits until it has everything.
    pub(crate) async fn start_again(&mut self, node: usize) {
        self.nats.start_one(node);
        let bus = self.bus("looker").await;
        let current = async || {
            let found = bus.jetstream().get_stream("KV_leases").await.ok()?;
            let group = found.cached_info().cluster.clone()?;
            Some(group.leader.is_some() && group.replicas.iter().all(|one| one.current && !one.offline))
        };
        let end = tokio::time::Instant::now() + LONG;
        while current().await != Some(true) {
            assert!(tokio::time::Instant::now() < end, "a server does not catch up");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) fn config(&self) -> BusConfig {
        BusConfig { url: self.nats.url(), replicas: self.nats.replicas(), ..BusConfig::default() }
    }

    /// A connection, once the servers listen.
    pub(crate) async fn bus(&self, name: &str) -> Bus {
        connect(&self.config(), name).await
    }
}

pub(crate) async fn connect(config: &BusConfig, name: &str) -> Bus {
    for _ in 0..200 {
        if let Ok(bus) = Bus::connect(config, name).await {
            return bus;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nats-server does not listen on {}", config.url);
}
