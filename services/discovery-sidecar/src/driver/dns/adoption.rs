//! Entries of others in a zone: addresses that no ownership record is of, and ownership records of other sidecars. An address
//! changes hands by an ownership record of ours beside it: the address itself stays where it is all the while.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use hickory_proto::rr::{RData, RecordType, rdata::TXT};

use super::{
    Count, Dns, Writing,
    client::Updated,
    held::{Shared, below},
    layout::{Record, Written, Zone, joined, name, spelt},
    lock,
    session::{Applied, EPOCH, INSTALLATION, Session, txts},
    unconnected,
    update::{Draft, Drafted, View, exactly, without},
};
use crate::domain::{Adoption, Change, Failure, Found, Outcome, Place, Whose};

/// A zone as it is transferred, whoever wrote it.
#[derive(Default)]
struct Whole {
    marks: HashMap<String, Vec<TXT>>,
    records: HashSet<Record>,
}

impl Whole {
    fn take(&mut self, marks: &str, name: String, data: RData) {
        match data {
            RData::TXT(txt) if below(&name, marks) => self.marks.entry(name).or_default().push(txt),
            RData::A(_) | RData::AAAA(_) | RData::SRV(_) => {
                self.records.insert(Record { name, data });
            }
            _ => (),
        }
    }

    fn written(&self) -> impl Iterator<Item = (&String, &Vec<TXT>, Written)> {
        self.marks.iter().filter_map(|(place, found)| {
            let written = found.iter().find_map(|txt| Written::parse(&joined(txt)))?;
            Some((place, found, written))
        })
    }

    fn found(&self, zone: &Zone) -> Vec<Found> {
        let (mut all, mut explained) = (Vec::new(), HashSet::new());
        for (place, found, written) in self.written() {
            let records = written.records(place);
            let whole = records.iter().all(|record| self.records.contains(record));
            explained.extend(records);
            let at = Place::from(place.as_str());
            let whose = match zone.item(&at, found, whole) {
                Some(item) => Whose::Ours(item),
                None => Whose::Other(written.owner.clone()),
            };
            let (name, address) = (written.name, written.address);
            all.push(Found { place: at, name, also: None, address, port: None, whose, version: 0 });
        }
        for record in self.records.difference(&explained) {
            let Some(address) = record.data.ip_addr() else { continue };
            let kind = record.data.record_type();
            all.push(Found {
                place: Place::from(format!("{} {kind} {address}", record.name)),
                name: record.name.clone(),
                also: None,
                address: Some(address),
                port: None,
                whose: Whose::Nobody,
                version: 0,
            });
        }
        all
    }

    /// How many ownership records each address has.
    fn uses(&self) -> HashMap<Shared, u32> {
        let mut uses = HashMap::new();
        for (_, _, written) in self.written() {
            let shared = written.address.map(|address| (written.name, address));
            shared.into_iter().for_each(|shared| *uses.entry(shared).or_default() += 1);
        }
        uses
    }
}

impl Dns {
    pub(super) async fn read_all(&self) -> Result<Vec<Found>, Failure> {
        let mut session = self.session.lock().await;
        let session = session.as_mut().ok_or_else(unconnected)?;
        let whole = session.whole(&self.zone).await?;
        *lock(&self.shared) = whole.uses();
        Ok(whole.found(&self.zone))
    }

    pub(super) async fn take_over(&self, adoptions: &[Adoption]) -> Result<Vec<Outcome>, Failure> {
        let mut session = self.session.lock().await;
        let session = session.as_mut().ok_or_else(unconnected)?;
        let writing = Writing::begin(&self.count);
        let applied = session.take_over(&self.zone, adoptions).await;
        writing.end(&applied);
        applied.map(|applied| applied.outcomes)
    }

    pub(super) async fn take_out(&self, found: &[Found]) -> Result<Vec<Outcome>, Failure> {
        let mut session = self.session.lock().await;
        let session = session.as_mut().ok_or_else(unconnected)?;
        let uses = lock(&self.shared).clone();
        let (outcomes, left) = session.take_out(&self.zone, found, uses).await?;
        *lock(&self.shared) = left;
        self.moved();
        Ok(outcomes)
    }

    pub(super) async fn take_marks(&self, owner: &str) -> Result<Vec<String>, Failure> {
        let mut session = self.session.lock().await;
        let session = session.as_mut().ok_or_else(unconnected)?;
        let gone = session.take_marks(&self.zone, owner).await?;
        self.moved();
        Ok(gone)
    }

    /// What was written is no change of ours: who watches finds out by himself that it does not concern us.
    fn moved(&self) {
        let mut count = lock(&self.count);
        *count = Count { stamp: count.stamp + 1, ..*count };
    }
}

impl Session {
    async fn whole(&mut self, zone: &Zone) -> Result<Whole, Failure> {
        let (mut whole, marks) = (Whole::default(), zone.marks());
        self.client.transfer(|record| whole.take(&marks, spelt(&record.name), record.data)).await?;
        Ok(whole)
    }

    async fn take_over(&mut self, zone: &Zone, adoptions: &[Adoption]) -> Result<Applied, Failure> {
        let change = |adoption: &Adoption| Change::Put {
            place: adoption.wanted.place.clone(),
            entry: adoption.wanted.entry.clone(),
            digest: adoption.wanted.digest,
            over: adoption.wanted.over,
        };
        let changes: Vec<Change> = adoptions.iter().map(change).collect();
        let sets = self.sets(&changes).await?;
        let drafted = {
            let view = View { zone, fence: &self.fence, held: &self.held(), sets: &sets, adopting: true };
            view.draft(&changes).map_err(Failure::Rejected)?
        };
        let mut draft = match drafted {
            Drafted::Ready(draft) => draft,
            Drafted::Obstructed(outcomes) => return Ok(Applied { outcomes, written: false }),
        };
        let others = adoptions.iter().filter(|adoption| matches!(adoption.found.whose, Whose::Other(_)));
        for Adoption { found, wanted } in others {
            // The address stays, and what else it had is written anew if it is wanted.
            let kept = zone.ours(&zone.txt(&wanted.entry)).map(|written| written.records(&wanted.place));
            let kept: HashSet<Record> = kept.unwrap_or_default().into_iter().collect();
            self.without(zone, &mut draft, found, |record| kept.contains(record)).await?;
        }
        let done: Vec<_> = draft.after.clone();
        if !self.commit(zone, draft).await? {
            return Ok(Applied { outcomes: vec![Outcome::Again; adoptions.len()], written: false });
        }
        let outcomes = done.iter().map(|(_, found)| Outcome::Done(super::layout::version(found))).collect();
        for (place, found) in done {
            self.held().set(zone, &place, found);
        }
        Ok(Applied { outcomes, written: true })
    }

    /// The ownership record of another sidecar goes, if it is as it was, with every record for it that nobody `keeps`.
    async fn without(
        &mut self,
        zone: &Zone,
        draft: &mut Draft,
        found: &Found,
        keeps: impl Fn(&Record) -> bool,
    ) -> Result<bool, Failure> {
        let at = name(&found.place).map_err(Failure::Rejected)?;
        let looked = self.client.look(&[(at.clone(), RecordType::TXT)]).await?;
        let there: Vec<TXT> = looked.into_iter().flat_map(txts).collect();
        let its = there.iter().find_map(|txt| {
            let written = Written::parse(&joined(txt))?;
            let its = match &found.whose {
                Whose::Ours(_) => zone.ours(txt).is_some(),
                Whose::Other(owner) => *owner == written.owner,
                Whose::Nobody => false,
            };
            its.then_some((txt, written))
        });
        let Some((txt, written)) = its else { return Ok(false) };
        draft.prerequisites.extend(there.iter().map(|txt| exactly(at.clone(), RData::TXT(txt.clone()))));
        let mut gone = vec![without(at, RData::TXT(txt.clone()))];
        for record in written.records(&found.place).into_iter().filter(|record| !keeps(record)) {
            gone.push(without(name(&record.name).map_err(Failure::Rejected)?, record.data));
        }
        // What goes, goes before anything comes.
        draft.updates.splice(0..0, gone);
        Ok(true)
    }

    async fn take_out(
        &mut self,
        zone: &Zone,
        found: &[Found],
        mut uses: HashMap<Shared, u32>,
    ) -> Result<(Vec<Outcome>, HashMap<Shared, u32>), Failure> {
        let mut draft = self.fenced_draft(zone)?;
        let (mut outcomes, before) = (Vec::new(), uses.clone());
        for found in found {
            let shared = found.address.map(|address| (found.name.clone(), address));
            let others = shared.as_ref().and_then(|shared| uses.get_mut(shared)).map_or(0, |uses| {
                *uses = uses.saturating_sub(1);
                *uses
            });
            let is_shared = |record: &Record| is_at(record, shared.as_ref());
            let gone =
                self.without(zone, &mut draft, found, |record| is_shared(record) && others > 0).await?;
            outcomes.push(match gone {
                true => Outcome::Done(0),
                false => Outcome::Foreign("it is gone or another's since it was read".to_owned()),
            });
        }
        if draft.updates.is_empty() || self.commit(zone, draft).await? {
            return Ok((outcomes, uses));
        }
        Ok((vec![Outcome::Again; found.len()], before))
    }

    async fn take_marks(&mut self, zone: &Zone, owner: &str) -> Result<Vec<String>, Failure> {
        let (marks, whole) = (zone.marks(), self.whole(zone).await?);
        let mut gone = Vec::new();
        for (at, found) in &whole.marks {
            let labels = at.strip_suffix(&marks).unwrap_or_default().trim_end_matches('.');
            let (mark, its) = match labels.split('.').collect::<Vec<_>>()[..] {
                [platform] => (INSTALLATION, platform == owner),
                [registry, cluster, platform] => {
                    let whose = format!("{platform}.{cluster}.{registry}");
                    (EPOCH, bcs_schemas::adoption::is_of(&whose, owner))
                }
                _ => continue,
            };
            let txt = found.iter().find(|txt| joined(txt).starts_with(mark));
            let Some(txt) = txt.filter(|_| its && *at != zone.base && *at != zone.claim.name) else {
                continue;
            };
            let mut draft = self.fenced_draft(zone)?;
            let place = name(at).map_err(Failure::Rejected)?;
            draft
                .prerequisites
                .extend(found.iter().map(|txt| exactly(place.clone(), RData::TXT(txt.clone()))));
            draft.updates.push(without(place, RData::TXT(txt.clone())));
            if self.commit(zone, draft).await? {
                gone.push(format!("the TXT record {at}"));
            }
        }
        Ok(gone)
    }

    /// An update that requires our epoch.
    pub(super) fn fenced_draft(&self, zone: &Zone) -> Result<Draft, Failure> {
        let epoch = name(&zone.base).map_err(Failure::Rejected)?;
        let prerequisites = vec![exactly(epoch, RData::TXT(self.fence.txt.clone()))];
        Ok(Draft { prerequisites, ..Draft::default() })
    }

    /// Whether it was taken; if not, something is not as it was read. Fails when that is our epoch.
    pub(super) async fn commit(&mut self, zone: &Zone, draft: Draft) -> Result<bool, Failure> {
        match self.client.update(draft.prerequisites, draft.updates).await? {
            Updated::Done => Ok(true),
            Updated::Unlike => {
                let base = name(&zone.base).map_err(Failure::Rejected)?;
                let looked = self.client.look(&[(base, RecordType::TXT)]).await?;
                let epoch: Vec<TXT> = looked.into_iter().flat_map(txts).collect();
                self.still_fenced(zone, &epoch)?;
                Ok(false)
            }
        }
    }
}

fn is_at(record: &Record, shared: Option<&(String, IpAddr)>) -> bool {
    shared.is_some_and(|(name, address)| record.name == *name && record.data.ip_addr() == Some(*address))
}
