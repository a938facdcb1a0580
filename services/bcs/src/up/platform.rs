//! The services and sidecars of `bcs up`, each as it would be started alone, and the clusters imported by command.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, time::Duration};

use bcs_client::Client;
use bcs_kit::{
    Bus, Clock, Tasks,
    bus::BusConfig,
    health::Health,
    run::{Deps, ServiceConfig},
    telemetry::chain,
};
use bcs_kubesim::Kubesim;
use bcs_schemas::{
    Millis, Name, bucket,
    cluster::ImportCluster,
    outcome::Outcome,
    resource::{
        ClusterSpec, Metadata, Registry, RegistrySpec,
        cluster::SecretRef,
        registry::{Driver, EtcdDriver},
    },
};

use super::{Up, clusters::CLUSTERS, data::DataDir, nats};
use crate::{
    Failure,
    context::{Context, Contexts},
};

/// A cluster is imported within this time, or something is wrong.
const IMPORT_WITHIN: Duration = Duration::from_secs(30);

/// The running platform.
pub(super) struct Platform {
    /// Where health and metrics are served.
    pub(super) health: SocketAddr,
    /// Every connection to the bus.
    buses: Vec<Bus>,
}

impl Platform {
    /// Closes the connections, so that nobody takes the end of the bus for its loss.
    pub(super) async fn disconnect(&self) {
        for bus in &self.buses {
            bus.close().await;
        }
    }
}

/// Starts everything.
pub(super) async fn start(
    up: &Up,
    data: &DataDir,
    server: &nats::Server,
    clusters: &[Kubesim],
    tasks: &Tasks,
) -> Result<Platform, Failure> {
    let config = BusConfig { url: server.url.clone(), ..BusConfig::default() };
    let health = Health::new();
    let bus = Bus::connect(&config, "up").await?;
    bus.provision().await?;
    bus.supervise(tasks);
    let watched = bus.clone();
    health.check("bus", move || if watched.connected() { Ok(()) } else { Err("not connected".to_owned()) });
    let deps = Deps { clock: Clock::system(), bus, tasks: tasks.clone(), health: health.clone() };
    let mut buses = Box::pin(services(data, &config, &deps)).await?;
    buses.push(deps.bus.clone());
    forget_registries(up, &deps).await?;
    let owner = data.owner(&deps.clock)?;
    for (name, _, _) in CLUSTERS {
        sidecar(up, data, name, &owner, &deps).await?;
    }
    import(data, clusters, &deps).await?;
    let health = health.serve(tasks, up.health).await.map_err(|e| Failure::failed(chain(&e)))?;
    Ok(Platform { health, buses })
}

/// Each service speaks to the bus through a connection of its own, as it would alone.
async fn services(data: &DataDir, bus: &BusConfig, shared: &Deps) -> Result<Vec<Bus>, Failure> {
    let failed = |name: &str, e: &(dyn std::error::Error + 'static)| {
        Failure::failed(format!("{name} does not start: {}", chain(e)))
    };
    let deps = async |name: &str| -> Result<Deps, Failure> {
        Ok(Deps { bus: Bus::connect(bus, name).await?, ..shared.clone() })
    };
    let (cluster, deploy) = (deps("cluster").await?, deps("deploy").await?);
    let (network, metrics) = (deps("network").await?, deps("metrics").await?);
    let config = bcs_cluster::Config { journal_url: data.journal("cluster"), ..Default::default() };
    bcs_cluster::run(&config, &cluster).await.map_err(|e| failed("cluster", &e))?;
    let config = ServiceConfig::with_journal(data.journal("deploy"));
    bcs_deploy::run(&config, &deploy).await.map_err(|e| failed("deploy", &e))?;
    let config = ServiceConfig::with_journal(data.journal("network"));
    bcs_network::run(&config, &network).await.map_err(|e| failed("network", &e))?;
    let config = ServiceConfig::with_journal(data.journal("metrics"));
    bcs_metrics::run(&config, &metrics).await.map_err(|e| failed("metrics", &e))?;
    for (name, deps) in
        [("cluster", &cluster), ("deploy", &deploy), ("network", &network), ("metrics", &metrics)]
    {
        deps.bus.supervise(&shared.tasks);
        let bus = deps.bus.clone();
        let connected = move || if bus.connected() { Ok(()) } else { Err("not connected".to_owned()) };
        shared.health.check(format!("bus of {name}"), connected);
    }
    Ok([cluster, deploy, network, metrics].map(|deps| deps.bus).into())
}

/// A registry of a former run that is not asked for any more must not be waited for: these sidecars are ours, so nobody
/// else keeps it.
async fn forget_registries(up: &Up, deps: &Deps) -> Result<(), Failure> {
    let known = deps.bus.bucket(bucket::REGISTRIES).await?;
    let kept = |registry: &str| registry == "file" || (registry == "etcd" && up.etcd.is_some());
    for (key, status) in known.list(">").await? {
        let ours = CLUSTERS.iter().any(|(name, _, _)| *name == status.cluster.as_str());
        if ours && !kept(status.registry.as_str()) {
            known.delete(&key).await?;
        }
    }
    Ok(())
}

/// One sidecar for each cluster: the file registry always, etcd when it was asked for.
async fn sidecar(up: &Up, data: &DataDir, cluster: &str, owner: &Name, deps: &Deps) -> Result<(), Failure> {
    let mut registries = vec![registry("file", Driver::File { directory: data.registry() })?];
    if let Some(url) = &up.etcd {
        registries.push(registry("etcd", Driver::Etcd(EtcdDriver::plain(vec![url.clone()])))?);
    }
    let config = bcs_discovery_sidecar::Config {
        cluster: Some(name(cluster)?),
        owner: Some(owner.clone()),
        registries,
        ..Default::default()
    };
    let started = bcs_discovery_sidecar::run(config, deps.clone()).await;
    started.map_err(|e| Failure::failed(format!("sidecar of {cluster} does not start: {}", chain(&e))))
}

fn registry(called: &str, driver: Driver) -> Result<Registry, Failure> {
    Ok(Registry {
        api_version: Default::default(),
        kind: Default::default(),
        metadata: Metadata { project: None, name: name(called)?, labels: BTreeMap::new() },
        spec: RegistrySpec {
            driver,
            zone: "bcs.local".to_owned(),
            name: "{app}.{project}".to_owned(),
            ttl: Millis::from_secs(30),
        },
    })
}

/// Imports the clusters as a user would, once: what a user does to them afterwards stays as it is.
async fn import(data: &DataDir, clusters: &[Kubesim], deps: &Deps) -> Result<(), Failure> {
    let client = Client::over(deps.bus.clone(), deps.clock.clone()).await?;
    for cluster in clusters {
        let imported = data.cluster(cluster.name()).join("imported");
        if imported.exists() {
            continue;
        }
        let target = bcs_kit::machine::target(&Name::system(), "cluster", &name(cluster.name())?);
        let region = CLUSTERS.iter().find(|c| c.0 == cluster.name()).map_or("none", |c| c.2).to_owned();
        let message = ImportCluster {
            labels: [("environment", "local".to_owned()), ("region", region)]
                .map(|(k, v)| (k.to_owned(), v))
                .into(),
            spec: ClusterSpec {
                engine: Default::default(),
                kubeconfig: SecretRef { file: data.kubeconfig(cluster.name()) },
                context: None,
                agent: Default::default(),
            },
        };
        match client.command(target, message).actor("bcs up").send(IMPORT_WITHIN).await? {
            Outcome::Accepted(_) => std::fs::write(&imported, "")
                .map_err(|e| Failure::failed(format!("{} cannot be written: {e}", imported.display())))?,
            Outcome::Rejected(rejected) => {
                return Err(Failure::rejected(&format!("import of cluster {}", cluster.name()), &rejected));
            }
        }
    }
    Ok(())
}

/// Lets `bcs` in another terminal find this bus.
pub(super) fn write_context(path: &Path, url: &str) -> Result<(), Failure> {
    let mut contexts = Contexts::load(path)?;
    let local = Context { url: url.to_owned(), project: Some(name("demo")?), ..Context::default() };
    contexts.contexts.insert("local".to_owned(), local);
    contexts.current = Some("local".to_owned());
    contexts.save(path)
}

fn name(text: &str) -> Result<Name, Failure> {
    Name::new(text).map_err(|e| Failure::failed(e.to_string()))
}
