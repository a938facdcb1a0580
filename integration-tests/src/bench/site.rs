//! A cluster as its registry sees it: a bus, what the cluster's agent would write there, and the sidecar as a process.

mod by_hand;
mod confirmed;
mod sidecar;

use std::time::Duration;

use anyhow::{Context, Result};
use bcs_kit::{Bus, Clock, Tasks, bus::BusConfig, kv::Store};
use bcs_schemas::{
    Name,
    bucket::{self, Keyed},
    observation::{ClusterHealth, Endpoint, EndpointPhase},
};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use tokio::time::{Instant, sleep};

pub(super) use self::{confirmed::Confirmed, sidecar::Sidecar};
use super::registry::{Instance, PORT, Registry};
use crate::harness::{Lab, NatsServer};

/// Endpoints that are written at once where nobody measures how fast.
const AT_ONCE: usize = 64;

/// The bus of a cluster.
pub(super) struct Site {
    pub(super) nats: NatsServer,
    pub(super) cluster: String,
    pub(super) tasks: Tasks,
    pub(super) confirmed: Confirmed,
    bus: Bus,
    endpoints: Store<Endpoint>,
}

impl Drop for Site {
    /// Whoever watches stops before the servers do.
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
    }
}

impl Site {
    /// Of a cluster that is well.
    pub(super) async fn start(lab: &Lab, cluster: &str) -> Result<Self> {
        let nats = NatsServer::start(lab, &format!("nats-{cluster}")).await?;
        let bus = Bus::connect(&BusConfig { url: nats.url(), ..BusConfig::default() }, "bench").await?;
        bus.provision().await?;
        let tasks = Tasks::new();
        beat(&bus, cluster, &tasks).await?;
        let confirmed = Confirmed::follow(&bus, &tasks).await?;
        let endpoints = bus.bucket(bucket::ENDPOINTS).await?;
        Ok(Self { nats, cluster: cluster.to_owned(), tasks, confirmed, bus, endpoints })
    }

    /// Starts the sidecar of a registry. What clients remember is not what is measured: a drain is over when the entry is out.
    pub(super) fn sidecar(&self, lab: &Lab, registry: &dyn Registry) -> Result<Sidecar> {
        let document = json!({
            "apiVersion": "bcs/v1", "kind": "Registry", "metadata": { "name": "outside" },
            "spec": { "driver": registry.driver(), "deregistrationDelay": "0s" },
        });
        Sidecar::start(lab, &self.cluster, &self.nats.url(), vec![document])
    }

    /// Says of an instance what its agent would; how long it took until the bus had kept that.
    pub(super) async fn say(&self, instance: Instance, phase: EndpointPhase) -> Result<Duration> {
        let endpoint = self.endpoint(instance, phase)?;
        let begin = Instant::now();
        self.endpoints.put(&endpoint).await?;
        Ok(begin.elapsed())
    }

    /// The same of many, as fast as the bus takes it.
    pub(super) async fn say_all(&self, instances: &[Instance], phase: EndpointPhase) -> Result<()> {
        let said = stream::iter(instances).map(|one| self.say(*one, phase)).buffer_unordered(AT_ONCE);
        said.try_for_each(async |_| Ok(())).await
    }

    /// They were stopped: their agent speaks of them no more.
    pub(super) async fn forget(&self, instances: &[Instance]) -> Result<()> {
        let forgotten = stream::iter(instances).map(async |one| {
            let key = self.endpoint(*one, EndpointPhase::Draining)?.key();
            anyhow::Ok(self.endpoints.delete(&key).await?)
        });
        forgotten.buffer_unordered(AT_ONCE).try_for_each(async |()| Ok(())).await
    }

    /// Nobody ever heard what registries confirmed.
    pub(super) async fn forget_confirmations(&self) -> Result<()> {
        let name = format!("KV_{}", bucket::REGISTRATIONS.name);
        self.bus.jetstream().get_stream(name).await?.purge().await?;
        self.confirmed.forget();
        Ok(())
    }

    fn endpoint(&self, instance: Instance, phase: EndpointPhase) -> Result<Endpoint> {
        let (now, uid) = (Clock::system().now(), instance.uid());
        let described = json!({
            "cluster": self.cluster, "project": "shop", "app": instance.app.to_string(), "revision": "r1",
            "node": "node-1", "instance": format!("{}-{}", instance.app, instance.number), "uid": uid,
            "addresses": [instance.address()], "weight": 100, "phase": phase,
            "ports": [{ "name": "http", "port": PORT, "protocol": "TCP" }],
            "since": now, "generation": 1, "observed_at": now,
        });
        serde_json::from_value(described).context("an endpoint of another form")
    }
}

/// The cluster is well, and says so as an agent does.
async fn beat(bus: &Bus, cluster: &str, tasks: &Tasks) -> Result<()> {
    let store = bus.bucket(bucket::CLUSTERS).await?;
    let (cluster, stopping) = (Name::new(cluster)?, tasks.stopping());
    tasks.spawn("beat", async move {
        while !stopping.is_cancelled() {
            let health = ClusterHealth {
                cluster: cluster.clone(),
                reachable: true,
                reason: None,
                synced: true,
                version: None,
                nodes: 1,
                nodes_ready: 1,
                capacity: Default::default(),
                observed_at: Clock::system().now(),
            };
            if let Err(error) = store.put(&health).await {
                eprintln!("no heartbeat: {error}");
            }
            sleep(Duration::from_secs(2)).await;
        }
    });
    Ok(())
}
