//! An instance as registries know it: its name, where it answers, and an id that never comes back. How a registry spells
//! it is the driver's business and is asked for through [`Layout`].

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::IpAddr,
    sync::Arc,
};

use bcs_schemas::{Name, bucket::Keyed, observation::Endpoint, resource::RegistrySpec};
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

/// How instances are named in one registry.
#[derive(Clone, Debug)]
pub struct Naming {
    zone: String,
    template: String,
    ttl: u32,
}

impl Naming {
    /// As the registry document says.
    pub fn of(spec: &RegistrySpec) -> Self {
        let ttl = u32::try_from(spec.ttl.std().as_secs()).unwrap_or(u32::MAX).max(1);
        Self { zone: spec.zone.clone(), template: spec.name.clone(), ttl }
    }

    /// The entry of an instance; none as long as it has no address.
    pub fn entry(&self, endpoint: &Arc<Endpoint>) -> Option<Entry> {
        let address = *endpoint.addresses.first()?;
        Some(Entry {
            name: self.name(&endpoint.app, &endpoint.project, &endpoint.cluster),
            id: stable_id(&endpoint.cluster, &endpoint.uid),
            address,
            port: endpoint.ports.first().map_or(0, |p| p.port),
            ttl: self.ttl,
            endpoint: endpoint.clone(),
        })
    }

    fn name(&self, app: &Name, project: &Name, cluster: &Name) -> String {
        let name = self
            .template
            .replace("{app}", app.as_str())
            .replace("{project}", project.as_str())
            .replace("{cluster}", cluster.as_str());
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
    use super::*;
    use crate::testing;

    #[test]
    fn names_follow_the_template_and_end_in_the_zone() {
        let naming =
            Naming { zone: "corp.test".into(), template: "{app}-{cluster}.{project}".into(), ttl: 30 };
        let entry = naming.entry(&Arc::new(testing::endpoint("web", 1))).expect("has an address");
        assert_eq!(entry.name, "web-sim-a.shop.corp.test");
        assert_eq!((entry.port, entry.ttl), (8080, 30));
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
    fn an_instance_without_an_address_has_no_entry() {
        let naming = Naming { zone: "x".into(), template: "{app}".into(), ttl: 1 };
        let endpoint = Endpoint { addresses: vec![], ..testing::endpoint("web", 1) };
        assert!(naming.entry(&Arc::new(endpoint)).is_none());
    }
}
