//! The SkyDNS layout: where an entry lies in etcd and how its value is written. Pure.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    domain::{Entry, Item, Layout, Place, entry::fingerprint},
    driver::Owner,
};

/// Keys below one prefix.
#[derive(Clone, Debug)]
pub(super) struct SkyDns {
    prefix: String,
    owner: String,
    pub(super) claim: Claim,
}

/// That a name of an installation is taken, and by which one.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) key: String,
    pub(super) name: bcs_schemas::Name,
    pub(super) installation: String,
}

/// The value of a key. CoreDNS reads the first fields and ignores the others.
#[derive(Clone, Debug, Hash, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    host: String,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    ttl: u32,
    #[serde(default)]
    weight: u32,
    /// Served as TXT: who answers there.
    #[serde(default)]
    text: String,
    #[serde(default)]
    owner: String,
    #[serde(default)]
    uid: String,
    /// Key of the endpoint.
    #[serde(default)]
    endpoint: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

/// The generation is no part of what is compared: see [`Layout::digest`].
#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    record: &'a Record,
    #[serde(rename = "gen")]
    generation: u64,
}

#[derive(Deserialize)]
struct Marker {
    #[serde(default)]
    owner: Option<String>,
}

impl SkyDns {
    pub(super) fn new(prefix: &str, owner: &Owner) -> Self {
        let claim = Claim {
            key: format!("{}/bcs/installation/{}", parent(prefix), owner.platform),
            name: owner.platform.clone(),
            installation: owner.installation.clone(),
        };
        Self { prefix: prefix.to_owned(), owner: owner.to_string(), claim }
    }

    /// Everything that CoreDNS may read lies below it.
    pub(super) fn root(&self) -> String {
        format!("{}/", self.prefix)
    }

    /// The name that a key below the root stands for.
    pub(super) fn name(&self, key: &str) -> String {
        let labels = key.strip_prefix(&self.root()).unwrap_or(key);
        labels.rsplit('/').filter(|label| !label.is_empty()).collect::<Vec<_>>().join(".")
    }

    /// Beside the tree, not below it, so that it is never taken for a name.
    pub(super) fn epoch_key(&self) -> String {
        format!("{}/bcs/epoch/{}", parent(&self.prefix), self.owner)
    }

    fn record(&self, entry: &Entry) -> Record {
        let endpoint = &entry.endpoint;
        Record {
            host: entry.address.to_string(),
            port: entry.port,
            ttl: entry.ttl,
            weight: endpoint.weight,
            text: format!("{}/{}", endpoint.cluster, endpoint.instance),
            owner: self.owner.clone(),
            uid: endpoint.uid.clone(),
            endpoint: entry.key(),
            metadata: entry.metadata.clone(),
        }
    }

    pub(super) fn value(&self, entry: &Entry) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Written { record: &self.record(entry), generation: entry.endpoint.generation })
    }

    /// Our entry, if this is one.
    pub(super) fn item(&self, key: &str, value: &[u8], version: u64) -> Option<Item> {
        let record: Record = serde_json::from_slice(value).ok()?;
        (record.owner == self.owner).then(|| Item {
            place: Place::from(key),
            key: Arc::from(record.endpoint.as_str()),
            uid: Arc::from(record.uid.as_str()),
            digest: fingerprint(&(key, &record)),
            version,
        })
    }
}

/// Below which the marks of owners lie, and whether they are of installations as a whole.
pub(super) fn marks(layout: &SkyDns) -> [(String, bool); 2] {
    let parent = parent(&layout.prefix);
    [(format!("{parent}/bcs/epoch/"), false), (format!("{parent}/bcs/installation/"), true)]
}

fn parent(prefix: &str) -> &str {
    prefix.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// Whom a value belongs to, for people.
pub(super) fn owner_of(value: &[u8]) -> String {
    match serde_json::from_slice::<Marker>(value) {
        Ok(Marker { owner: Some(owner) }) if !owner.is_empty() => format!("owner {owner:?}"),
        _ => "nobody that says so".to_owned(),
    }
}

impl Layout for SkyDns {
    fn place(&self, entry: &Entry) -> Place {
        let labels: Vec<&str> = entry.name.rsplit('.').collect();
        Place::from(format!("{}/{}/{}", self.prefix, labels.join("/"), entry.id))
    }

    fn digest(&self, entry: &Entry) -> u64 {
        fingerprint(&(&*self.place(entry), &self.record(entry)))
    }
}

/// The end of the range of everything that begins with `prefix`.
pub(super) fn range_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

/// Names that an owner can be made of, for tests of the layout.
#[cfg(test)]
pub(super) fn owner(platform: &str) -> Owner {
    let name = |text| bcs_schemas::Name::new(text).expect("a name");
    Owner {
        platform: name(platform),
        cluster: name("sim-a"),
        registry: name("dns"),
        installation: "one".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn entry() -> Entry {
        Entry {
            name: "web.shop.bcs.local".into(),
            id: "i0123".into(),
            address: [10, 0, 0, 1].into(),
            port: 8080,
            ttl: 30,
            metadata: BTreeMap::from([("team".into(), "red".into())]),
            endpoint: Arc::new(testing::endpoint("web", 1)),
        }
    }

    #[test]
    fn labels_are_reversed_and_the_epoch_lies_beside_the_tree() {
        let layout = SkyDns::new("/corp/skydns", &owner("eu1"));
        assert_eq!(&*layout.place(&entry()), "/corp/skydns/local/bcs/shop/web/i0123");
        assert_eq!(layout.epoch_key(), "/corp/bcs/epoch/eu1.sim-a.dns");
        assert_eq!(SkyDns::new("/skydns", &owner("eu1")).epoch_key(), "/bcs/epoch/eu1.sim-a.dns");
    }

    #[test]
    fn what_is_written_is_recognized_and_equal() {
        let layout = SkyDns::new("/skydns", &owner("eu1"));
        let value = layout.value(&entry()).expect("encodes");
        let item = layout.item(&layout.place(&entry()), &value, 7).expect("ours");
        assert_eq!((item.digest, item.version), (layout.digest(&entry()), 7));
        assert_eq!((&*item.key, &*item.uid), ("sim-a.shop.web.web-1", "uid-web-1"));
        let json: serde_json::Value = serde_json::from_slice(&value).expect("json");
        assert_eq!((json["host"].as_str(), json["gen"].as_u64()), (Some("10.0.0.1"), Some(1)));
    }

    #[test]
    fn what_others_wrote_is_not_ours() {
        let layout = SkyDns::new("/skydns", &owner("eu1"));
        let other = SkyDns::new("/skydns", &owner("eu2")).value(&entry()).expect("encodes");
        for value in [other.as_slice(), br#"{"host":"1.2.3.4"}"#, b"not json", b""] {
            assert_eq!(layout.item("/skydns/x", value, 1), None);
        }
        assert!(owner_of(&other).contains("eu2.sim-a.dns"));
    }

    #[test]
    fn a_new_generation_alone_changes_nothing() {
        let layout = SkyDns::new("/skydns", &owner("eu1"));
        let newer = bcs_schemas::observation::Endpoint { generation: 9, ..testing::endpoint("web", 1) };
        let newer = Entry { endpoint: Arc::new(newer), ..entry() };
        assert_eq!(layout.digest(&newer), layout.digest(&entry()));
        assert_ne!(layout.digest(&Entry { metadata: BTreeMap::new(), ..entry() }), layout.digest(&entry()));
        assert_ne!(layout.digest(&Entry { port: 9, ..entry() }), layout.digest(&entry()));
    }

    #[test]
    fn a_range_ends_behind_its_prefix() {
        assert_eq!(range_end("/skydns/"), b"/skydns0");
    }
}
