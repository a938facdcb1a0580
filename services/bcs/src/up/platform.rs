//! The services and sidecars of `bcs up`, each as it would be started alone.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use bcs_client::Client;
use bcs_discovery_sidecar::Board;
use bcs_kit::{
    Bus, Clock, Tasks,
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
        registry::{Driver, EtcdDriver, FileDriver},
    },
};

use super::{Up, access::Access, clusters::CLUSTERS, data::DataDir, membership};
use crate::{Failure, context::Contexts, credentials::User};

/// Starts everything; says where health and metrics are served. Every connection to the bus is put into `buses` as it is
/// made, so that whoever gives up in the middle can close them.
pub(super) async fn start(
    up: &Up,
    data: &DataDir,
    access: &Access,
    clusters: &[Kubesim],
    tasks: &Tasks,
    buses: &mut Vec<Bus>,
) -> Result<SocketAddr, Failure> {
    let health = Health::new();
    let bus = Bus::connect(&access.of(&User::Platform), "up").await?;
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
    Box::pin(services(data, access, &deps, buses)).await?;
    forget_registries(up, &deps).await?;
    let owner = data.owner(&deps.clock)?;
    let board = Board::new(&deps.health, deps.clock.clone());
    for (cluster, _, _) in CLUSTERS {
        let deps = own_bus(&User::Sidecar(name(cluster)?), access, &deps, buses).await?;
        sidecar(up, data, cluster, &owner, (&deps, &board)).await?;
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
    access: &Access,
    shared: &Deps,
    buses: &mut Vec<Bus>,
) -> Result<(), Failure> {
    let failed = |name: &str, e: &(dyn std::error::Error + 'static)| {
        Failure::failed(format!("{name} does not start: {}", chain(e)))
    };
    let mut deps = async |service: Service| own_bus(&User::Service(service), access, shared, buses).await;
    let (cluster, deploy) = (deps(Service::Cluster).await?, deps(Service::Deploy).await?);
    let (network, metrics) = (deps(Service::Network).await?, deps(Service::Metrics).await?);
    let config = bcs_cluster::Config { journal_url: data.journal("cluster"), ..Default::default() };
    bcs_cluster::run(&config, &cluster).await.map_err(|e| failed("cluster", &e))?;
    let config = ServiceConfig::with_journal(data.journal("deploy"));
    bcs_deploy::run(&config, &deploy).await.map_err(|e| failed("deploy", &e))?;
    let config = ServiceConfig::with_journal(data.journal("network"));
    bcs_network::run(&config, &network).await.map_err(|e| failed("network", &e))?;
    let config = ServiceConfig::with_journal(data.journal("metrics"));
    bcs_metrics::run(&config, &metrics).await.map_err(|e| failed("metrics", &e))?;
    Ok(())
}

/// What one part needs, with a connection of its own.
async fn own_bus(user: &User, access: &Access, shared: &Deps, buses: &mut Vec<Bus>) -> Result<Deps, Failure> {
    let bus = Bus::connect(&access.of(user), &user.to_string()).await?;
    buses.push(bus.clone());
    bus.supervise(&shared.tasks);
    let watched = bus.clone();
    let connected = move || if watched.connected() { Ok(()) } else { Err("not connected".to_owned()) };
    shared.health.check(format!("bus of {user}"), connected);
    Ok(Deps { bus, ..shared.clone() })
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
    let mut registries = vec![registry("file", Driver::File(FileDriver::plain(data.registry())))?];
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
            metadata: Vec::new(),
            // A drain waits as long: on one machine nobody wants to remember an address for longer.
            ttl: Millis::from_secs(5),
            deregistration_delay: None,
            rate: None,
            opt_in: false,
            only_if: None,
            external_dns: None,
        },
    })
}

/// Lets `bcs` in another terminal find this bus. Says which other context was the current one.
pub(super) fn write_context(path: &Path, access: &Access) -> Result<Option<String>, Failure> {
    let mut contexts = Contexts::load(path)?;
    contexts.contexts.insert("local".to_owned(), access.context()?);
    let former = contexts.current.replace("local".to_owned());
    contexts.save(path)?;
    Ok(former.filter(|former| former != "local"))
}

pub(super) fn name(text: &str) -> Result<Name, Failure> {
    Name::new(text).map_err(|e| Failure::failed(e.to_string()))
}
