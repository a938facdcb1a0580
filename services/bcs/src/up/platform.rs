//! The services and sidecars of `bcs up`, each as it would be started alone.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use bcs_client::Client;
use bcs_discovery_sidecar::Board;
use bcs_kit::{
    Bus, Clock, Tasks,
    bus::BusConfig,
    health::Health,
    lease,
    run::{Deps, ServiceConfig},
    telemetry::chain,
};
use bcs_kubesim::Kubesim;
use bcs_schemas::{
    Millis, Name, Service, bucket,
    resource::{
        Metadata, Registry, RegistrySpec,
        registry::{Driver, EtcdDriver},
    },
};

use super::{Up, clusters::CLUSTERS, data::DataDir, membership, nats};
use crate::{
    Failure,
    context::{Context, Contexts},
};

/// Starts everything; says where health and metrics are served. Every connection to the bus is put into `buses` as it is
/// made, so that whoever gives up in the middle can close them.
pub(super) async fn start(
    up: &Up,
    data: &DataDir,
    server: &nats::Server,
    clusters: &[Kubesim],
    tasks: &Tasks,
    buses: &mut Vec<Bus>,
) -> Result<SocketAddr, Failure> {
    let config = BusConfig { url: server.url.clone(), ..BusConfig::default() };
    let health = Health::new();
    let bus = Bus::connect(&config, "up").await?;
    buses.push(bus.clone());
    bus.provision().await?;
    bus.supervise(tasks);
    bus.keep_provisioned(tasks);
    let watched = bus.clone();
    health.check("bus", move || if watched.connected() { Ok(()) } else { Err("not connected".to_owned()) });
    let deps = Deps { clock: Clock::system(), bus, tasks: tasks.clone(), health: health.clone() };
    // A former run that was killed is dead for certain: this one has its folder.
    for (cluster, _, _) in CLUSTERS {
        lease::forfeit(&deps.bus, &bucket::agent_lease(&name(cluster)?)).await?;
    }
    for service in Service::ALL {
        lease::forfeit(&deps.bus, &bucket::service_lease(service)).await?;
    }
    Box::pin(services(data, &config, &deps, buses)).await?;
    forget_registries(up, &deps).await?;
    let owner = data.owner(&deps.clock)?;
    let board = Board::new(&deps.health, deps.clock.clone());
    for (name, _, _) in CLUSTERS {
        sidecar(up, data, name, &owner, (&deps, &board)).await?;
    }
    let client = Client::over(deps.bus.clone(), deps.clock.clone()).await?;
    membership::converge(data, clusters, &client).await?;
    health.serve(tasks, up.health).await.map_err(|e| {
        let why = std::error::Error::source(&e).map(ToString::to_string).unwrap_or_default();
        let hint = "choose another address with --health, port 0 takes a free one";
        Failure::failed(format!("health cannot be served at {}: {why}: {hint}", up.health))
    })
}

/// Each service speaks to the bus through a connection of its own, as it would alone.
async fn services(
    data: &DataDir,
    bus: &BusConfig,
    shared: &Deps,
    buses: &mut Vec<Bus>,
) -> Result<(), Failure> {
    let failed = |name: &str, e: &(dyn std::error::Error + 'static)| {
        Failure::failed(format!("{name} does not start: {}", chain(e)))
    };
    let mut deps = async |name: &str| -> Result<Deps, Failure> {
        let bus = Bus::connect(bus, name).await?;
        buses.push(bus.clone());
        Ok(Deps { bus, ..shared.clone() })
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
    Ok(())
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
async fn sidecar(
    up: &Up,
    data: &DataDir,
    cluster: &str,
    owner: &Name,
    (deps, board): (&Deps, &Board),
) -> Result<(), Failure> {
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
    let started = bcs_discovery_sidecar::run_beside(config, deps.clone(), board.clone()).await;
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

/// Lets `bcs` in another terminal find this bus. Says which other context was the current one.
pub(super) fn write_context(path: &Path, url: &str) -> Result<Option<String>, Failure> {
    let mut contexts = Contexts::load(path)?;
    let local = Context { url: url.to_owned(), project: Some(name("demo")?), ..Context::default() };
    contexts.contexts.insert("local".to_owned(), local);
    let former = contexts.current.replace("local".to_owned());
    contexts.save(path)?;
    Ok(former.filter(|former| former != "local"))
}

pub(super) fn name(text: &str) -> Result<Name, Failure> {
    Name::new(text).map_err(|e| Failure::failed(e.to_string()))
}
