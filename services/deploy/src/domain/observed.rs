//! What the clusters and the registries say about one application, joined.

use std::{collections::BTreeMap, sync::Arc};

use bcs_schemas::{
    Name,
    bucket::app_prefix,
    observation::{
        ClusterHealth, Endpoint, EndpointPhase, Registration, RegistrationState, RegistryStatus, Workload,
    },
    resource::{app::OnDeadline, registry::Applicant},
};
use imbl::OrdMap;
use jiff::{SignedDuration, Timestamp};

use super::{
    app::{App, AppKey},
    place::Clusters,
};

/// A cluster whose agent was silent for longer is not acted upon.
pub const SILENCE: SignedDuration = SignedDuration::from_secs(40);

type View<T> = OrdMap<String, Arc<T>>;

/// Every observation, as the buckets hold it.
#[derive(Clone, Debug, Default)]
pub struct Observations {
    /// Heartbeats of clusters.
    pub clusters: View<ClusterHealth>,
    /// When a heartbeat of each was last heard to change, on our own clock: that of its agent may be wrong.
    pub heard: BTreeMap<String, Timestamp>,
    /// Instances counted by the engines.
    pub workloads: View<Workload>,
    /// Instances.
    pub endpoints: View<Endpoint>,
    /// What registries know.
    pub registrations: View<Registration>,
    /// Registries.
    pub registries: View<RegistryStatus>,
}

/// One application, as it is seen.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// By cluster: those that hold it, and those that shall.
    pub clusters: BTreeMap<Name, InCluster>,
}

/// The application in one cluster.
#[derive(Clone, Debug, Default)]
pub struct InCluster {
    /// Why nothing may be done here now; what is known may be old.
    pub unusable: Option<String>,
    /// When its agent was last heard of.
    pub heard_at: Option<Timestamp>,
    /// Replicas that the engine keeps, by revision.
    pub workloads: BTreeMap<Name, Kept>,
    /// Instances, by name.
    pub instances: Vec<Instance>,
}

/// What the engine keeps of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// How many it is told to keep.
    pub replicas: u32,
    /// What it complains of.
    pub reason: Option<String>,
    /// Since when the agent saw no change.
    pub observed_at: Timestamp,
}

/// An instance and what the registries say about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Name in its cluster.
    pub name: String,
    /// Which incarnation.
    pub uid: String,
    /// What it runs.
    pub revision: Name,
    /// Where it stands.
    pub stage: Stage,
    /// Since when.
    pub since: Timestamp,
    /// Whether the engine says that it is ready.
    pub ready: bool,
    /// Whether it carries what the application wants of registries now, or never will: see [`lacks_a_port`].
    pub told: bool,
    /// Whether the engine waits to hear that every registry has confirmed it.
    pub gated: bool,
}

/// Where an instance stands on its way in and out of service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not in service yet, or not any more, and why.
    Waiting(String),
    /// Ready, and registered wherever it must be.
    Available,
    /// Being taken out of service, and what has not confirmed yet.
    Draining(String),
    /// Out of service: it may be stopped. The words say when the deadline decided instead of the registries.
    Drained(Option<String>),
    /// The engine is stopping it already.
    Stopping,
}

impl Instance {
    /// Whether it is wanted to serve, now or soon.
    pub fn live(&self) -> bool {
        matches!(self.stage, Stage::Waiting(_) | Stage::Available)
    }

    /// Whether it may serve: available, or ready and only not known to every registry.
    pub fn serves(&self) -> bool {
        self.available() || self.ready
    }

    /// Whether it serves for sure.
    pub fn available(&self) -> bool {
        self.stage == Stage::Available
    }
}

impl Observed {
    /// Joins what is known about an application. `members` are the clusters that the platform has: what runs in one that
    /// was removed goes on running and is nobody's business any more, so a deletion does not wait for it.
    pub fn join(key: &AppKey, app: &App, members: &Clusters, all: &Observations, now: Timestamp) -> Self {
        let member = |name: &&Name| members.contains_key(*name);
        let deleting = app.deleting_since.is_some();
        // A cluster that was removed matters only where something is still wanted in it.
        let placed = app.shares.iter().filter(|(name, share)| member(name) || (**share > 0 && !deleting));
        let held = app.held.iter().filter(|name| deleting && member(name));
        let named = placed.map(|(name, _)| name).chain(held).cloned();
        let seen = all.clusters.values().map(|health| &health.cluster).filter(member).cloned();
        let mut clusters: BTreeMap<Name, InCluster> =
            named.chain(seen).map(|c| (c, InCluster::default())).collect();
        for (name, cluster) in &mut clusters {
            *cluster = in_cluster(name, key, app, all, now);
            if !members.contains_key(name) {
                cluster.unusable =
                    Some(format!("cluster {name} was removed from the platform: place the app elsewhere"));
            }
        }
        clusters.retain(|name, cluster| {
            app.shares.contains_key(name) || !cluster.empty() || (deleting && app.held.contains(name))
        });
        Self { clusters }
    }

    /// Whether there is fresh news that a cluster holds nothing.
    pub fn empty(&self, cluster: &Name) -> bool {
        self.clusters.get(cluster).is_some_and(|c| c.unusable.is_none() && c.empty())
    }

    /// Every instance, with its cluster.
    pub fn instances(&self) -> impl Iterator<Item = (&Name, &Instance)> {
        self.clusters.iter().flat_map(|(name, cluster)| cluster.instances.iter().map(move |i| (name, i)))
    }
}

impl InCluster {
    /// Whether nothing is known to be here.
    pub fn empty(&self) -> bool {
        self.workloads.is_empty() && self.instances.is_empty()
    }
}

fn in_cluster(name: &Name, key: &AppKey, app: &App, all: &Observations, now: Timestamp) -> InCluster {
    let prefix = app_prefix(name, &key.project, &key.name);
    let kept = |w: &Arc<Workload>| {
        let kept = Kept { replicas: w.replicas, reason: w.reason.clone(), observed_at: w.observed_at };
        (w.revision.clone(), kept)
    };
    let gone = |e: &&Arc<Endpoint>| e.phase == EndpointPhase::Gone;
    let kept_here = format!("{name}.");
    let registries: Registries<'_> = under(&all.registries, &kept_here).map(|status| &**status).collect();
    InCluster {
        unusable: unusable(name, all, now),
        heard_at: heard_at(name, all),
        workloads: under(&all.workloads, &prefix).map(kept).collect(),
        instances: under(&all.endpoints, &prefix)
            .filter(|e| !gone(e))
            .map(|endpoint| instance(endpoint, app, &registries, all, now))
            .collect(),
    }
}

fn under<'a, T>(view: &'a View<T>, prefix: &'a str) -> impl Iterator<Item = &'a Arc<T>> {
    view.range(prefix.to_owned()..)
        .take_while(move |(key, _)| key.starts_with(prefix))
        .map(|(_, value)| value)
}

fn heard_at(name: &Name, all: &Observations) -> Option<Timestamp> {
    let told = || all.clusters.get(name.as_str()).map(|health| health.observed_at);
    all.heard.get(name.as_str()).copied().or_else(told)
}

fn unusable(name: &Name, all: &Observations, now: Timestamp) -> Option<String> {
    let Some(health) = all.clusters.get(name.as_str()) else {
        return Some(format!("cluster {name} has not reported yet"));
    };
    match all.heard.get(name.as_str()) {
        Some(heard) if now.duration_since(*heard) > SILENCE => {
            return Some(format!("cluster {name} is silent since {heard:.0}"));
        }
        Some(_) => (),
        // What was there when we began to listen is believed as far as the clocks agree; a living agent soon says more.
        None if now.duration_since(health.observed_at).abs() > SILENCE => {
            return Some(format!("cluster {name} is silent since {:.0}", health.observed_at));
        }
        None => (),
    }
    if !health.reachable {
        let why = health.reason.as_deref().unwrap_or("its engine does not answer");
        return Some(format!("cluster {name} cannot be reached: {why}"));
    }
    (!health.synced).then(|| format!("cluster {name} is being read"))
}

/// Registries that keep what runs in a cluster.
type Registries<'a> = Vec<&'a RegistryStatus>;

/// A registry that must confirm an instance, and why it cannot, when that is known.
type Asked = (Name, Option<String>);

/// Registries that must confirm an instance of an application that wants this.
fn asked(registries: &Registries<'_>, cluster: &Name, applicant: Applicant<'_>) -> Vec<Asked> {
    let Some(named) = applicant.register else {
        let takes = |status: &&&RegistryStatus| status.scope.takes(&status.registry, applicant);
        return registries.iter().filter(takes).map(|status| (status.registry.clone(), None)).collect();
    };
    let obstacle = |name: &Name| match registries.iter().find(|status| status.registry == *name) {
        None => Some(format!("no sidecar keeps registry {name} for cluster {cluster}")),
        Some(status) if status.scope.admits(applicant) => None,
        Some(_) => Some(format!(
            "registry {name} does not take it: its onlyIf names other projects, applications or labels"
        )),
    };
    named.iter().map(|wish| (wish.registry.clone(), obstacle(&wish.registry))).collect()
}

fn instance(
    endpoint: &Endpoint,
    app: &App,
    registries: &Registries<'_>,
    all: &Observations,
    now: Timestamp,
) -> Instance {
    let prefix =
        format!("{}{}.", app_prefix(&endpoint.cluster, &endpoint.project, &endpoint.app), endpoint.instance);
    let known: BTreeMap<&Name, &Registration> = under(&all.registrations, &prefix)
        .filter(|r| r.uid == endpoint.uid && r.instance == endpoint.instance)
        .map(|r| (&r.registry, &**r))
        .collect();
    let stage = match endpoint.phase {
        _ if endpoint.stopping => Stage::Stopping,
        // What the instance was told is what registries go by.
        EndpointPhase::Draining => {
            let asked = asked(registries, &endpoint.cluster, endpoint.applicant());
            drain_stage(endpoint, app, &asked, &known, now)
        }
        EndpointPhase::Ready => {
            let wanted = Applicant { register: app.spec.register.as_deref(), ..endpoint.applicant() };
            match unconfirmed(&asked(registries, &endpoint.cluster, wanted), &known) {
                None => Stage::Available,
                Some(why) => Stage::Waiting(why),
            }
        }
        EndpointPhase::Starting | EndpointPhase::Gone | EndpointPhase::Unknown => {
            Stage::Waiting(endpoint.reason.clone().unwrap_or_else(|| "is starting".to_owned()))
        }
    };
    Instance {
        name: endpoint.instance.clone(),
        uid: endpoint.uid.clone(),
        revision: endpoint.revision.clone(),
        stage,
        since: endpoint.since,
        ready: endpoint.phase == EndpointPhase::Ready,
        told: endpoint.register == app.spec.register || lacks_a_port(endpoint, app),
        gated: endpoint.registered == Some(false),
    }
}

/// Whether `register` names a port that this instance does not have: one of an older revision, which stays entered as it is
/// until it is replaced.
fn lacks_a_port(endpoint: &Endpoint, app: &App) -> bool {
    let wanted = app.spec.register.iter().flatten().filter_map(|wish| wish.port.as_ref());
    wanted.into_iter().any(|port| !endpoint.ports.iter().any(|offered| offered.name == *port))
}

fn unconfirmed(asked: &[Asked], known: &BTreeMap<&Name, &Registration>) -> Option<String> {
    asked.iter().find_map(|(registry, nobody)| match (nobody, known.get(registry)) {
        (Some(nobody), _) => Some(nobody.clone()),
        (None, Some(r)) if r.state == RegistrationState::Confirmed => None,
        (None, Some(r)) => Some(match &r.reason {
            Some(reason) => format!("registry {registry}: {reason}"),
            None => format!("registry {registry} has not confirmed it"),
        }),
        (None, None) => Some(format!("registry {registry} has not been told of it")),
    })
}

fn drain_stage(
    endpoint: &Endpoint,
    app: &App,
    asked: &[Asked],
    known: &BTreeMap<&Name, &Registration>,
    now: Timestamp,
) -> Stage {
    // Whoever was asked must answer, and so must whoever knows it, asked or not.
    let mut registries: Vec<&Name> =
        asked.iter().filter(|(_, nobody)| nobody.is_none()).map(|(registry, _)| registry).collect();
    registries.extend(known.keys().filter(|registry| !asked.iter().any(|(name, _)| name == **registry)));
    let open = registries
        .into_iter()
        .find(|registry| known.get(registry).is_none_or(|r| r.state != RegistrationState::Drained));
    let Some(registry) = open else { return Stage::Drained(None) };
    let why = match known.get(registry).and_then(|r| r.reason.as_deref()) {
        Some(reason) => format!("registry {registry}: {reason}"),
        None => format!("registry {registry} has not confirmed that it is out"),
    };
    let late = now.duration_since(endpoint.since) > app.spec.drain.deadline.signed();
    match (late, app.spec.drain.on_deadline) {
        (false, _) => Stage::Draining(why),
        (true, OnDeadline::Ask) if !app.forced => {
            let exit = match app.deleting_since {
                Some(_) => "delete the app with force to go on",
                None => "set drain.onDeadline to force to go on",
            };
            Stage::Draining(format!("{why}; the drain deadline passed and a person is asked: {exit}"))
        }
        (true, _) => Stage::Drained(Some(format!("drain deadline passed: {why}"))),
    }
}

#[cfg(test)]
mod tests;
