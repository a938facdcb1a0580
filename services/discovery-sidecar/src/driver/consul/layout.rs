//! How entries lie in Consul: a service each, on a node of ours that runs nowhere, whose metadata says whose it is. Pure.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    domain::{Entry, Item, Layout, Place, entry::fingerprint},
    driver::Owner,
};

const OWNER: &str = "bcs-owner";
const KEY: &str = "bcs-key";
const UID: &str = "bcs-uid";

/// Metadata as Consul has it; keys have no dots.
pub(super) type Meta = BTreeMap<String, String>;

/// A service as the catalog has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Service {
    #[serde(rename = "ID")]
    pub(super) id: String,
    pub(super) service: String,
    pub(super) address: String,
    pub(super) port: u16,
    #[serde(default)]
    pub(super) meta: Option<Meta>,
    #[serde(default)]
    pub(super) weights: Weights,
    /// Compared where something is written; nothing must be there when it is 0.
    #[serde(default)]
    pub(super) modify_index: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Weights {
    pub(super) passing: u32,
    pub(super) warning: u32,
}

/// Spelling of one owner's entries.
#[derive(Clone, Debug)]
pub(super) struct Spelling {
    pub(super) owner: String,
    pub(super) platform: String,
    pub(super) installation: String,
    pub(super) node: String,
    /// What ids of services begin with.
    ids: String,
    zone: String,
}

impl Spelling {
    pub(super) fn new(owner: &Owner, node: &str, zone: &str) -> Self {
        Self {
            owner: owner.to_string(),
            platform: owner.platform.to_string(),
            installation: owner.installation.clone(),
            node: format!("{node}--{}", joined(&owner.to_string())),
            ids: "bcs".to_owned(),
            zone: format!(".{zone}"),
        }
    }

    /// Services of an agent are no node's of ours: what would be its name tells the ids of owners apart.
    pub(super) fn at_agent(owner: &Owner, node: &str, zone: &str) -> Self {
        let spelling = Self::new(owner, node, zone);
        Self { ids: spelling.node.clone(), ..spelling }
    }

    pub(super) fn epoch_key(&self) -> String {
        format!("bcs/epoch/{}", self.owner)
    }

    pub(super) fn claim_key(&self) -> String {
        format!("bcs/installation/{}", self.platform)
    }

    pub(super) fn agent_key(&self) -> String {
        format!("bcs/agent/{}", self.owner)
    }

    /// What the node says of itself: that nobody should look for an agent on it, and whose it is.
    pub(super) fn node_meta(&self) -> Meta {
        let said = [("external-node", "true"), ("external-probe", "false"), (OWNER, self.owner.as_str())];
        said.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    pub(super) fn service(&self, entry: &Entry) -> Service {
        let ours = [(OWNER, self.owner.clone()), (KEY, entry.key()), (UID, entry.endpoint.uid.clone())];
        let ours = ours.into_iter().map(|(name, value)| (name.to_owned(), value));
        // It knows no dots either.
        let labels = entry.metadata.iter().map(|(key, value)| (key.replace('.', "_"), value.clone()));
        // Consul has no weight of nothing.
        let weight = entry.endpoint.weight.clamp(1, 65535);
        Service {
            id: format!("{}-{}", self.ids, entry.id),
            service: joined(entry.name.strip_suffix(&self.zone).unwrap_or(&entry.name)),
            address: entry.address.to_string(),
            port: entry.port,
            meta: Some(labels.chain(ours).collect()),
            weights: Weights { passing: weight, warning: weight },
            modify_index: 0,
        }
    }

    /// Our entry, if this is one.
    pub(super) fn item(&self, service: &Service) -> Option<Item> {
        (said(service.meta.as_ref(), OWNER) == self.owner).then(|| Item {
            place: Place::from(service.id.as_str()),
            key: Arc::from(said(service.meta.as_ref(), KEY)),
            uid: Arc::from(said(service.meta.as_ref(), UID)),
            digest: digest(service),
            version: service.modify_index,
        })
    }

    /// The same of what an agent tells. Programs register with it what we need not understand.
    pub(super) fn read(&self, held: &Value) -> Option<Item> {
        let is_ours = held["Meta"][OWNER] == self.owner.as_str();
        is_ours.then(|| Service::deserialize(held).ok()).flatten().and_then(|service| self.item(&service))
    }
}

fn said<'a>(meta: Option<&'a Meta>, what: &str) -> &'a str {
    meta.and_then(|meta| meta.get(what)).map_or("", String::as_str)
}

/// Whom something belongs to, for people.
pub(super) fn whose(meta: Option<&Meta>) -> String {
    match said(meta, OWNER) {
        "" => "nobody that says so".to_owned(),
        owner => format!("owner {owner:?}"),
    }
}

/// The same of what an agent tells.
pub(super) fn theirs(held: &Value) -> String {
    whose(Meta::deserialize(&held["Meta"]).ok().as_ref())
}

/// Names of services and nodes are single labels.
fn joined(name: &str) -> String {
    name.replace('.', "--")
}

/// Why a name cannot be told apart from another one when it is joined.
pub(super) fn ambiguous(entry: &Entry) -> Option<String> {
    entry.name.contains("--").then(|| {
        format!(
            "{} holds two dashes in a row, which stand for a dot in Consul: expected another name",
            entry.name
        )
    })
}

fn digest(service: &Service) -> u64 {
    let address: Option<IpAddr> = service.address.parse().ok();
    fingerprint(&((&service.id, &service.service, address, service.port, &service.weights), &service.meta))
}

impl Layout for Spelling {
    fn place(&self, entry: &Entry) -> Place {
        Place::from(self.service(entry).id)
    }

    fn digest(&self, entry: &Entry) -> u64 {
        digest(&self.service(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn owner() -> Owner {
        Owner {
            platform: testing::name("eu1"),
            cluster: testing::name("sim-a"),
            registry: testing::name("dns"),
            installation: "one".to_owned(),
        }
    }

    fn spelling(platform: &str) -> Spelling {
        let owner = Owner { platform: testing::name(platform), ..owner() };
        Spelling::new(&owner, "bcs", "bcs.local")
    }

    fn labels() -> Meta {
        Meta::from([("corp.example_tier".to_owned(), "front".to_owned())])
    }

    fn entry(name: &str) -> Entry {
        let endpoint = Arc::new(testing::endpoint("web", 1));
        let address = endpoint.addresses[0];
        Entry { name: name.into(), id: "i1".into(), address, port: 80, ttl: 30, metadata: labels(), endpoint }
    }

    #[test]
    fn names_are_labels_that_stay_apart() {
        let ours = spelling("eu1");
        assert_eq!(ours.node, "bcs--eu1--sim-a--dns");
        assert_eq!(ours.service(&entry("web.shop.bcs.local")).service, "web--shop");
        assert_eq!(ours.service(&entry("web-shop.bcs.local")).service, "web-shop");
        assert_eq!(ambiguous(&entry("web-a.shop.bcs.local")), None);
        assert!(ambiguous(&entry("web--shop.bcs.local")).is_some());
    }

    #[test]
    fn what_is_written_is_read_back_and_of_others_nothing() {
        let (ours, entry) = (spelling("eu1"), entry("web.shop.bcs.local"));
        let written =
            serde_json::to_value(Service { modify_index: 7, ..ours.service(&entry) }).expect("JSON");
        let service: Service = serde_json::from_value(written).expect("reads");
        let item = ours.item(&service).expect("is ours");
        assert_eq!((item.place, item.digest), (ours.place(&entry), ours.digest(&entry)));
        assert_eq!((&*item.key, &*item.uid, item.version), (&*entry.key(), &*entry.endpoint.uid, 7));
        assert_eq!(spelling("eu2").item(&service), None);
        assert_eq!(ours.item(&Service { meta: None, ..service.clone() }), None);
        let meta = service.meta.clone().expect("is there");
        assert_eq!(meta.get("corp_example_tier").map(String::as_str), Some("front"));
        let bare = Entry { metadata: Meta::new(), ..entry.clone() };
        assert_ne!(ours.digest(&bare), ours.digest(&entry));
        let moved = Service { address: "10.9.9.9".into(), ..service };
        assert_ne!(ours.item(&moved).expect("is ours").digest, ours.digest(&entry));
    }

    #[test]
    fn at_an_agent_ids_of_owners_differ_and_whatever_else_is_there_is_not_ours() {
        let entry = entry("web.shop.bcs.local");
        let [ours, theirs] = ["eu1", "eu2"].map(|platform| {
            let owner = Owner { platform: testing::name(platform), ..owner() };
            Spelling::at_agent(&owner, "bcs", "bcs.local")
        });
        assert_eq!(&*ours.place(&entry), "bcs--eu1--sim-a--dns-i1");
        assert_ne!(ours.place(&entry), theirs.place(&entry));
        let held = serde_json::to_value(ours.service(&entry)).expect("JSON");
        let item = ours.read(&held).expect("is ours");
        assert_eq!((item.place, item.digest), (ours.place(&entry), ours.digest(&entry)));
        assert_eq!(theirs.read(&held), None);
        assert_eq!(super::theirs(&held), "owner \"eu1.sim-a.dns\"");
        for other in [serde_json::json!({}), serde_json::json!({ "Port": -1, "Meta": null }), Value::Null] {
            assert_eq!(ours.read(&other), None);
            assert_eq!(super::theirs(&other), "nobody that says so");
        }
    }
}
