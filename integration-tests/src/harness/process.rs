//! A process that ends with its owner, writes into a log of the lab, and takes any signal.

use std::{
    fs::OpenOptions,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tokio::process::{Child, Command};

use super::Lab;

/// A running process.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// Where in the log this run begins; runs before it wrote the rest.
    log_begin: usize,
}

impl Process {
    /// Starts `command`; what it writes goes to `<name>.log` in the lab.
    pub fn start(lab: &Lab, name: &str, mut command: Command) -> Result<Self> {
        let log = lab.log(&format!("{name}.log"));
        let log_begin = std::fs::read(&log).map(|bytes| bytes.len()).unwrap_or_default();
        let file = OpenOptions::new().create(true).append(true).open(&log)?;
        let (out, err) = (file.try_clone()?, file);
        command.stdin(Stdio::null()).stdout(out).stderr(err).kill_on_drop(true);
        let program = command.as_std().get_program().to_owned();
        let child = command.spawn().with_context(|| format!("{} cannot be run", program.display()))?;
        Ok(Self { name: name.to_owned(), child, log, log_begin })
    }

    /// Its number; an error when it has ended.
    pub fn pid(&self) -> Result<u32> {
        self.child.id().with_context(|| format!("{} has ended", self.name))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        signal_to(self.pid()?, signal)
    }

    /// What this run has written so far.
    pub fn output(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(self.log_begin..).unwrap_or_default()).into_owned()
    }

    /// Where it writes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// As `kill -9` does; returns when it is gone.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("{} cannot be killed", self.name))
    }

    /// Asks it to end and waits for that.
    pub async fn stop(mut self, within: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        match tokio::time::timeout(within, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!("{} does not end within {within:?}", self.name),
        }
    }
}

/// Sends a signal to any process.
pub fn signal_to(pid: u32, signal: Signal) -> Result<()> {
    let raw = i32::try_from(pid)?;
    let process = rustix::process::Pid::from_raw(raw).context("no process has number 0")?;
    rustix::process::kill_process(process, signal).with_context(|| format!("process {pid} takes no signal"))
}
