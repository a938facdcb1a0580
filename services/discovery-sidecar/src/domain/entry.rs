//! An instance as registries know it: its name, where it answers, and an id that never comes back. How a registry spells
//! it is the driver's business and is asked for through [`Layout`].

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    net::IpAddr,
    sync::Arc,
};

use bcs_schemas::{
    Name,
    bucket::Keyed,
    observation::Endpoint,
    resource::{
        RegistrySpec,
        registry::{Scope, key_of, value_of},
    },
};
use sha2::{Digest, Sha256};

/// What identifies an entry inside one registry: an etcd key, an id in a file, a record.
pub type Place = Arc<str>;

/// What a registry should hold of one instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Host name with its zone, without a last dot: `web.shop.bcs.local`.
    pub name: String,
    /// Stable id of this incarnation, a DNS label.
    pub id: String,
    /// Preferred address.
    pub address: IpAddr,
    /// First port, 0 when it serves none.
    pub port: u16,
    /// How long clients may remember it, in seconds.
    pub ttl: u32,
    /// What else is said of it there: labels of its application, its zone.
    pub metadata: BTreeMap<String, String>,
    /// The instance itself, for whatever else a registry can carry.
    pub endpoint: Arc<Endpoint>,
}

impl Entry {
    /// Key of the endpoint: `<cluster>.<project>.<app>.<instance>`.
    pub fn key(&self) -> String {
        self.endpoint.key()
    }
}

/// How a driver spells entries. Pure: the same entry gives the same answers for ever.
pub trait Layout: Send + Sync {
    /// Where the entry lies.
    fn place(&self, entry: &Entry) -> Place;
    /// A fingerprint of everything that this registry can hold of the entry, its generation left out: an entry that only
    /// got a new generation is not written again.
    fn digest(&self, entry: &Entry) -> u64;
}

/// Fingerprint of a value, within one process.
pub fn fingerprint(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Which instances one registry takes, and as what.
#[derive(Clone, Debug)]
pub struct Naming {
    registry: Name,
    scope: Scope,
    zone: String,
    template: String,
    ttl: u32,
    /// What else is entered, and what it is called there.
    metadata: Vec<(String, String)>,
}

impl Naming {
    /// As the registry document says.
    pub fn of(registry: &Name, spec: &RegistrySpec) -> Self {
        let ttl = u32::try_from(spec.ttl.std().as_secs()).unwrap_or(u32::MAX).max(1);
        Self {
            registry: registry.clone(),
            scope: spec.scope(),
            zone: spec.zone.clone(),
            template: spec.name.clone(),
            ttl,
            metadata: spec.metadata.iter().map(|item| (item.clone(), key_of(item))).collect(),
        }
    }

    /// Whether the registry takes the instance at all.
    pub fn takes(&self, endpoint: &Endpoint) -> bool {
        self.scope.takes(&self.registry, endpoint.applicant())
    }

    /// The instance as its application wants this registry to see it: with one port only, or with another weight.
    pub fn seen_here(&self, endpoint: Arc<Endpoint>) -> Arc<Endpoint> {
        let Some(wish) = endpoint.applicant().wish(&self.registry) else { return endpoint };
        if wish.port.is_none() && wish.weight.is_none() {
            return endpoint;
        }
        let (port, weight) = (wish.port.clone(), wish.weight);
        let mut seen = Arc::unwrap_or_clone(endpoint);
        if let Some(port) = port {
            seen.ports.retain(|offered| offered.name == port);
        }
        seen.weight = weight.unwrap_or(seen.weight);
        Arc::new(seen)
    }

    /// What an instance lacks to be entered, in words.
    pub fn lacks(&self, endpoint: &Endpoint) -> Option<String> {
        if endpoint.addresses.is_empty() {
            return Some("the instance has no address yet".to_owned());
        }
        let port = endpoint.applicant().wish(&self.registry)?.port.as_ref()?;
        let offered = endpoint.ports.iter().any(|offered| offered.name == *port);
        (!offered)
            .then(|| format!("the instance has no port {port}, which its application wants registered here"))
    }

    /// The entry of an instance; none as long as it [`Naming::lacks`] something.
    pub fn entry(&self, endpoint: &Arc<Endpoint>) -> Option<Entry> {
        if self.lacks(endpoint).is_some() {
            return None;
        }
        let address = *endpoint.addresses.first()?;
        Some(Entry {
            name: self.name(endpoint),
            id: stable_id(&endpoint.cluster, &endpoint.uid),
            address,
            port: endpoint.ports.first().map_or(0, |p| p.port),
            ttl: self.ttl,
            metadata: self.metadata_of(endpoint),
            endpoint: endpoint.clone(),
        })
    }

    fn metadata_of(&self, endpoint: &Endpoint) -> BTreeMap<String, String> {
        let said = |(item, key): &(String, String)| Some((key.clone(), value_of(item, endpoint)?.to_owned()));
        self.metadata.iter().filter_map(said).collect()
    }

    fn name(&self, endpoint: &Endpoint) -> String {
        let wish = endpoint.applicant().wish(&self.registry);
        let app = wish.and_then(|wish| wish.name.as_ref()).unwrap_or(&endpoint.app);
        let name = self
            .template
            .replace("{app}", app.as_str())
            .replace("{project}", endpoint.project.as_str())
            .replace("{cluster}", endpoint.cluster.as_str())
            // One label, whatever the cluster calls its instances.
            .replace("{instance}", &endpoint.instance.replace('.', "-"));
        format!("{name}.{}", self.zone)
    }
}

/// Derived, so that any sidecar at any time finds the entry of an instance at the same place.
fn stable_id(cluster: &Name, uid: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(cluster.as_str().as_bytes());
    hash.update([0]);
    hash.update(uid.as_bytes());
    hash.finalize().iter().take(8).fold(String::from("i"), |id, byte| format!("{id}{byte:02x}"))
}

/// `10.1.2.3:8080`, or the address alone when there is no port.
pub fn address_text(endpoint: &Endpoint) -> String {
    match (endpoint.addresses.first(), endpoint.ports.first()) {
        (None, _) => String::new(),
        (Some(address), None) => address.to_string(),
        (Some(address), Some(port)) => std::net::SocketAddr::new(*address, port.port).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use bcs_schemas::observation::EndpointPort;

    use super::*;
    use crate::testing;

    fn naming(spec: serde_json::Value) -> Naming {
        let mut whole = serde_json::json!({ "driver": { "file": { "directory": "/x" } } });
        whole.as_object_mut().expect("an object").extend(spec.as_object().expect("an object").clone());
        Naming::of(&testing::name("lb"), &serde_json::from_value(whole).expect("a registry"))
    }

    fn wanting(register: serde_json::Value) -> Arc<Endpoint> {
        let register = serde_json::from_value(register).expect("a list");
        let mut endpoint = Endpoint { register, ..testing::endpoint("web", 1) };
        let admin = EndpointPort { name: testing::name("admin"), port: 9090, protocol: Default::default() };
        endpoint.ports.push(admin);
        Arc::new(endpoint)
    }

    #[test]
    fn names_follow_the_template_and_end_in_the_zone() {
        let naming = naming(serde_json::json!({ "zone": "corp.test", "name": "{app}-{cluster}.{project}" }));
        let entry = naming.entry(&Arc::new(testing::endpoint("web", 1))).expect("has an address");
        assert_eq!(entry.name, "web-sim-a.shop.corp.test");
        assert_eq!((entry.port, entry.ttl), (8080, 30));
    }

    #[test]
    fn an_instance_can_have_a_name_of_its_own_and_labels_go_with_it() {
        let naming = naming(
            serde_json::json!({ "name": "{instance}.{project}", "metadata": ["corp/tier", "team", "{zone}", "{node}"] }),
        );
        let labels =
            [("corp/tier", "front"), ("other", "x")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let (labels, zone) = (labels.into(), Some("z1".to_owned()));
        let endpoint = Endpoint { labels, zone, instance: "web.1".into(), ..testing::endpoint("web", 1) };
        let entry = naming.entry(&Arc::new(endpoint)).expect("has an address");
        assert_eq!(entry.name, "web-1.shop.bcs.local");
        let said = [("corp_tier", "front"), ("zone", "z1"), ("node", "n1")];
        assert_eq!(entry.metadata, said.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn an_application_chooses_its_registries_and_what_it_is_there() {
        let naming = naming(serde_json::json!({}));
        for (register, takes, name, port, ports, weight) in [
            (serde_json::json!(null), true, "web", 8080, 2, 100),
            (serde_json::json!([]), false, "web", 8080, 2, 100),
            (serde_json::json!([{ "registry": "dns", "port": "admin" }]), false, "web", 8080, 2, 100),
            (serde_json::json!([{ "registry": "lb" }]), true, "web", 8080, 2, 100),
            (
                serde_json::json!([{ "registry": "lb", "port": "admin", "name": "front", "weight": 7 }]),
                true,
                "front",
                9090,
                1,
                7,
            ),
        ] {
            let endpoint = wanting(register.clone());
            assert_eq!(naming.takes(&endpoint), takes, "{register}");
            let seen = naming.seen_here(endpoint);
            let entry = naming.entry(&seen).expect("has an address");
            assert_eq!((entry.name, entry.port), (format!("{name}.shop.bcs.local"), port), "{register}");
            assert_eq!((seen.ports.len(), seen.weight), (ports, weight), "{register}");
        }
    }

    #[test]
    fn ids_are_labels_that_depend_on_cluster_and_uid_only() {
        let a = stable_id(&testing::name("sim-a"), "u1");
        assert_eq!(a, stable_id(&testing::name("sim-a"), "u1"));
        assert_ne!(a, stable_id(&testing::name("sim-b"), "u1"));
        assert_ne!(a, stable_id(&testing::name("sim-a"), "u2"));
        assert!(Name::new(a).is_ok());
    }

    #[test]
    fn an_instance_without_the_port_that_is_wanted_has_no_entry_and_says_why() {
        let naming = naming(serde_json::json!({}));
        let seen = naming.seen_here(wanting(serde_json::json!([{ "registry": "lb", "port": "grpc" }])));
        assert!(naming.takes(&seen) && naming.entry(&seen).is_none());
        assert!(naming.lacks(&seen).is_some_and(|words| words.contains("no port grpc")));
    }

    #[test]
    fn an_instance_without_an_address_has_no_entry() {
        let naming = naming(serde_json::json!({}));
        let endpoint = Endpoint { addresses: vec![], ..testing::endpoint("web", 1) };
        assert!(naming.entry(&Arc::new(endpoint)).is_none());
    }
}
