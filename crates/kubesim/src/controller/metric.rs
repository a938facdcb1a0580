//! What pods and nodes use, as `kubectl top` and autoscalers see it: pods say it themselves by annotations.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};

use super::{Controller, Outcome};
use crate::{
    clock,
    kind::{self, Kind},
    kubelet::usage::{self, Usage},
    object::{self, Key, text},
    status::Status,
    store::{DeleteOptions, Event, Store},
};

const RESOURCES: [&str; 2] = ["cpu", "memory"];
/// How often what changes by itself is measured.
const MEASURED_EVERY: Duration = Duration::from_secs(1);

/// In thousandths; `None` for a pod that does not run or does not say.
pub(crate) fn usage(pod: &Value, resource: &str) -> Option<i128> {
    let running = text(pod, "/status/phase") == "Running" && !object::deleting(pod);
    let says = running && usage::says(pod, resource);
    says.then(|| usage::of(pod, clock::now()).iter().map(|container| amount(container, resource)).sum())
}

fn amount(container: &Usage, resource: &str) -> i128 {
    if resource == "memory" {
        i128::from(container.memory_bytes) * 1000
    } else {
        i128::from(container.cpu_milli)
    }
}

/// A quantity as the API writes it: processors in thousandths, memory in Ki.
pub(crate) fn text_of(resource: &str, milli: i128) -> String {
    if resource == "memory" { format!("{}Ki", milli / 1000 / 1024) } else { format!("{milli}m") }
}

fn texts(used: &BTreeMap<&str, i128>) -> Value {
    used.iter()
        .map(|(resource, milli)| ((*resource).to_owned(), json!(text_of(resource, *milli))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

pub(crate) struct Metrics {
    pub store: Arc<Store>,
}

impl Controller for Metrics {
    fn kinds(&self) -> Vec<&'static Kind> {
        // Its own objects too: what they measured may have gone while nobody looked.
        vec![&kind::PODS, &kind::NODES, &kind::POD_METRICS, &kind::NODE_METRICS]
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        queue.insert(Key::of(&event.object));
        let said = |pod: &Value| RESOURCES.iter().any(|r| usage(pod, r).is_some());
        if *event.kind == kind::PODS
            && (said(&event.object) || event.previous.as_ref().is_some_and(|p| said(p)))
        {
            queue.insert(Key::new("", text(&event.object, "/spec/nodeName")));
        }
    }

    async fn reconcile(&mut self, key: &Key) -> Outcome {
        if key.namespace.is_empty() {
            let pods = self.pods_of(&key.name);
            let metrics = self.store.get(&kind::NODES, key).map(|_| node_metrics(&pods));
            self.write(&kind::NODE_METRICS, key, metrics)?;
            return Ok(pods.iter().any(|pod| usage::changes(pod)).then_some(MEASURED_EVERY));
        }
        let pod = self.store.get(&kind::PODS, key);
        self.write(&kind::POD_METRICS, key, pod.as_deref().and_then(pod_metrics))?;
        Ok(pod.is_some_and(|pod| usage::changes(&pod)).then_some(MEASURED_EVERY))
    }
}

impl Metrics {
    fn pods_of(&self, node: &str) -> Vec<Arc<Value>> {
        let mut pods = self.store.list(&kind::PODS, "").objects;
        pods.retain(|pod| text(pod, "/spec/nodeName") == node);
        pods
    }

    fn write(&self, kind: &'static Kind, key: &Key, wanted: Option<Value>) -> Result<(), Status> {
        let Some(wanted) = wanted else {
            if self.store.get(kind, key).is_none() {
                return Ok(());
            }
            return fine(self.store.delete(kind, key, &DeleteOptions::now()).map(|_| ()));
        };
        let dress = |value: &mut Value| {
            for (field, content) in wanted.as_object().into_iter().flatten() {
                value[field] = content.clone();
            }
        };
        let stamp = |value: &mut Value| {
            value["timestamp"] = json!(clock::stamp());
            value["window"] = json!("15s");
        };
        if self.store.get(kind, key).is_none() {
            let mut value =
                json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": key.name}});
            if kind.namespaced {
                object::set(&mut value, &["metadata", "namespace"], json!(key.namespace));
            }
            dress(&mut value);
            stamp(&mut value);
            return fine(self.store.create(kind, value).map(|_| ()));
        }
        let done = self.store.update(kind, key, |seen| {
            let mut value = seen.clone();
            dress(&mut value);
            let news = value != *seen;
            stamp(&mut value);
            Ok(news.then_some(value))
        });
        fine(done.map(|_| ()))
    }
}

/// Nobody needs the metrics of what is gone or goes with its namespace.
fn fine(done: Result<(), Status>) -> Result<(), Status> {
    match done {
        Err(status) if !matches!(status.code, 403 | 404 | 409) => Err(status),
        _ => Ok(()),
    }
}

fn node_metrics(pods: &[Arc<Value>]) -> Value {
    let used = |resource| (resource, pods.iter().filter_map(|pod| usage(pod, resource)).sum());
    json!({"usage": texts(&RESOURCES.map(used).into_iter().collect())})
}

fn pod_metrics(pod: &Value) -> Option<Value> {
    let said: Vec<&str> = RESOURCES.into_iter().filter(|resource| usage(pod, resource).is_some()).collect();
    if said.is_empty() {
        return None;
    }
    let one = |container: &Usage| {
        let used = said.iter().map(|resource| (*resource, amount(container, resource))).collect();
        json!({"name": container.container, "usage": texts(&used)})
    };
    let containers: Vec<Value> = usage::of(pod, clock::now()).iter().map(one).collect();
    Some(json!({"containers": containers}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_pod_holds_for_its_containers_unless_something_else_is_said_of_one() {
        let runs =
            |name: &str| json!({"name": name, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}});
        let mut pod = json!({
            "metadata": {"annotations": {"sim.bcs/cpu": "300m", "sim.bcs/memory": "64Mi", "sim.bcs/b.memory": "0s=1Mi,10s=2Mi"}},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}]},
            "status": {"phase": "Running", "containerStatuses": [runs("a"), runs("b")]},
        });
        let expected = json!({"containers": [
            {"name": "a", "usage": {"cpu": "300m", "memory": "65536Ki"}},
            {"name": "b", "usage": {"cpu": "300m", "memory": "2048Ki"}},
        ]});
        assert!(usage::changes(&pod));
        assert_eq!(usage(&pod, "cpu"), Some(600));
        assert_eq!(pod_metrics(&pod), Some(expected));
        pod["status"]["phase"] = json!("Pending");
        assert_eq!(pod_metrics(&pod), None);
    }
}
