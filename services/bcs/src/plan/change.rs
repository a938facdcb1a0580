//! What planned events mean for an object: what is wanted of it afterwards, and in words what the clusters will do.

use std::collections::BTreeMap;

use bcs_schemas::{
    MessageSet, Name, Service, TypeName,
    cluster::ClusterEvent,
    codec::ContentType,
    deploy::DeployEvent,
    query::{AppView, ClusterView},
    resource::Labels,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::text;

/// An object as it is before.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Object {
    pub(super) revision: u64,
    /// Labels and spec.
    pub(super) wanted: Value,
    /// Instances by cluster; none when that is not known.
    shares: Option<Shares>,
    /// The revision of its instances.
    template: Option<Name>,
}

type Shares = BTreeMap<Name, u32>;

/// An event as it was planned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Expected {
    /// `demo/app/shop-web`
    pub(crate) object: String,
    /// `bcs.deploy.app.scaled.v1`
    #[serde(rename = "type", with = "text")]
    pub(crate) type_name: TypeName,
    /// What it says.
    pub(crate) payload: Value,
}

/// What becomes of an object, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Created,
    Changed,
    Deleted,
    Unchanged,
    /// The platform would refuse it.
    Rejected,
}

/// What becomes of an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    pub(super) kind: Kind,
    /// Labels and spec afterwards; none when it is to go.
    pub(super) after: Option<Value>,
    /// What will happen, one sentence each.
    pub(super) effects: Vec<String>,
}

impl Object {
    pub(super) fn app(view: &AppView) -> Self {
        let status = &view.status;
        // The status follows the decisions; what it says of an older one is not what was decided.
        let known = status.observed_generation == view.generation;
        let shares = status.clusters.iter().map(|(name, part)| (name.clone(), part.replicas));
        Self {
            revision: view.revision,
            wanted: wanted(&view.labels, &view.spec),
            shares: known.then(|| shares.filter(|(_, share)| *share > 0).collect()),
            template: known.then(|| status.revision.clone()),
        }
    }

    pub(super) fn cluster(view: &ClusterView) -> Self {
        let wanted = wanted(&view.labels, &view.spec);
        Self { revision: view.revision, wanted, shares: None, template: None }
    }
}

fn wanted<T: Serialize>(labels: &Labels, spec: &T) -> Value {
    let mut all = json!({ "spec": spec });
    if !labels.is_empty() {
        all["labels"] = json!(labels);
    }
    all
}

/// What `events` make of an object.
pub(super) fn change(before: Option<&Object>, events: &[Expected]) -> Change {
    let after = before.map(|object| object.wanted.clone());
    let mut fold = Fold { before, after, effects: Vec::new() };
    for event in events {
        fold.take_in(event);
    }
    let kind = match (before, &fold.after) {
        _ if events.is_empty() => Kind::Unchanged,
        (None, Some(_)) => Kind::Created,
        (Some(_), None) => Kind::Deleted,
        _ => Kind::Changed,
    };
    Change { kind, after: fold.after, effects: fold.effects }
}

struct Fold<'a> {
    before: Option<&'a Object>,
    after: Option<Value>,
    effects: Vec<String>,
}

impl Fold<'_> {
    fn take_in(&mut self, event: &Expected) {
        let TypeName { service, kind, verb, version } = &event.type_name;
        let payload = event.payload.to_string();
        let (form, bytes) = (ContentType::Json, payload.as_bytes());
        let known = match service {
            Service::Deploy => {
                DeployEvent::decode(kind, verb, *version, form, bytes).ok().map(|e| self.deploy(e))
            }
            Service::Cluster => {
                ClusterEvent::decode(kind, verb, *version, form, bytes).ok().map(|e| self.cluster(e))
            }
            Service::Network | Service::Metrics => None,
        };
        // Newer services may decide what this program has no words for.
        if known != Some(true) {
            self.effects.push(format!("{}: {payload}", event.type_name));
        }
    }

    /// Whether there are words for it.
    fn deploy(&mut self, event: DeployEvent) -> bool {
        match event {
            DeployEvent::AppApplied(event) => self.after = Some(wanted(&event.labels, &event.spec)),
            DeployEvent::AppScaled(event) => {
                if let Some(spec) = self.after.as_mut().and_then(|after| after.get_mut("spec")) {
                    spec["replicas"] = event.replicas.into();
                }
                if !event.remove.is_empty() {
                    self.effects.push(format!("removes first: {}", event.remove.join(", ")));
                }
            }
            // The rollout that comes with it says what happens.
            DeployEvent::AppRestarted(_) => (),
            DeployEvent::AppPlaced(event) => {
                let before = self.before.map_or_else(|| Some(Shares::new()), |object| object.shares.clone());
                self.effects.push(placed(before.as_ref(), &event.shares));
            }
            DeployEvent::RolloutStarted(event) => self.effects.push(match self.before {
                None => format!("begins with revision {}", event.revision),
                Some(Object { template: Some(old), .. }) => {
                    format!("replaces every instance, surge first: revision {old} → {}", event.revision)
                }
                Some(_) => format!("replaces every instance, surge first: revision {}", event.revision),
            }),
            DeployEvent::AppDeletionRequested(event) => {
                self.after = None;
                let what = match self.before.and_then(|object| object.shares.as_ref()) {
                    Some(shares) if !shares.is_empty() => format!("{} ({})", count(shares), listed(shares)),
                    Some(_) => "what is left".to_owned(),
                    None => "every instance".to_owned(),
                };
                let force = if event.force { "; drains go on at their deadline" } else { "" };
                self.effects.push(format!("drains and stops {what}, then forgets the application{force}"));
            }
            _ => return false,
        }
        true
    }

    fn cluster(&mut self, event: ClusterEvent) -> bool {
        match event {
            ClusterEvent::ClusterImported(event) => {
                self.after = Some(wanted(&event.labels, &event.spec));
                self.effects.push(match self.before {
                    None => "applications that select its labels get a share in it".to_owned(),
                    Some(_) => "it is reached, and selected, as this says".to_owned(),
                });
            }
            ClusterEvent::ClusterLabelled(event) => {
                let spec = self.after.take().map(|mut after| after["spec"].take());
                self.after = Some(wanted(&event.labels, &spec.unwrap_or_default()));
                self.effects.push("applications that are placed by labels follow".to_owned());
            }
            ClusterEvent::ClusterRemoved(_) => {
                self.after = None;
                self.effects.push("what runs there goes on running, and nobody looks after it".to_owned());
            }
            ClusterEvent::NodeCordoned(event) => {
                self.effects.push(format!("nothing new starts on node {}", event.node));
            }
            ClusterEvent::NodeUncordoned(event) => {
                self.effects.push(format!("new instances may start on node {}", event.node));
            }
            _ => return false,
        }
        true
    }
}

/// `5 → 8 instances: sim-a +2, sim-b +1`.
fn placed(before: Option<&Shares>, after: &Shares) -> String {
    match before {
        None => format!("{}: {}", count(after), listed(after)),
        Some(before) if before.is_empty() => format!("starts {}: {}", count(after), listed(after)),
        Some(before) => {
            let share = |of: &Shares, name: &Name| i64::from(of.get(name).copied().unwrap_or_default());
            let mut names: Vec<&Name> = before.keys().chain(after.keys()).collect();
            names.sort();
            names.dedup();
            let moves = names.into_iter().map(|name| (name, share(after, name) - share(before, name)));
            let moves: Vec<String> =
                moves.filter(|(_, by)| *by != 0).map(|(name, by)| format!("{name} {by:+}")).collect();
            format!("{} → {}: {}", before.values().sum::<u32>(), count(after), moves.join(", "))
        }
    }
}

fn count(shares: &Shares) -> String {
    match shares.values().sum::<u32>() {
        1 => "1 instance".to_owned(),
        many => format!("{many} instances"),
    }
}

fn listed(shares: &Shares) -> String {
    shares.iter().map(|(name, share)| format!("{name} {share}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
