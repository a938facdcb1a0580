//! The cluster service: which clusters belong to the platform, how they do, and the agents that talk to them.

pub mod config;
pub mod domain;
mod reads;
pub mod remote;
pub mod shell;

use std::sync::Arc;

use bcs_kit::{
    machine::{self, Machine, Options},
    run::Deps,
};
use bcs_schemas::bucket::{CLUSTERS, NODES};

pub use config::{AgentConfig, Config};
use domain::State;
use shell::{Observed, admission, agents, cordon, diagnosis};

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bus refused something.
    #[error("bus")]
    Bus(#[from] bcs_kit::bus::Error),
    /// The command loop did not start.
    #[error("command loop")]
    Machine(#[from] machine::Error),
}

/// Starts the service in `deps.tasks`; returns when it takes commands.
pub async fn run(config: &Config, deps: &Deps) -> Result<Machine<State>, Error> {
    let Deps { clock, bus, tasks, health } = deps;
    let observed = Observed {
        clusters: bus.bucket(CLUSTERS).await?.watch(tasks, ">"),
        nodes: bus.bucket(NODES).await?.watch(tasks, ">"),
    };
    let (doors, admission) = admission::hook(observed.clone(), clock.clone());
    let options = Options { journal_url: config.journal_url.clone(), admission: Some(admission) };
    let machine = Machine::<State>::start(options, bus, clock, tasks).await?;
    doors.open(machine.clone());
    machine.report_to(health);
    agents::start(config.agent, machine.clone(), deps);
    diagnosis::start(config, machine.clone(), observed.clone(), deps);
    cordon::start(machine.clone(), observed.clone(), deps);
    let clusters = observed.clusters.clone();
    health.check("cluster", move || {
        if clusters.is_synced() { Ok(()) } else { Err("heartbeats not read yet".to_owned()) }
    });
    reads::open(machine.clone(), Arc::new(observed), deps).await?;
    Ok(machine)
}
