//! What must be known before a command is decided and can only be learned by asking: whether a kubeconfig works, and
//! whether a node exists.

use std::sync::Arc;

use bcs_engines::kubernetes::connect;
use bcs_kit::{
    Clock,
    machine::{Admission, Machine},
};
use bcs_schemas::{
    Name,
    cluster::{ClusterCommand, ImportCluster},
    outcome::{Rejection, RejectionCode},
    resource::cluster::AgentPlace,
    subject::Target,
};

use super::Observed;
use crate::domain::State;

struct Admit {
    machine: Machine<State>,
    observed: Observed,
    clock: Clock,
}

/// The hook for the command loop.
pub(crate) fn hook(machine: Machine<State>, observed: Observed, clock: Clock) -> Admission<ClusterCommand> {
    let admit = Arc::new(Admit { machine, observed, clock });
    Arc::new(move |target, command| {
        let admit = admit.clone();
        Box::pin(async move { admit.look(&target, &command).await })
    })
}

impl Admit {
    async fn look(&self, target: &Target, command: &ClusterCommand) -> Result<(), Rejection> {
        match command {
            ClusterCommand::ImportCluster(import) => self.reachable(&target.name, import).await,
            ClusterCommand::CordonNode(it) => self.exists(&target.name, &it.node),
            ClusterCommand::UncordonNode(it) => self.exists(&target.name, &it.node),
            ClusterCommand::LabelCluster(_) | ClusterCommand::RemoveCluster(_) => Ok(()),
        }
    }

    /// A remote agent's credentials lie where only it can read them. What the decision refuses anyway, and what would
    /// change nothing about how the cluster is reached, is not probed.
    async fn reachable(&self, name: &Name, import: &ImportCluster) -> Result<(), Rejection> {
        let live = self.machine.live();
        let known = live.state.members.get(name);
        let same = known.is_some_and(|member| member.spec == import.spec);
        if same || import.spec.agent == AgentPlace::Remote || !import.spec.validate().is_empty() {
            return Ok(());
        }
        match connect::connect(&import.spec, self.clock.clone()).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let code =
                    if error.transient() { RejectionCode::Unreachable } else { RejectionCode::Invalid };
                Err(Rejection { code, ..Rejection::invalid(vec![error.field()]) })
            }
        }
    }

    fn exists(&self, cluster: &Name, node: &str) -> Result<(), Rejection> {
        if !self.observed.lacks(cluster, node) {
            return Ok(());
        }
        let nodes = self.observed.nodes.snapshot();
        let names: Vec<&str> =
            nodes.values().filter(|n| n.cluster == *cluster).map(|n| n.name.as_str()).collect();
        let some: Vec<&str> = names.iter().copied().take(10).collect();
        let more = if names.len() > some.len() { ", …" } else { "" };
        let message =
            format!("node {node} is unknown in cluster {cluster}: it has {}{more}", some.join(", "));
        Err(Rejection::new(RejectionCode::NotFound, message))
    }
}
