//! In which zones the nodes of a cluster are: an instance is where its node is, and does not know it.

use std::collections::BTreeMap;

use bcs_schemas::observation::{Endpoint, Node};

/// Zones by the names of nodes.
#[derive(Clone, Debug, Default)]
pub struct Zones(BTreeMap<String, String>);

impl Zones {
    /// Of nodes that are known already.
    pub fn of<'a>(nodes: impl Iterator<Item = &'a Node>) -> Self {
        Self(nodes.filter_map(|node| Some((node.name.clone(), node.zone.clone()?))).collect())
    }

    /// Learns where a node is; whether that is news.
    pub fn learn(&mut self, node: &Node) -> bool {
        let known = match &node.zone {
            Some(zone) => self.0.insert(node.name.clone(), zone.clone()),
            None => self.0.remove(&node.name),
        };
        known != node.zone
    }

    /// The instance, with its zone.
    #[must_use]
    pub fn place(&self, endpoint: Endpoint) -> Endpoint {
        let zone = endpoint.node.as_ref().and_then(|node| self.0.get(node)).cloned();
        Endpoint { zone, ..endpoint }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::mirror::{Mirror, placed};

    fn node(name: &str, zone: Option<&str>) -> Node {
        let node = serde_json::json!({
            "cluster": "sim-a", "name": name, "ready": true, "cordoned": false, "version": "", "os": "", "arch": "", "zone": zone,
            "capacity": { "cpu_millis": 1, "memory_bytes": 1, "instances": 1 }, "observed_at": "2026-01-01T00:00:00Z",
        });
        serde_json::from_value(node).expect("a node")
    }

    fn endpoint(instance: &str, node: Option<&str>) -> Endpoint {
        let endpoint = serde_json::json!({
            "cluster": "sim-a", "project": "shop", "app": "web", "revision": "r1", "instance": instance, "uid": instance,
            "node": node, "weight": 100, "phase": "ready", "since": "2026-01-01T00:00:00Z", "generation": 1,
            "observed_at": "2026-01-01T00:00:00Z",
        });
        serde_json::from_value(endpoint).expect("an endpoint")
    }

    #[test]
    fn an_instance_is_where_its_node_is_whichever_is_heard_of_first() {
        let mut zones = Zones::of([node("n1", Some("a"))].iter());
        let zone = |zones: &Zones, node| zones.place(endpoint("web-1", node)).zone;
        assert_eq!(zone(&zones, Some("n1")).as_deref(), Some("a"));
        assert_eq!((zone(&zones, Some("n2")), zone(&zones, None)), (None, None));
        let mut mirror = Mirror::new(BTreeMap::new());
        for (instance, node) in [("web-1", "n1"), ("web-2", "n2"), ("web-3", "n2")] {
            mirror.seen(zones.place(endpoint(instance, Some(node))));
        }
        assert!(!zones.learn(&node("n1", Some("a"))), "it is known");
        assert!(zones.learn(&node("n2", Some("b"))));
        let written: Vec<_> =
            placed(&mut mirror, &zones, "n2").into_iter().map(|it| (it.instance, it.zone)).collect();
        let b = Some("b".to_owned());
        assert_eq!(written, [("web-2".to_owned(), b.clone()), ("web-3".to_owned(), b)]);
        assert_eq!(placed(&mut mirror, &zones, "n2"), [], "it is written once");
        assert!(zones.learn(&node("n2", None)) && placed(&mut mirror, &zones, "n2").len() == 2);
    }

    #[test]
    fn an_instance_stays_where_it_was_when_its_node_is_gone() {
        let mut mirror = Mirror::new(BTreeMap::new());
        let known = Zones::of([node("n1", Some("a"))].iter());
        mirror.seen(known.place(endpoint("web-1", Some("n1"))));
        // Nobody knows the node any more.
        let forgotten = Zones::default();
        let starting =
            Endpoint { reason: Some("its node is lost".to_owned()), ..endpoint("web-1", Some("n1")) };
        let seen = mirror.seen(forgotten.place(starting)).expect("is news");
        assert_eq!(seen.zone.as_deref(), Some("a"));
        // Another one of its name, elsewhere.
        let next = Endpoint { uid: "next".to_owned(), ..endpoint("web-1", Some("n9")) };
        assert_eq!(mirror.seen(forgotten.place(next)).expect("is news").zone, None);
    }

    #[test]
    fn whoever_is_placed_anew_while_a_list_is_read_is_not_taken_for_listed() {
        let mut zones = Zones::default();
        let mut mirror = Mirror::new(BTreeMap::new());
        mirror.seen(endpoint("web-1", Some("n1")));
        mirror.list_began();
        zones.learn(&node("n1", Some("a")));
        assert_eq!(placed(&mut mirror, &zones, "n1").len(), 1);
        assert_eq!(mirror.list_ended(), ["sim-a.shop.web.web-1"]);
    }
}
