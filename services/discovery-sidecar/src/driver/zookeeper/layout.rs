//! How an entry lies in ZooKeeper: a node below its service, in the JSON that Curator's service discovery reads, with ours in the
//! metadata of the payload. Pure.

use std::{collections::BTreeMap, sync::Arc};

use bcs_schemas::{
    Name,
    resource::registry::{ZookeeperDriver, ZookeeperPayload},
};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{Entry, Item, Layout, Place, entry::fingerprint},
    driver::Owner,
};

/// The class whose instances Spring Cloud expects as payload; Jackson looks for it in `@class`.
const SPRING: &str = "org.springframework.cloud.zookeeper.discovery.ZookeeperInstance";
const OWNER: &str = "bcs.owner";
const ENDPOINT: &str = "bcs.endpoint";
const UID: &str = "bcs.uid";
const WEIGHT: &str = "weight";

/// Nodes of one owner.
#[derive(Clone, Debug)]
pub(super) struct Services {
    pub(super) prefix: String,
    payload: ZookeeperPayload,
    owner: String,
    /// Node that holds the epoch, beside the services.
    pub(super) epoch: String,
    /// Node that says which installation the name belongs to.
    pub(super) claim: String,
    platform: Name,
    pub(super) installation: String,
}

/// Curator's `ServiceInstance`, as far as it is compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    name: String,
    id: String,
    address: String,
    #[serde(default)]
    port: Option<u16>,
    payload: Payload,
    service_type: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Payload {
    #[serde(rename = "@class", default, skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    metadata: BTreeMap<String, String>,
}

/// What stands there beside: it says nothing that is worth a writing of its own.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    record: &'a Record,
    #[serde(rename = "sslPort")]
    ssl_port: (),
    #[serde(rename = "registrationTimeUTC")]
    registered: i64,
    #[serde(rename = "uriSpec")]
    uri_spec: (),
}

impl Services {
    pub(super) fn new(settings: &ZookeeperDriver, owner: &Owner) -> Self {
        Self {
            prefix: settings.prefix.clone(),
            payload: settings.payload,
            owner: owner.to_string(),
            epoch: format!("/bcs/epoch/{owner}"),
            claim: format!("/bcs/installation/{}", owner.platform),
            platform: owner.platform.clone(),
            installation: owner.installation.clone(),
        }
    }

    fn record(&self, entry: &Entry) -> Record {
        let spring = self.payload == ZookeeperPayload::Spring;
        let ours = [
            (OWNER, self.owner.clone()),
            (ENDPOINT, entry.key()),
            (UID, entry.endpoint.uid.clone()),
            (WEIGHT, entry.endpoint.weight.to_string()),
        ];
        let ours = ours.into_iter().map(|(key, value)| (key.to_owned(), value));
        Record {
            name: entry.name.clone(),
            id: entry.id.clone(),
            address: entry.address.to_string(),
            port: (entry.port != 0).then_some(entry.port),
            payload: Payload {
                class: spring.then(|| SPRING.to_owned()),
                id: spring.then(|| entry.id.clone()),
                name: spring.then(|| entry.name.clone()),
                metadata: entry.metadata.clone().into_iter().chain(ours).collect(),
            },
            // It stays when a session ends.
            service_type: "PERMANENT".to_owned(),
        }
    }

    pub(super) fn value(&self, entry: &Entry) -> Result<Vec<u8>, serde_json::Error> {
        let registered = entry.endpoint.since.as_millisecond();
        serde_json::to_vec(&Written { record: &self.record(entry), ssl_port: (), registered, uri_spec: () })
    }

    /// Our entry, if this is one.
    pub(super) fn item(&self, place: &Place, value: &[u8], version: u64) -> Option<Item> {
        let record: Record = serde_json::from_slice(value).ok()?;
        let metadata = &record.payload.metadata;
        if metadata.get(OWNER) != Some(&self.owner) {
            return None;
        }
        Some(Item {
            place: place.clone(),
            key: Arc::from(metadata.get(ENDPOINT)?.as_str()),
            uid: Arc::from(metadata.get(UID)?.as_str()),
            digest: fingerprint(&(&**place, &record)),
            version,
        })
    }

    /// Whom a node belongs to that is not ours, for people.
    pub(super) fn whose(place: &str, value: &[u8]) -> String {
        let value: serde_json::Value = serde_json::from_slice(value).unwrap_or_default();
        match value.pointer("/payload/metadata/bcs.owner").and_then(serde_json::Value::as_str) {
            Some(owner) => format!("{place} belongs to {owner}"),
            None => format!("{place} was put there by somebody else"),
        }
    }

    /// Why nothing is written when the name belongs to another installation.
    pub(super) fn taken_by(&self, other: &str) -> String {
        let mark = format!("the node {}", self.claim);
        super::super::taken("zookeeper", &self.platform, &self.installation, other, &mark)
    }
}

/// The node that has to be there first.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl Layout for Services {
    fn place(&self, entry: &Entry) -> Place {
        Place::from(format!("{}/{}/{}", self.prefix, entry.name, entry.id))
    }

    fn digest(&self, entry: &Entry) -> u64 {
        fingerprint(&(&*self.place(entry), &self.record(entry)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::Naming, testing};

    fn services(payload: &str) -> Services {
        let settings = serde_json::json!({ "hosts": ["zk:2181"], "payload": payload });
        let owner = Owner {
            platform: testing::name("eu1"),
            cluster: testing::name("sim-a"),
            registry: testing::name("zk"),
            installation: "one".to_owned(),
        };
        Services::new(&serde_json::from_value(settings).expect("settings"), &owner)
    }

    fn entry(change: impl FnOnce(&mut bcs_schemas::observation::Endpoint)) -> Entry {
        let spec = serde_json::json!({ "driver": { "zookeeper": { "hosts": ["zk:2181"] } } });
        let naming = Naming::of(&testing::name("r"), &serde_json::from_value(spec).expect("a spec"));
        let mut endpoint = testing::endpoint("web", 1);
        change(&mut endpoint);
        naming.entry(&Arc::new(endpoint)).expect("an entry")
    }

    #[test]
    fn a_node_says_what_curator_reads_and_is_found_again() {
        for (payload, class) in [("plain", None), ("spring", Some(SPRING))] {
            let (services, entry) = (services(payload), entry(|_| ()));
            let place = services.place(&entry);
            assert_eq!(*place, *format!("/services/web.shop.bcs.local/{}", entry.id));
            let value = services.value(&entry).expect("is written");
            let read: serde_json::Value = serde_json::from_slice(&value).expect("JSON");
            let field = |pointer: &str| read.pointer(pointer).cloned().unwrap_or_default();
            assert_eq!(field("/address"), "10.0.0.1");
            assert_eq!((field("/port"), field("/registrationTimeUTC")), (8080.into(), 0.into()));
            assert_eq!((field("/name"), field("/id")), ("web.shop.bcs.local".into(), (*entry.id).into()));
            assert_eq!(
                (field("/serviceType"), field("/sslPort")),
                ("PERMANENT".into(), serde_json::Value::Null)
            );
            assert_eq!(field("/payload/@class").as_str(), class);
            assert_eq!(field("/payload/metadata/weight"), "100");
            let item = services.item(&place, &value, 7).expect("is ours");
            assert_eq!((item.digest, item.version), (services.digest(&entry), 7));
            assert_eq!((&*item.key, &*item.uid), ("sim-a.shop.web.web-1", "uid-web-1"));
        }
    }

    #[test]
    fn only_what_readers_see_makes_another_fingerprint() {
        let services = services("plain");
        let digest = |change: fn(&mut bcs_schemas::observation::Endpoint)| services.digest(&entry(change));
        let before = digest(|_| ());
        assert_eq!(
            before,
            digest(|e| (e.generation, e.since) = (9, "2026-01-01T00:00:00Z".parse().expect("a time")))
        );
        assert_ne!(before, digest(|e| e.weight = 1));
        assert_ne!(before, digest(|e| e.addresses = vec!["10.9.9.9".parse().expect("an address")]));
        assert_ne!(before, digest(|e| e.ports.clear()));
    }

    #[test]
    fn what_is_not_ours_is_nobodys_entry_and_says_whose_it_is() {
        let services = services("plain");
        let place = services.place(&entry(|_| ()));
        let theirs = r#"{"name":"web","id":"1","address":"a","payload":{"metadata":{"bcs.owner":"eu2.sim-a.zk"}},"serviceType":"DYNAMIC"}"#;
        for (value, words) in [
            (theirs, "belongs to eu2.sim-a.zk"),
            (r#"{"name":"web","payload":"text"}"#, "somebody else"),
            ("no json", "somebody else"),
            ("", "somebody else"),
        ] {
            assert_eq!(services.item(&place, value.as_bytes(), 1), None);
            let whose = Services::whose(&place, value.as_bytes());
            assert!(whose.contains(words) && whose.starts_with("/services/"), "{whose}");
        }
    }
}
