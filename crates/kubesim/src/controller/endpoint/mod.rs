//! EndpointSlices (and the older Endpoints) of services that select pods.

pub(crate) mod mirror;
mod slice;

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use super::{Controller, Outcome};
use crate::{
    kind::{self, Kind},
    object::{self, Key, items, text},
    selector::Labels,
    status::Status,
    store::{DeleteOptions, Event, Store},
};

const SERVICE_NAME: &str = "kubernetes.io/service-name";

pub(crate) struct Endpoints {
    pub store: Arc<Store>,
}

impl Controller for Endpoints {
    const REST: u32 = 3;

    fn kinds(&self) -> Vec<&'static Kind> {
        vec![&kind::SERVICES, &kind::PODS]
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        if *event.kind == kind::SERVICES {
            queue.insert(Key::of(&event.object));
            return;
        }
        let services = self.store.list(&kind::SERVICES, object::namespace(&event.object)).objects;
        for pod in std::iter::once(&event.object).chain(&event.previous) {
            for service in &services {
                let selector = selector(service);
                if !selector.is_empty() && selector.matches(object::labels(pod)) {
                    queue.insert(Key::of(service));
                }
            }
        }
    }

    async fn reconcile(&mut self, key: &Key) -> Outcome {
        let Some(service) = self.store.get(&kind::SERVICES, key) else {
            self.remove(&kind::ENDPOINTS, key)?;
            let slices = self.store.list(&kind::ENDPOINT_SLICES, &key.namespace).objects;
            for slice in slices.iter().filter(|slice| object::label(slice, SERVICE_NAME) == Some(&key.name)) {
                self.remove(&kind::ENDPOINT_SLICES, &Key::of(slice))?;
            }
            return Ok(None);
        };
        let selector = selector(&service);
        if selector.is_empty() {
            return Ok(None);
        }
        let mut pods = self.store.list(&kind::PODS, &key.namespace).objects;
        pods.retain(|p| selector.matches(object::labels(p)) && !text(p, "/status/podIP").is_empty());
        pods.retain(|p| !matches!(text(p, "/status/phase"), "Succeeded" | "Failed"));
        self.write_slices(&service, &pods)?;
        self.write(&kind::ENDPOINTS, key, &endpoints_of(&service, &pods))?;
        Ok(None)
    }
}

impl Endpoints {
    fn write_slices(&self, service: &Value, pods: &[Arc<Value>]) -> Result<(), Status> {
        let there = self.store.owned(&kind::ENDPOINT_SLICES, object::uid(service));
        let wanted = slice::spread(object::name(service), &there, pods);
        // Their ports are those of all pods of the service.
        let ports = ports(service, pods);
        for (name, pods) in &wanted {
            let key = Key::new(object::namespace(service), name);
            self.write(&kind::ENDPOINT_SLICES, &key, &slice::of(service, &key, pods, &ports))?;
        }
        for slice in there.iter().filter(|slice| !wanted.contains_key(object::name(slice))) {
            self.remove(&kind::ENDPOINT_SLICES, &Key::of(slice))?;
        }
        Ok(())
    }

    fn remove(&self, kind: &'static Kind, key: &Key) -> Result<(), Status> {
        match self.store.delete(kind, key, &DeleteOptions::now()) {
            Err(status) if status.code != 404 => Err(status),
            _ => Ok(()),
        }
    }

    fn write(&self, kind: &'static Kind, key: &Key, wanted: &Value) -> Result<(), Status> {
        if self.store.get(kind, key).is_none() {
            // What is null is to be taken away, and was never there.
            return match self.store.create(kind, crate::patch::merge(&json!({}), wanted)) {
                Err(status) if status.reason == "Forbidden" || status.code == 404 => Ok(()),
                other => other.map(|_| ()),
            };
        }
        self.store
            .update(kind, key, |seen| {
                let mut value = crate::patch::merge(seen, &json!({"metadata": wanted["metadata"]}));
                for field in ["endpoints", "ports", "subsets", "addressType"] {
                    if !wanted[field].is_null() {
                        value[field] = wanted[field].clone();
                    }
                }
                Ok((value != *seen).then_some(value))
            })
            .map(|_| ())
    }
}

fn selector(service: &Value) -> Labels {
    Labels::from_map(service["spec"]["selector"].as_object())
}

/// A named target port is looked up in the first pod that has it.
fn target_port(port: &Value, pods: &[Arc<Value>]) -> Value {
    let Some(name) = port["targetPort"].as_str() else { return port["targetPort"].clone() };
    let ports = pods.iter().flat_map(|p| items(p, "/spec/containers")).flat_map(|c| items(c, "/ports"));
    ports.into_iter().find(|p| p["name"] == name).map_or(Value::Null, |p| p["containerPort"].clone())
}

fn ports(service: &Value, pods: &[Arc<Value>]) -> Vec<Value> {
    let one = |p: &Value| json!({"name": text(p, "/name"), "port": target_port(p, pods), "protocol": p["protocol"]});
    items(service, "/spec/ports").iter().map(one).filter(|p| !p["port"].is_null()).collect()
}

fn reference(pod: &Value) -> Value {
    json!({"kind": "Pod", "name": object::name(pod), "namespace": object::namespace(pod), "uid": object::uid(pod)})
}

/// The older form has room for so many, and says when it tells of no more.
const MOST: usize = 1000;
const TRUNCATED: &str = "endpoints.kubernetes.io/over-capacity";

fn endpoints_of(service: &Value, pods: &[Arc<Value>]) -> Value {
    let address = |p: &&Arc<Value>| json!({"ip": text(p, "/status/podIP"), "nodeName": text(p, "/spec/nodeName"), "targetRef": reference(p)});
    let (mut ready, mut waiting): (Vec<_>, Vec<_>) =
        pods.iter().filter(|p| !object::deleting(p)).partition(|p| object::condition_true(p, "Ready"));
    let truncated = (ready.len() + waiting.len() > MOST).then_some("truncated");
    ready.truncate(MOST);
    waiting.truncate(MOST - ready.len());
    // Those with the same ports stand together: a named port may be another one in each pod, or none.
    let mut subsets: Vec<Value> = Vec::new();
    for (field, list) in [("addresses", &ready), ("notReadyAddresses", &waiting)] {
        for pod in list {
            let ports = ports(service, std::slice::from_ref(*pod));
            if ports.is_empty() && !items(service, "/spec/ports").is_empty() {
                continue;
            }
            let ports = json!(ports);
            let at = subsets.iter().position(|subset| subset["ports"] == ports).unwrap_or_else(|| {
                subsets.push(json!({ "ports": ports }));
                subsets.len() - 1
            });
            match subsets[at][field].as_array_mut() {
                Some(list) => list.push(address(pod)),
                None => subsets[at][field] = json!([address(pod)]),
            }
        }
    }
    json!({
        "apiVersion": "v1", "kind": "Endpoints", "subsets": subsets,
        "metadata": {
            "name": object::name(service), "namespace": object::namespace(service), "annotations": {TRUNCATED: truncated},
        },
    })
}
