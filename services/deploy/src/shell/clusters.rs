//! Follows the events of `cluster`: which clusters the platform has. What `deploy` learns it keeps as its own events, so
//! that its decisions can be replayed without anybody else's journal.

use bcs_kit::{
    machine::{self, Machine},
    run::Deps,
    subscribe::{self, Received, Retry},
    telemetry,
};
use bcs_schemas::{CommandId, cluster::ClusterEvent};

use crate::domain::state::{Deploy, Internal};

/// Follows until the tasks stop.
pub(crate) async fn follow(machine: &Machine<Deploy>, deps: &Deps) -> Result<(), bcs_kit::bus::Error> {
    let machine = machine.clone();
    subscribe::events(&deps.bus, &deps.clock, &deps.tasks, "deploy-clusters", move |received| {
        let machine = machine.clone();
        async move { take_in(&machine, received).await.map_err(|e| Retry(telemetry::chain(&e))) }
    })
    .await
}

async fn take_in(machine: &Machine<Deploy>, received: Received<ClusterEvent>) -> Result<(), machine::Error> {
    let wish = match received.event {
        ClusterEvent::ClusterImported(event) => Internal::ObserveCluster(event.labels),
        ClusterEvent::ClusterLabelled(event) => Internal::ObserveCluster(event.labels),
        ClusterEvent::ClusterRemoved(_) => Internal::ForgetCluster,
        ClusterEvent::ClusterHealthChanged(_)
        | ClusterEvent::NodeCordoned(_)
        | ClusterEvent::NodeUncordoned(_)
        | ClusterEvent::NodeGone(_) => {
            return Ok(());
        }
    };
    let id = CommandId::derived(&received.headers.id.to_string(), "deploy-observes-cluster");
    machine.submit(id, received.target, wish).await.map(drop)
}
