//! What the world is like, seen through its own doors: pods in the clusters' APIs, entries in the registries' files and
//! in etcd. Nothing here asks the platform.

use std::{collections::BTreeSet, io, path::Path};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::harness::{ApiServer, Etcd};

/// A pod that belongs to an application.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pod {
    pub app: String,
    pub uid: String,
    pub name: String,
    pub address: String,
    pub tag: String,
    pub ready: bool,
    /// Somebody has asked for its end.
    pub ending: bool,
}

/// An instance as a registry knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub app: String,
    pub address: String,
    pub uid: String,
}

/// Every pod of every application.
pub async fn pods(clusters: &[ApiServer]) -> Result<Vec<Pod>> {
    let mut found = Vec::new();
    for cluster in clusters {
        let list = cluster.get("/api/v1/pods").await?;
        found.extend(list["items"].as_array().into_iter().flatten().filter_map(pod));
    }
    found.sort();
    Ok(found)
}

/// A pod of an application; none when it belongs to somebody else.
pub fn pod(object: &Value) -> Option<Pod> {
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

/// What the JSON files of a file registry hold.
pub fn in_files(registry: &Path, clusters: &[&str]) -> Result<BTreeSet<Entry>> {
    let mut entries = BTreeSet::new();
    for cluster in clusters {
        let Some(text) = read(&registry.join(format!("{cluster}.json")))? else { continue };
        let document: Value = serde_json::from_str(&text).context("the registry file is no JSON")?;
        for row in document["entries"].as_array().context("the registry file has no entries")? {
            let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
            entries.insert(Entry { app: text("app"), address: text("address"), uid: text("uid") });
        }
    }
    Ok(entries)
}

/// What its hosts files hold: application and address.
pub fn in_hosts(registry: &Path, clusters: &[&str]) -> Result<BTreeSet<(String, String)>> {
    let mut entries = BTreeSet::new();
    for cluster in clusters {
        let Some(text) = read(&registry.join(format!("{cluster}.hosts")))? else { continue };
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (address, name) = line.split_once('\t').context("a line without a tab")?;
            let app =
                name.strip_suffix(".demo.bcs.local").with_context(|| format!("a strange name: {name}"))?;
            entries.insert((app.to_owned(), address.to_owned()));
        }
    }
    Ok(entries)
}

fn read(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        // A registry that never had an entry has no file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What etcd holds in the SkyDNS layout, but for keys that belong to others.
pub async fn in_etcd(etcd: &Etcd, foreign: &[&str]) -> Result<BTreeSet<Entry>> {
    let mut entries = BTreeSet::new();
    for (key, value) in etcd.keys("/skydns/").await? {
        if foreign.contains(&key.as_str()) {
            continue;
        }
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

/// Two sets are the same; the error says what is missing and what is too much.
pub fn same<T: Ord + std::fmt::Debug>(what: &str, found: &BTreeSet<T>, wanted: &BTreeSet<T>) -> Result<()> {
    let missing: Vec<&T> = wanted.difference(found).collect();
    let extra: Vec<&T> = found.difference(wanted).collect();
    ensure!(missing.is_empty() && extra.is_empty(), "{what}: lacks {missing:?} and has too much: {extra:?}");
    Ok(())
}

impl From<&Pod> for Entry {
    fn from(pod: &Pod) -> Self {
        Self { app: pod.app.clone(), address: pod.address.clone(), uid: pod.uid.clone() }
    }
}
