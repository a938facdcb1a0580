//! What can be asked: the list of clusters, and one of them, as it is or was.

use std::sync::Arc;

use bcs_kit::{
    bus,
    machine::{Live, Machine, target},
    reads::Reads,
    run::Deps,
};
use bcs_schemas::{
    Name, Service,
    query::{ClusterPast, ClusterView},
    subject::Target,
};

use crate::{
    domain::{Member, State, view::view},
    shell::Observed,
};

/// Answers `cluster.list`, `cluster.get` and `cluster.past` until the group stops.
pub(crate) async fn open(
    machine: Machine<State>,
    observed: Arc<Observed>,
    deps: &Deps,
) -> Result<(), bus::Error> {
    let mut reads = Reads::new(Service::Cluster, machine, &deps.clock);
    let seen = observed.clone();
    reads.serve_list("cluster", move |live, query, page| {
        let after = |name: &Name| query.after.as_deref().is_none_or(|after| name.as_str() > after);
        let asked = |name: &Name| query.name.as_ref().is_none_or(|n| n == name);
        for (name, member) in live.state.members.iter().filter(|(name, _)| asked(name) && after(name)) {
            if !page.add(|| name.to_string(), one(live, name, member, &seen)) {
                break;
            }
        }
        Ok(())
    });
    reads.serve("cluster", "get", move |live, query| {
        let name = query.name.as_ref().ok_or("name: is missing")?;
        let member = live.state.member(name).map_err(|rejection| rejection.message)?;
        Ok(one(live, name, member, &observed))
    });
    reads.serve_past("cluster", past);
    reads.open(&deps.bus, &deps.tasks).await
}

fn past(live: &Live<State>, target: &Target) -> Option<ClusterPast> {
    let member = live.state.members.get(&target.name)?;
    Some(ClusterPast {
        name: target.name.clone(),
        labels: member.labels.clone(),
        spec: member.spec.clone(),
        generation: member.generation,
        revision: live.revision(target),
        health: member.health,
    })
}

fn one(live: &Live<State>, name: &Name, member: &Member, observed: &Observed) -> ClusterView {
    let revision = live.revision(&target(&Name::system(), "cluster", name));
    view(name, member, revision, observed.clusters.snapshot().get(name.as_str()).map(AsRef::as_ref))
}
