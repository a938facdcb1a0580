//! The cluster service: which clusters belong to the platform, how they do, and the agents that talk to them.

pub mod config;
pub mod domain;
mod reads;
pub mod remote;
pub mod shell;

use std::{collections::BTreeMap, sync::Arc};

use bcs_kit::{
    machine::{self, Machine},
    run::Deps,
};
use bcs_schemas::{
    Name,
    bucket::{CLUSTERS, NODES},
};

pub use config::{AgentConfig, Config, Injection};
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
    /// Sidecars cannot be put into pods in this way.
    #[error("injection for cluster {0}")]
    Injection(Name, #[source] config::InjectionError),
}

/// Starts the service in `deps.tasks`; returns when it answers. Agents run wherever they get the lease of their cluster;
/// the instance that leads judges and acts.
pub async fn run(config: &Config, deps: &Deps) -> Result<Machine<State>, Error> {
    let Deps { clock, bus, tasks, health } = deps;
    let injections = injections(config)?;
    let observed = Observed {
        clusters: bus.bucket(CLUSTERS).await?.watch(tasks, ">"),
        nodes: bus.bucket(NODES).await?.watch(tasks, ">"),
    };
    let machine = Machine::<State>::start(&config.journal_url, clock, tasks).await?;
    machine.report_to(health);
    agents::start(config.agent, injections, machine.clone(), deps);
    let admission = admission::hook(machine.clone(), observed.clone(), clock.clone());
    let (leader, seen, outside, settings) = (machine.clone(), observed.clone(), deps.clone(), config.clone());
    machine.lead(bus, clock, tasks, Some(admission), move |group| {
        let deps = Deps { tasks: group, ..outside.clone() };
        diagnosis::start(&settings, leader.clone(), seen.clone(), &deps);
        cordon::start(leader.clone(), seen.clone(), &deps);
        async { Ok(()) }
    });
    let clusters = observed.clusters.clone();
    health.check("cluster", move || {
        if clusters.is_synced() { Ok(()) } else { Err("heartbeats not read yet".to_owned()) }
    });
    reads::open(machine.clone(), Arc::new(observed), deps).await?;
    Ok(machine)
}

/// Each as it was set, unless something is wrong with it.
fn injections(config: &Config) -> Result<BTreeMap<Name, Arc<Injection>>, Error> {
    let checked = config.injection.iter().map(|(cluster, injection)| match injection.clone().checked() {
        Ok(injection) => Ok((cluster.clone(), Arc::new(injection))),
        Err(error) => Err(Error::Injection(cluster.clone(), error)),
    });
    checked.collect()
}
