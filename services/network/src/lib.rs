//! `network`: addresses. For now it owns its subjects and answers one question: which addresses are in use.

mod domain;
mod reads;

use bcs_kit::{
    machine::{self, Machine, Silent},
    run::{Deps, ServiceConfig},
};
use bcs_schemas::{Service, bucket};

/// The machine of this service: it decides nothing yet.
pub type Network = Silent<2>;

/// Starts the service in `deps.tasks`; returns when it answers.
pub async fn run(config: &ServiceConfig, deps: &Deps) -> Result<Machine<Network>, machine::Error> {
    let url = config.journal_of(Service::Network);
    let machine: Machine<Network> = Machine::start(&url, &deps.clock, &deps.tasks).await?;
    machine.lead(&deps.bus, &deps.clock, &deps.tasks, None, async |_| Ok(()));
    machine.report_to(&deps.health);
    let endpoints = deps.bus.bucket(bucket::ENDPOINTS).await?.watch(&deps.tasks, ">");
    reads::open(&machine, endpoints.clone(), deps).await?;
    deps.health.check("network", move || {
        if endpoints.is_synced() { Ok(()) } else { Err("endpoints not read yet".to_owned()) }
    });
    Ok(machine)
}
