//! bcs-discovery-sidecar: keeps registries outside BCS in line with the instances that run. It reads KV `endpoints`, takes
//! every ready instance into every configured registry and every leaving one out, and says in KV `registrations` what
//! the registries confirmed. It keeps nothing of its own: NATS and the registries are all it needs.

pub mod config;
pub mod domain;
pub mod driver;
mod externaldns;
mod shell;
#[cfg(test)]
mod testing;

use std::collections::BTreeSet;

use bcs_kit::run::Deps;
use bcs_schemas::{FieldError, Name, bucket};

pub use config::{Beside, Config, OnStop};
pub use shell::board::Board;
use shell::{Platform, former, hold, worker};

/// Why the sidecar does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Settings that cannot be used.
    #[error("settings cannot be used: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Config(Vec<FieldError>),
    /// The bus.
    #[error("the bus cannot be used")]
    Bus(#[from] bcs_kit::bus::Error),
}

/// Starts a worker per registry and cluster and returns; they run until `deps.tasks` stops.
pub async fn run(config: Config, deps: Deps) -> Result<(), Error> {
    let board = Board::new(&deps.health, deps.clock.clone());
    Box::pin(run_beside(config, deps, board)).await
}

/// As [`run`], beside other sidecars of the same process, which show their numbers on the same board.
pub async fn run_beside(config: Config, deps: Deps, board: Board) -> Result<(), Error> {
    let errors = config.validate();
    if !errors.is_empty() {
        return Err(Error::Config(errors));
    }
    let opened = Box::pin(Platform::open(config.narrowed(), &deps, board)).await;
    // A key that may not do what it is used for shows only as an answer that never comes.
    let platform = opened.map_err(|error| deps.bus.explained(error))?;
    let (endpoints, clusters) = (platform.endpoints.clone(), platform.clusters.clone());
    deps.health.check("observations", move || match endpoints.is_synced() && clusters.is_synced() {
        true => Ok(()),
        false => Err("not read yet".to_owned()),
    });
    if let (Some(cluster), Some(beside)) = (&platform.config.cluster, &platform.config.beside) {
        hold::open(&platform, &deps, cluster, beside).await?;
    }
    if let Some(name) = platform.config.name.clone() {
        deps.tasks.spawn("sidecar-former", former::forget(platform.clone(), name));
    }
    for registry in &platform.config.registries {
        let (settings, zone) = (registry.spec.external_dns.clone(), registry.spec.hosting_zone());
        if let Some(((settings, zone), desk)) =
            settings.zip(zone).zip(platform.desks.get(&registry.metadata.name))
        {
            let served = externaldns::serve(deps.tasks.clone(), settings, zone.to_owned(), desk.clone());
            deps.tasks.spawn("sidecar-external-dns", served);
        }
    }
    match platform.config.cluster.clone() {
        Some(cluster) => start(&platform, &cluster),
        None => deps.tasks.spawn("sidecar-clusters", follow_clusters(platform)),
    }
    Ok(())
}

fn start(platform: &Platform, cluster: &Name) {
    for registry in &platform.config.registries {
        worker::spawn(platform, cluster, registry);
    }
}

/// Every cluster gets its workers when it is heard of for the first time, by its heartbeat or by an endpoint.
async fn follow_clusters(platform: Platform) {
    let stopping = platform.tasks.stopping();
    let (mut beats, mut endpoints) = (platform.clusters.changes(), platform.endpoints.changes());
    let mut known = BTreeSet::new();
    loop {
        let keys = platform.clusters.snapshot().keys().cloned().collect::<Vec<_>>();
        for key in keys.into_iter().chain(first_per_cluster(&platform)) {
            if let Ok(name) = Name::new(key)
                && known.insert(name.clone())
            {
                start(&platform, &name);
            }
        }
        // Only news of a cluster that is not known yet are worth another look.
        let fresh = |key: &str| {
            let cluster = key.split('.').next().unwrap_or_default();
            !known.iter().any(|name| name.as_str() == cluster)
        };
        loop {
            let change = tokio::select! {
                () = stopping.cancelled() => return,
                beat = beats.next() => beat.map(|c| c.key),
                endpoint = endpoints.next() => endpoint.map(|c| c.key),
            };
            let Some(key) = change else { return };
            if fresh(&key) {
                break;
            }
        }
    }
}

/// The clusters that endpoints name: one look-up per cluster, not one per endpoint.
fn first_per_cluster(platform: &Platform) -> Vec<String> {
    let endpoints = platform.endpoints.snapshot();
    let (mut clusters, mut from) = (Vec::new(), String::new());
    while let Some((key, _)) = endpoints.range(from..).next() {
        let cluster = key.split('.').next().unwrap_or_default().to_owned();
        // '/' follows '.', so this lies behind every key of the cluster.
        from = format!("{cluster}/");
        clusters.push(cluster);
    }
    clusters
}

/// Filter of what belongs to the configured clusters.
fn filter(cluster: Option<&Name>) -> String {
    cluster.map_or_else(|| ">".to_owned(), bucket::of_cluster)
}
