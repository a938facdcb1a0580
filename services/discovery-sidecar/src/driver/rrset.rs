//! Names that have one owner: a record set for each, and beside it a mark for each entry that says whose its address is.
//! Pure.

mod adopt;
mod merge;

use std::{net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

pub(super) use self::{
    adopt::{adopt, evict},
    merge::merge,
};
use crate::domain::{Entry, Item, Layout, Place, entry::fingerprint};

/// Beside the comment, for people who look at it.
const ACCOUNT: &str = "bcs";

/// A record set as the API has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RrSet {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) ttl: u32,
    #[serde(default)]
    pub(super) records: Vec<Record>,
    #[serde(default)]
    pub(super) comments: Vec<Comment>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) content: String,
    #[serde(default)]
    pub(super) disabled: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Comment {
    pub(super) content: String,
    #[serde(default)]
    pub(super) account: String,
    /// When it was written: kept with what others wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) modified_at: Option<u64>,
}

/// What a comment of a sidecar says: one for each entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) owner: String,
    pub(super) address: IpAddr,
    /// Stable id of the incarnation.
    pub(super) id: String,
    pub(super) key: String,
    pub(super) uid: String,
}

impl RrSet {
    /// About how many bytes it takes when it is written.
    pub(super) fn size(&self) -> usize {
        const FIELDS: usize = 48;
        let records = self.records.iter().map(|record| record.content.len() + FIELDS);
        // The quotes in a mark are written with a backslash each.
        let comments = self.comments.iter().map(|comment| comment.content.len() * 9 / 8 + FIELDS);
        records.chain(comments).sum::<usize>() + self.name.len() + FIELDS
    }
}

impl Mark {
    pub(super) fn comment(&self) -> Comment {
        let content = serde_json::to_string(self).unwrap_or_default();
        Comment { content, account: ACCOUNT.to_owned(), modified_at: None }
    }
}

impl Comment {
    pub(super) fn mark(&self) -> Option<Mark> {
        serde_json::from_str(&self.content).ok()
    }
}

impl Record {
    pub(super) fn is(&self, address: IpAddr) -> bool {
        self.content.parse() == Ok(address)
    }
}

/// Spelling of one owner's entries.
#[derive(Clone, Debug)]
pub(super) struct Spelling {
    pub(super) owner: String,
    /// Whether the registry keeps the time to live as it was written.
    pub(super) keeps_ttl: bool,
}

impl Spelling {
    pub(super) fn mark(&self, entry: &Entry) -> Mark {
        Mark {
            owner: self.owner.clone(),
            address: entry.address,
            id: entry.id.clone(),
            key: entry.key(),
            uid: entry.endpoint.uid.clone(),
        }
    }

    /// Our entries in a record set.
    pub(super) fn items(&self, set: &RrSet) -> Vec<Item> {
        let ours = set.comments.iter().filter_map(Comment::mark).filter(|mark| mark.owner == self.owner);
        let item = |mark: Mark| {
            let place = place(&set.name, &set.kind, &mark.id);
            let served = set.records.iter().any(|record| !record.disabled && record.is(mark.address));
            Item {
                digest: self.fingerprint(&place, served.then_some(set.ttl), &mark),
                place,
                key: Arc::from(mark.key),
                uid: Arc::from(mark.uid),
                version: 0,
            }
        };
        ours.map(item).collect()
    }

    /// `served` is the time to live, if the address is there.
    fn fingerprint(&self, place: &Place, served: Option<u32>, mark: &Mark) -> u64 {
        let served = served.map(|ttl| if self.keeps_ttl { ttl } else { 0 });
        fingerprint(&(&**place, served, mark.address, &mark.key, &mark.uid))
    }
}

fn place(name: &str, kind: &str, id: &str) -> Place {
    Place::from(format!("{name}/{kind}/{id}"))
}

/// Name, type and id of an entry.
pub(super) fn parts(place: &str) -> Option<(&str, &str, &str)> {
    let mut parts = place.rsplitn(3, '/');
    let (id, kind, name) = (parts.next()?, parts.next()?, parts.next()?);
    Some((name, kind, id))
}

impl Layout for Spelling {
    fn place(&self, entry: &Entry) -> Place {
        let kind = if entry.address.is_ipv4() { "A" } else { "AAAA" };
        place(&format!("{}.", entry.name), kind, &entry.id)
    }

    fn digest(&self, entry: &Entry) -> u64 {
        self.fingerprint(&self.place(entry), Some(entry.ttl), &self.mark(entry))
    }
}
