//! ReplicaSets: keep the wanted number of pods, adopt strays, let go of pods that no longer match.

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
    recorder::{Note, Recorder},
};
use crate::{
    clock,
    kind::{self, Kind},
    object::{self, Key, int, text},
    selector::Labels,
    store::{Change, DeleteOptions, Event, Store},
    validate,
};

/// So many pods are made or deleted before other sets get their turn.
const BURST: usize = 500;

pub(crate) struct ReplicaSets {
    pub store: Arc<Store>,
    pub recorder: Arc<Recorder>,
    /// Pods without a controller, which may be adopted.
    pub orphans: BTreeSet<Key>,
}

impl Controller for ReplicaSets {
    fn kinds(&self) -> Vec<&'static Kind> {
        vec![&kind::REPLICA_SETS, &kind::PODS]
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        let key = Key::of(&event.object);
        if *event.kind == kind::REPLICA_SETS {
            queue.insert(key);
            return;
        }
        for pod in std::iter::once(&event.object).chain(&event.previous) {
            match object::controller(pod) {
                Some(owner) if owner["kind"] == "ReplicaSet" => {
                    queue.insert(Key::new(&key.namespace, text(owner, "/name")));
                }
                Some(_) => {}
                None => self.wake_matching(pod, queue),
            }
        }
        if event.change != Change::Deleted && object::controller(&event.object).is_none() {
            self.orphans.insert(key);
        } else {
            self.orphans.remove(&key);
        }
    }

    fn reconcile(&mut self, key: &Key) -> Outcome {
        let Some(set) = self.store.get(&kind::REPLICA_SETS, key) else { return Ok(None) };
        if object::deleting(&set) {
            return Ok(None);
        }
        let selector = Labels::from_object(&set["spec"]["selector"]);
        self.adopt(&set, &selector)?;
        let mut pods = self.store.owned(&kind::PODS, object::uid(&set));
        for pod in pods.iter().filter(|p| !selector.matches(object::labels(p))) {
            release(&self.store, pod, object::uid(&set))?;
        }
        pods.retain(|p| selector.matches(object::labels(p)));
        let changed = self.balance(&set, &pods)?;
        if changed {
            pods = self.store.owned(&kind::PODS, object::uid(&set));
        }
        let (status, wait) = status(&set, &pods, clock::now());
        self.store.update(&kind::REPLICA_SETS, key, |seen| {
            let mut value = seen.clone();
            value["status"] = status.clone();
            Ok((value != *seen).then_some(value))
        })?;
        Ok(if changed { Some(Duration::ZERO) } else { wait })
    }
}

impl ReplicaSets {
    fn wake_matching(&self, pod: &Value, queue: &mut BTreeSet<Key>) {
        for set in self.store.list(&kind::REPLICA_SETS, object::namespace(pod)).objects {
            if Labels::from_object(&set["spec"]["selector"]).matches(object::labels(pod)) {
                queue.insert(Key::of(&set));
            }
        }
    }

    fn adopt(&self, set: &Value, selector: &Labels) -> Result<(), crate::status::Status> {
        let namespace = object::namespace(set);
        for key in self.orphans.range(Key::new(namespace, "")..).take_while(|k| k.namespace == namespace) {
            let Some(pod) = self.store.get(&kind::PODS, key) else { continue };
            let stray =
                object::controller(&pod).is_none() && active(&pod) && selector.matches(object::labels(&pod));
            if stray {
                let reference = object::owner_reference(&kind::REPLICA_SETS, set);
                self.store.update(&kind::PODS, key, |seen| {
                    let mut value = seen.clone();
                    let owners = object::owners(seen).iter().cloned().chain([reference.clone()]);
                    object::set(&mut value, &["metadata", "ownerReferences"], owners.collect());
                    Ok(object::controller(seen).is_none().then_some(value))
                })?;
            }
        }
        Ok(())
    }

    /// Makes or deletes pods; true when it did something.
    fn balance(&self, set: &Value, pods: &[Arc<Value>]) -> Result<bool, crate::status::Status> {
        let wanted = usize::try_from(int(set, "/spec/replicas").unwrap_or(1)).unwrap_or(0);
        let alive: Vec<&Value> = pods.iter().map(Arc::as_ref).filter(|p| active(p)).collect();
        if alive.len() < wanted {
            for _ in 0..(wanted - alive.len()).min(BURST) {
                let pod = self.store.create(&kind::PODS, new_pod(set))?;
                self.note(set, "SuccessfulCreate", format!("Created pod: {}", object::name(&pod)));
            }
            return Ok(true);
        }
        let victims = victims(&alive, alive.len() - wanted);
        for pod in victims.iter().take(BURST) {
            let options =
                DeleteOptions { uid: Some(object::uid(pod).to_owned()), ..DeleteOptions::default() };
            match self.store.delete(&kind::PODS, &Key::of(pod), &options) {
                Err(status) if status.code != 404 => return Err(status),
                _ => self.note(set, "SuccessfulDelete", format!("Deleted pod: {}", object::name(pod))),
            }
        }
        Ok(!victims.is_empty())
    }

    fn note(&self, set: &Value, reason: &str, message: String) {
        let note = Note { warning: false, reason, message, component: "replicaset-controller" };
        self.recorder.record(&kind::REPLICA_SETS, set, &note);
    }
}

pub(crate) fn active(pod: &Value) -> bool {
    !object::deleting(pod) && !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

fn release(store: &Store, pod: &Value, uid: &str) -> Result<(), crate::status::Status> {
    let done = store.update(&kind::PODS, &Key::of(pod), |seen| {
        let mut value = seen.clone();
        let owners = object::owners(seen).iter().filter(|o| o["uid"] != uid).cloned();
        object::set(&mut value, &["metadata", "ownerReferences"], owners.collect());
        Ok(Some(value))
    });
    done.map(|_| ())
}

fn new_pod(set: &Value) -> Value {
    let template = &set["spec"]["template"];
    let mut base: String = object::name(set).chars().take(57).collect();
    base.push('-');
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"]});
    object::unset(&mut pod, &["metadata", "creationTimestamp"]);
    let name = format!("{base}{}", clock::suffix());
    for (field, value) in [
        ("generateName", json!(base)),
        ("name", json!(name)),
        ("namespace", json!(object::namespace(set))),
        ("ownerReferences", json!([object::owner_reference(&kind::REPLICA_SETS, set)])),
    ] {
        object::set(&mut pod, &["metadata", field], value);
    }
    validate::apply_defaults(&kind::PODS, &mut pod);
    pod["status"] = json!({"phase": "Pending", "qosClass": crate::http::qos(&pod["spec"])});
    pod
}

/// The order in which pods go when there are too many: first the one that is missed least.
pub(crate) fn victims<'a>(alive: &[&'a Value], count: usize) -> Vec<&'a Value> {
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

/// When a pod counts as available: now, later, or not until something changes.
pub(crate) fn available(pod: &Value, min_ready: i64, now: Timestamp) -> Result<(), Option<Duration>> {
    if !object::condition_true(pod, "Ready") {
        return Err(None);
    }
    let since = object::condition(pod, "Ready")
        .and_then(|c| text(c, "/lastTransitionTime").parse::<Timestamp>().ok());
    let ready_for = since.map_or(i64::MAX, |at| now.duration_since(at).as_secs());
    if min_ready <= 0 || ready_for >= min_ready {
        return Ok(());
    }
    Err(Some(Duration::from_secs(u64::try_from(min_ready - ready_for).unwrap_or(1))))
}

fn status(set: &Value, pods: &[Arc<Value>], now: Timestamp) -> (Value, Option<Duration>) {
    let min_ready = int(set, "/spec/minReadySeconds").unwrap_or(0);
    let template = Labels::from_map(object::labels(&set["spec"]["template"]));
    let alive: Vec<&Value> = pods.iter().map(Arc::as_ref).filter(|p| active(p)).collect();
    let ready = alive.iter().filter(|p| object::condition_true(p, "Ready")).count();
    let mut wait: Option<Duration> = None;
    let mut can_serve = 0;
    for pod in &alive {
        match available(pod, min_ready, now) {
            Ok(()) => can_serve += 1,
            Err(Some(left)) => wait = Some(wait.map_or(left, |w| w.min(left))),
            Err(None) => {}
        }
    }
    let labelled = alive.iter().filter(|p| template.matches(object::labels(p))).count();
    let mut status = json!({"replicas": alive.len(), "observedGeneration": set["metadata"]["generation"]});
    for (field, count) in
        [("fullyLabeledReplicas", labelled), ("readyReplicas", ready), ("availableReplicas", can_serve)]
    {
        if count > 0 {
            status[field] = json!(count);
        }
    }
    (status, wait)
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

    #[test]
    fn availability_waits_for_the_minimum() {
        let pod = pod("a", "n", "Running", "True", json!({}));
        let now: Timestamp = "2026-01-01T00:00:15Z".parse().expect("instant");
        assert_eq!(available(&pod, 0, now), Ok(()));
        assert_eq!(available(&pod, 5, now), Ok(()));
        assert_eq!(available(&pod, 8, now), Err(Some(Duration::from_secs(3))));
    }
}
