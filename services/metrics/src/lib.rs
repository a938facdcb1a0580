//! `metrics`: measurements. For now it owns its subjects and tells Prometheus what is observed of applications, their
//! instances and their registrations, each with its age.

mod collector;
mod domain;

use bcs_kit::{
    machine::{self, Machine, Silent},
    reads::Reads,
    run::{Deps, ServiceConfig},
};
use bcs_schemas::{Service, bucket};

/// The machine of this service: it decides nothing yet.
pub type Metrics = Silent<3>;

/// Starts the service in `deps.tasks`; returns when it answers.
pub async fn run(config: &ServiceConfig, deps: &Deps) -> Result<Machine<Metrics>, machine::Error> {
    let url = config.journal_of(Service::Metrics);
    let machine: Machine<Metrics> = Machine::start(&url, &deps.clock, &deps.tasks).await?;
    machine.lead(&deps.bus, &deps.clock, &deps.tasks, None, async |_| Ok(()));
    machine.report_to(&deps.health);
    Reads::new(Service::Metrics, machine.clone(), &deps.clock).open(&deps.bus, &deps.tasks).await?;
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
