//! What pods and nodes use, as `kubectl top` and autoscalers see it: pods say it themselves by annotations.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Value, json};

use super::{Controller, Outcome};
use crate::{
    clock,
    kind::{self, Kind},
    object::{self, Key, items, text},
    quantity,
    status::Status,
    store::{DeleteOptions, Event, Store},
};

const RESOURCES: [&str; 2] = ["cpu", "memory"];

/// In thousandths; `None` for a pod that does not run or does not say.
pub(crate) fn usage(pod: &Value, resource: &str) -> Option<i128> {
    let running = text(pod, "/status/phase") == "Running" && !object::deleting(pod);
    let said = object::annotation(pod, &format!("sim.bcs/{resource}")).filter(|_| running)?;
    quantity::milli(said)
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

    fn reconcile(&mut self, key: &Key) -> Outcome {
        let (of, kind, metrics) = if key.namespace.is_empty() {
            (self.store.get(&kind::NODES, key), &kind::NODE_METRICS, self.node(&key.name))
        } else {
            let pod = self.store.get(&kind::PODS, key);
            let metrics = pod.as_deref().and_then(pod_metrics);
            (pod, &kind::POD_METRICS, metrics)
        };
        self.write(kind, key, of.and(metrics)).map(|()| None)
    }
}

impl Metrics {
    fn node(&self, name: &str) -> Option<Value> {
        let pods = self.store.list(&kind::PODS, "").objects;
        let here = || pods.iter().filter(|p| text(p, "/spec/nodeName") == name);
        let used: BTreeMap<&str, i128> =
            RESOURCES.map(|r| (r, here().filter_map(|p| usage(p, r)).sum())).into_iter().collect();
        Some(json!({"usage": texts(&used)}))
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

/// What a pod says is shared by its containers; the first one takes what does not divide.
fn pod_metrics(pod: &Value) -> Option<Value> {
    let used: BTreeMap<&str, i128> = RESOURCES.iter().filter_map(|r| Some((*r, usage(pod, r)?))).collect();
    if used.is_empty() {
        return None;
    }
    let names: Vec<&str> = items(pod, "/spec/containers").iter().map(|c| text(c, "/name")).collect();
    let count = i128::try_from(names.len()).unwrap_or(1).max(1);
    let part =
        |at: usize| used.iter().map(|(r, v)| (*r, v / count + if at == 0 { v % count } else { 0 })).collect();
    let containers: Vec<Value> =
        names.iter().enumerate().map(|(at, name)| json!({"name": name, "usage": texts(&part(at))})).collect();
    Some(json!({"containers": containers}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_share_what_their_pod_uses() {
        let mut pod = json!({
            "metadata": {"annotations": {"sim.bcs/cpu": "301m", "sim.bcs/memory": "64Mi"}},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}]}, "status": {"phase": "Running"},
        });
        let expected = json!({"containers": [
            {"name": "a", "usage": {"cpu": "151m", "memory": "32768Ki"}},
            {"name": "b", "usage": {"cpu": "150m", "memory": "32768Ki"}},
        ]});
        assert_eq!(pod_metrics(&pod), Some(expected));
        pod["status"]["phase"] = json!("Pending");
        assert_eq!(pod_metrics(&pod), None);
    }
}
