//! What the world is like, seen through its own doors: pods in the clusters' APIs, entries in the registries' files and
//! in etcd, HTTP on each instance. Nothing here asks the platform, except for the endpoints that it publishes.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};
use bcs_integration_tests::{
    harness::{ApiServer, Etcd, NotYet, Poll, Ready, Up, wait_until},
    outside::{self, same},
};
use bcs_schemas::{bucket::ENDPOINTS, observation::EndpointPhase};
use serde_json::{Value, json};

pub(crate) use bcs_integration_tests::{
    harness::LONG,
    outside::{Entry, Pod, pod},
};

/// The two clusters of `bcs up`.
pub(crate) const CLUSTERS: [&str; 2] = ["sim-a", "sim-b"];

/// What is wanted of an application: its name, how many instances, and which tag.
pub(crate) type Wanted<'a> = (&'a str, usize, &'a str);

/// Every pod of every application.
pub(crate) async fn pods(up: &Up) -> Result<Vec<Pod>> {
    let clusters: Vec<ApiServer> = CLUSTERS.iter().map(|name| up.cluster(name)).collect::<Result<_>>()?;
    outside::pods(&clusters).await
}

/// What the JSON files of the file registry hold.
pub(crate) fn in_files(up: &Up) -> Result<BTreeSet<Entry>> {
    outside::in_files(&up.registry(), &CLUSTERS)
}

/// What the hosts files hold: application and address.
pub(crate) fn in_hosts(up: &Up) -> Result<BTreeSet<(String, String)>> {
    outside::in_hosts(&up.registry(), &CLUSTERS)
}

/// What etcd holds in the SkyDNS layout.
pub(crate) async fn in_etcd(etcd: &Etcd) -> Result<BTreeSet<Entry>> {
    outside::in_etcd(etcd, &[]).await
}

/// Everything agrees: exactly the wanted instances run, each answers HTTP on its own address with its version, and
/// every registry holds exactly these. What they are.
pub(crate) async fn agrees(up: &Up, etcd: Option<&Etcd>, wanted: &[Wanted<'_>]) -> Result<BTreeSet<Entry>> {
    let pods = pods(up).await?;
    let serving: BTreeSet<Entry> =
        pods.iter().filter(|pod| pod.ready && !pod.ending).map(Entry::from).collect();
    for (app, replicas, tag) in wanted {
        let of: Vec<&Pod> = pods.iter().filter(|pod| pod.app == *app && !pod.ending).collect();
        let good = of.iter().filter(|pod| pod.ready && pod.tag == *tag).count();
        ensure!(
            good == *replicas && of.len() == good,
            "{app}: {replicas} ready ones of {tag} are wanted: {of:#?}"
        );
    }
    let total: usize = wanted.iter().map(|(_, replicas, _)| replicas).sum();
    ensure!(serving.len() == total, "{total} instances are wanted in all: {serving:#?}");
    same("the file registry", &in_files(up)?, &serving)?;
    let names = serving.iter().map(|e| (e.app.clone(), e.address.clone())).collect();
    same("the hosts files", &in_hosts(up)?, &names)?;
    if let Some(etcd) = etcd {
        same("etcd", &in_etcd(etcd).await?, &serving)?;
    }
    same("the endpoints in KV", &in_kv(up).await?, &serving)?;
    for pod in pods.iter().filter(|pod| pod.ready && !pod.ending) {
        answers(pod).await?;
    }
    Ok(serving)
}

/// Waits until everything agrees.
pub(crate) async fn settled(up: &Up, etcd: Option<&Etcd>, wanted: &[Wanted<'_>]) -> Result<BTreeSet<Entry>> {
    wait_until(LONG, "pods and registries are exactly as wanted", async || {
        Poll::from(agrees(up, etcd, wanted).await)
    })
    .await
}

/// The endpoints that the platform publishes; every phase, for a pod that is over must have none.
async fn in_kv(up: &Up) -> Result<BTreeSet<Entry>> {
    let found = up.client().await?.observed(ENDPOINTS, ">").await?;
    let alive = found.into_values().filter(|e| e.phase != EndpointPhase::Gone && !e.stopping);
    let entry = |e: bcs_schemas::observation::Endpoint| Entry {
        app: e.app.to_string(),
        address: e.addresses.first().map(ToString::to_string).unwrap_or_default(),
        uid: e.uid,
    };
    Ok(alive.map(entry).collect())
}

async fn answers(pod: &Pod) -> Result<()> {
    let url = format!("http://{}:8080/", pod.address);
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
    let answer: Value = client.get(&url).send().await?.error_for_status()?.json().await?;
    ensure!(answer["version"] == pod.tag && answer["pod"] == pod.name, "{url} is not {pod:?}: {answer}");
    Ok(())
}

/// An application as a document; instances start fast, and `more` changes the spec.
pub(crate) fn app(name: &str, clusters: &[&str], replicas: u32, tag: &str, more: Value) -> Value {
    let clusters: Vec<Value> = clusters.iter().map(|name| json!({ "name": name })).collect();
    let mut spec = json!({
        "replicas": replicas,
        "placement": { "clusters": clusters },
        "image": { "repository": "shop/it", "tag": tag },
        "ports": [{ "name": "http", "port": 8080 }],
        "annotations": { "sim.bcs/startup": "20ms" },
    });
    if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
        spec.extend(more.clone());
    }
    json!({ "apiVersion": "bcs/v1", "kind": "App", "metadata": { "name": name }, "spec": spec })
}

/// Applies a document through the command line.
pub(crate) async fn apply(up: &Up, document: &Value, options: &[&str]) -> Result<()> {
    let arguments = [&["apply", "-f", "-"], options].concat();
    let text = document.to_string();
    up.cli().run_with(&arguments, Some(text.as_bytes())).await?.expect(0)?;
    Ok(())
}

/// The application as the platform sees it.
pub(crate) async fn view(up: &Up, name: &str) -> Result<Value> {
    up.cli().json(&["get", "apps", name]).await
}

/// Waits until the platform's view of an application is as it shall be.
pub(crate) async fn until_view(
    up: &Up,
    app: &str,
    what: &str,
    fits: impl Fn(&Value) -> bool,
) -> Result<Value> {
    wait_until(LONG, &format!("{app} {what}"), async || match view(up, app).await {
        Ok(found) if fits(&found) => Ready(found),
        Ok(found) => NotYet(found["status"].to_string()),
        Err(error) => NotYet(format!("{error:#}")),
    })
    .await
}
