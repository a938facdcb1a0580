//! Steps that agents were asked for and have not answered yet. They are planned with as if they had taken effect: the
//! clusters of an application are worked on at the same time, and together they must not take out too much.

use std::collections::BTreeMap;

use bcs_schemas::Name;
use jiff::Timestamp;

use super::{
    app::{App, AppKey},
    observed::{Kept, Observed, Stage},
    plan::{self, Action, PlannedStep},
};

/// Steps under way, by application and cluster.
#[derive(Clone, Debug, Default)]
pub struct UnderWay(BTreeMap<AppKey, BTreeMap<Name, Begun>>);

#[derive(Clone, Debug)]
struct Begun {
    steps: Vec<PlannedStep>,
    /// More was to be done here meanwhile.
    more: bool,
}

impl UnderWay {
    /// Steps that can begin now, by cluster: none where some are under way.
    pub fn next(
        &mut self,
        key: &AppKey,
        app: &App,
        mut observed: Observed,
        now: Timestamp,
    ) -> BTreeMap<Name, Vec<PlannedStep>> {
        let mut none = BTreeMap::new();
        let begun = self.0.get_mut(key).unwrap_or(&mut none);
        for step in begun.values().flat_map(|begun| &begun.steps) {
            expect(step, &mut observed, now);
        }
        let mut next: BTreeMap<Name, Vec<PlannedStep>> = BTreeMap::new();
        for step in plan::plan(app, &observed, now) {
            match begun.get_mut(&step.cluster) {
                Some(begun) => begun.more = true,
                None => next.entry(step.cluster.clone()).or_default().push(step),
            }
        }
        next
    }

    /// Notes that an agent is asked for these.
    pub fn begin(&mut self, key: &AppKey, cluster: &Name, steps: Vec<PlannedStep>) {
        self.0.entry(key.clone()).or_default().insert(cluster.clone(), Begun { steps, more: false });
    }

    /// Notes that the agent has answered, or will not. Whether there was more to do meanwhile.
    pub fn end(&mut self, key: &AppKey, cluster: &Name) -> bool {
        let Some(clusters) = self.0.get_mut(key) else { return false };
        let more = clusters.remove(cluster).is_some_and(|begun| begun.more);
        if clusters.is_empty() {
            self.0.remove(key);
        }
        more
    }

    /// Whether something is under way in a cluster.
    pub fn holds(&self, key: &AppKey, cluster: &Name) -> bool {
        self.0.get(key).is_some_and(|clusters| clusters.contains_key(cluster))
    }
}

/// What starts is counted as started and what is drained as out of service. What is stopped was out already.
fn expect(step: &PlannedStep, observed: &mut Observed, now: Timestamp) {
    let Some(cluster) = observed.clusters.get_mut(&step.cluster) else { return };
    match &step.action {
        Action::ScaleUp(replicas) => {
            let none = || Kept { replicas: 0, reason: None, observed_at: now };
            let kept = cluster.workloads.entry(step.revision.clone()).or_insert_with(none);
            kept.replicas = kept.replicas.max(*replicas);
        }
        Action::Drain(victim) => {
            let drained = cluster.instances.iter_mut().filter(|i| i.uid == victim.uid && i.live());
            drained.for_each(|i| i.stage = Stage::Draining("its agent was asked to take it out".to_owned()));
        }
        Action::Register => {
            let told = cluster.instances.iter_mut().filter(|i| i.revision == step.revision);
            told.for_each(|i| i.told = true);
        }
        Action::Registered(instances) => {
            let known =
                cluster.instances.iter_mut().filter(|i| instances.iter().any(|known| known.uid == i.uid));
            known.for_each(|i| i.gated = false);
        }
        Action::ScaleDown { .. } | Action::Remove => (),
    }
}
