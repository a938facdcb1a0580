//! `bcs up` as a process: started and ready, stopped as by Ctrl-C, killed, started again in the same directory.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use bcs_client::Client;
use bcs_kit::bus::BusConfig;
use rustix::process::Signal;

use super::{ApiServer, Cli, Lab, NotYet, Process, Ready, process::signal_to, wait_until};

/// How it is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Register in this etcd as well.
    pub etcd: Option<String>,
    /// What is logged.
    pub log: String,
    /// With TLS, and a key for everybody.
    pub secure: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { etcd: None, log: "info".to_owned(), secure: false }
    }
}

/// The platform in one process, with its nats-server as a child.
pub struct Up {
    options: Options,
    data: PathBuf,
    home: PathBuf,
    process: Option<Process>,
    nats: String,
    health: String,
}

/// Longer than a start takes on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// Longer than it may take to wind down.
const STOPS_WITHIN: Duration = Duration::from_secs(30);

impl Up {
    /// Starts it in the lab and waits until it says that it is up.
    pub async fn start(lab: &Lab, options: Options) -> Result<Self> {
        let (data, home) = (lab.path().join("data"), lab.path().join("home"));
        std::fs::create_dir_all(&home)?;
        // Everybody else names the directory as the system does.
        std::fs::create_dir_all(&data)?;
        let data = data.canonicalize()?;
        let (nats, health) = (String::new(), String::new());
        let mut up = Self { options, data, home, process: None, nats, health };
        up.start_again(lab).await?;
        lab.show(&up.data.join("nats/log"));
        Ok(up)
    }

    /// Starts it in the same directory and waits until it says that it is up.
    pub async fn start_again(&mut self, lab: &Lab) -> Result<()> {
        self.launch(lab)?;
        self.ready().await
    }

    /// Starts it and does not wait.
    pub fn launch(&mut self, lab: &Lab) -> Result<()> {
        let mut command = self.cli().command()?;
        command.env_remove("BCS_NATS_URL").arg("up").arg("--data").arg(&self.data);
        command.args([
            "--nats-port",
            "0",
            "--health",
            "127.0.0.1:0",
            "--no-context",
            "--log",
            &self.options.log,
        ]);
        if self.options.secure {
            command.arg("--secure");
        }
        if let Some(etcd) = &self.options.etcd {
            command.args(["--etcd", etcd]);
        }
        self.process = Some(Process::start(lab, "up", command)?);
        Ok(())
    }

    /// Waits until it says that it is up, and reads where everything is.
    pub async fn ready(&mut self) -> Result<()> {
        let process = self.process.as_mut().context("bcs up does not run")?;
        let banner = wait_until(STARTS_WITHIN, "bcs up starts", async || match process.ended() {
            Ok(Some(status)) => Ready(Err(status)),
            _ if process.output().contains("Ctrl-C stops it") => Ready(Ok(process.output())),
            _ => NotYet(format!("it said {:?}", process.output())),
        })
        .await?;
        let Ok(banner) = banner else { bail!("bcs up ended at the start: {}", process.output()) };
        let word = |part: &str| {
            let line = banner.lines().find(|line| line.trim_start().starts_with(part));
            let word = line.and_then(|line| line.split_whitespace().nth(1)).map(str::to_owned);
            word.with_context(|| format!("bcs up does not say where its {part} is: {banner}"))
        };
        self.nats = word("bus")?;
        self.health = word("health")?.trim_end_matches("/readyz").to_owned();
        Ok(())
    }

    /// As Ctrl-C does; demands that it ends well.
    pub async fn stop(&mut self) -> Result<()> {
        let process = self.process.take().context("bcs up does not run")?;
        let status = process.stop(STOPS_WITHIN).await?;
        if !status.success() {
            bail!("bcs up was stopped and ended with {status}");
        }
        Ok(())
    }

    /// As `kill -9` does. Its nats-server lives on, as it would.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.take().context("bcs up does not run")?.kill().await
    }

    /// Its number.
    pub fn pid(&self) -> Result<u32> {
        self.process.as_ref().context("bcs up does not run")?.pid()
    }

    /// Number of its nats-server.
    pub fn nats_pid(&self) -> Result<u32> {
        let text =
            std::fs::read_to_string(self.data.join("nats/pid")).context("nats-server has no pid file")?;
        Ok(text.trim().parse()?)
    }

    /// Sends its nats-server a signal.
    pub fn signal_nats(&self, signal: Signal) -> Result<()> {
        signal_to(self.nats_pid()?, signal)
    }

    /// Address of the bus.
    pub fn nats(&self) -> &str {
        &self.nats
    }

    /// Where health and metrics are served, such as `http://127.0.0.1:1234`.
    pub fn health(&self) -> &str {
        &self.health
    }

    /// Its directory.
    pub fn data(&self) -> &std::path::Path {
        &self.data
    }

    /// Certificate of the authority of its bus, if that speaks TLS.
    pub fn ca(&self) -> PathBuf {
        self.data.join("bus/ca.pem")
    }

    /// How a user with a key reaches its bus, if that asks for keys.
    pub fn with_key(&self, user: &str) -> BusConfig {
        BusConfig {
            url: self.nats.clone(),
            credentials: Some(self.data.join(format!("bus/{user}.nk"))),
            ca: Some(self.ca()),
            inbox: Some(format!("_INBOX.{user}")),
            ..BusConfig::default()
        }
    }

    /// Journal of a service.
    pub fn journal(&self, service: &str) -> PathBuf {
        self.data.join("journal").join(format!("{service}.db"))
    }

    /// Directory of the file registry.
    pub fn registry(&self) -> PathBuf {
        self.data.join("registry")
    }

    /// The API server of a cluster: `sim-a` or `sim-b`.
    pub fn cluster(&self, name: &str) -> Result<ApiServer> {
        ApiServer::read(&self.data.join("clusters").join(name).join("kubeconfig"))
    }

    /// The command line, speaking to this bus.
    pub fn cli(&self) -> Cli {
        Cli { nats: self.nats.clone(), home: self.home.clone() }
    }

    /// A client of this bus.
    pub async fn client(&self) -> Result<Client> {
        let config = BusConfig { url: self.nats.clone(), ..BusConfig::default() };
        Ok(Client::connect(&config, "test").await?)
    }

    /// A plain connection, as any program has one.
    pub async fn plain(&self) -> Result<async_nats::Client> {
        Ok(async_nats::connect(&self.nats).await?)
    }
}

impl Drop for Up {
    /// A platform that is dropped in the middle leaves a nats-server behind: it is ours if it works on our directory.
    fn drop(&mut self) {
        self.process = None;
        let Ok(pid) = self.nats_pid() else { return };
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let ours = self.data.join("nats").display().to_string();
        if String::from_utf8_lossy(&line).contains(&ours) {
            let _ = signal_to(pid, Signal::KILL);
        }
    }
}
