//! The scheduler: finds a node for every pod, by resources, selectors and taints.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    Controller, Outcome, fit,
    recorder::{Note, Recorder},
};
use crate::{
    clock,
    kind::{self, Kind},
    object::{self, Key, items, text},
    quantity,
    store::{Change, Event, Store},
};

/// Amounts in thousandths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    cpu: i128,
    memory: i128,
    pods: i128,
}

impl Amount {
    fn of(list: &Value) -> Self {
        let get = |name: &str| list[name].as_str().and_then(quantity::milli).unwrap_or(0);
        Self { cpu: get("cpu"), memory: get("memory"), pods: get("pods") }
    }

    fn add(&mut self, other: Self, sign: i128) {
        self.cpu += sign * other.cpu;
        self.memory += sign * other.memory;
        self.pods += sign * other.pods;
    }

    /// What a pod asks for.
    pub(crate) fn wanted(pod: &Value) -> Self {
        let mut sum = Self { pods: 1000, ..Self::default() };
        for container in items(pod, "/spec/containers") {
            sum.add(Self { pods: 0, ..Self::of(&container["resources"]["requests"]) }, 1);
        }
        sum
    }
}

pub(crate) struct Scheduler {
    store: Arc<Store>,
    recorder: Arc<Recorder>,
    nodes: BTreeMap<String, Arc<Value>>,
    used: HashMap<String, Amount>,
    assigned: HashMap<Key, (String, Amount)>,
    waiting: BTreeSet<Key>,
}

impl Scheduler {
    pub(crate) fn new(store: Arc<Store>, recorder: Arc<Recorder>) -> Self {
        Self {
            store,
            recorder,
            nodes: BTreeMap::new(),
            used: HashMap::new(),
            assigned: HashMap::new(),
            waiting: BTreeSet::new(),
        }
    }

    fn assign(&mut self, key: &Key, pod: Option<&Value>) {
        if let Some((node, amount)) = self.assigned.remove(key) {
            self.used.entry(node).or_default().add(amount, -1);
        }
        let Some(pod) = pod else { return };
        let node = text(pod, "/spec/nodeName");
        let ended = matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
        if !node.is_empty() && !ended {
            let amount = Amount::wanted(pod);
            self.used.entry(node.to_owned()).or_default().add(amount, 1);
            self.assigned.insert(key.clone(), (node.to_owned(), amount));
        }
    }
}

impl Controller for Scheduler {
    fn kinds(&self) -> Vec<&'static Kind> {
        vec![&kind::NODES, &kind::PODS]
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        let key = Key::of(&event.object);
        let gone = event.change == Change::Deleted;
        if *event.kind == kind::NODES {
            if gone {
                self.nodes.remove(&key.name);
            } else {
                self.nodes.insert(key.name, Arc::clone(&event.object));
            }
            queue.extend(self.waiting.iter().cloned());
            return;
        }
        self.assign(&key, (!gone).then_some(&event.object));
        if !gone && text(&event.object, "/spec/nodeName").is_empty() {
            if event.change == Change::Added || !self.waiting.contains(&key) {
                queue.insert(key);
            }
        } else {
            self.waiting.remove(&key);
            if gone {
                queue.extend(self.waiting.iter().cloned());
            }
        }
    }

    async fn reconcile(&mut self, key: &Key) -> Outcome {
        let Some(pod) = self.store.get(&kind::PODS, key) else { return Ok(None) };
        let ours = matches!(text(&pod, "/spec/schedulerName"), "" | "default-scheduler");
        if !ours || object::deleting(&pod) || !text(&pod, "/spec/nodeName").is_empty() {
            return Ok(None);
        }
        match pick(&self.nodes, &self.used, &pod) {
            Ok(node) => {
                let bound = self.bind(key, &node)?;
                self.assign(key, Some(&bound));
                self.waiting.remove(key);
                let message = format!("Successfully assigned {}/{} to {node}", key.namespace, key.name);
                self.note(&bound, false, "Scheduled", message);
                Ok(None)
            }
            Err(why) => {
                if self.waiting.insert(key.clone()) {
                    self.note(&pod, true, "FailedScheduling", why.clone());
                }
                self.mark_unschedulable(key, &why)?;
                Ok(Some(Duration::from_secs(5)))
            }
        }
    }
}

impl Scheduler {
    fn bind(&self, key: &Key, node: &str) -> Result<Arc<Value>, crate::status::Status> {
        self.store.update(&kind::PODS, key, |seen| {
            let mut value = seen.clone();
            object::set(&mut value, &["spec", "nodeName"], json!(node));
            object::set_condition(
                &mut value,
                &json!({"type": "PodScheduled", "status": "True"}),
                &clock::stamp(),
            );
            Ok(text(seen, "/spec/nodeName").is_empty().then_some(value))
        })
    }

    fn mark_unschedulable(&self, key: &Key, why: &str) -> Result<(), crate::status::Status> {
        let condition =
            json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why});
        self.store
            .update(&kind::PODS, key, |seen| {
                let mut value = seen.clone();
                object::set_condition(&mut value, &condition, &clock::stamp());
                Ok((value != *seen).then_some(value))
            })
            .map(|_| ())
    }

    fn note(&self, pod: &Value, warning: bool, reason: &str, message: String) {
        self.recorder.record(
            &kind::PODS,
            pod,
            &Note { warning, reason, message, component: "default-scheduler" },
        );
    }
}

/// The emptiest node that fits, or why none does, in the words of the real scheduler.
pub(crate) fn pick(
    nodes: &BTreeMap<String, Arc<Value>>,
    used: &HashMap<String, Amount>,
    pod: &Value,
) -> Result<String, String> {
    let wanted = Amount::wanted(pod);
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    let mut best: Option<(i128, i128, &String)> = None;
    for (name, node) in nodes {
        let taken = used.get(name).copied().unwrap_or_default();
        match refuse(node, taken, wanted, pod) {
            Some(reason) => *reasons.entry(reason).or_default() += 1,
            None => {
                let capacity = Amount::of(&node["status"]["allocatable"]);
                let load =
                    taken.cpu * 1000 / capacity.cpu.max(1) + taken.memory * 1000 / capacity.memory.max(1);
                let rank = (load, taken.pods, name);
                if best.is_none_or(|b| rank < b) {
                    best = Some(rank);
                }
            }
        }
    }
    match best {
        Some((_, _, name)) => Ok(name.clone()),
        None => {
            let list: Vec<String> =
                reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            Err(format!("0/{} nodes are available: {}.", nodes.len(), list.join(", ")))
        }
    }
}

fn refuse(node: &Value, taken: Amount, wanted: Amount, pod: &Value) -> Option<&'static str> {
    let capacity = Amount::of(&node["status"]["allocatable"]);
    if fit::cordoned(pod, node) {
        Some("node(s) were unschedulable")
    } else if fit::untolerated(pod, node).next().is_some() {
        Some("node(s) had untolerated taint")
    } else if !object::condition_true(node, "Ready") {
        Some("node(s) were not ready")
    } else if !fit::selects(pod, node) {
        Some("node(s) didn't match Pod's node affinity/selector")
    } else if taken.pods + wanted.pods > capacity.pods {
        Some("Too many pods")
    } else if wanted.cpu > 0 && taken.cpu + wanted.cpu > capacity.cpu {
        Some("Insufficient cpu")
    } else if wanted.memory > 0 && taken.memory + wanted.memory > capacity.memory {
        Some("Insufficient memory")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, more: &Value) -> (String, Arc<Value>) {
        let base = json!({
            "metadata": {"name": name, "labels": {"disk": "ssd"}},
            "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "3"}, "conditions": [{"type": "Ready", "status": "True"}]},
        });
        (name.to_owned(), Arc::new(crate::patch::merge(&base, more)))
    }

    #[test]
    fn a_pod_goes_only_where_it_fits() {
        let asks = |cpu: &str| json!({"spec": {"containers": [{"resources": {"requests": {"cpu": cpu}}}]}});
        let full = Amount { pods: 3000, ..Amount::default() };
        let taint = json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
        let tolerant = json!({"spec": {"tolerations": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
        type Case = (&'static str, Value, Amount, Value, Option<&'static str>);
        let cases: Vec<Case> = vec![
            ("fits", json!({}), Amount::default(), asks("2"), None),
            ("cpu", json!({}), Amount::default(), asks("2001m"), Some("1 Insufficient cpu")),
            ("pods", json!({}), full, asks("1m"), Some("1 Too many pods")),
            (
                "cordon",
                json!({"spec": {"unschedulable": true}}),
                Amount::default(),
                asks("1"),
                Some("1 node(s) were unschedulable"),
            ),
            ("taint", taint.clone(), Amount::default(), asks("1"), Some("1 node(s) had untolerated taint")),
            ("toleration", taint, Amount::default(), tolerant, None),
            (
                "selector",
                json!({}),
                Amount::default(),
                json!({"spec": {"nodeSelector": {"disk": "hdd"}}}),
                Some("1 node(s) didn't match Pod's node affinity/selector"),
            ),
            (
                "not ready",
                json!({"status": {"conditions": []}}),
                Amount::default(),
                asks("1"),
                Some("1 node(s) were not ready"),
            ),
        ];
        for (what, more, used, pod, refused) in cases {
            let nodes = BTreeMap::from([node("n", &more)]);
            let found = pick(&nodes, &HashMap::from([("n".to_owned(), used)]), &pod);
            let expected =
                refused.map_or_else(|| Ok("n".to_owned()), |r| Err(format!("0/1 nodes are available: {r}.")));
            assert_eq!(found, expected, "{what}");
        }
    }

    #[test]
    fn the_emptier_node_wins() {
        let nodes = BTreeMap::from([node("a", &json!({})), node("b", &json!({}))]);
        let used = HashMap::from([("a".to_owned(), Amount { pods: 1000, ..Amount::default() })]);
        assert_eq!(pick(&nodes, &used, &json!({})), Ok("b".to_owned()));
    }
}
