//! What a run happens to: a bus, registries, clusters, and the services between them, each a real process that reaches the
//! bus through a wire of its own.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use bcs_client::Client;
use bcs_kit::bus::BusConfig;
use bcs_schemas::{
    Name, Service, bucket,
    cluster::ImportCluster,
    outcome::Outcome,
    resource::{ClusterSpec, cluster::SecretRef},
};
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};

use super::{
    disk::Disk,
    fault::Part,
    foreign::Foreign,
    order::cluster_name,
    running::{Recipe, Running},
    schedule::Shape,
};
use crate::harness::{
    ApiServer, Etcd, LONG, Lab, MovableClock, NatsServer, NotYet, Poll, Postgres, Ready, Wire, built,
    free_port, wait_until,
};

/// Registries of each cluster: files and etcd.
pub(super) const REGISTRIES: usize = 2;

/// Everything that runs.
pub(super) struct World {
    pub(super) shape: Shape,
    /// A part is locked while something is done to it.
    parts: BTreeMap<Part, Mutex<Running>>,
    /// To the bus.
    wires: BTreeMap<Part, Wire>,
    clocks: BTreeMap<Part, MovableClock>,
    pub(super) etcd_wire: Wire,
    pub(super) nats: String,
    pub(super) etcd: String,
    pub(super) clusters: Vec<ApiServer>,
    pub(super) foreign: Foreign,
    pub(super) disk: Option<Disk>,
    database: Option<String>,
    client: Client,
    // The last to go: everything above works in it.
    pub(super) lab: Arc<Lab>,
}

impl World {
    /// Starts everything, and returns when the services know their clusters.
    pub(super) async fn start(lab: Arc<Lab>, shape: Shape) -> Result<Self> {
        let mut parts = BTreeMap::new();
        let (nats, etcd, postgres) =
            tokio::try_join!(NatsServer::start(&lab, "nats"), Etcd::start(&lab), async {
                if shape.postgres { Postgres::start(&lab).await.map(Some) } else { Ok(None) }
            })?;
        let nats_url = nats.url();
        let etcd_url = etcd.url();
        let etcd_wire = Wire::to(etcd_url.trim_start_matches("http://").to_owned()).await?;
        let foreign = Foreign::place(&etcd, &lab.path().join("registry")).await?;
        let disk = if shape.small_disk { Some(Disk::mount(&lab.path().join("journal"))?) } else { None };
        std::fs::create_dir_all(lab.path().join("journal"))?;
        let database = postgres.as_ref().map(|server| server.url().to_owned());
        parts.insert(Part::Nats, Mutex::new(Running::Nats(nats)));
        parts.insert(Part::Etcd, Mutex::new(Running::Etcd(etcd)));
        parts.extend(postgres.map(|server| (Part::Postgres, Mutex::new(Running::Postgres(server)))));
        for number in 0..shape.clusters {
            let running = api(&lab, number)?.start(&lab)?;
            parts.insert(Part::Api(number), Mutex::new(running));
        }
        let (mut wires, mut clocks) = (BTreeMap::new(), BTreeMap::new());
        for number in 0..shape.instances {
            for part in [Part::Cluster(number), Part::Deploy(number), Part::Sidecar(number)] {
                let wire = Wire::to(nats_url.trim_start_matches("nats://").to_owned()).await?;
                let bus = format!("nats://{}", wire.address());
                let mut recipe = match part {
                    Part::Sidecar(_) => sidecar(&lab, part, &bus, &etcd_wire)?,
                    _ => service(&lab, part, &bus, database.as_deref())?,
                };
                if shape.clocks {
                    let clock = MovableClock::new(lab.path().join(format!("{part}.clock")))?;
                    recipe.environment.extend(clock.environment());
                    clocks.insert(part, clock);
                }
                wires.insert(part, wire);
                parts.insert(part, Mutex::new(recipe.start(&lab)?));
            }
        }
        let config = BusConfig { url: nats_url.clone(), ..BusConfig::default() };
        let client = Client::connect(&config, "chaos").await?;
        let mut clusters = Vec::new();
        for number in 0..shape.clusters {
            clusters.push(answering(&kubeconfig(&lab, number)).await?);
        }
        let world = Self {
            shape,
            parts,
            wires,
            clocks,
            etcd_wire,
            nats: nats_url,
            etcd: etcd_url,
            clusters,
            foreign,
            disk,
            database,
            client,
            lab,
        };
        world.furnish().await?;
        Ok(world)
    }

    /// Takes the clusters into the platform, as a user would.
    async fn furnish(&self) -> Result<()> {
        for number in 0..self.shape.clusters {
            let target =
                bcs_kit::machine::target(&Name::system(), "cluster", &Name::new(cluster_name(number))?);
            let message = ImportCluster {
                labels: BTreeMap::new(),
                spec: ClusterSpec {
                    engine: Default::default(),
                    kubeconfig: SecretRef { file: kubeconfig(&self.lab, number) },
                    context: None,
                    agent: Default::default(),
                },
            };
            match self.client.command(target, message).send(LONG).await? {
                Outcome::Accepted(_) => (),
                Outcome::Rejected(rejected) => bail!("cluster {number} was rejected: {}", rejected.message),
            }
        }
        wait_until(LONG, "the platform knows its clusters and registries", async || {
            Poll::from(self.furnished().await)
        })
        .await
    }

    async fn furnished(&self) -> Result<()> {
        let heard = self.client.service_status(Service::Deploy).await?.data.revision;
        let seen = self.client.observed(bucket::CLUSTERS, ">").await?;
        let kept = self.client.observed(bucket::REGISTRIES, ">").await?;
        let clusters = self.shape.clusters;
        let synced = seen.values().filter(|cluster| cluster.synced).count();
        ensure!(
            usize::try_from(heard)? >= clusters && synced == clusters && kept.len() == clusters * REGISTRIES,
            "deploy is at {heard}, {synced} clusters were seen, {} registries",
            kept.len()
        );
        Ok(())
    }

    /// A client of the bus that no fault but one of the bus itself touches.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// A part, for whoever does something to it; waits until nobody else does.
    pub(super) async fn part(&self, part: Part) -> Result<MutexGuard<'_, Running>> {
        Ok(self.parts.get(&part).with_context(|| format!("there is no {part}"))?.lock().await)
    }

    /// Numbers of the processes that run, by what they are.
    pub(super) async fn pids(&self) -> Vec<(Part, u32)> {
        let mut pids = Vec::new();
        for (part, running) in &self.parts {
            pids.extend(running.lock().await.pid().map(|pid| (*part, pid)));
        }
        pids
    }

    /// The wire of a part to the bus.
    pub(super) fn wire(&self, part: Part) -> Result<&Wire> {
        self.wires.get(&part).with_context(|| format!("{part} has no wire"))
    }

    /// The clock of a part, in worlds where they move.
    pub(super) fn clock(&self, part: Part) -> Result<&MovableClock> {
        self.clocks.get(&part).with_context(|| format!("{part} has no clock of its own"))
    }

    /// Starts again whatever has ended by itself, as whoever watches over processes would. What that was.
    pub(super) async fn revive(&self) -> Result<Vec<String>> {
        let mut ended = Vec::new();
        for (part, running) in &self.parts {
            // Somebody does something to it right now.
            let Ok(mut running) = running.try_lock() else { continue };
            if let Some(status) = running.ended() {
                ended.push(format!("{part} ended by itself: {status}"));
                running.start_again(&self.lab).await?;
            }
        }
        Ok(ended)
    }

    /// Names of the clusters.
    pub(super) fn cluster_names(&self) -> Vec<String> {
        (0..self.shape.clusters).map(cluster_name).collect()
    }

    /// Where the file registry lies.
    pub(super) fn registry(&self) -> PathBuf {
        self.lab.path().join("registry")
    }

    /// Journal of a service: where it lies, and its table.
    pub(super) fn journal(&self, service: &str) -> (String, String) {
        match &self.database {
            Some(url) => (url.clone(), format!("bcs_{service}.events")),
            None => (sqlite(&self.lab, service), "events".to_owned()),
        }
    }
}

fn kubeconfig(lab: &Lab, number: usize) -> PathBuf {
    lab.path().join(format!("{}.kubeconfig", cluster_name(number)))
}

fn sqlite(lab: &Lab, service: &str) -> String {
    format!("sqlite:{}", lab.path().join("journal").join(format!("{service}.db")).display())
}

async fn answering(kubeconfig: &Path) -> Result<ApiServer> {
    wait_until(LONG, "an API server answers", async || {
        let Ok(server) = ApiServer::read(kubeconfig) else { return NotYet("no kubeconfig".to_owned()) };
        match server.get("/api/v1/nodes").await {
            Ok(_) => Ready(server),
            Err(error) => Poll::NotYet(format!("{error:#}")),
        }
    })
    .await
}

fn api(lab: &Lab, number: usize) -> Result<Recipe> {
    let name = cluster_name(number);
    let mut arguments = ["serve-cluster", "--name", &name, "--port", &free_port()?.to_string(), "--network"]
        .map(Into::into)
        .to_vec();
    arguments.push(format!("127.{}.0.0/16", 20 + number).into());
    arguments.extend(["--data".into(), lab.path().join(&name).into()]);
    arguments.extend(["--kubeconfig".into(), kubeconfig(lab, number).into()]);
    let program = built("bcs-chaos")?;
    Ok(Recipe { name: format!("api-{number}"), program, arguments, environment: Vec::new() })
}

fn service(lab: &Lab, part: Part, bus: &str, database: Option<&str>) -> Result<Recipe> {
    let name = if matches!(part, Part::Deploy(_)) { "deploy" } else { "cluster" };
    let journal = database.map_or_else(|| sqlite(lab, name), str::to_owned);
    let environment = vec![("BCS__BUS__URL", bus.to_owned()), ("BCS__JOURNAL_URL", journal)];
    Ok(Recipe {
        name: part.to_string(),
        program: built(&format!("bcs-{name}"))?,
        arguments: Vec::new(),
        environment,
    })
}

/// How long another sidecar waits before it takes over: less than by default, for a run is short.
const TAKEOVER: Duration = Duration::from_millis(3_000);

fn sidecar(lab: &Lab, part: Part, bus: &str, etcd: &Wire) -> Result<Recipe> {
    let registry = |name: &str, driver: serde_json::Value| {
        json!({
            "apiVersion": "bcs/v1", "kind": "Registry", "metadata": { "name": name },
            // Nobody resolves names here: an instance that is out of etcd can be stopped, and rounds are short.
            "spec": { "driver": driver, "deregistrationDelay": "0s" },
        })
    };
    let directory = lab.path().join("registry");
    let address = format!("http://{}", etcd.address());
    let settings = json!({
        "owner": "chaos",
        "bus": { "url": bus },
        "takeover_after": TAKEOVER.as_millis() as u64,
        "registries": [
            registry("file", json!({ "file": { "directory": directory } })),
            registry("etcd", json!({ "etcd": { "endpoints": [address] } })),
        ],
    });
    let path = lab.path().join(format!("{part}.toml"));
    std::fs::write(&path, toml::to_string(&settings)?)?;
    let arguments = vec!["--config".into(), path.into()];
    Ok(Recipe {
        name: part.to_string(),
        program: built("bcs-discovery-sidecar")?,
        arguments,
        environment: Vec::new(),
    })
}
