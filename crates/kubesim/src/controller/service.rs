//! Services get a cluster address and ports of the nodes, which stay theirs.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::Hash,
    net::Ipv4Addr,
    sync::Arc,
};

use serde_json::{Value, json};

use super::{Controller, Outcome};
use crate::{
    kind::{self, Kind},
    object::{self, Key, int, items, text},
    store::{Change, Event, Store},
};

pub(crate) struct Services {
    store: Arc<Store>,
    addresses: Given<String>,
    ports: Given<i64>,
    next: u32,
}

/// 10.96.0.0/12, as most clusters have it; nothing answers there.
const BASE: u32 = 0x0a60_0000;
const SIZE: u32 = 1 << 20;

/// As most clusters have them; nothing answers there either.
const NODE_PORTS: std::ops::Range<i64> = 30_000..32_768;

/// What services have, each thing only once.
struct Given<T> {
    by_key: HashMap<Key, Vec<T>>,
    all: HashSet<T>,
}

impl<T: Clone + Eq + Hash> Given<T> {
    fn new() -> Self {
        Self { by_key: HashMap::new(), all: HashSet::new() }
    }

    fn note(&mut self, key: &Key, has: Vec<T>) {
        for old in self.by_key.remove(key).into_iter().flatten() {
            self.all.remove(&old);
        }
        self.all.extend(has.iter().cloned());
        if !has.is_empty() {
            self.by_key.insert(key.clone(), has);
        }
    }
}

impl Services {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, addresses: Given::new(), ports: Given::new(), next: 10 }
    }

    fn free(&mut self) -> String {
        loop {
            self.next = (self.next + 1) % SIZE;
            let address = Ipv4Addr::from(BASE + self.next.max(2)).to_string();
            if !self.addresses.all.contains(&address) {
                return address;
            }
        }
    }

    fn note(&mut self, key: &Key, service: &Value) {
        let address =
            Some(text(service, "/spec/clusterIP").to_owned()).filter(|a| !a.is_empty() && a != "None");
        self.addresses.note(key, address.into_iter().collect());
        let ports = items(service, "/spec/ports").iter().filter_map(|port| int(port, "/nodePort"));
        self.ports.note(key, ports.collect());
    }
}

fn wants_address(service: &Value) -> bool {
    text(service, "/spec/clusterIP").is_empty() && service["spec"]["type"] != "ExternalName"
}

/// Whether it is to be reached at the nodes.
pub(crate) fn external(service: &Value) -> bool {
    matches!(text(service, "/spec/type"), "NodePort" | "LoadBalancer")
}

fn wants_ports(service: &Value) -> bool {
    let asks = service["spec"]["allocateLoadBalancerNodePorts"] != false;
    external(service) && asks && items(service, "/spec/ports").iter().any(|port| port["nodePort"].is_null())
}

/// The service with what it wants and has not yet.
fn given(service: &Value, address: &str, mut ports: impl Iterator<Item = i64>) -> Value {
    let mut value = service.clone();
    if wants_address(service) {
        object::set(&mut value, &["spec", "clusterIP"], json!(address));
        object::set(&mut value, &["spec", "clusterIPs"], json!([address]));
    }
    if wants_ports(service) {
        let list = value["spec"]["ports"].as_array_mut();
        for port in list.into_iter().flatten().filter(|port| port["nodePort"].is_null()) {
            if let Some(free) = ports.next() {
                port["nodePort"] = json!(free);
            }
        }
    }
    value
}

impl Controller for Services {
    fn kinds(&self) -> Vec<&'static Kind> {
        vec![&kind::SERVICES]
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        let key = Key::of(&event.object);
        if event.change == Change::Deleted {
            self.note(&key, &Value::Null);
            return;
        }
        self.note(&key, &event.object);
        if wants_address(&event.object) || wants_ports(&event.object) {
            queue.insert(key);
        }
    }

    async fn reconcile(&mut self, key: &Key) -> Outcome {
        let address = self.free();
        let done = self.store.update(&kind::SERVICES, key, |seen| {
            let ports = NODE_PORTS.filter(|port| !self.ports.all.contains(port));
            let value = given(seen, &address, ports);
            Ok((value != *seen).then_some(value))
        });
        match done {
            Ok(service) => self.note(key, &service),
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_gets_what_its_type_asks_for() {
        let of = |kind: &str, more: Value| {
            let base =
                json!({"spec": {"type": kind, "ports": [{"port": 80}, {"port": 81, "nodePort": 31_000}]}});
            crate::patch::merge(&base, &json!({ "spec": more }))
        };
        for (service, address, ports) in [
            (of("ClusterIP", json!({})), "10.96.0.9", [None, Some(31_000)]),
            (of("ExternalName", json!({})), "", [None, Some(31_000)]),
            (of("NodePort", json!({"clusterIP": "10.96.0.2"})), "10.96.0.2", [Some(30_001), Some(31_000)]),
            (of("LoadBalancer", json!({})), "10.96.0.9", [Some(30_001), Some(31_000)]),
            (
                of("LoadBalancer", json!({"allocateLoadBalancerNodePorts": false})),
                "10.96.0.9",
                [None, Some(31_000)],
            ),
            (of("ClusterIP", json!({"clusterIP": "None"})), "None", [None, Some(31_000)]),
        ] {
            let value = given(&service, "10.96.0.9", [30_001].into_iter());
            let found = [0, 1].map(|at| int(&value["spec"]["ports"][at], "/nodePort"));
            assert_eq!((text(&value, "/spec/clusterIP"), found), (address, ports), "{service}");
        }
    }
}
