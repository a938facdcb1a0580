//! Clusters as their API servers show them, and `bcs kubesim` as a process.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail};
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
        Ok(Self { url: value("server:")?, token: value("token:")? })
    }

    /// What lies at `path`, such as `/api/v1/pods`.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let client = reqwest::Client::new();
        let answer = client.get(format!("{}{path}", self.url)).bearer_auth(&self.token).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// Deletes what lies at `path`.
    pub async fn delete(&self, path: &str) -> Result<()> {
        let request = reqwest::Client::new().delete(format!("{}{path}", self.url)).bearer_auth(&self.token);
        request.send().await?.error_for_status()?;
        Ok(())
    }

    /// Changes the faults of a simulated cluster, such as `{"api_errors": 0.05}`.
    pub async fn faults(&self, faults: Value) -> Result<()> {
        let client = reqwest::Client::new();
        let body = faults.to_string();
        let request = client.post(format!("{}/sim/faults", self.url)).bearer_auth(&self.token);
        let answer = request.header("content-type", "application/json").body(body).send().await?;
        if !answer.status().is_success() {
            bail!("faults {faults} were refused: {}", answer.text().await?);
        }
        Ok(())
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
