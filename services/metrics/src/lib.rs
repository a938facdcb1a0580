//! `metrics`: measurements. For now it owns its subjects and tells Prometheus what is observed of applications, their
//! instances and their registrations, each with its age.

mod collector;
pub mod config;
mod domain;

use bcs_kit::{
    machine::{self, Machine, Options, Silent},
    reads::Reads,
    run::Deps,
};
use bcs_schemas::{Service, bucket};

pub use config::Config;

/// The machine of this service: it decides nothing yet.
pub type Metrics = Silent<3>;

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command loop.
    #[error("command loop")]
    Machine(#[from] machine::Error),
    /// The bus.
    #[error("bus")]
    Bus(#[from] bcs_kit::bus::Error),
}

/// Starts the service in `deps.tasks`; returns when it answers.
pub async fn run(config: &Config, deps: &Deps) -> Result<Machine<Metrics>, Error> {
    let options = Options { journal_url: config.journal_url.clone(), admission: None };
    let machine: Machine<Metrics> = Machine::start(options, &deps.bus, &deps.clock, &deps.tasks).await?;
    machine.report_to(&deps.health);
    Reads::open(Service::Metrics, machine.clone(), &deps.bus, &deps.clock, &deps.tasks).await?;
    let views = collector::Views {
        clusters: deps.bus.bucket(bucket::CLUSTERS).await?.watch(&deps.tasks, ">"),
        workloads: deps.bus.bucket(bucket::WORKLOADS).await?.watch(&deps.tasks, ">"),
        endpoints: deps.bus.bucket(bucket::ENDPOINTS).await?.watch(&deps.tasks, ">"),
        registrations: deps.bus.bucket(bucket::REGISTRATIONS).await?.watch(&deps.tasks, ">"),
        registries: deps.bus.bucket(bucket::REGISTRIES).await?.watch(&deps.tasks, ">"),
    };
    collector::register(views.clone(), deps);
    deps.health.check("metrics", move || views.missing());
    Ok(machine)
}
