//! `deploy`: applications and their rollouts. It decides commands, keeps every decision as an event, and makes it true
//! in the clusters through their agents.

pub mod domain;
mod reads;
mod shell;

use std::sync::Arc;

use bcs_kit::{
    machine::{self, Machine},
    reconcile,
    run::{Deps, ServiceConfig},
};
use bcs_schemas::{Service, bucket};
use tokio::time::Instant;

use domain::state::Deploy;
use shell::{
    clusters, parts::Parts, reconciler::Apps, statuses::Statuses, steps::Agents, views::Views, wake,
    world::World,
};

/// Starts the service in `deps.tasks`; returns when it answers. Every instance works out statuses; the one that leads
/// notes them and acts.
pub async fn run(config: &ServiceConfig, deps: &Deps) -> Result<Machine<Deploy>, machine::Error> {
    let Deps { clock, bus, tasks, health } = deps;
    let views = Views {
        clusters: bus.bucket(bucket::CLUSTERS).await?.watch(tasks, ">"),
        workloads: bus.bucket(bucket::WORKLOADS).await?.watch(tasks, ">"),
        endpoints: bus.bucket(bucket::ENDPOINTS).await?.watch(tasks, ">"),
        registrations: bus.bucket(bucket::REGISTRATIONS).await?.watch(tasks, ">"),
        registries: bus.bucket(bucket::REGISTRIES).await?.watch(tasks, ">"),
        pulses: Default::default(),
    };
    let url = config.journal_of(Service::Deploy);
    let machine: Machine<Deploy> = Machine::start(&url, clock, tasks).await?;
    let statuses = Statuses::default();
    machine.report_to(health);
    reads::open(&machine, &statuses, deps).await?;

    let (apps, app_wakes) = reconcile::waker();
    let (parts, part_wakes) = reconcile::waker();
    wake::on_decisions(&machine, &apps, tasks);
    wake::on_observations(&views, &apps, tasks);
    let world = Arc::new(World {
        machine: machine.clone(),
        views: views.clone(),
        statuses,
        under_way: Default::default(),
        doubts: Default::default(),
        begun: Instant::now(),
        clock: clock.clone(),
    });
    let (leader, woken, outside) = (world.clone(), apps.clone(), deps.clone());
    machine.lead(bus, clock, tasks, None, move |group| {
        let (world, apps, deps) = (leader.clone(), woken.clone(), Deps { tasks: group, ..outside.clone() });
        async move {
            world.takes_over();
            clusters::follow(&world.machine, &deps).await?;
            apps.wake_all();
            Ok(())
        }
    });
    let agents = Agents { bus: bus.clone(), clock: clock.clone() };
    reconcile::run(tasks, "apps", Arc::new(Apps { world: world.clone(), parts }), app_wakes);
    reconcile::run(tasks, "parts", Arc::new(Parts { world, apps, agents }), part_wakes);

    health.check("deploy", move || views.missing());
    Ok(machine)
}
