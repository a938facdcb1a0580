//! How an entry lies in Redis: as a member of the set of its name, and as a record of ours that says which instance wants it
//! there. Pure.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bcs_schemas::{
    Name,
    resource::registry::{Member, RedisDriver},
};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{Change, Entry, Item, Layout, Place, entry::fingerprint},
    driver::Owner,
};

/// Keys of one owner.
#[derive(Clone, Debug)]
pub(super) struct Sets {
    prefix: String,
    member: Member,
    /// What everything that only we read begins with.
    pub(super) root: String,
    /// Key that says which installation the name belongs to.
    pub(super) claim: String,
    platform: Name,
    pub(super) installation: String,
}

/// Address and port of a member, if it has them.
type Spot = (Option<IpAddr>, Option<u16>);

/// What we remember of an entry, beside the member that everybody reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) set: String,
    pub(super) member: String,
    /// Key of the endpoint.
    endpoint: String,
    uid: String,
}

/// A change as the script reads it: a put has a text, and everything that is there has a version.
#[derive(Serialize)]
pub(super) struct Row {
    place: Place,
    #[serde(skip_serializing_if = "Option::is_none")]
    over: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// Record of another owner that goes with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
}

impl Sets {
    pub(super) fn new(settings: &RedisDriver, owner: &Owner) -> Self {
        Self {
            prefix: settings.prefix.clone(),
            member: settings.member,
            root: format!("bcs:{owner}:"),
            claim: format!("bcs:installation:{}", owner.platform),
            platform: owner.platform.clone(),
            installation: owner.installation.clone(),
        }
    }

    pub(super) fn epoch(&self) -> String {
        format!("{}epoch", self.root)
    }

    fn record(&self, entry: &Entry) -> Record {
        let member = match self.member {
            Member::Address => entry.address.to_string(),
            Member::AddressPort => SocketAddr::new(entry.address, entry.port).to_string(),
        };
        Record {
            set: format!("{}{}", self.prefix, entry.name),
            member,
            endpoint: entry.key(),
            uid: entry.endpoint.uid.clone(),
        }
    }

    pub(super) fn row(&self, change: &Change) -> Result<Row, serde_json::Error> {
        let place = change.place().clone();
        Ok(match change {
            Change::Put { entry, over, .. } => {
                let text = Some(serde_json::to_string(&self.record(entry))?);
                Row { place, over: over.map(|version| version.to_string()), text, from: None }
            }
            Change::Remove { version, .. } => {
                Row { place, over: Some(version.to_string()), text: None, from: None }
            }
        })
    }

    /// That an entry of others becomes ours; `from` names the record of another owner.
    pub(super) fn adoption(
        &self,
        place: &Place,
        entry: &Entry,
        over: Option<u64>,
        from: Option<String>,
    ) -> Result<Row, serde_json::Error> {
        let text = Some(serde_json::to_string(&self.record(entry))?);
        Ok(Row { place: place.clone(), over: over.map(|version| version.to_string()), text, from })
    }

    /// What the names of sets begin with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The host name that a set is of.
    pub(super) fn name_of<'a>(&self, set: &'a str) -> &'a str {
        set.strip_prefix(&self.prefix).unwrap_or(set)
    }

    /// Whether this is how we are called here.
    pub(super) fn is_us(&self, owner: &str) -> bool {
        self.root == format!("bcs:{owner}:")
    }

    /// Address and port of a member, if it has them.
    pub(super) fn parse(&self, member: &str) -> Spot {
        match self.member {
            Member::Address => (member.parse().ok(), None),
            Member::AddressPort => {
                let socket: Option<SocketAddr> = member.parse().ok();
                (socket.map(|s| s.ip()), socket.map(|s| s.port()))
            }
        }
    }

    /// Name, address and port of a record, whoever wrote it.
    pub(super) fn shared(&self, raw: &str) -> Option<(String, Spot)> {
        let record: Record = serde_json::from_str(raw.split_once(' ')?.1).ok()?;
        Some((self.name_of(&record.set).to_owned(), self.parse(&record.member)))
    }

    /// Our entry, from its version and its record.
    pub(super) fn item(&self, place: &str, raw: &str) -> Option<Item> {
        let (version, record) = raw.split_once(' ')?;
        let record: Record = serde_json::from_str(record).ok()?;
        Some(Item {
            place: Place::from(place),
            key: Arc::from(record.endpoint.as_str()),
            uid: Arc::from(record.uid.as_str()),
            digest: fingerprint(&(place, &record)),
            version: version.parse().ok()?,
        })
    }

    /// Why nothing is written when the name belongs to another installation.
    pub(super) fn taken_by(&self, other: &str) -> String {
        super::super::taken(
            "redis",
            &self.platform,
            &self.installation,
            other,
            &format!("the key {}", self.claim),
        )
    }

    /// Where an entry is seen by everybody, for people.
    pub(super) fn shown(&self, change: &Change) -> String {
        match change {
            Change::Put { entry, .. } => {
                let record = self.record(entry);
                format!("{} in the set {}", record.member, record.set)
            }
            Change::Remove { place, .. } => place.to_string(),
        }
    }
}

impl Layout for Sets {
    fn place(&self, entry: &Entry) -> Place {
        Place::from(entry.id.as_str())
    }

    fn digest(&self, entry: &Entry) -> u64 {
        fingerprint(&(&*self.place(entry), &self.record(entry)))
    }
}
