//! EndpointSlices (and the older Endpoints) of services that select pods.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

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
    const PAUSE: Duration = Duration::from_millis(5);

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
        let slice = Key::new(&key.namespace, &format!("{}-kubesim", key.name));
        let Some(service) = self.store.get(&kind::SERVICES, key) else {
            for (kind, key) in [(&kind::ENDPOINT_SLICES, &slice), (&kind::ENDPOINTS, key)] {
                match self.store.delete(kind, key, &DeleteOptions::now()) {
                    Err(status) if status.code != 404 => return Err(status),
                    _ => {}
                }
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
        self.write(&kind::ENDPOINT_SLICES, &slice, &slice_of(&service, &slice, &pods))?;
        self.write(&kind::ENDPOINTS, key, &endpoints_of(&service, &pods))?;
        Ok(None)
    }
}

impl Endpoints {
    fn write(&self, kind: &'static Kind, key: &Key, wanted: &Value) -> Result<(), Status> {
        if self.store.get(kind, key).is_none() {
            return match self.store.create(kind, wanted.clone()) {
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

fn slice_of(service: &Value, key: &Key, pods: &[Arc<Value>]) -> Value {
    let publish = service["spec"]["publishNotReadyAddresses"] == true;
    let endpoint = |pod: &Arc<Value>| {
        let (serving, terminating) = (object::condition_true(pod, "Ready"), object::deleting(pod));
        let mut endpoint = json!({
            "addresses": [text(pod, "/status/podIP")],
            "conditions": {"ready": publish || (serving && !terminating), "serving": serving, "terminating": terminating},
            "nodeName": text(pod, "/spec/nodeName"), "targetRef": reference(pod),
        });
        // Pods of a StatefulSet have names of their own below that of their service.
        let host = text(pod, "/spec/hostname");
        if !host.is_empty() && text(pod, "/spec/subdomain") == object::name(service) {
            endpoint["hostname"] = json!(host);
        }
        endpoint
    };
    let mut owner = object::owner_reference(&kind::SERVICES, service);
    owner["controller"] = json!(true);
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": key.name, "namespace": key.namespace, "ownerReferences": [owner],
            "labels": {SERVICE_NAME: object::name(service), "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"},
        },
        "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>(), "ports": ports(service, pods),
    })
}

fn endpoints_of(service: &Value, pods: &[Arc<Value>]) -> Value {
    let address = |p: &&Arc<Value>| json!({"ip": text(p, "/status/podIP"), "nodeName": text(p, "/spec/nodeName"), "targetRef": reference(p)});
    let (ready, waiting): (Vec<_>, Vec<_>) =
        pods.iter().filter(|p| !object::deleting(p)).partition(|p| object::condition_true(p, "Ready"));
    let mut subset = json!({"ports": ports(service, pods)});
    for (field, list) in [("addresses", &ready), ("notReadyAddresses", &waiting)] {
        if !list.is_empty() {
            subset[field] = list.iter().map(address).collect();
        }
    }
    let subsets = if ready.is_empty() && waiting.is_empty() { json!([]) } else { json!([subset]) };
    json!({
        "apiVersion": "v1", "kind": "Endpoints", "subsets": subsets,
        "metadata": {"name": object::name(service), "namespace": object::namespace(service)},
    })
}
