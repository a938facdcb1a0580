//! rnacos, a server that speaks the protocol of Nacos, written and asked over HTTP.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use anyhow::{Result, bail, ensure};
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::{process::Command, time::sleep};

use super::{App, Instance, PORT, Registry, Style};
use crate::harness::{Lab, Process, find, free_port};

/// Calls that are under way at once.
const AT_ONCE: usize = 16;

pub(super) struct Rnacos {
    process: Option<Process>,
    url: String,
    http: Client,
}

impl Rnacos {
    /// What keeps its data panics now and then when rnacos 0.8.8 starts for the first time, and it goes on without.
    pub(super) async fn start(lab: &Lab) -> Result<Self> {
        for _ in 0..20 {
            let (http, grpc, console) = (free_port()?, free_port()?, free_port()?);
            let directory = super::directory(lab, "rnacos", http)?;
            let client = Client::builder().no_proxy().build()?;
            let mut server =
                Self { process: None, url: format!("http://127.0.0.1:{http}/nacos"), http: client };
            let settings = format!(
                "RNACOS_HTTP_PORT={http}\nRNACOS_GRPC_PORT={grpc}\nRNACOS_HTTP_CONSOLE_PORT={console}\n\
                 RNACOS_CONFIG_DB_DIR={}\nRNACOS_RAFT_NODE_ADDR=127.0.0.1:{grpc}\nRNACOS_HTTP_WORKERS=1\n",
                directory.join("data").display(),
            );
            server.process = Some(process(lab, &directory, &settings, http)?);
            if server.keeps_data().await {
                return Ok(server);
            }
        }
        bail!("rnacos does not start")
    }

    async fn keeps_data(&self) -> bool {
        let written = [("dataId", "ready"), ("group", "T"), ("content", "1")];
        for _ in 0..150 {
            let _ = self.call(Method::POST, "/v1/cs/configs", &written).await;
            match self.call(Method::GET, "/v1/cs/configs", &written[..2]).await {
                Ok(said) if said == "1" => return true,
                _ => sleep(Duration::from_millis(20)).await,
            }
        }
        false
    }

    async fn call(&self, method: Method, path: &str, form: &[(&str, &str)]) -> Result<String> {
        let url = reqwest::Url::parse_with_params(&format!("{}{path}", self.url), form)?;
        let answer = self.http.request(method, url).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "rnacos: {path}: {status} {text}");
        Ok(text)
    }

    async fn hosts(&self, app: App) -> Result<Vec<u32>> {
        let asked = [("serviceName", &*app.domain()), ("healthyOnly", "false")];
        let list: Value =
            serde_json::from_str(&self.call(Method::GET, "/v1/ns/instance/list", &asked).await?)?;
        let hosts = list["hosts"].as_array().into_iter().flatten();
        Ok(hosts.filter_map(|host| Instance::at(host["ip"].as_str()?.parse().ok()?)).collect())
    }

    async fn change(&self, some: &[Instance], method: Method) -> Result<()> {
        for one in some {
            let (name, address, port) = (one.app.domain(), one.address().to_string(), PORT.to_string());
            let form = [("serviceName", &*name), ("ip", &*address), ("port", &*port), ("ephemeral", "false")];
            let said = self.call(method.clone(), "/v1/ns/instance", &form).await?;
            ensure!(said == "ok", "rnacos: {address}: {said}");
        }
        Ok(())
    }
}

fn process(lab: &Lab, directory: &Path, settings: &str, port: u16) -> Result<Process> {
    let file = directory.join("env");
    fs::write(&file, settings)?;
    let mut command =
        Command::new(find("rnacos", "RNACOS_BIN", "install it by `cargo install rnacos --locked`")?);
    command.arg("-e").arg(file);
    Process::start(lab, &format!("rnacos-{port}"), command)
}

impl Registry for Rnacos {
    fn driver(&self) -> Value {
        json!({ "nacos": { "url": self.url } })
    }

    fn pid(&self) -> Option<u32> {
        self.process.as_ref()?.pid().ok()
    }

    /// There is a call for each instance.
    fn style(&self) -> Style {
        Style { together: 1, bulk: 1, at_once: AT_ONCE }
    }

    fn look<'a>(&'a self, apps: &'a BTreeSet<App>) -> BoxFuture<'a, Result<BTreeSet<u32>>> {
        let found = stream::iter(apps).map(|app| self.hosts(*app)).buffer_unordered(4);
        found
            .try_fold(BTreeSet::new(), async |mut all, some| {
                all.extend(some);
                Ok(all)
            })
            .boxed()
    }

    fn put<'a>(&'a self, some: &'a [Instance]) -> BoxFuture<'a, Result<()>> {
        self.change(some, Method::POST).boxed()
    }

    fn delete<'a>(&'a self, some: &'a [Instance]) -> BoxFuture<'a, Result<()>> {
        self.change(some, Method::DELETE).boxed()
    }
}
