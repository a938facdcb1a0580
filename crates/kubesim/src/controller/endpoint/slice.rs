//! EndpointSlices of one service: who stands in which, and how each looks. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde_json::{Value, json};

use super::{SERVICE_NAME, reference};
use crate::{
    kind,
    object::{self, Key, items, text},
};

/// As many as the real controller puts into one, unless it is told otherwise.
const LIMIT: usize = 100;

/// The pods of each slice, by its name. Whoever stands in one stays there, so that a change of one pod is a change of one slice;
/// new ones come where most are already. There is always one slice.
pub(super) fn spread(
    service: &str,
    there: &[Arc<Value>],
    pods: &[Arc<Value>],
) -> BTreeMap<String, Vec<Arc<Value>>> {
    let homes: HashMap<&str, &str> = there
        .iter()
        .flat_map(|slice| {
            items(slice, "/endpoints").iter().map(move |e| (text(e, "/targetRef/uid"), object::name(slice)))
        })
        .collect();
    let mut slices: BTreeMap<String, Vec<Arc<Value>>> = BTreeMap::new();
    let mut new = Vec::new();
    for pod in pods {
        match homes.get(object::uid(pod)) {
            Some(home) => slices.entry((*home).to_owned()).or_default().push(Arc::clone(pod)),
            None => new.push(Arc::clone(pod)),
        }
    }
    for pod in new {
        let room = slices.iter().filter(|(_, pods)| pods.len() < LIMIT).max_by_key(|(_, pods)| pods.len());
        let name = room.map_or_else(|| free(service, &slices), |(name, _)| name.clone());
        slices.entry(name).or_default().push(pod);
    }
    if slices.is_empty() {
        slices.insert(free(service, &slices), Vec::new());
    }
    slices
}

fn free(service: &str, taken: &BTreeMap<String, Vec<Arc<Value>>>) -> String {
    let names =
        std::iter::once(format!("{service}-kubesim")).chain((2..).map(|n| format!("{service}-kubesim-{n}")));
    names.into_iter().find(|name| !taken.contains_key(name)).unwrap_or_default()
}

pub(super) fn of(service: &Value, key: &Key, pods: &[Arc<Value>], ports: &[Value]) -> Value {
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
        "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>(), "ports": ports,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(from: usize, to: usize) -> Vec<Arc<Value>> {
        (from..to)
            .map(|n| Arc::new(json!({"metadata": {"name": n.to_string(), "uid": format!("u{n}")}})))
            .collect()
    }

    fn written(slices: &BTreeMap<String, Vec<Arc<Value>>>) -> Vec<Arc<Value>> {
        let service = json!({"metadata": {"name": "web", "namespace": "default"}});
        let one =
            |(name, pods): (&String, &Vec<_>)| Arc::new(of(&service, &Key::new("default", name), pods, &[]));
        slices.iter().map(one).collect()
    }

    fn counts(slices: &BTreeMap<String, Vec<Arc<Value>>>) -> Vec<(&str, usize)> {
        slices.iter().map(|(name, pods)| (name.as_str(), pods.len())).collect()
    }

    #[test]
    fn a_hundred_fit_into_a_slice_and_nobody_moves() {
        let (first, second, third) = ("web-kubesim", "web-kubesim-2", "web-kubesim-3");
        assert_eq!(counts(&spread("web", &[], &[])), [(first, 0)]);
        let full = spread("web", &[], &pods(0, 250));
        assert_eq!(counts(&full), [(first, 100), (second, 100), (third, 50)]);
        // The first sixty go, and thirty others come: to where most are.
        let mut left = pods(60, 250);
        left.extend(pods(300, 330));
        let after = spread("web", &written(&full), &left);
        assert_eq!(counts(&after), [(first, 40), (second, 100), (third, 80)]);
        assert_eq!(full[second], after[second]);
        // An empty one is none, unless it is the last.
        let none = spread("web", &written(&after), &pods(100, 200));
        assert_eq!(counts(&none), [(second, 100)]);
        assert_eq!(counts(&spread("web", &written(&none), &[])), [(first, 0)]);
    }
}
