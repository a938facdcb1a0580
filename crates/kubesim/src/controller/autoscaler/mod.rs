//! HorizontalPodAutoscalers: as many pods as their use of processors and memory asks for.

mod limit;
mod measure;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;

use self::{limit::Past, measure::Measured};
use super::{
    Controller, Outcome,
    pod::{Hands, Tools},
};
use crate::{
    clock,
    kind::{self, Kind},
    object::{self, Key, int, items, text},
    selector::Labels,
    status::Status,
    store::Event,
};

/// How often windows of time are looked at again; the real controller looks every 15 seconds.
const PERIOD: Duration = Duration::from_secs(1);

pub(crate) struct Autoscalers {
    hands: Hands,
    /// What was recommended and done, for the windows of time in which changes are damped.
    past: HashMap<Key, Past>,
}

/// What an autoscaler found out, for its status.
struct Finding {
    current: i64,
    desired: i64,
    measured: Vec<Measured>,
    conditions: Vec<Value>,
}

impl Controller for Autoscalers {
    fn kinds(&self) -> Vec<&'static Kind> {
        vec![&kind::AUTOSCALERS, &kind::PODS, &kind::DEPLOYMENTS, &kind::STATEFUL_SETS, &kind::REPLICA_SETS]
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        let all = self.hands.store.list(&kind::AUTOSCALERS, object::namespace(&event.object)).objects;
        queue.extend(all.iter().map(|a| Key::of(a)));
    }

    async fn reconcile(&mut self, key: &Key) -> Outcome {
        let found = self.hands.store.get(&kind::AUTOSCALERS, key).filter(|a| !object::deleting(a));
        let Some(autoscaler) = found else {
            self.past.remove(key);
            return Ok(None);
        };
        let finding = match self.target(&autoscaler) {
            Ok(target) => self.follow(key, &autoscaler, &target)?,
            Err(why) => Finding {
                current: 0,
                desired: 0,
                measured: Vec::new(),
                conditions: vec![condition("AbleToScale", false, "FailedGetScale", &why)],
            },
        };
        self.hands.report(key, |value| report(value, &finding))?;
        Ok(Some(PERIOD))
    }
}

fn condition(name: &str, good: bool, reason: &str, message: &str) -> Value {
    json!({"type": name, "status": if good { "True" } else { "False" }, "reason": reason, "message": message})
}

impl Autoscalers {
    pub(crate) fn new(tools: Tools) -> Self {
        let hands = Hands::new(tools, &kind::AUTOSCALERS, "horizontal-pod-autoscaler");
        Self { hands, past: HashMap::new() }
    }

    fn target(&self, autoscaler: &Value) -> Result<(&'static Kind, Arc<Value>), String> {
        let reference = &autoscaler["spec"]["scaleTargetRef"];
        let (version, name) = (text(reference, "/apiVersion"), text(reference, "/name"));
        let kind = self.hands.store.kinds().by_type(version, text(reference, "/kind")).filter(|k| k.scale);
        let key = Key::new(object::namespace(autoscaler), name);
        let found = kind.and_then(|k| Some((k, self.hands.store.get(k, &key)?)));
        found.ok_or_else(|| {
            format!("the HPA controller was unable to get the target's current scale: {name:?} not found")
        })
    }

    fn follow(
        &mut self,
        key: &Key,
        autoscaler: &Value,
        target: &(&'static Kind, Arc<Value>),
    ) -> Result<Finding, Status> {
        let current = int(&target.1, "/spec/replicas").unwrap_or(1);
        let able = |reason: &str, message: &str| condition("AbleToScale", true, reason, message);
        if current == 0 {
            let message = "scaling is disabled since the replica count of the target is zero";
            let conditions = vec![
                able("SucceededGetScale", "the HPA controller was able to get the target's current scale"),
                condition("ScalingActive", false, "ScalingDisabled", message),
            ];
            return Ok(Finding { current, desired: 0, measured: Vec::new(), conditions });
        }
        let selector = Labels::of_owner(target.0, &target.1);
        let mut pods = self.hands.store.list(&kind::PODS, &key.namespace).objects;
        pods.retain(|p| selector.matches(object::labels(p)));
        let (measured, active) = measure::all(autoscaler, &pods, current);
        let asked = measured.iter().map(|m| m.replicas).max().unwrap_or(current);
        let past = self.past.entry(key.clone()).or_default();
        let allowed = limit::within(autoscaler, past, current, asked, Instant::now());
        let mut conditions = vec![able(allowed.reason, allowed.message), active, allowed.limited];
        if allowed.replicas != current {
            conditions[0] =
                able("SucceededRescale", "the HPA controller was able to update the target scale");
            self.scale(autoscaler, target, allowed.replicas, &measured)?;
        }
        Ok(Finding { current, desired: allowed.replicas, measured, conditions })
    }

    fn scale(
        &self,
        autoscaler: &Value,
        (kind, target): &(&'static Kind, Arc<Value>),
        replicas: i64,
        measured: &[Measured],
    ) -> Result<(), Status> {
        self.hands.store.update(kind, &Key::of(target), |seen| {
            let mut value = seen.clone();
            object::set(&mut value, &["spec", "replicas"], json!(replicas));
            Ok(Some(value))
        })?;
        let why = measured.iter().find(|m| m.replicas >= replicas && m.ratio > 1.0).map_or_else(
            || "All metrics below target".to_owned(),
            |m| format!("{} resource utilization (percentage of request) above target", m.resource),
        );
        self.hands.note(autoscaler, "SuccessfulRescale", format!("New size: {replicas}; reason: {why}"));
        Ok(())
    }
}

fn report(value: &mut Value, finding: &Finding) {
    let mut status = json!({
        "observedGeneration": value["metadata"]["generation"], "currentReplicas": finding.current,
        "desiredReplicas": finding.desired,
        "currentMetrics": finding.measured.iter().map(Measured::status).collect::<Vec<_>>(),
        "conditions": items(value, "/status/conditions"),
    });
    let scaled = finding.desired != finding.current && !finding.conditions.is_empty();
    let last = if scaled { json!(clock::stamp()) } else { value["status"]["lastScaleTime"].clone() };
    if !last.is_null() {
        status["lastScaleTime"] = last;
    }
    value["status"] = status;
    for condition in &finding.conditions {
        object::set_condition(value, condition, &clock::stamp());
    }
}
