//! Entries of others in etcd: all keys below the prefix, whoever wrote them. One changes hands in the transaction that writes
//! ours, so that whoever reads finds one of the two.

use std::{net::IpAddr, sync::PoisonError};

use etcd_client::{Compare, CompareOp, GetOptions, KeyValue, Txn, TxnOp, TxnOpResponse};
use serde::Deserialize;

use super::{
    Etcd,
    layout::{SkyDns, marks, owner_of},
    session::{Fence, Session, number, unsigned, within},
    txn::signed,
};
use crate::domain::{Adoption, Failure, Found, Outcome, Place, Whose, survey::plain};

/// What others write.
#[derive(Deserialize)]
struct Record {
    host: String,
    #[serde(default)]
    port: i64,
    #[serde(default)]
    owner: String,
}

/// A change of one key, and of which version it is.
struct Write {
    key: String,
    /// None: nothing is there.
    version: Option<u64>,
    /// None: it goes.
    value: Option<Vec<u8>>,
}

impl Etcd {
    pub(super) async fn read_all(&self) -> Result<Vec<Found>, Failure> {
        let mut found = Vec::new();
        self.session().await?.read(&self.layout, |kv| found.extend(found_in(&self.layout, kv))).await?;
        Ok(found)
    }

    pub(super) async fn take_over(&self, adoptions: &[Adoption]) -> Result<Vec<Outcome>, Failure> {
        let mut groups = Vec::new();
        for Adoption { wanted, found } in adoptions {
            let value = self.layout.value(&wanted.entry).map_err(|e| Failure::Rejected(e.to_string()))?;
            let mut writes = Vec::new();
            if *found.place != *wanted.place {
                let key = found.place.to_string();
                writes.push(Write { key, version: Some(found.version), value: None });
            }
            let version = if *found.place == *wanted.place { Some(found.version) } else { wanted.over };
            writes.push(Write { key: wanted.place.to_string(), version, value: Some(value) });
            groups.push(writes);
        }
        self.write_groups(&groups).await
    }

    pub(super) async fn take_out(&self, found: &[Found]) -> Result<Vec<Outcome>, Failure> {
        let write =
            |found: &Found| Write { key: found.place.to_string(), version: Some(found.version), value: None };
        let groups: Vec<Vec<Write>> = found.iter().map(|found| vec![write(found)]).collect();
        self.write_groups(&groups).await
    }

    /// One transaction; one outcome for each group of writes.
    async fn write_groups(&self, groups: &[Vec<Write>]) -> Result<Vec<Outcome>, Failure> {
        let mut session = self.session().await?;
        let fence = session.fence.clone();
        let answer = session.txn(transaction(&fence, groups)).await?;
        let revision = unsigned(answer.header().map_or(0, etcd_client::ResponseHeader::revision));
        if answer.succeeded() {
            self.own.lock().unwrap_or_else(PoisonError::into_inner).insert(signed(revision));
            return Ok(groups.iter().map(|_| Outcome::Done(revision)).collect());
        }
        let responses = answer.op_responses();
        let mut looks = responses.iter().map(|look| match look {
            TxnOpResponse::Get(get) => get.kvs().first(),
            _ => None,
        });
        let epoch = looks.next().flatten();
        if epoch.is_none_or(|kv| kv.mod_revision() != fence.revision) {
            return Err(fence.lost(epoch.map_or(0, |kv| number(kv.value()))));
        }
        let mut outcome = |group: &Vec<Write>| {
            let unlike = group.iter().zip(looks.by_ref()).find_map(|(write, kv)| unlike(write, kv));
            unlike.map_or(Outcome::Again, Outcome::Foreign)
        };
        Ok(groups.iter().map(&mut outcome).collect())
    }

    /// The marks of an owner, or of an installation as a whole.
    pub(super) async fn take_marks(&self, owner: &str) -> Result<Vec<String>, Failure> {
        let mut session = self.session().await?;
        let mut gone = Vec::new();
        for (root, whole) in marks(&self.layout) {
            for kv in session.below(&root).await? {
                let Ok(key) = kv.key_str() else { continue };
                let name = key.strip_prefix(&root).unwrap_or_default();
                let its = if whole { name == owner } else { bcs_schemas::adoption::is_of(name, owner) };
                if !its || key == session.fence.key || key == self.layout.claim.key {
                    continue;
                }
                let write =
                    Write { key: key.to_owned(), version: Some(unsigned(kv.mod_revision())), value: None };
                if matches!(self.write_groups(&[vec![write]]).await?.as_slice(), [Outcome::Done(_)]) {
                    gone.push(key.to_owned());
                }
            }
        }
        Ok(gone)
    }
}

impl Session {
    async fn below(&mut self, root: &str) -> Result<Vec<KeyValue>, Failure> {
        let options = GetOptions::new().with_prefix();
        Ok(within("reading the marks", self.client.get(root, Some(options))).await?.take_kvs())
    }
}

fn transaction(fence: &Fence, groups: &[Vec<Write>]) -> Txn {
    let mut compares = vec![Compare::mod_revision(fence.key.as_str(), CompareOp::Equal, fence.revision)];
    let (mut writes, mut looks) = (Vec::new(), vec![TxnOp::get(fence.key.as_str(), None)]);
    for Write { key, version, value } in groups.iter().flatten() {
        let key = key.as_str();
        compares.push(match version {
            None => Compare::create_revision(key, CompareOp::Equal, 0),
            Some(version) => Compare::mod_revision(key, CompareOp::Equal, signed(*version)),
        });
        writes.push(match value {
            Some(value) => TxnOp::put(key, value.clone(), None),
            None => TxnOp::delete(key, None),
        });
        looks.push(TxnOp::get(key, None));
    }
    Txn::new().when(compares).and_then(writes).or_else(looks)
}

/// Why a write cannot be made, by what is there.
fn unlike(write: &Write, found: Option<&KeyValue>) -> Option<String> {
    let key = &write.key;
    match (write.version, found) {
        (None, None) => None,
        (Some(version), Some(kv)) if unsigned(kv.mod_revision()) == version => None,
        (_, None) => Some(format!("the key {key} is gone since it was read")),
        (_, Some(kv)) => Some(format!(
            "the key {key} was changed since it was read, it belongs to {}",
            owner_of(kv.value())
        )),
    }
}

fn found_in(layout: &SkyDns, kv: &KeyValue) -> Option<Found> {
    let key = kv.key_str().ok()?;
    let version = unsigned(kv.mod_revision());
    let record: Option<Record> = serde_json::from_slice(kv.value()).ok();
    let whose = match (layout.item(key, kv.value(), version), &record) {
        (Some(item), _) => Whose::Ours(item),
        (None, Some(record)) if !record.owner.is_empty() => Whose::Other(record.owner.clone()),
        _ => Whose::Nobody,
    };
    let address: Option<IpAddr> = record.as_ref().and_then(|record| record.host.parse().ok());
    let port = record.as_ref().and_then(|record| u16::try_from(record.port).ok()).filter(|port| *port != 0);
    let name = plain(&layout.name(key));
    // A name holds what lies at it and what lies below it; ours lie one below.
    let above = name.split_once('.').map(|(_, above)| above.to_owned());
    let (name, also) = match whose {
        Whose::Ours(_) => (above.unwrap_or_default(), None),
        _ => (name, above),
    };
    Some(Found { place: Place::from(key), name, also, address, port, whose, version })
}
