//! How an entry lies in an assignment of Envoy. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bcs_schemas::{
    Name,
    observation::{Registration, RegistrationState},
};

use envoy_types::pb::{
    envoy::config::{
        core::v3::{
            Address, HealthStatus, Locality, Metadata, SocketAddress as Socket, address::Address as Kind,
            socket_address::PortSpecifier,
        },
        endpoint::v3::{
            ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
        },
    },
    google::protobuf::{Any, Struct, UInt32Value, Value, value},
};
use prost::{Message, Name as _};

use crate::domain::{Entry, Item, Layout, Place, entry::fingerprint};

/// Where our data stand in the metadata of an endpoint.
const METADATA: &str = "bcs";
/// What of it says where an endpoint is, for routing within a zone.
const ZONE: &str = "zone";
/// Where Envoy looks for the subset of a cluster that an endpoint belongs to.
const SUBSETS: &str = "envoy.lb";

/// Fingerprint of what was not put by us: whatever is wanted, it differs.
const RECALLED: u64 = 0;
/// Weight of an instance when nothing is said.
const USUAL: u32 = 100;

/// Kind of the only resources that are served.
pub(super) fn type_url() -> String {
    ClusterLoadAssignment::type_url()
}

/// A place is `<cluster of Envoy>/<endpoint>:<uid>`.
#[derive(Clone, Debug)]
pub(super) struct Clusters {
    pub(super) template: String,
}

/// An entry as it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) key: Arc<str>,
    pub(super) uid: Arc<str>,
    pub(super) digest: u64,
    address: IpAddr,
    port: u16,
    weight: u32,
    labels: BTreeMap<String, String>,
}

impl Clusters {
    fn place_of(&self, [cluster, project, app]: [&Name; 3], key: &str, uid: &str) -> Place {
        let name = self
            .template
            .replace("{app}", app.as_str())
            .replace("{project}", project.as_str())
            .replace("{cluster}", cluster.as_str());
        Place::from(format!("{name}/{key}:{uid}"))
    }

    /// What Envoys were told of an instance, as far as it was said. Its weight was not: it counts as any other.
    pub(super) fn recall(&self, said: &Registration) -> Option<(Place, Host)> {
        if !matches!(said.state, RegistrationState::Confirmed | RegistrationState::Draining) {
            return None;
        }
        let at: SocketAddr = said.address.parse().ok()?;
        let key = format!("{}.{}.{}.{}", said.cluster, said.project, said.app, said.instance);
        let place = self.place_of([&said.cluster, &said.project, &said.app], &key, &said.uid);
        let (key, uid) = (Arc::from(key), Arc::from(&*said.uid));
        let (address, port, labels) = (at.ip(), at.port(), BTreeMap::new());
        Some((place, Host { key, uid, digest: RECALLED, address, port, weight: USUAL, labels }))
    }
}

/// The cluster of Envoy that a place belongs to.
pub(super) fn cluster_of(place: &str) -> &str {
    place.split_once('/').map_or(place, |(cluster, _)| cluster)
}

impl Host {
    /// What Envoy can be told, or why it cannot.
    pub(super) fn of(entry: &Entry, digest: u64) -> Result<Self, String> {
        if entry.port == 0 {
            return Err("the instance serves no port: Envoy needs one".to_owned());
        }
        Ok(Self {
            key: Arc::from(entry.key()),
            uid: Arc::from(&*entry.endpoint.uid),
            digest,
            address: entry.address,
            port: entry.port,
            weight: entry.endpoint.weight,
            labels: entry.metadata.clone(),
        })
    }

    pub(super) fn item(&self, place: &Place) -> Item {
        let (key, uid) = (self.key.clone(), self.uid.clone());
        Item { place: place.clone(), key, uid, digest: self.digest, version: 0 }
    }

    fn endpoint(&self) -> LbEndpoint {
        let at = Socket {
            address: self.address.to_string(),
            port_specifier: Some(PortSpecifier::PortValue(u32::from(self.port))),
            ..Socket::default()
        };
        let address = Some(Address { address: Some(Kind::SocketAddress(at)) });
        let text = |text: &str| Value { kind: Some(value::Kind::StringValue(text.to_owned())) };
        let fields =
            HashMap::from([("endpoint".to_owned(), text(&self.key)), ("uid".to_owned(), text(&self.uid))]);
        let mut filter_metadata = HashMap::from([(METADATA.to_owned(), Struct { fields })]);
        if !self.labels.is_empty() {
            let fields = self.labels.iter().map(|(key, value)| (key.clone(), text(value))).collect();
            filter_metadata.insert(SUBSETS.to_owned(), Struct { fields });
        }
        // A weight is at least 1; what shall get nothing drains.
        let health = if self.weight == 0 { HealthStatus::Draining } else { HealthStatus::Unknown };
        LbEndpoint {
            health_status: health.into(),
            metadata: Some(Metadata { filter_metadata, ..Metadata::default() }),
            load_balancing_weight: Some(UInt32Value { value: self.weight.max(1) }),
            host_identifier: Some(HostIdentifier::Endpoint(Endpoint { address, ..Endpoint::default() })),
        }
    }
}

/// The whole assignment of a cluster, as it goes into an answer.
pub(super) fn assignment<'a>(cluster: &str, hosts: impl Iterator<Item = &'a Host>) -> Any {
    let mut zones = BTreeMap::<Option<&str>, Vec<LbEndpoint>>::new();
    for host in hosts {
        zones.entry(host.labels.get(ZONE).map(String::as_str)).or_default().push(host.endpoint());
    }
    let of_zone = |(zone, lb_endpoints): (Option<&str>, Vec<LbEndpoint>)| {
        let locality = zone.map(|zone| Locality { zone: zone.to_owned(), ..Locality::default() });
        LocalityLbEndpoints { locality, lb_endpoints, ..LocalityLbEndpoints::default() }
    };
    let endpoints = zones.into_iter().map(of_zone).collect();
    let cluster_name = cluster.to_owned();
    let assignment = ClusterLoadAssignment { cluster_name, endpoints, ..ClusterLoadAssignment::default() };
    Any { type_url: type_url(), value: assignment.encode_to_vec() }
}

impl Layout for Clusters {
    fn place(&self, entry: &Entry) -> Place {
        let endpoint = &entry.endpoint;
        let names = [&endpoint.cluster, &endpoint.project, &endpoint.app];
        self.place_of(names, &entry.key(), &endpoint.uid)
    }

    fn digest(&self, entry: &Entry) -> u64 {
        let said = (entry.address, entry.port, entry.endpoint.weight, &entry.metadata);
        fingerprint(&(&*self.place(entry), said))
    }
}

#[cfg(test)]
mod tests {
    use bcs_schemas::observation::Endpoint as Observed;

    use super::*;
    use crate::{domain::Naming, testing};

    fn entry(observed: Observed) -> Entry {
        let spec = serde_json::json!({ "driver": { "envoy": {} } });
        let naming = Naming::of(&testing::name("r"), &serde_json::from_value(spec).expect("a spec"));
        naming.entry(&Arc::new(observed)).expect("an entry")
    }

    #[test]
    fn an_assignment_says_address_weight_and_whose_it_is() {
        let clusters = Clusters { template: "{app}.{project}".to_owned() };
        let entry = entry(testing::endpoint("web", 1));
        let place = clusters.place(&entry);
        assert_eq!(&*place, "web.shop/sim-a.shop.web.web-1:uid-web-1");
        assert_eq!(cluster_of(&place), "web.shop");
        let host = Host::of(&entry, clusters.digest(&entry)).expect("can be told");
        assert_eq!(host.item(&place).digest, clusters.digest(&entry));
        let any = assignment("web.shop", [&host].into_iter());
        assert_eq!(any.type_url, "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment");
        let told = ClusterLoadAssignment::decode(&*any.value).expect("decodes");
        let text = format!("{told:?}");
        for part in ["10.0.0.1", "PortValue(8080)", "value: 100", "sim-a.shop.web.web-1", "uid-web-1"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let none = assignment("web.shop", std::iter::empty());
        let none = ClusterLoadAssignment::decode(&*none.value).expect("decodes");
        assert_eq!((none.cluster_name.as_str(), none.endpoints.len()), ("web.shop", 0));
    }

    #[test]
    fn endpoints_lie_in_the_locality_of_their_zone_and_labels_make_subsets() {
        let spec = serde_json::json!({ "driver": { "envoy": {} }, "metadata": ["{zone}", "team"] });
        let naming = Naming::of(&testing::name("r"), &serde_json::from_value(spec).expect("a spec"));
        let host = |number, zone: Option<&str>| {
            let labels = [("team".to_owned(), "red".to_owned())].into();
            let observed =
                Observed { zone: zone.map(str::to_owned), labels, ..testing::endpoint("web", number) };
            Host::of(&naming.entry(&Arc::new(observed)).expect("an entry"), 1).expect("can be told")
        };
        let hosts = [host(1, Some("b")), host(2, Some("a")), host(3, Some("b")), host(4, None)];
        let told =
            ClusterLoadAssignment::decode(&*assignment("web.shop", hosts.iter()).value).expect("decodes");
        let zone =
            |group: &LocalityLbEndpoints| group.locality.as_ref().map(|locality| locality.zone.clone());
        let found: Vec<_> =
            told.endpoints.iter().map(|group| (zone(group), group.lb_endpoints.len())).collect();
        assert_eq!(found, [(None, 1), (Some("a".to_owned()), 1), (Some("b".to_owned()), 2)]);
        let subset =
            &told.endpoints[0].lb_endpoints[0].metadata.as_ref().expect("is there").filter_metadata[SUBSETS];
        assert!(format!("{:?}", subset.fields["team"]).contains("red"));
    }

    #[test]
    fn without_a_port_there_is_nothing_to_tell_and_without_weight_it_drains() {
        let silent = entry(Observed { ports: vec![], ..testing::endpoint("web", 1) });
        assert!(Host::of(&silent, 0).is_err_and(|words| words.contains("serves no port")));
        let idle = entry(Observed { weight: 0, ..testing::endpoint("web", 1) });
        let endpoint = Host::of(&idle, 0).expect("can be told").endpoint();
        assert_eq!(endpoint.health_status(), HealthStatus::Draining);
        assert_eq!(endpoint.load_balancing_weight, Some(UInt32Value { value: 1 }));
    }
}
