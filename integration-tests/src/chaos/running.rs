//! One process of the world, whatever it is: it can be killed, stopped, paused and started again.

use std::{ffi::OsString, path::PathBuf, process::ExitStatus, time::Duration};

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::process::Command;

use crate::harness::{Etcd, Lab, NatsServer, Postgres, Process, signal_to};

/// How a program of ours is started, each time in the same way.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: Vec<(&'static str, String)>,
}

/// A process, or what is left of it.
pub(super) enum Running {
    Nats(NatsServer),
    Etcd(Etcd),
    Postgres(Postgres),
    Program(Recipe, Option<Process>),
}

/// Longer than anything winds down.
const STOPS_WITHIN: Duration = Duration::from_secs(30);

impl Recipe {
    pub(super) fn start(self, lab: &Lab) -> Result<Running> {
        let mut running = Running::Program(self, None);
        running.launch(lab)?;
        Ok(running)
    }
}

impl Running {
    fn launch(&mut self, lab: &Lab) -> Result<()> {
        if let Self::Program(recipe, process) = self {
            let mut command = Command::new(&recipe.program);
            command.args(&recipe.arguments).envs(recipe.environment.iter().cloned());
            *process = Some(Process::start(lab, &recipe.name, command)?);
        }
        Ok(())
    }

    /// Its number; none for a database, which is several processes.
    pub(super) fn pid(&self) -> Option<u32> {
        match self {
            Self::Nats(server) => server.pid().ok(),
            Self::Etcd(server) => server.pid().ok(),
            Self::Postgres(_) => None,
            Self::Program(_, process) => process.as_ref().and_then(|p| p.pid().ok()),
        }
    }

    /// As `kill -9` does.
    pub(super) async fn kill(&mut self) -> Result<()> {
        match self {
            Self::Nats(server) => server.kill().await,
            Self::Etcd(server) => server.kill().await,
            Self::Postgres(server) => server.kill(),
            Self::Program(_, process) => process.take().context("does not run")?.kill().await,
        }
    }

    /// Asks it to end, and waits for that.
    pub(super) async fn stop(&mut self) -> Result<()> {
        match self {
            Self::Nats(server) => server.stop(STOPS_WITHIN).await.map(drop),
            Self::Etcd(server) => server.stop(STOPS_WITHIN).await.map(drop),
            Self::Postgres(server) => server.kill(),
            Self::Program(_, process) => {
                process.take().context("does not run")?.stop(STOPS_WITHIN).await.map(drop)
            }
        }
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        signal_to(self.pid().context("does not run")?, signal)
    }

    /// Starts it again where it was. A server answers when this returns.
    pub(super) async fn start_again(&mut self, lab: &Lab) -> Result<()> {
        match self {
            Self::Nats(server) => server.start_again(lab).await,
            Self::Etcd(server) => server.start_again(lab).await,
            Self::Postgres(server) => server.start_again().await,
            Self::Program(..) => self.launch(lab),
        }
    }

    /// How it ended, if it did so by itself.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        match self {
            Self::Program(_, Some(process)) => process.ended().ok().flatten(),
            _ => None,
        }
    }
}
