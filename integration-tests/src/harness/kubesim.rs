//! Clusters as their API servers show them, and `bcs kubesim` as a process.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use hyper::Request;
use kube::{
    Client,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{Lab, NotYet, Process, Ready, bcs, wait_until};

/// An API server, reached as its kubeconfig says.
#[derive(Clone, Debug)]
pub struct ApiServer {
    /// Its address.
    pub url: String,
    /// What it takes as proof of who asks.
    pub token: String,
    kubeconfig: PathBuf,
}

impl ApiServer {
    /// Reads where it is.
    pub fn read(kubeconfig: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(kubeconfig).with_context(|| kubeconfig.display().to_string())?;
        let value = |key: &str| {
            let line = text.lines().find_map(|line| {
                line.split_once(key).filter(|(before, _)| before.chars().all(|c| " -".contains(c)))
            });
            let value = line.map(|(_, value)| value.trim().trim_matches('"').to_owned());
            value.with_context(|| format!("{}: has no {key}", kubeconfig.display()))
        };
        Ok(Self { url: value("server:")?, token: value("token:")?, kubeconfig: kubeconfig.to_owned() })
    }

    async fn send(&self, method: &str, path: &str, body: String) -> Result<(u16, String)> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        let mut config =
            kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        config.proxy_url = None;
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let answer = Client::try_from(config)?.send(request.body(Body::from(body.into_bytes()))?).await?;
        let code = answer.status().as_u16();
        Ok((code, String::from_utf8_lossy(&answer.into_body().collect_bytes().await?).into_owned()))
    }

    /// What lies at `path`, such as `/api/v1/pods`.
    pub async fn get(&self, path: &str) -> Result<Value> {
        match self.send("GET", path, String::new()).await? {
            (200, text) => Ok(serde_json::from_str(&text)?),
            (code, text) => bail!("GET {path}: {code} {text}"),
        }
    }

    /// Deletes what lies at `path`.
    pub async fn delete(&self, path: &str) -> Result<()> {
        match self.send("DELETE", path, String::new()).await? {
            (200..300, _) => Ok(()),
            (code, text) => bail!("DELETE {path}: {code} {text}"),
        }
    }

    /// Changes the faults of a simulated cluster, such as `{"api_errors": 0.05}`.
    pub async fn faults(&self, faults: Value) -> Result<()> {
        match self.send("POST", "/sim/faults", faults.to_string()).await? {
            (200..300, _) => Ok(()),
            (_, text) => bail!("faults {faults} were refused: {text}"),
        }
    }

    /// No faults any more.
    pub async fn no_faults(&self) -> Result<()> {
        self.faults(json!({ "reset": true })).await
    }
}

/// `bcs kubesim` as a process.
pub struct Kubesim {
    /// The process, for signals.
    pub process: Process,
    /// How it is reached.
    pub kubeconfig: std::path::PathBuf,
    /// Its API server.
    pub server: ApiServer,
}

impl Kubesim {
    /// Starts a cluster with some nodes.
    pub async fn start(lab: &Lab, name: &str, nodes: usize) -> Result<Self> {
        let kubeconfig = lab.path().join(format!("{name}.kubeconfig"));
        let mut command = Command::new(bcs()?);
        command.args(["kubesim", "--name", name, "--nodes", &nodes.to_string(), "--kubeconfig"]);
        command.arg(&kubeconfig).args(["--data".as_ref(), lab.path().join(name).as_os_str()]);
        let process = Process::start(lab, name, command)?;
        wait_until(Duration::from_secs(20), "kubesim starts", async || {
            let said = process.output();
            if said.contains("stop with Ctrl-C") { Ready(()) } else { NotYet(said) }
        })
        .await?;
        let server = ApiServer::read(&kubeconfig)?;
        Ok(Self { process, kubeconfig, server })
    }
}
