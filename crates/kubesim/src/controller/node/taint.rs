//! Keeps the taints of a node in step with its state, and the pods of a node that is not ready unready.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use super::super::{
    Controller, Outcome,
    recorder::{Note, Recorder},
};
use crate::{
    clock,
    kind::{self, Kind},
    object::{self, Key, items, text},
    status::Status,
    store::{Change, Event, Store},
};

pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

pub(crate) struct Taints {
    pub store: Arc<Store>,
    pub recorder: Arc<Recorder>,
}

impl Controller for Taints {
    fn kinds(&self) -> Vec<&'static Kind> {
        vec![&kind::NODES]
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        if event.change != Change::Deleted {
            queue.insert(Key::of(&event.object));
        }
    }

    async fn reconcile(&mut self, key: &Key) -> Outcome {
        let Some(node) = self.store.get(&kind::NODES, key) else { return Ok(None) };
        let taints = wanted(&node, &clock::stamp());
        if taints != items(&node, "/spec/taints") {
            self.store.update(&kind::NODES, key, |seen| {
                let mut value = seen.clone();
                let taints = wanted(seen, &clock::stamp());
                if taints.is_empty() {
                    object::unset(&mut value, &["spec", "taints"]);
                } else {
                    object::set(&mut value, &["spec", "taints"], Value::Array(taints));
                }
                Ok(Some(value))
            })?;
        }
        if state(&node).is_some_and(|ready| ready != "True") {
            self.mark_pods(&key.name)?;
        }
        Ok(None)
    }
}

impl Taints {
    /// The kubelet there cannot say any more that its pods are not ready.
    fn mark_pods(&self, node: &str) -> Result<(), Status> {
        for pod in self.store.list(&kind::PODS, "").objects {
            if text(&pod, "/spec/nodeName") != node || !object::condition_true(&pod, "Ready") {
                continue;
            }
            let done = self.store.update(&kind::PODS, &Key::of(&pod), |seen| {
                let Some(mut ready) = object::condition(seen, "Ready").cloned() else { return Ok(None) };
                ready["status"] = json!("False");
                ready["reason"] = json!("NodeNotReady");
                ready["message"] = json!("Node is not ready");
                let mut value = seen.clone();
                object::set_condition(&mut value, &ready, &clock::stamp());
                Ok(Some(value))
            });
            match done {
                Err(status) if status.code != 404 => return Err(status),
                _ => {}
            }
            let message = "Node is not ready".to_owned();
            let note = Note { warning: true, reason: "NodeNotReady", message, component: "node-controller" };
            self.recorder.record(&kind::PODS, &pod, &note);
        }
        Ok(())
    }
}

/// The status of the condition `Ready`; none while nobody has said anything about the node.
fn state(node: &Value) -> Option<&str> {
    object::condition(node, "Ready").map(|c| text(c, "/status"))
}

/// The taints that a node should have: the foreign ones, and those of its state.
fn wanted(node: &Value, now: &str) -> Vec<Value> {
    let present = items(node, "/spec/taints");
    let ours: &[(&str, &str)] = match state(node) {
        Some("Unknown") => &[(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")],
        Some("False") => &[(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")],
        _ => &[],
    };
    let cordon: &[(&str, &str)] =
        if node["spec"]["unschedulable"] == true { &[(UNSCHEDULABLE, "NoSchedule")] } else { &[] };
    let foreign = |t: &&Value| !matches!(text(t, "/key"), UNREACHABLE | NOT_READY | UNSCHEDULABLE);
    let mut taints: Vec<Value> = present.iter().filter(foreign).cloned().collect();
    for (key, effect) in cordon.iter().chain(ours) {
        let old = present.iter().find(|t| t["key"] == *key && t["effect"] == *effect);
        taints.push(old.cloned().unwrap_or_else(|| json!({"key": key, "effect": effect, "timeAdded": now})));
    }
    // The order is that of the object, so that nothing changes without need.
    if taints.len() == present.len() && taints.iter().all(|t| present.contains(t)) {
        return present.to_vec();
    }
    taints
}

/// `key=value:Effect` or `key:Effect`, as kubectl writes them.
pub(crate) fn parse(text: &str) -> Option<Value> {
    let (left, effect) = text.rsplit_once(':')?;
    if !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
        return None;
    }
    Some(match left.split_once('=') {
        Some((key, value)) => json!({"key": key, "value": value, "effect": effect}),
        None => json!({"key": left, "effect": effect}),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_follow_the_state_and_leave_the_others_alone() {
        let own = json!({"key": "gpu", "effect": "NoSchedule"});
        let node = |ready: &str, taints: Vec<Value>| json!({"spec": {"taints": taints}, "status": {"conditions": [{"type": "Ready", "status": ready}]}});
        let lost = wanted(&node("Unknown", vec![own.clone()]), "t1");
        let keys: Vec<_> = lost.iter().map(|t| (text(t, "/key"), text(t, "/effect"))).collect();
        assert_eq!(keys, [("gpu", "NoSchedule"), (UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]);
        assert_eq!(wanted(&node("Unknown", lost.clone()), "t2"), lost, "the time stays");
        assert_eq!(wanted(&node("True", lost), "t3"), [own]);
        assert_eq!(wanted(&node("False", vec![]), "t")[1]["key"], NOT_READY);
        assert_eq!(wanted(&json!({"spec": {"unschedulable": true}}), "t")[0]["key"], UNSCHEDULABLE);
    }

    #[test]
    fn taints_are_read_as_kubectl_writes_them() {
        assert_eq!(parse("a=b:NoExecute"), Some(json!({"key": "a", "value": "b", "effect": "NoExecute"})));
        assert_eq!(parse("a:NoSchedule"), Some(json!({"key": "a", "effect": "NoSchedule"})));
        assert_eq!(parse("a"), None);
        assert_eq!(parse("a:Never"), None);
    }
}
