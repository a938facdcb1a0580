//! EndpointSlices of services whose Endpoints somebody writes by hand, for those who only read slices.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use super::{Endpoints, SERVICE_NAME, selector};
use crate::{
    controller::{Controller, Outcome},
    kind::{self, Kind},
    object::{self, Key, items, text},
    store::{Event, Store},
};

const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MIRROR: &str = "endpointslicemirroring-controller.k8s.io";
const SKIPPED: &str = "endpointslice.kubernetes.io/skip-mirror";

pub(crate) struct Mirrors {
    endpoints: Endpoints,
}

impl Mirrors {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { endpoints: Endpoints { store } }
    }

    /// What is to be seen of the Endpoints of this name: nothing if their service has pods of its own.
    fn wanted(&self, key: &Key) -> Vec<Value> {
        let store = &self.endpoints.store;
        let service = store.get(&kind::SERVICES, key).filter(|service| selector(service).is_empty());
        let endpoints =
            store.get(&kind::ENDPOINTS, key).filter(|e| object::label(e, SKIPPED) != Some("true"));
        match (service, endpoints) {
            (Some(_), Some(endpoints)) => slices(&endpoints),
            _ => Vec::new(),
        }
    }
}

impl Controller for Mirrors {
    fn kinds(&self) -> Vec<&'static Kind> {
        vec![&kind::SERVICES, &kind::ENDPOINTS]
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        queue.insert(Key::of(&event.object));
    }

    async fn reconcile(&mut self, key: &Key) -> Outcome {
        let wanted = self.wanted(key);
        let mine = |slice: &Value| {
            object::label(slice, SERVICE_NAME) == Some(&key.name)
                && object::label(slice, MANAGED_BY) == Some(MIRROR)
        };
        for slice in &wanted {
            self.endpoints.write(&kind::ENDPOINT_SLICES, &Key::of(slice), slice)?;
        }
        let there = self.endpoints.store.list(&kind::ENDPOINT_SLICES, &key.namespace).objects;
        let kept = |slice: &Value| wanted.iter().any(|one| object::name(one) == object::name(slice));
        for slice in there.iter().filter(|slice| mine(slice) && !kept(slice)) {
            self.endpoints.remove(&kind::ENDPOINT_SLICES, &Key::of(slice))?;
        }
        Ok(None)
    }
}

/// One for each subset: their ports differ.
fn slices(endpoints: &Value) -> Vec<Value> {
    let (name, namespace) = (object::name(endpoints), object::namespace(endpoints));
    let one = |(at, subset): (usize, &Value)| {
        let of = |field: &str, ready: bool| {
            let endpoint = move |address: &Value| json!({"addresses": [text(address, "/ip")], "conditions": {"ready": ready}});
            items(subset, field).iter().map(endpoint).collect::<Vec<_>>()
        };
        let endpoints_of = [of("/addresses", true), of("/notReadyAddresses", false)].concat();
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": format!("{name}-mirror-{at}"), "namespace": namespace,
                "labels": {SERVICE_NAME: name, MANAGED_BY: MIRROR},
                "ownerReferences": [object::owner_reference(&kind::ENDPOINTS, endpoints)],
            },
            "endpoints": endpoints_of,
            "ports": subset.get("ports").cloned().unwrap_or_else(|| json!([])),
        })
    };
    items(endpoints, "/subsets").iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subset_is_a_slice_with_its_ports() {
        let endpoints = json!({"metadata": {"name": "db", "namespace": "shop", "uid": "u"}, "subsets": [
            {"addresses": [{"ip": "10.1.2.3"}], "notReadyAddresses": [{"ip": "10.1.2.4"}], "ports": [{"port": 5432}]},
            {"addresses": [{"ip": "10.1.2.3"}]},
        ]});
        let made = slices(&endpoints);
        assert_eq!(made.len(), 2);
        assert_eq!(made[0]["ports"], json!([{"port": 5432}]));
        let ready: Vec<&Value> =
            items(&made[0], "/endpoints").iter().map(|e| &e["conditions"]["ready"]).collect();
        assert_eq!(ready, [true, false]);
        assert_eq!((&made[1]["ports"], object::label(&made[1], SERVICE_NAME)), (&json!([]), Some("db")));
    }
}
