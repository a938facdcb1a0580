//! ReplicaSets, and replication controllers before them: they keep the wanted number of pods.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Controller, Outcome,
    claim::Claims,
    pod::{self, Hands, Tools, active},
};
use crate::{
    clock,
    kind::{self, Kind},
    object::{self, Key, int, text},
    selector::Labels,
    status::Status,
    store::Event,
};

/// So many pods are made or deleted before other sets get their turn.
const BURST: usize = 500;

pub(crate) struct ReplicaSets {
    kind: &'static Kind,
    hands: Hands,
    pods: Claims,
}

impl Controller for ReplicaSets {
    const REST: u32 = 3;

    fn kinds(&self) -> Vec<&'static Kind> {
        vec![self.kind, &kind::PODS]
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        if event.kind == self.kind {
            queue.insert(Key::of(&event.object));
        } else {
            self.pods.observe(event, queue);
        }
    }

    async fn reconcile(&mut self, key: &Key) -> Outcome {
        let Some(set) = self.hands.store.get(self.kind, key) else { return Ok(None) };
        if object::deleting(&set) {
            return Ok(None);
        }
        let mut pods = self.pods.claim(&set, |_| true)?;
        let balance = self.balance(&set, &pods).await;
        if balance.as_ref().is_ok_and(|changed| *changed) {
            pods = self.hands.store.owned(&kind::PODS, object::uid(&set));
        }
        let now = clock::now();
        let (status, wait) = status(self.kind, &set, &pods, now);
        self.hands.report(key, |value| {
            let before = value["status"]["conditions"].take();
            value["status"] = status.clone();
            note_failure(value, &before, balance.as_ref().err(), now);
        })?;
        Ok(if balance? { Some(Duration::ZERO) } else { wait })
    }
}

impl ReplicaSets {
    pub(crate) fn new(tools: Tools) -> Self {
        Self::of(&kind::REPLICA_SETS, "replicaset-controller", tools)
    }

    pub(crate) fn replication(tools: Tools) -> Self {
        Self::of(&kind::REPLICATION_CONTROLLERS, "replication-controller", tools)
    }

    fn of(kind: &'static Kind, component: &'static str, tools: Tools) -> Self {
        let pods = Claims::new(Arc::clone(&tools.store), kind, &kind::PODS);
        Self { kind, hands: Hands::new(tools, kind, component), pods }
    }

    /// Makes or deletes pods; true when it did something.
    async fn balance(&self, set: &Value, pods: &[Arc<Value>]) -> Result<bool, Status> {
        let wanted = usize::try_from(int(set, "/spec/replicas").unwrap_or(1)).unwrap_or(0);
        let alive: Vec<&Value> = pods.iter().map(Arc::as_ref).filter(|p| active(p)).collect();
        if alive.len() < wanted {
            for _ in 0..(wanted - alive.len()).min(BURST) {
                let pod = pod::draft(self.kind, set, &set["spec"]["template"]);
                self.hands.create(set, pod).await?;
            }
            return Ok(true);
        }
        let victims = victims(&alive, alive.len() - wanted);
        for pod in victims.iter().take(BURST) {
            self.hands.delete(set, pod)?;
        }
        Ok(!victims.is_empty())
    }
}

/// The order in which pods go when there are too many: first the one that is missed least.
pub(crate) fn victims<'a>(alive: &[&'a Value], count: usize) -> Vec<&'a Value> {
    if count == 0 {
        // As nearly always: to rank them means to look through all of them.
        return Vec::new();
    }
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for pod in alive {
        *on_node.entry(text(pod, "/spec/nodeName")).or_default() += 1;
    }
    let mut ranked = alive.to_vec();
    ranked.sort_by_cached_key(|pod| {
        let node = text(pod, "/spec/nodeName");
        let phase = match text(pod, "/status/phase") {
            "Pending" => 0,
            "Unknown" => 1,
            _ => 2,
        };
        let ready = object::condition_true(pod, "Ready");
        let cost: i32 = object::annotation(pod, "controller.kubernetes.io/pod-deletion-cost")
            .and_then(|c| c.parse().ok())
            .unwrap_or(0);
        let since = object::condition(pod, "Ready").map_or("", |c| text(c, "/lastTransitionTime"));
        let restarts = object::items(pod, "/status/containerStatuses")
            .iter()
            .filter_map(|s| int(s, "/restartCount"))
            .max();
        let crowd = on_node.get(node).copied().unwrap_or(0);
        let born = text(pod, "/metadata/creationTimestamp").to_owned();
        (
            (!node.is_empty(), phase, ready, cost, Reverse(crowd)),
            // Text instants of one format sort like instants; the younger goes first.
            (
                Reverse(since.to_owned()),
                Reverse(restarts.unwrap_or(0)),
                Reverse(born),
                object::name(pod).to_owned(),
            ),
        )
    });
    ranked.truncate(count);
    ranked
}

fn status(kind: &Kind, set: &Value, pods: &[Arc<Value>], now: Timestamp) -> (Value, Option<Duration>) {
    let min_ready = int(set, "/spec/minReadySeconds").unwrap_or(0);
    let template = Labels::from_map(object::labels(&set["spec"]["template"]));
    let alive: Vec<&Value> = pods.iter().map(Arc::as_ref).filter(|p| active(p)).collect();
    let count = |good: &dyn Fn(&Value) -> bool| alive.iter().filter(|p| good(p)).count();
    let mut status = json!({"replicas": alive.len(), "observedGeneration": set["metadata"]["generation"]});
    if *kind == kind::REPLICA_SETS {
        let ending = pods.iter().filter(|p| object::deleting(p) && !pod::ended(p)).count();
        status["terminatingReplicas"] = json!(ending);
    }
    for (field, count) in [
        ("fullyLabeledReplicas", count(&|p| template.matches(object::labels(p)))),
        ("readyReplicas", count(&pod::ready)),
        ("availableReplicas", count(&|p| pod::available(p, min_ready, now).is_ok())),
    ] {
        if count > 0 {
            status[field] = json!(count);
        }
    }
    (status, pod::next_available(alive.into_iter(), min_ready, now))
}

/// Says for as long as it is so that pods cannot be made or deleted; a Deployment repeats it.
fn note_failure(set: &mut Value, before: &Value, failure: Option<&Status>, now: Timestamp) {
    let Some(status) = failure else { return };
    if !before.is_null() {
        set["status"]["conditions"] = before.clone();
    }
    let told = object::condition(set, "ReplicaFailure").map_or("", |condition| text(condition, "/reason"));
    let missing = int(set, "/status/replicas") < int(set, "/spec/replicas");
    let reason = if missing { "FailedCreate" } else { "FailedDelete" };
    // The first message stays: each names another pod, and to write it would be news to look at the set for, without end.
    if told == reason {
        return;
    }
    let condition =
        json!({"type": "ReplicaFailure", "status": "True", "reason": reason, "message": status.message});
    object::set_condition(set, &condition, &clock::format(now));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, node: &str, phase: &str, ready: &str, more: Value) -> Value {
        let mut pod = json!({
            "metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": {}},
            "spec": {"nodeName": node},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:10Z"}]},
        });
        crate::patch::strategic::merge(kind::PODS.schema(), &pod.take(), &more)
    }

    #[test]
    fn a_failure_is_told_as_long_as_it_lasts() {
        let mut set = json!({"spec": {"replicas": 2}, "status": {"replicas": 1}});
        let refused = Status::new(403, "Forbidden", "exceeded quota");
        note_failure(&mut set, &Value::Null, Some(&refused), Timestamp::UNIX_EPOCH);
        let found = object::condition(&set, "ReplicaFailure").cloned().unwrap_or_default();
        assert_eq!([&found["reason"], &found["message"]], ["FailedCreate", "exceeded quota"]);
        let before = set["status"]["conditions"].take();
        let known = before.clone();
        let again = Status::new(403, "Forbidden", "exceeded quota, by another pod");
        note_failure(&mut set, &before, Some(&again), Timestamp::UNIX_EPOCH);
        assert_eq!(set["status"]["conditions"], known, "the same failure is told once");
        set["status"] = json!({"replicas": 2});
        note_failure(&mut set, &before, None, Timestamp::UNIX_EPOCH);
        assert_eq!(object::condition(&set, "ReplicaFailure"), None);
    }

    #[test]
    fn the_pod_that_is_missed_least_goes_first() {
        let cost =
            |c: &str| json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": c}}});
        let pods = [
            pod("old", "n1", "Running", "True", json!({})),
            pod(
                "young",
                "n1",
                "Running",
                "True",
                json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:05Z"}}),
            ),
            pod(
                "short",
                "n1",
                "Running",
                "True",
                json!({"status": {"conditions": [{"type": "Ready", "lastTransitionTime": "2026-01-01T00:00:20Z"}]}}),
            ),
            pod(
                "restarted",
                "n1",
                "Running",
                "True",
                json!({"status": {"containerStatuses": [{"restartCount": 3}]}}),
            ),
            pod("alone", "n2", "Running", "True", json!({})),
            pod("dear", "n1", "Running", "True", cost("10")),
            pod("cheap", "n1", "Running", "True", cost("-10")),
            pod("unready", "n1", "Running", "False", json!({})),
            pod("pending", "n1", "Pending", "False", json!({})),
            pod("unassigned", "", "Pending", "False", json!({})),
        ];
        let all: Vec<&Value> = pods.iter().collect();
        let order: Vec<&str> = victims(&all, 10).into_iter().map(object::name).collect();
        let expected = [
            "unassigned",
            "pending",
            "unready",
            "cheap",
            "short",
            "restarted",
            "young",
            "old",
            "alone",
            "dear",
        ];
        assert_eq!(order, expected);
    }
}
