//! What the world is like, seen through its own doors: pods in the clusters' APIs, entries in the registries' files and
//! in etcd, HTTP on each instance. Nothing here asks the platform, except for the endpoints that it publishes.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use bcs_integration_tests::harness::{Etcd, NotYet, Poll, Ready, Up, wait_until};
use bcs_schemas::{bucket::ENDPOINTS, observation::EndpointPhase};
use serde_json::{Value, json};

/// Longer than anything takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// The two clusters of `bcs up`.
pub(crate) const CLUSTERS: [&str; 2] = ["sim-a", "sim-b"];

/// A pod that belongs to an application.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pod {
    pub(crate) app: String,
    pub(crate) uid: String,
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) tag: String,
    pub(crate) ready: bool,
    /// Somebody has asked for its end.
    pub(crate) ending: bool,
}

/// An instance as a registry knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) app: String,
    pub(crate) address: String,
    pub(crate) uid: String,
}

/// What is wanted of an application: its name, how many instances, and which tag.
pub(crate) type Wanted<'a> = (&'a str, usize, &'a str);

/// Every pod of every application.
pub(crate) async fn pods(up: &Up) -> Result<Vec<Pod>> {
    let mut found = Vec::new();
    for cluster in CLUSTERS {
        let list = up.cluster(cluster)?.get("/api/v1/pods").await?;
        found.extend(list["items"].as_array().into_iter().flatten().filter_map(pod));
    }
    found.sort();
    Ok(found)
}

pub(crate) fn pod(object: &Value) -> Option<Pod> {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let app = object["metadata"]["labels"]["bcs.io/app"].as_str()?.to_owned();
    let conditions = object["status"]["conditions"].as_array();
    let ready = conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
    let image = text("/spec/containers/0/image");
    Some(Pod {
        app,
        uid: text("/metadata/uid"),
        name: text("/metadata/name"),
        address: text("/status/podIP"),
        tag: image.rsplit(':').next().unwrap_or_default().to_owned(),
        ready,
        ending: !object["metadata"]["deletionTimestamp"].is_null(),
    })
}

/// What the JSON files of the file registry hold.
pub(crate) fn in_files(up: &Up) -> Result<BTreeSet<Entry>> {
    let mut entries = BTreeSet::new();
    for cluster in CLUSTERS {
        let Some(text) = read(&up.registry().join(format!("{cluster}.json")))? else { continue };
        let document: Value = serde_json::from_str(&text).context("the registry file is no JSON")?;
        for row in document["entries"].as_array().context("the registry file has no entries")? {
            let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
            entries.insert(Entry { app: text("app"), address: text("address"), uid: text("uid") });
        }
    }
    Ok(entries)
}

/// What the hosts files hold: application and address.
pub(crate) fn in_hosts(up: &Up) -> Result<BTreeSet<(String, String)>> {
    let mut entries = BTreeSet::new();
    for cluster in CLUSTERS {
        let Some(text) = read(&up.registry().join(format!("{cluster}.hosts")))? else { continue };
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (address, name) = line.split_once('\t').context("a line without a tab")?;
            let app =
                name.strip_suffix(".demo.bcs.local").with_context(|| format!("a strange name: {name}"))?;
            entries.insert((app.to_owned(), address.to_owned()));
        }
    }
    Ok(entries)
}

fn read(path: &std::path::Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        // A registry that never had an entry has no file.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What etcd holds in the SkyDNS layout.
pub(crate) async fn in_etcd(etcd: &Etcd) -> Result<BTreeSet<Entry>> {
    let mut entries = BTreeSet::new();
    for (key, value) in etcd.keys("/skydns/").await? {
        let value: Value = serde_json::from_str(&value).with_context(|| format!("{key} holds no JSON"))?;
        let labels: Vec<&str> = key.split('/').collect();
        let ["", "skydns", "local", "bcs", "demo", app, _] = labels.as_slice() else {
            bail!("a strange key: {key}")
        };
        let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
        entries.insert(Entry { app: (*app).to_owned(), address: text("host"), uid: text("uid") });
    }
    Ok(entries)
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

fn same<T: Ord + std::fmt::Debug>(what: &str, found: &BTreeSet<T>, wanted: &BTreeSet<T>) -> Result<()> {
    let missing: Vec<&T> = wanted.difference(found).collect();
    let extra: Vec<&T> = found.difference(wanted).collect();
    ensure!(missing.is_empty() && extra.is_empty(), "{what}: lacks {missing:?} and has too much: {extra:?}");
    Ok(())
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

impl From<&Pod> for Entry {
    fn from(pod: &Pod) -> Self {
        Self { app: pod.app.clone(), address: pod.address.clone(), uid: pod.uid.clone() }
    }
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
