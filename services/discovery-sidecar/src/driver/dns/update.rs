//! A batch of changes as one message: what it requires of the zone, and what it does then. Pure.
//!
//! It requires that the epoch is ours; that every ownership record is what was last seen of it; and, where an address is
//! added, that the record set at its name is what was just read. Prerequisites compare whole record sets, so this is how an
//! address that somebody else put there first is told from one of ours.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use hickory_proto::rr::{DNSClass, RData, Record, RecordType, rdata::TXT};

use super::{
    client::Answer,
    held::{Held, Shared, shared},
    layout::{self, Zone, name, version},
};
use crate::domain::{Change, Entry, Outcome, Place};

/// Our hold on the epoch record.
#[derive(Clone, Debug)]
pub(super) struct Fence {
    pub(super) epoch: u64,
    pub(super) txt: TXT,
}

/// A record set of addresses that entries are added to.
pub(super) type Key = (String, RecordType);

/// What stands in a record set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) addresses: BTreeSet<IpAddr>,
    ttl: u32,
    /// Why nothing can be added.
    taken: Option<&'static str>,
}

/// Record sets by name and type.
pub(super) type Sets = HashMap<Key, Set>;

/// What the zone looks like, as far as is known.
pub(super) struct View<'a> {
    pub(super) zone: &'a Zone,
    pub(super) fence: &'a Fence,
    pub(super) held: &'a Held,
    pub(super) sets: &'a Sets,
    /// Addresses of others become ours, and have to be there.
    pub(super) adopting: bool,
}

/// An update.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) prerequisites: Vec<Record>,
    pub(super) updates: Vec<Record>,
    /// What stands at each place afterwards.
    pub(super) after: Vec<(Place, Vec<TXT>)>,
}

impl Draft {
    /// Bytes that it takes at most: names count as written out, which a message mostly need not do.
    pub(super) fn size(&self) -> usize {
        self.prerequisites.iter().chain(&self.updates).map(size).sum()
    }
}

fn size(record: &Record) -> usize {
    /// Type, class, time to live and length.
    const FIXED: usize = 10;
    let data = match &record.data {
        RData::TXT(txt) => txt.txt_data.iter().map(|part| part.len() + 1).sum(),
        RData::SRV(srv) => srv.target.len() + 6,
        RData::AAAA(_) => 16,
        _ => 4,
    };
    record.name.len() + FIXED + data
}

/// What became of a batch before it was sent.
#[derive(Debug)]
pub(super) enum Drafted {
    Ready(Draft),
    /// Something stands in the way of at least one change.
    Obstructed(Vec<Outcome>),
}

/// The record set that an entry goes to.
pub(super) fn key(entry: &Entry) -> Key {
    let kind = if entry.address.is_ipv4() { RecordType::A } else { RecordType::AAAA };
    (entry.name.clone(), kind)
}

/// The record sets that changes add to.
pub(super) fn keys(changes: &[Change]) -> BTreeSet<Key> {
    let entries = changes.iter().filter_map(|change| match change {
        Change::Put { entry, .. } => Some(entry),
        Change::Remove { .. } => None,
    });
    entries.map(key).collect()
}

impl Set {
    pub(super) fn of(answer: &Answer) -> Self {
        let mut set = Self::default();
        if !answer.authoritative {
            set.taken = Some("belongs to a zone of its own below this one");
        }
        for record in &answer.records {
            match &record.data {
                RData::A(address) => set.addresses.extend([IpAddr::from(address.0)]),
                RData::AAAA(address) => set.addresses.extend([IpAddr::from(address.0)]),
                RData::CNAME(_) => set.taken = Some("is an alias (CNAME) that somebody else made"),
                _ => continue,
            }
            set.ttl = record.ttl;
        }
        set
    }
}

impl View<'_> {
    /// The update for these changes, or what stands in its way; or which name is none.
    pub(super) fn draft(&self, changes: &[Change]) -> Result<Drafted, String> {
        let obstacles: Vec<_> = changes.iter().map(|change| self.obstacle(change)).collect();
        if obstacles.iter().any(Option::is_some) {
            let outcomes = obstacles.into_iter().map(|obstacle| obstacle.unwrap_or(Outcome::Again));
            return Ok(Drafted::Obstructed(outcomes.collect()));
        }
        let mut draft = Draft::default();
        let epoch = name(&self.zone.base)?;
        draft.prerequisites.push(exactly(epoch, RData::TXT(self.fence.txt.clone())));
        for key in keys(changes) {
            self.require_set(&mut draft, key)?;
        }
        let needs = self.needs(changes);
        for change in changes {
            self.change(&mut draft, change, &needs)?;
        }
        // What is given up goes first, so that it can come back in the same message.
        draft.updates.sort_by_key(|record| record.dns_class == DNSClass::IN);
        Ok(Drafted::Ready(draft))
    }

    fn obstacle(&self, change: &Change) -> Option<Outcome> {
        let place = change.place();
        let found = self.held.get(place);
        if found.map(|found| version(found)) != change.expects() {
            return Some(Outcome::Differs(found.and_then(|found| self.zone.item(place, found, true))));
        }
        let Change::Put { entry, .. } = change else { return None };
        let (set, Entry { name, address, .. }) = (self.sets.get(&key(entry))?, entry);
        if let Some(why) = set.taken {
            return Some(Outcome::Foreign(format!("the name {name} {why}")));
        }
        if self.adopting {
            let gone = || Outcome::Foreign(format!("{name} has the address {address} no more"));
            return (!set.addresses.contains(address)).then(gone);
        }
        let theirs = set.addresses.contains(address) && self.held.uses(&(name.clone(), *address)) == 0;
        theirs.then(|| {
            Outcome::Foreign(format!(
                "{name} has the address {address} already and no ownership record of ours says that we put it there: it \
                 belongs to somebody else"
            ))
        })
    }

    /// The record set is what was read.
    fn require_set(&self, draft: &mut Draft, key: Key) -> Result<(), String> {
        let addresses = self.sets.get(&key).map(|set| &set.addresses).filter(|set| !set.is_empty());
        let name = name(&key.0)?;
        match addresses {
            Some(addresses) => {
                let all = addresses.iter().map(|address| exactly(name.clone(), RData::from(*address)));
                draft.prerequisites.extend(all);
            }
            None => {
                draft.prerequisites.push(nothing(name.clone(), key.1));
                // A server drops an address beside an alias without a word.
                draft.prerequisites.push(nothing(name, RecordType::CNAME));
            }
        }
        Ok(())
    }

    /// How many entries need each shared address that the changes touch, once they are made.
    fn needs(&self, changes: &[Change]) -> HashMap<Shared, i64> {
        let mut needs = HashMap::new();
        let mut count = |shared: Option<Shared>, more: i64| {
            let Some(shared) = shared else { return };
            let uses = i64::from(self.held.uses(&shared));
            *needs.entry(shared).or_insert(uses) += more;
        };
        for change in changes {
            count(self.held.get(change.place()).and_then(|found| shared(self.zone, found)), -1);
            if let Change::Put { entry, .. } = change {
                count(Some((entry.name.clone(), entry.address)), 1);
            }
        }
        needs
    }

    fn change(&self, draft: &mut Draft, change: &Change, needs: &HashMap<Shared, i64>) -> Result<(), String> {
        let place = change.place();
        let at = name(place)?;
        let mut after = self.held.get(place).cloned().unwrap_or_default();
        if after.is_empty() {
            draft.prerequisites.push(nothing(at.clone(), RecordType::TXT));
        }
        let all = after.iter().map(|txt| exactly(at.clone(), RData::TXT(txt.clone())));
        draft.prerequisites.extend(all);
        let before = after.iter().position(|txt| self.zone.ours(txt).is_some()).map(|i| after.swap_remove(i));
        let (entry, txt) = match change {
            Change::Put { entry, .. } => (Some(entry), Some(self.zone.txt(entry))),
            Change::Remove { .. } => (None, None),
        };
        let records = |txt: &Option<TXT>| {
            txt.as_ref().and_then(|txt| self.zone.ours(txt)).map(|w| w.records(place)).unwrap_or_default()
        };
        let (old, new) = (records(&before), records(&txt));
        for (i, record) in old.iter().enumerate() {
            // The first one is shared: it stays as long as any entry of ours needs it.
            let needed = i == 0 && shared_of(record).is_some_and(|s| needs.get(&s).is_some_and(|n| *n > 0));
            if !needed && !new.contains(record) {
                draft.updates.push(without(name(&record.name)?, record.data.clone()));
            }
        }
        for (i, record) in new.iter().enumerate() {
            let ttl = entry.map_or(0, |entry| if i == 0 { self.ttl(entry) } else { entry.ttl });
            draft.updates.push(Record::from_rdata(name(&record.name)?, ttl, record.data.clone()));
        }
        if before != txt {
            draft.updates.extend(before.map(|before| without(at.clone(), RData::TXT(before))));
            let ttl = entry.map_or(0, |entry| entry.ttl);
            draft.updates.extend(txt.clone().map(|txt| Record::from_rdata(at, ttl, RData::TXT(txt))));
        }
        after.extend(txt);
        draft.after.push((place.clone(), after));
        Ok(())
    }

    /// A record set has one life time. Where somebody else's addresses are in it, it is theirs.
    fn ttl(&self, entry: &Entry) -> u32 {
        let set = self.sets.get(&key(entry)).filter(|set| {
            set.addresses.iter().any(|address| self.held.uses(&(entry.name.clone(), *address)) == 0)
        });
        set.map_or(entry.ttl, |set| set.ttl)
    }
}

fn shared_of(record: &layout::Record) -> Option<Shared> {
    Some((record.name.clone(), record.data.ip_addr()?))
}

/// Prerequisite: the record set consists of this and what else is required at the name.
pub(super) fn exactly(name: hickory_proto::rr::Name, data: RData) -> Record {
    Record::from_rdata(name, 0, data)
}

/// Prerequisite: there is no such record set.
pub(super) fn nothing(name: hickory_proto::rr::Name, kind: RecordType) -> Record {
    let mut record = Record::update0(name, 0, kind);
    record.dns_class = DNSClass::NONE;
    record
}

/// Update: this very record goes.
pub(super) fn without(name: hickory_proto::rr::Name, data: RData) -> Record {
    let mut record = Record::from_rdata(name, 0, data);
    record.dns_class = DNSClass::NONE;
    record
}
