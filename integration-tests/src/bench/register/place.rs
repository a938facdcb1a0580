//! The servers of the scenario, its sidecars as processes, and what an agent would write.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result};
use bcs_kit::{Bus, Clock, Tasks, bus::BusConfig, kv::Store};
use bcs_schemas::{
    Name, bucket,
    observation::{ClusterHealth, Endpoint, EndpointPhase},
};
use futures::{StreamExt, stream};
use serde_json::json;
use tokio::{process::Command, time::Instant};

use super::{Registry, Sent, etcd, file};
use crate::{
    bench::load,
    harness::{Etcd, Lab, NatsServer, NotYet, Process, Ready, built, wait_until},
};

pub(super) struct Place {
    pub(super) nats: NatsServer,
    pub(super) etcd: Etcd,
    pub(super) sidecars: Vec<Process>,
    /// Where the file registry lies.
    pub(super) directory: std::path::PathBuf,
    pub(super) tasks: Tasks,
    endpoints: Store<Endpoint>,
}

impl Drop for Place {
    /// Whoever watches stops before the servers do.
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
    }
}

/// What a turn gave.
pub(super) struct Turn {
    pub(super) took: Vec<Duration>,
    /// How long the bus took to keep each.
    pub(super) kept: Vec<Duration>,
    pub(super) missing: u32,
    pub(super) extra: u32,
}

/// A drain is over after this long, or it is stuck.
const DRAINED: Duration = Duration::from_secs(30);

impl Place {
    pub(super) async fn start(lab: &Lab) -> Result<Self> {
        let (nats, etcd) = (NatsServer::start(lab, "nats").await?, Etcd::start(lab).await?);
        let bus = Bus::connect(&BusConfig { url: nats.url(), ..BusConfig::default() }, "bench").await?;
        bus.provision().await?;
        let directory = lab.path().join("registry");
        let drivers = [
            (etcd::CLUSTER, format!("etcd.endpoints = [\"{}\"]", etcd.url())),
            (file::CLUSTER, format!("file.directory = {directory:?}")),
        ];
        let tasks = Tasks::new();
        let mut sidecars = Vec::new();
        for (cluster, driver) in drivers {
            beat(&bus, cluster, &tasks).await?;
            sidecars.push(sidecar(lab, cluster, &driver, &nats.url())?);
        }
        let endpoints = bus.bucket(bucket::ENDPOINTS).await?;
        let place = Self { nats, etcd, sidecars, directory, tasks, endpoints };
        place.warm().await?;
        Ok(place)
    }

    /// Nothing is measured before both sidecars keep their registries.
    async fn warm(&self) -> Result<()> {
        for cluster in [etcd::CLUSTER, file::CLUSTER] {
            self.endpoints.put(&endpoint(cluster, "warm", EndpointPhase::Ready)?).await?;
        }
        let file = self.directory.join(format!("{}.json", file::CLUSTER));
        wait_until(DRAINED, "sidecars write", async || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            let keys = self.etcd.keys(etcd::PREFIX).await.unwrap_or_default();
            let both = text.contains("\"warm\"") && keys.iter().any(|(_, value)| value.contains("\"warm\""));
            if both { Ready(()) } else { NotYet(format!("{text} {keys:?}")) }
        })
        .await?;
        for cluster in [etcd::CLUSTER, file::CLUSTER] {
            self.endpoints.put(&endpoint(cluster, "warm", EndpointPhase::Draining)?).await?;
        }
        Ok(())
    }

    /// Instances become ready one after the other, are all seen, and are drained again.
    pub(super) async fn turn<R: Registry>(
        &self,
        registry: &R,
        round: usize,
        rate: u32,
        count: u32,
    ) -> Result<Turn> {
        let ready = |number| self.ready(R::CLUSTER, format!("ours-{rate}-{round}-{number}"));
        let sent = load::paced(rate, count, ready).await?;
        let took = registry.seen().wait(&sent).await;
        let expected: BTreeSet<String> = sent.iter().map(|sent| sent.uid.clone()).collect();
        let kept = sent.iter().map(|sent| sent.kept).collect();
        let listed: BTreeSet<String> = registry.listed().await?.into_iter().collect();
        let missing = sent.len().saturating_sub(took.len()).max(expected.difference(&listed).count());
        let extra = listed.difference(&expected).count();
        let left = self.drain(registry, &expected).await?;
        Ok(Turn { took, kept, missing: u32::try_from(missing)?, extra: u32::try_from(extra + left)? })
    }

    async fn ready(&self, cluster: &str, uid: String) -> Result<Sent> {
        let endpoint = endpoint(cluster, &uid, EndpointPhase::Ready)?;
        let at = Instant::now();
        self.endpoints.put(&endpoint).await?;
        Ok(Sent { uid, at, kept: at.elapsed() })
    }

    /// How many are still there when all of them should have gone.
    async fn drain<R: Registry>(&self, registry: &R, uids: &BTreeSet<String>) -> Result<usize> {
        let drains = uids.iter().map(|uid| async move {
            self.endpoints.put(&endpoint(R::CLUSTER, uid, EndpointPhase::Draining)?).await?;
            Ok::<_, anyhow::Error>(())
        });
        let done: Vec<Result<()>> = stream::iter(drains).buffer_unordered(64).collect().await;
        done.into_iter().collect::<Result<()>>()?;
        let end = Instant::now() + DRAINED;
        loop {
            let left = registry.listed().await?.len();
            if left == 0 || Instant::now() > end {
                return Ok(left);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn sidecar(lab: &Lab, cluster: &str, driver: &str, nats: &str) -> Result<Process> {
    let program = built("bcs-discovery-sidecar")?;
    let settings = format!(
        "cluster = \"{cluster}\"\nowner = \"bench\"\nbus.url = \"{nats}\"\n\n[[registries]]\napiVersion = \"bcs/v1\"\nkind = \"Registry\"\nmetadata.name = \"outside\"\nspec.driver.{driver}\n"
    );
    let path = lab.path().join(format!("{cluster}.toml"));
    std::fs::write(&path, settings)?;
    let mut command = Command::new(program);
    command.arg("--config").arg(&path);
    Process::start(lab, &format!("sidecar-{cluster}"), command)
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
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    });
    Ok(())
}

/// An instance as its agent describes it.
fn endpoint(cluster: &str, uid: &str, phase: EndpointPhase) -> Result<Endpoint> {
    let now = Clock::system().now();
    let described = json!({
        "cluster": cluster, "project": "shop", "app": "web", "revision": "r1", "node": "node-1",
        "instance": format!("web-{uid}"), "uid": uid, "addresses": [address(uid)],
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }], "weight": 100, "phase": phase,
        "since": now, "generation": 1, "observed_at": now,
    });
    serde_json::from_value(described).context("an endpoint of another form")
}

/// One of its own for each, told by its name.
fn address(uid: &str) -> String {
    let hash = uid.bytes().fold(7_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let [_, b, c, d] = hash.to_be_bytes();
    format!("10.{b}.{c}.{d}")
}
