//! PodDisruptionBudgets: how many pods may go, for their status and for evictions.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use super::{Controller, Outcome, pod::active};
use crate::{
    kind::{self, Kind},
    object::{self, Key},
    selector::Labels,
    store::{Event, Store},
};

pub(crate) struct Budgets {
    pub store: Arc<Store>,
}

impl Controller for Budgets {
    const REST: u32 = 3;

    fn kinds(&self) -> Vec<&'static Kind> {
        vec![&kind::DISRUPTION_BUDGETS, &kind::PODS]
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        if *event.kind == kind::DISRUPTION_BUDGETS {
            queue.insert(Key::of(&event.object));
            return;
        }
        queue.extend(matching(&self.store, &event.object).iter().map(|b| Key::of(b)));
    }

    async fn reconcile(&mut self, key: &Key) -> Outcome {
        let Some(budget) = self.store.get(&kind::DISRUPTION_BUDGETS, key) else { return Ok(None) };
        let status = status(&self.store, &budget);
        self.store.update(&kind::DISRUPTION_BUDGETS, key, |seen| {
            let mut value = seen.clone();
            value["status"] = crate::patch::merge(&value["status"], &status);
            Ok((value != *seen).then_some(value))
        })?;
        Ok(None)
    }
}

fn matching(store: &Store, pod: &Value) -> Vec<Arc<Value>> {
    let mut budgets = store.list(&kind::DISRUPTION_BUDGETS, object::namespace(pod)).objects;
    budgets.retain(|b| Labels::from_object(&b["spec"]["selector"]).matches(object::labels(pod)));
    budgets
}

fn status(store: &Store, budget: &Value) -> Value {
    let selector = Labels::from_object(&budget["spec"]["selector"]);
    let mut pods = store.list(&kind::PODS, object::namespace(budget)).objects;
    pods.retain(|p| selector.matches(object::labels(p)) && active(p));
    let healthy = pods.iter().filter(|p| object::condition_true(p, "Ready")).count();
    let (expected, healthy) = (i64::try_from(pods.len()).unwrap_or(0), i64::try_from(healthy).unwrap_or(0));
    let desired = desired(&budget["spec"], expected);
    json!({
        "currentHealthy": healthy, "desiredHealthy": desired, "expectedPods": expected,
        "disruptionsAllowed": (healthy - desired).max(0), "observedGeneration": budget["metadata"]["generation"],
    })
}

fn desired(spec: &Value, expected: i64) -> i64 {
    // Both are rounded up: half a pod is a pod.
    let number = |value: &Value| match value {
        Value::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            Some((percent * expected + 99) / 100)
        }
        other => other.as_i64(),
    };
    match (number(&spec["minAvailable"]), number(&spec["maxUnavailable"])) {
        (Some(minimum), _) => minimum,
        (None, Some(maximum)) => (expected - maximum).max(0),
        (None, None) => 0,
    }
}

/// The budget that forbids to evict a pod now.
pub(crate) fn exhausted(store: &Store, pod: &Value) -> Option<String> {
    // A pod that serves nobody may always go.
    if !object::condition_true(pod, "Ready") {
        return None;
    }
    let none_left = |b: &&Arc<Value>| status(store, b)["disruptionsAllowed"] == 0;
    matching(store, pod).iter().find(none_left).map(|b| object::name(b).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_round_up() {
        for (spec, expected) in [
            (json!({"minAvailable": 2}), 2),
            (json!({"minAvailable": "50%"}), 3),
            (json!({"maxUnavailable": 1}), 4),
            (json!({"maxUnavailable": "30%"}), 3),
            (json!({}), 0),
        ] {
            assert_eq!(desired(&spec, 5), expected, "{spec}");
        }
    }
}
