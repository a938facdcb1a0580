//! The sidecar as a process of its own.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{Lab, Process, built, free_port};

/// It ends within this time.
const STOPS_WITHIN: Duration = Duration::from_secs(20);

/// A sidecar that runs.
pub(in crate::bench) struct Sidecar {
    process: Process,
    health: u16,
}

impl Sidecar {
    /// With these registries, as documents.
    pub(in crate::bench) fn start(
        lab: &Lab,
        cluster: &str,
        nats: &str,
        registries: Vec<Value>,
    ) -> Result<Self> {
        let health = free_port()?;
        let settings = json!({
            "cluster": cluster, "owner": "bench", "bus": { "url": nats },
            "health_address": format!("127.0.0.1:{health}"),
            "registries": registries,
        });
        let path = lab.path().join(format!("{cluster}.toml"));
        std::fs::write(&path, toml::to_string(&settings)?)?;
        let mut command = Command::new(built("bcs-discovery-sidecar")?);
        command.arg("--config").arg(&path);
        Ok(Self { process: Process::start(lab, &format!("sidecar-{cluster}"), command)?, health })
    }

    pub(in crate::bench) fn pid(&self) -> Result<u32> {
        self.process.pid()
    }

    /// It does nothing while somebody else is measured: it would follow what others write as well.
    pub(in crate::bench) fn pause(&self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }

    pub(in crate::bench) fn resume(&self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }

    pub(in crate::bench) async fn stop(self) -> Result<()> {
        self.process.stop(STOPS_WITHIN).await.map(drop)
    }

    /// A figure of its own, such as `bcs_sidecar_entries`.
    pub(in crate::bench) async fn metric(&self, name: &str) -> Result<f64> {
        let text = self.get("metrics").await?.text().await?;
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")));
        let line = line.with_context(|| format!("no {name} in its metrics"))?;
        Ok(line.rsplit(' ').next().unwrap_or_default().parse()?)
    }

    /// Whether it has read the bus and its registry as a whole.
    pub(in crate::bench) async fn ready(&self) -> bool {
        self.get("readyz").await.is_ok_and(|answer| answer.status().is_success())
    }

    async fn get(&self, path: &str) -> Result<reqwest::Response> {
        Ok(reqwest::get(format!("http://127.0.0.1:{}/{path}", self.health)).await?)
    }
}
