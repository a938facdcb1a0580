//! What must hold when everything is quiet again.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use bcs_client::EventRecord;
use bcs_deploy::domain::{app::AppKey, state::Deploy};
use bcs_kit::machine::Live;
use bcs_schemas::{
    CommandId, Service, bucket,
    observation::{EndpointPhase, RegistrationState},
    query::{AppPhase, AppView, HistoryQuery, Query},
};

use super::{
    fault::Part,
    foreign,
    running::Running,
    world::{REGISTRIES, World},
};
use crate::{
    harness::Etcd,
    ledger,
    outside::{self, Entry, same},
};

/// Everything is as wanted, and every registry and everybody who looks agrees on what that is. How many instances serve.
pub(super) async fn quiet(world: &World) -> Result<usize> {
    for service in [Service::Deploy, Service::Cluster] {
        let waiting = world.client().waiting_commands(service).await?;
        ensure!(waiting == Some(0), "{waiting:?} commands wait for {service}");
    }
    let apps: Vec<AppView> = world.client().list(Service::Deploy, "app", &Query::default()).await?.data;
    for app in &apps {
        let status = &app.status;
        ensure!(
            status.phase == AppPhase::Available && status.observed_generation == app.generation,
            "{} is not available: {}",
            app.name,
            serde_json::to_string(status)?
        );
    }
    let pods = outside::pods(&world.clusters).await?;
    for app in &apps {
        let of: Vec<_> = pods.iter().filter(|pod| pod.app == app.name.as_str()).collect();
        let tag = &app.spec.image.tag;
        let good = of.iter().filter(|pod| pod.ready && !pod.ending && pod.tag == *tag).count();
        ensure!(
            good == of.len() && u32::try_from(good) == Ok(app.spec.replicas),
            "{}: {} ready ones of {tag} are wanted: {of:?}",
            app.name,
            app.spec.replicas
        );
    }
    let wanted: u32 = apps.iter().map(|app| app.spec.replicas).sum();
    ensure!(u32::try_from(pods.len()) == Ok(wanted), "{wanted} instances are wanted in all: {pods:?}");
    let serving: BTreeSet<Entry> = pods.iter().map(Entry::from).collect();
    registries(world, &serving).await?;
    observed(world, &serving).await?;
    Ok(serving.len())
}

async fn registries(world: &World, serving: &BTreeSet<Entry>) -> Result<()> {
    let names = world.cluster_names();
    let clusters: Vec<&str> = names.iter().map(String::as_str).collect();
    same("the file registry", &outside::in_files(&world.registry(), &clusters)?, serving)?;
    let hosts = serving.iter().map(|entry| (entry.app.clone(), entry.address.clone())).collect();
    same("the hosts files", &outside::in_hosts(&world.registry(), &clusters)?, &hosts)?;
    let part = world.part(Part::Etcd).await?;
    same("etcd", &outside::in_etcd(etcd(&part)?, &foreign::KEYS).await?, serving)
}

fn etcd(part: &Running) -> Result<&Etcd> {
    match part {
        Running::Etcd(etcd) => Ok(etcd),
        _ => anyhow::bail!("this is no etcd"),
    }
}

/// What the platform publishes: an endpoint for each instance, and each confirmed by every registry.
async fn observed(world: &World, serving: &BTreeSet<Entry>) -> Result<()> {
    let found = world.client().observed(bucket::ENDPOINTS, ">").await?;
    let alive = found.into_values().filter(|e| e.phase != EndpointPhase::Gone && !e.stopping);
    let entries = alive.map(|e| Entry {
        app: e.app.to_string(),
        address: e.addresses.first().map(ToString::to_string).unwrap_or_default(),
        uid: e.uid,
    });
    same("the endpoints in KV", &entries.collect(), serving)?;
    let found = world.client().observed(bucket::REGISTRATIONS, ">").await?;
    let mut confirmed: BTreeMap<String, usize> = BTreeMap::new();
    for registration in found.into_values().filter(|r| r.state == RegistrationState::Confirmed) {
        *confirmed.entry(registration.uid).or_default() += 1;
    }
    let wanted = serving.iter().map(|entry| (entry.uid.clone(), REGISTRIES)).collect();
    same("what registries confirm", &confirmed.into_iter().collect(), &wanted)
}

/// The books of both services, and what nobody may touch. How many events there are in all.
pub(super) async fn books(
    world: &World,
    about_apps: &[CommandId],
    about_clusters: &[CommandId],
) -> Result<usize> {
    let decided = ledger::balanced_of(world.client(), Service::Deploy, about_apps).await.context("deploy")?;
    let members =
        ledger::balanced_of(world.client(), Service::Cluster, about_clusters).await.context("cluster")?;
    for (service, events) in [("deploy", &decided), ("cluster", &members)] {
        let (url, table) = world.journal(service);
        ledger::is_the_journal(&url, &table, events).await.context(service)?;
    }
    fold(world).await?;
    generations(&decided)?;
    let part = world.part(Part::Etcd).await?;
    world.foreign.untouched(etcd(&part)?).await?;
    drop(part);
    no_panic(world)?;
    Ok(decided.len() + members.len())
}

/// What the service answers is the fold of its journal.
async fn fold(world: &World) -> Result<()> {
    let history = world.client().events_of(Service::Deploy, &HistoryQuery::default()).await?;
    let mut folded = Live::<Deploy>::default();
    for event in &history.data {
        folded.follow(event)?;
    }
    let query = Query { wait_for: Some(folded.seq), ..Query::default() };
    let live: Vec<AppView> = world.client().list(Service::Deploy, "app", &query).await?.data;
    ensure!(
        live.len() == folded.state.apps.len(),
        "the journal folds to {:?}, live is {live:?}",
        folded.state.apps
    );
    for view in live {
        let key = AppKey { project: view.project.clone(), name: view.name.clone() };
        let app = folded.state.apps.get(&key).with_context(|| format!("{key} is not in the journal"))?;
        ensure!(
            app.spec == view.spec
                && app.generation == view.generation
                && app.revision == view.status.revision,
            "{key} folds to {app:?}, live is {view:?}"
        );
    }
    Ok(())
}

/// Intents of an application are counted without gaps, over its deletions too.
fn generations(events: &[EventRecord]) -> Result<()> {
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for event in events {
        let Some(generation) = event.payload["generation"].as_u64() else { continue };
        let name = event.subject.target.name.to_string();
        let before = last.insert(name.clone(), generation).unwrap_or_default();
        ensure!(
            generation == before || generation == before + 1,
            "{name}: after generation {before} comes {generation}"
        );
    }
    Ok(())
}

fn no_panic(world: &World) -> Result<()> {
    for file in std::fs::read_dir(world.lab.path())? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
            let line = text.lines().find(|line| line.contains("panicked"));
            ensure!(line.is_none(), "{}: {line:?}", path.display());
        }
    }
    Ok(())
}
