//! How an entry lies in the packet filter: as an element of a set, whose comment says whose it is. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bcs_schemas::resource::registry::{Member, NftablesDriver};
use sha2::{Digest, Sha256};

use super::ruleset::Reading;
use crate::{
    domain::{Entry, Item, Layout, Place, entry::fingerprint},
    driver::Owner,
};

/// What `nft` takes of a comment in a file.
const COMMENT: usize = 128;
/// What the kernel takes of a name.
const NAME: usize = 255;

/// Elements of one owner.
#[derive(Clone, Debug)]
pub(super) struct Sets {
    template: String,
    member: Member,
    cluster: String,
    /// What the comment of every element of ours begins with.
    mark: String,
    /// Set that says whose the name of the owner is.
    pub(super) claim: String,
    /// What the name of the set that says the epoch begins with.
    pub(super) epoch: String,
}

/// An element of a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Element {
    pub(super) set: String,
    /// As `nft` shows it.
    pub(super) text: String,
}

/// What lies at a place of ours: one element, unless somebody copied it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    key: String,
    pub(super) elements: BTreeSet<Element>,
}

impl Sets {
    pub(super) fn new(settings: &NftablesDriver, owner: &Owner) -> Self {
        let digest = Sha256::digest(owner.to_string().as_bytes());
        let hash: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Self {
            template: settings.set.clone(),
            member: settings.member,
            cluster: format!("{}.", owner.cluster),
            mark: format!("bcs:{hash}:"),
            claim: format!("bcs_owner_{hash}"),
            epoch: format!("bcs_epoch_{hash}_"),
        }
    }

    fn base(&self, entry: &Entry) -> String {
        let endpoint = &entry.endpoint;
        self.template
            .replace("{app}", endpoint.app.as_str())
            .replace("{project}", endpoint.project.as_str())
            .replace("{cluster}", endpoint.cluster.as_str())
    }

    pub(super) fn element(&self, entry: &Entry) -> Element {
        let family = if entry.address.is_ipv4() { "v4" } else { "v6" };
        let text = match self.member {
            Member::Address => entry.address.to_string(),
            Member::AddressPort => format!("{} . {}", entry.address, entry.port),
        };
        Element { set: format!("{}_{family}", self.base(entry)), text }
    }

    /// The type that the set of an entry has to have.
    pub(super) fn kind(&self, entry: &Entry) -> String {
        let address = if entry.address.is_ipv4() { "ipv4_addr" } else { "ipv6_addr" };
        match self.member {
            Member::Address => address.to_owned(),
            Member::AddressPort => format!("{address} . inet_service"),
        }
    }

    /// The cluster is part of the mark.
    pub(super) fn comment(&self, entry: &Entry) -> String {
        let key = entry.key();
        let key = key.strip_prefix(&self.cluster).unwrap_or(&key);
        format!("{}{key}:{}", self.mark, entry.endpoint.uid)
    }

    /// Why an entry cannot lie there in such a way that it is found again, and that saved rules can be loaded.
    pub(super) fn problem(&self, entry: &Entry) -> Option<String> {
        let (element, comment) = (self.element(entry), self.comment(entry));
        if !element.set.starts_with(|c: char| c.is_ascii_alphabetic()) || element.set.len() > NAME {
            let set = element.set;
            return Some(format!("{set} is no name of a set: expected a letter first, and {NAME} at most"));
        }
        if self.member == Member::AddressPort && entry.port == 0 {
            return Some(format!("{} has no port, which an element of {} needs", entry.key(), element.set));
        }
        let back = self.ours(&element.set, Some(&comment));
        if back != Some((entry.key(), self.place(entry))) {
            return Some(format!(
                "the comment {comment:?} could not be read back: expected no colon in the key"
            ));
        }
        if comment.len() > COMMENT || comment.contains(|c: char| c == '"' || c.is_control()) {
            let length = comment.len();
            return Some(format!(
                "the comment {comment:?} of {length} bytes is none: expected {COMMENT} at most, without quotation marks"
            ));
        }
        None
    }

    /// Key of the endpoint and place of an element that is ours.
    pub(super) fn ours(&self, set: &str, comment: Option<&str>) -> Option<(String, Place)> {
        let (key, uid) = comment?.strip_prefix(&self.mark)?.split_once(':')?;
        let base = set.strip_suffix("_v4").or_else(|| set.strip_suffix("_v6"))?;
        Some((format!("{}{key}", self.cluster), Place::from(format!("{base}/{uid}"))))
    }

    /// Everything of ours.
    pub(super) fn held(&self, reading: &Reading) -> BTreeMap<Place, Held> {
        let mut held = BTreeMap::<Place, Held>::new();
        for (name, set) in &reading.sets {
            for (text, comment) in &set.elements {
                let Some((key, place)) = self.ours(name, comment.as_deref()) else { continue };
                let element = Element { set: name.clone(), text: text.clone() };
                let held = held.entry(place).or_insert_with(|| Held { key, elements: BTreeSet::new() });
                held.elements.insert(element);
            }
        }
        held
    }

    /// Names of the sets that hold an epoch of this owner, and the epoch.
    pub(super) fn epochs<'a>(&'a self, reading: &'a Reading) -> impl Iterator<Item = (&'a String, u64)> {
        reading.sets.keys().filter_map(|name| {
            let number = name.strip_prefix(&self.epoch)?.split('_').next()?;
            Some((name, number.parse().ok()?))
        })
    }
}

impl Held {
    /// What lies there is its version, too.
    pub(super) fn item(&self, place: &Place) -> Item {
        let digest = fingerprint(&(&**place, &self.key, &self.elements));
        let uid = place.split_once('/').map_or("", |(_, uid)| uid);
        Item {
            place: place.clone(),
            key: Arc::from(self.key.as_str()),
            uid: Arc::from(uid),
            digest,
            version: digest,
        }
    }
}

/// As the kernel is told: an address, and perhaps a port.
pub(super) fn value(text: &str) -> serde_json::Value {
    match text.split_once(" . ") {
        Some((address, port)) => serde_json::json!({ "concat": [address, port.parse::<u16>().ok()] }),
        None => serde_json::json!(text),
    }
}

impl Layout for Sets {
    fn place(&self, entry: &Entry) -> Place {
        Place::from(format!("{}/{}", self.base(entry), entry.endpoint.uid))
    }

    fn digest(&self, entry: &Entry) -> u64 {
        let held = Held { key: entry.key(), elements: BTreeSet::from([self.element(entry)]) };
        held.item(&self.place(entry)).digest
    }
}
