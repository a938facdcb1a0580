//! What is served: clusters and their hosts, with a number that rises whenever a cluster changes, and what was there before
//! every Envoy had acknowledged. Pure.

use std::collections::BTreeMap;

use envoy_types::pb::google::protobuf::Any;

use super::layout::{Host, assignment, cluster_of};
use crate::domain::{Item, Place, change::unfinished};

/// Everything that is served.
#[derive(Default)]
pub(super) struct Snapshot {
    /// The number given last.
    pub(super) last: u64,
    clusters: BTreeMap<String, Cluster>,
}

#[derive(Default)]
struct Cluster {
    number: u64,
    hosts: BTreeMap<Place, Host>,
    /// What was at places that changed since every Envoy had acknowledged.
    before: BTreeMap<Place, Option<Host>>,
    /// Taken out, as every Envoy acknowledged that is there; one that is away may still have it.
    leaving: BTreeMap<Place, Host>,
    encoded: Option<Any>,
}

impl Cluster {
    fn items(&self) -> Vec<Item> {
        let there = self.hosts.iter().map(|(place, host)| (place, host, self.before.contains_key(place)));
        let gone = self.before.iter().filter(|(place, _)| !self.hosts.contains_key(*place));
        let gone = gone.filter_map(|(place, host)| Some((place, host.as_ref()?, true)));
        let gone = gone.chain(self.leaving.iter().map(|(place, host)| (place, host, true)));
        let item = |(place, host, open): (&Place, &Host, bool)| {
            let item = host.item(place);
            let digest = if open { unfinished(item.digest) } else { item.digest };
            Item { digest, ..item }
        };
        there.chain(gone).map(item).collect()
    }
}

impl Snapshot {
    /// Of a cluster that nothing is known of: 0, and it is empty.
    pub(super) fn number(&self, cluster: &str) -> u64 {
        self.clusters.get(cluster).map_or(0, |cluster| cluster.number)
    }

    pub(super) fn assignment(&mut self, name: &str) -> Any {
        match self.clusters.get_mut(name) {
            None => assignment(name, std::iter::empty()),
            Some(Cluster { hosts, encoded, .. }) => {
                encoded.get_or_insert_with(|| assignment(name, hosts.values())).clone()
            }
        }
    }

    /// What Envoys got from whoever served them before.
    pub(super) fn recall(&mut self, hosts: Vec<(Place, Host)>) {
        for (place, host) in hosts {
            let cluster = cluster_of(&place).to_owned();
            self.stage(&cluster, vec![(place, Some(host))]);
            self.settle(&cluster);
        }
    }

    /// Puts hosts where they belong, or takes out those that are none; the number that says that they are there.
    pub(super) fn stage(&mut self, name: &str, changes: Vec<(Place, Option<Host>)>) -> u64 {
        let cluster = self.clusters.entry(name.to_owned()).or_default();
        let mut changed = cluster.number == 0;
        for (place, host) in changes {
            let there = cluster.hosts.get(&place).cloned();
            if there == host {
                continue;
            }
            cluster.before.entry(place.clone()).or_insert(there);
            cluster.leaving.remove(&place);
            match host {
                Some(host) => cluster.hosts.insert(place, host),
                None => cluster.hosts.remove(&place),
            };
            changed = true;
        }
        if changed {
            self.last += 1;
            (cluster.number, cluster.encoded) = (self.last, None);
        }
        cluster.number
    }

    /// Nobody has what was at this place.
    pub(super) fn forget(&mut self, name: &str, place: &Place) {
        if let Some(cluster) = self.clusters.get_mut(name) {
            cluster.before.remove(place);
            cluster.leaving.remove(place);
        }
    }

    /// Whether there are changes that not every Envoy acknowledged.
    pub(super) fn is_open(&self, cluster: &str) -> bool {
        self.clusters.get(cluster).is_some_and(|cluster| !cluster.before.is_empty())
    }

    /// Every Envoy that asks for it acknowledged it as it is now. What went stays known until it is [forgotten](Self::forget).
    pub(super) fn settle(&mut self, cluster: &str) {
        let Some(Cluster { hosts, before, leaving, .. }) = self.clusters.get_mut(cluster) else { return };
        let gone = std::mem::take(before).into_iter().filter(|(place, _)| !hosts.contains_key(place));
        leaving.extend(gone.filter_map(|(place, host)| Some((place, host?))));
    }

    /// Back to what every Envoy had acknowledged.
    pub(super) fn undo(&mut self, name: &str) {
        let Some(cluster) = self.clusters.get_mut(name) else { return };
        let before: Vec<_> = std::mem::take(&mut cluster.before).into_iter().collect();
        self.stage(name, before);
        if let Some(cluster) = self.clusters.get_mut(name) {
            cluster.before.clear();
        }
    }

    /// Forgets an empty cluster: nothing is known of it, and that is the same.
    pub(super) fn prune(&mut self, name: &str) {
        let is_empty = |c: &Cluster| c.hosts.is_empty() && c.before.is_empty() && c.leaving.is_empty();
        if self.clusters.get(name).is_some_and(is_empty) {
            self.clusters.remove(name);
        }
    }

    /// What some Envoy may have; what not every one acknowledged is unfinished.
    pub(super) fn items(&self) -> Vec<Item> {
        self.clusters.values().flat_map(Cluster::items).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
    use prost::Message;

    use super::*;
    use crate::{domain::Naming, testing};

    fn host(number: u32, digest: u64) -> (Place, Option<Host>) {
        let spec = serde_json::json!({ "driver": { "envoy": {} } });
        let naming = Naming::of(&testing::name("r"), &serde_json::from_value(spec).expect("a spec"));
        let entry = naming.entry(&Arc::new(testing::endpoint("web", number))).expect("an entry");
        (Place::from(format!("web/{number}")), Some(Host::of(&entry, digest).expect("a host")))
    }

    fn digests(snapshot: &Snapshot) -> Vec<(String, u64)> {
        snapshot.items().into_iter().map(|item| (item.place.to_string(), item.digest)).collect()
    }

    #[test]
    fn what_is_not_acknowledged_is_unfinished_and_can_be_taken_back() {
        let mut snapshot = Snapshot::default();
        let first = snapshot.stage("web", vec![host(1, 11)]);
        assert_eq!(digests(&snapshot), [("web/1".to_owned(), unfinished(11))]);
        snapshot.settle("web");
        assert_eq!(digests(&snapshot), [("web/1".to_owned(), 11)]);
        assert_eq!(snapshot.stage("web", vec![host(1, 11)]), first, "nothing changed");

        // Maps have no order as bytes.
        let told = |snapshot: &mut Snapshot| {
            ClusterLoadAssignment::decode(&*snapshot.assignment("web").value).expect("decodes")
        };
        let acknowledged = told(&mut snapshot);
        let gone = (Place::from("web/1"), None);
        let second = snapshot.stage("web", vec![gone, host(2, 22)]);
        assert!(second > first && snapshot.is_open("web") && told(&mut snapshot) != acknowledged);
        let open = [("web/2".to_owned(), unfinished(22)), ("web/1".to_owned(), unfinished(11))];
        assert_eq!(digests(&snapshot), open);
        snapshot.undo("web");
        assert_eq!((digests(&snapshot), snapshot.is_open("web")), (vec![("web/1".to_owned(), 11)], false));
        assert_eq!(told(&mut snapshot), acknowledged);
        assert!(snapshot.number("web") > second, "it has to be told again");
    }

    #[test]
    fn what_was_taken_out_is_known_until_nobody_can_have_it_any_more() {
        let mut snapshot = Snapshot::default();
        snapshot.stage("web", vec![host(1, 11), host(2, 22)]);
        snapshot.settle("web");
        let gone = || (Place::from("web/1"), None);
        let number = snapshot.stage("web", vec![gone()]);
        snapshot.settle("web");
        let leaving = [("web/2".to_owned(), 22), ("web/1".to_owned(), unfinished(11))];
        assert_eq!(digests(&snapshot), leaving, "one that is away may still have it");
        assert_eq!(snapshot.stage("web", vec![gone()]), number, "it was told already");
        snapshot.stage("web", vec![host(3, 33)]);
        snapshot.undo("web");
        assert_eq!(digests(&snapshot), leaving, "what others refuse does not bring it back");
        snapshot.forget("web", &Place::from("web/1"));
        assert_eq!(digests(&snapshot), [("web/2".to_owned(), 22)]);
    }

    #[test]
    fn an_empty_cluster_is_as_one_that_nobody_knows() {
        let mut snapshot = Snapshot::default();
        let unknown = snapshot.assignment("web");
        snapshot.stage("web", vec![host(1, 11)]);
        snapshot.stage("web", vec![(Place::from("web/1"), None)]);
        assert_eq!(snapshot.assignment("web"), unknown);
        snapshot.forget("web", &Place::from("web/1"));
        snapshot.prune("web");
        assert_eq!((snapshot.number("web"), digests(&snapshot)), (0, vec![]));
        assert!(snapshot.stage("web", vec![host(1, 11)]) > 2, "numbers only rise");
    }
}
