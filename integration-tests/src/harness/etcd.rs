//! An etcd of its own, that can be killed and started again with its data, seen through etcd's own API.

use std::{process::ExitStatus, time::Duration};

use anyhow::{Context, Result};
use etcd_client::{Client, GetOptions};
use tokio::process::Command;

use super::{Lab, Poll, Process, find, free_port, wait_until};

/// A server with one member.
pub struct Etcd {
    process: Option<Process>,
    data: std::path::PathBuf,
    port: u16,
    peer_port: u16,
}

/// Longer than a start takes on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

impl Etcd {
    /// Starts one.
    pub async fn start(lab: &Lab) -> Result<Self> {
        let (port, peer_port) = (free_port()?, free_port()?);
        let data = lab.path().join(format!("etcd-{port}"));
        let mut etcd = Self { process: None, data, port, peer_port };
        etcd.start_again(lab).await?;
        Ok(etcd)
    }

    /// Starts it again with its data.
    pub async fn start_again(&mut self, lab: &Lab) -> Result<()> {
        let program = find("etcd", "ETCD_BIN", "install Debian's etcd-server")?;
        let (client, peer) = (self.url(), format!("http://127.0.0.1:{}", self.peer_port));
        let mut command = Command::new(program);
        command.arg("--data-dir").arg(&self.data);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("default={peer}"), "--log-level", "warn"]);
        self.process = Some(Process::start(lab, "etcd", command)?);
        wait_until(STARTS_WITHIN, "etcd answers", async || Poll::from(self.keys("ready").await)).await?;
        Ok(())
    }

    /// As `kill -9` does.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.take().context("etcd does not run")?.kill().await
    }

    /// Asks it to end and waits for that.
    pub async fn stop(&mut self, within: Duration) -> Result<ExitStatus> {
        self.process.take().context("etcd does not run")?.stop(within).await
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its number.
    pub fn pid(&self) -> Result<u32> {
        self.process.as_ref().context("etcd does not run")?.pid()
    }

    /// An independent client.
    pub async fn client(&self) -> Result<Client> {
        Ok(Client::connect([self.url()], None).await?)
    }

    /// Every key below `prefix`, with its value.
    pub async fn keys(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        let ask = async {
            let options = GetOptions::new().with_prefix();
            let mut found = self.client().await?.get(prefix, Some(options)).await?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Ok(found.take_kvs().iter().map(|kv| (text(kv.key()), text(kv.value()))).collect())
        };
        tokio::time::timeout(Duration::from_secs(5), ask).await.context("etcd does not answer")?
    }
}
