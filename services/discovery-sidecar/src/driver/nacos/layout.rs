//! How entries lie in Nacos: an instance of the service of their name each, whose metadata says whose it is. Pure.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    domain::{Entry, Item, Layout, Place, entry::fingerprint},
    driver::Owner,
};

const OWNER: &str = "bcs.owner";
const ID: &str = "bcs.id";
const KEY: &str = "bcs.key";
const UID: &str = "bcs.uid";

/// An instance as Nacos lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Instance {
    pub(super) ip: String,
    pub(super) port: u16,
    #[serde(default)]
    pub(super) cluster_name: String,
    #[serde(default)]
    pub(super) weight: f64,
    #[serde(default)]
    pub(super) ephemeral: bool,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
}

impl Instance {
    fn said(&self, what: &str) -> &str {
        self.metadata.get(what).map_or("", String::as_str)
    }

    /// Stable id of the incarnation, if it has one.
    pub(super) fn id(&self) -> &str {
        self.said(ID)
    }

    /// Whether both cannot be there at once: Nacos knows instances by this.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        (&self.ip, self.port, &self.cluster_name) == (&other.ip, other.port, &other.cluster_name)
    }

    pub(super) fn whose(&self) -> String {
        match self.said(OWNER) {
            "" => "nobody that says so".to_owned(),
            owner => format!("owner {owner:?}"),
        }
    }

    /// In hundredths, as endpoints have it: Nacos keeps a number with a point.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
    fn hundredths(&self) -> u32 {
        (self.weight * 100.0).round().clamp(0.0, f64::from(u32::MAX)) as u32
    }
}

/// Spelling of one owner's entries.
#[derive(Clone, Debug)]
pub(super) struct Spelling {
    pub(super) owner: String,
    cluster: String,
    ephemeral: bool,
    /// What the services of ours end with.
    ending: String,
}

impl Spelling {
    pub(super) fn new(owner: &Owner, zone: &str, cluster: &str, ephemeral: bool) -> Self {
        Self { owner: owner.to_string(), cluster: cluster.to_owned(), ephemeral, ending: format!(".{zone}") }
    }

    /// Whether entries of ours can be in this service.
    pub(super) fn may_hold(&self, service: &str) -> bool {
        service.ends_with(&self.ending)
    }

    pub(super) fn is_ours(&self, instance: &Instance) -> bool {
        instance.said(OWNER) == self.owner
    }

    pub(super) fn instance(&self, entry: &Entry) -> Instance {
        let ours = [
            (OWNER, self.owner.clone()),
            (ID, entry.id.clone()),
            (KEY, entry.key()),
            (UID, entry.endpoint.uid.clone()),
        ];
        let ours = ours.into_iter().map(|(name, value)| (name.to_owned(), value));
        Instance {
            ip: entry.address.to_string(),
            port: entry.port,
            cluster_name: self.cluster.clone(),
            weight: f64::from(entry.endpoint.weight) / 100.0,
            ephemeral: self.ephemeral,
            metadata: entry.metadata.clone().into_iter().chain(ours).collect(),
        }
    }

    /// Our entries in a service. One that lies there twice, for its address changed, is told once, and as none that is
    /// wanted.
    pub(super) fn items(&self, service: &str, instances: &[Instance]) -> Vec<Item> {
        let mut items: BTreeMap<Place, Item> = BTreeMap::new();
        for instance in instances.iter().filter(|instance| self.is_ours(instance)) {
            let place = place(service, instance.id());
            let item = Item {
                digest: digest(&place, instance),
                key: Arc::from(instance.said(KEY)),
                uid: Arc::from(instance.said(UID)),
                version: 0,
                place: place.clone(),
            };
            items.entry(place).and_modify(|twice| twice.digest ^= item.digest.rotate_left(1)).or_insert(item);
        }
        items.into_values().collect()
    }
}

fn place(service: &str, id: &str) -> Place {
    Place::from(format!("{service}/{id}"))
}

/// Service and id of an entry.
pub(super) fn parts(place: &str) -> Option<(&str, &str)> {
    place.rsplit_once('/')
}

pub(super) fn digest(place: &Place, instance: &Instance) -> u64 {
    // Nobody spells addresses of the sixth version alike.
    let ip: Option<IpAddr> = instance.ip.parse().ok();
    // Nacos keeps some for itself.
    let said: Vec<_> = instance.metadata.iter().filter(|(key, _)| !key.starts_with("preserved.")).collect();
    fingerprint(&(
        (&**place, ip, instance.port, &instance.cluster_name),
        (instance.hundredths(), instance.ephemeral, said),
    ))
}

impl Layout for Spelling {
    fn place(&self, entry: &Entry) -> Place {
        place(&entry.name, &entry.id)
    }

    fn digest(&self, entry: &Entry) -> u64 {
        digest(&self.place(entry), &self.instance(entry))
    }
}
