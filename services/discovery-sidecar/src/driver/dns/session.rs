//! A fenced hold on a zone: the epoch record names our term of office, and every update requires it. Fencing again writes
//! another term, so that even our own updates that got stuck on the way cannot come late.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bcs_kit::Clock;
use hickory_proto::rr::{RData, RecordType, rdata::TXT};

use super::{
    client::{Answer, Client, Updated},
    held::{Held, Transfer},
    layout::{Claim, Zone, joined, name, owner_of, spelt, text, version},
    update::{Draft, Drafted, Fence, Key, Set, Sets, View, exactly, keys, nothing, without},
};
use crate::{
    domain::{Change, Failure, Item, Outcome},
    driver::taken,
};

/// How often a server may refuse what looks right before it is believed to be out of order.
const PATIENCE: u32 = 4;

/// Bytes of an update, names written out: a message takes 64 KiB.
const ROOM: usize = 60_000;

pub(super) struct Session {
    pub(super) client: Client,
    pub(super) fence: Fence,
    held: Arc<Mutex<Held>>,
    /// Record sets that only a wildcard made: prerequisites do not see them.
    unreal: HashSet<Key>,
    unexplained: u32,
}

/// What an application came to.
pub(super) struct Applied {
    pub(super) outcomes: Vec<Outcome>,
    /// The zone was changed, once.
    pub(super) written: bool,
}

impl Session {
    pub(super) async fn open(
        mut client: Client,
        zone: &Zone,
        epoch: u64,
        held: Arc<Mutex<Held>>,
    ) -> Result<Self, Failure> {
        // Says best what is wrong with the zone.
        client.serial().await?;
        let fence = raise(&mut client, zone, epoch).await?;
        Ok(Self { client, fence, held, unreal: HashSet::new(), unexplained: 0 })
    }

    /// Everything of ours, and the serial number of the zone.
    pub(super) async fn list(&mut self, zone: &Zone) -> Result<(Vec<Item>, u32), Failure> {
        let mut transfer = Transfer::default();
        let serial =
            self.client.transfer(|record| transfer.take(zone, spelt(&record.name), record.data)).await?;
        let (held, items) = transfer.finish(zone);
        *self.held() = held;
        Ok((items, serial))
    }

    pub(super) async fn apply(&mut self, zone: &Zone, changes: &[Change]) -> Result<Applied, Failure> {
        let sets = self.sets(changes).await?;
        let (some, draft) = match self.fitting(zone, &sets, changes)? {
            (some, Drafted::Ready(draft)) => (some, draft),
            (_, Drafted::Obstructed(outcomes)) => return Ok(Applied { outcomes, written: false }),
        };
        let mut applied = self.update(zone, &sets, some, draft).await?;
        applied.outcomes.resize(changes.len(), Outcome::Again);
        Ok(applied)
    }

    /// As many of the changes, from the first on, as go into one message.
    fn fitting<'a>(
        &self,
        zone: &Zone,
        sets: &Sets,
        changes: &'a [Change],
    ) -> Result<(&'a [Change], Drafted), Failure> {
        let mut some = changes;
        loop {
            match self.draft(zone, sets, some)? {
                Drafted::Ready(draft) if draft.size() > ROOM && some.len() > 1 => {
                    some = &some[..some.len().div_ceil(2)];
                }
                drafted => return Ok((some, drafted)),
            }
        }
    }

    async fn update(
        &mut self,
        zone: &Zone,
        sets: &Sets,
        changes: &[Change],
        draft: Draft,
    ) -> Result<Applied, Failure> {
        match self.client.update(draft.prerequisites, draft.updates).await? {
            Updated::Done => {
                let outcomes = draft.after.iter().map(|(_, found)| Outcome::Done(version(found))).collect();
                for (place, found) in draft.after {
                    self.held().set(zone, &place, found);
                }
                self.unreal.retain(|key| !sets.contains_key(key));
                self.unexplained = 0;
                Ok(Applied { outcomes, written: true })
            }
            Updated::Unlike => {
                let outcomes = self.explain(zone, sets, changes).await?;
                Ok(Applied { outcomes, written: false })
            }
        }
    }

    pub(super) fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draft(&self, zone: &Zone, sets: &Sets, changes: &[Change]) -> Result<Drafted, Failure> {
        let view = View { zone, fence: &self.fence, held: &self.held(), sets, adopting: false };
        view.draft(changes).map_err(Failure::Rejected)
    }

    /// What stands where the changes add something.
    pub(super) async fn sets(&mut self, changes: &[Change]) -> Result<Sets, Failure> {
        let keys: Vec<Key> = keys(changes).into_iter().collect();
        let wanted: Result<Vec<_>, String> = keys.iter().map(|(at, kind)| Ok((name(at)?, *kind))).collect();
        let answers = self.client.look(&wanted.map_err(Failure::Rejected)?).await?;
        let sets = keys.into_iter().zip(answers).map(|(key, answer)| {
            let set = if self.unreal.contains(&key) { Set::default() } else { Set::of(&answer) };
            (key, set)
        });
        Ok(sets.collect())
    }

    /// Which requirement was not met, by what is found now.
    async fn explain(
        &mut self,
        zone: &Zone,
        before: &Sets,
        changes: &[Change],
    ) -> Result<Vec<Outcome>, Failure> {
        let places = std::iter::once(&*zone.base).chain(changes.iter().map(|change| &**change.place()));
        let wanted: Result<Vec<_>, String> = places.map(|at| Ok((name(at)?, RecordType::TXT))).collect();
        let mut answers = self.client.look(&wanted.map_err(Failure::Rejected)?).await?.into_iter().map(txts);
        let epoch = answers.next().unwrap_or_default();
        self.still_fenced(zone, &epoch)?;
        let mut theirs = Vec::new();
        for (change, found) in changes.iter().zip(answers) {
            let foreign = found.first().filter(|_| !found.iter().any(|txt| zone.ours(txt).is_some()));
            theirs.push(foreign.map(|txt| {
                let (place, owner) = (change.place(), owner_of(txt));
                Outcome::Foreign(format!("{place} belongs to {owner}, expected it to be free or ours"))
            }));
            self.held().set(zone, change.place(), found);
        }
        let sets = self.sets(changes).await?;
        let outcomes = match self.draft(zone, &sets, changes)? {
            Drafted::Obstructed(outcomes) => outcomes,
            Drafted::Ready(_) => {
                if theirs.iter().all(Option::is_none) {
                    self.wonder(before, sets)?;
                }
                changes.iter().map(|_| Outcome::Again).collect()
            }
        };
        Ok(theirs.into_iter().zip(outcomes).map(|(theirs, outcome)| theirs.unwrap_or(outcome)).collect())
    }

    /// Fails unless this is our epoch.
    pub(super) fn still_fenced(&self, zone: &Zone, epoch: &[TXT]) -> Result<(), Failure> {
        if *epoch == [self.fence.txt.clone()] {
            return Ok(());
        }
        let held = epoch.iter().filter_map(epoch_of).max().unwrap_or_default();
        Err(match held > self.fence.epoch {
            true => Failure::Fenced(held),
            false => {
                Failure::Unavailable(format!("dns: the epoch record {} was moved by somebody", zone.base))
            }
        })
    }

    /// Everything is as it was required to be. Either it was not a moment ago, or a wildcard answers for a record set that
    /// is not there.
    fn wonder(&mut self, before: &Sets, now: Sets) -> Result<(), Failure> {
        if now != *before {
            self.unexplained = 0;
            return Ok(());
        }
        self.unexplained += 1;
        if self.unexplained >= PATIENCE {
            self.unexplained = 0;
            return Err(Failure::Unavailable(
                "dns: the server refuses an update though everything is there that it requires".to_owned(),
            ));
        }
        for (key, set) in now {
            if !self.unreal.remove(&key) && !set.addresses.is_empty() {
                self.unreal.insert(key);
            }
        }
        Ok(())
    }
}

pub(super) fn txts(answer: Answer) -> Vec<TXT> {
    let data = answer.records.into_iter().map(|record| record.data);
    data.filter_map(|data| if let RData::TXT(txt) = data { Some(txt) } else { None }).collect()
}

pub(super) const EPOCH: &str = "bcs-epoch=";
pub(super) const INSTALLATION: &str = "bcs-installation=";

fn epoch_of(txt: &TXT) -> Option<u64> {
    let text = joined(txt);
    text.strip_prefix(EPOCH)?.split(',').next()?.parse().ok()
}

/// Writes our epoch and takes the name of the installation, unless a higher one is there or the name is another's.
async fn raise(client: &mut Client, zone: &Zone, epoch: u64) -> Result<Fence, Failure> {
    let Claim { name: claim, platform, installation } = &zone.claim;
    let names = [name(claim), name(&zone.base)].into_iter().collect::<Result<Vec<_>, _>>();
    let [claim_name, epoch_name] = <[_; 2]>::try_from(names.map_err(Failure::Unavailable)?)
        .map_err(|_| Failure::Unavailable("dns: two names are needed".to_owned()))?;
    let wanted = [(claim_name.clone(), RecordType::TXT), (epoch_name.clone(), RecordType::TXT)];
    let mut answers = client.look(&wanted).await?.into_iter().map(txts);
    let (claims, epochs) = (answers.next().unwrap_or_default(), answers.next().unwrap_or_default());

    let (mut prerequisites, mut updates) = (Vec::new(), Vec::new());
    let held = claims.iter().find_map(|txt| joined(txt).strip_prefix(INSTALLATION).map(str::to_owned));
    match held {
        Some(other) if other != *installation => {
            let mark = format!("the TXT record {claim}");
            return Err(Failure::Unavailable(taken("dns", platform, installation, &other, &mark)));
        }
        Some(_) => {
            let all = claims.into_iter().map(|txt| exactly(claim_name.clone(), RData::TXT(txt)));
            prerequisites.extend(all);
        }
        None => {
            prerequisites.push(nothing(claim_name.clone(), RecordType::TXT));
            let txt = text(&format!("{INSTALLATION}{installation}"));
            updates.push(hickory_proto::rr::Record::from_rdata(claim_name, TTL, RData::TXT(txt)));
        }
    }
    match epochs.iter().filter_map(epoch_of).max() {
        Some(held) if held > epoch => return Err(Failure::Fenced(held)),
        Some(_) => {
            for txt in epochs {
                prerequisites.push(exactly(epoch_name.clone(), RData::TXT(txt.clone())));
                updates.push(without(epoch_name.clone(), RData::TXT(txt)));
            }
        }
        None => prerequisites.push(nothing(epoch_name.clone(), RecordType::TXT)),
    }
    let txt = text(&format!("{EPOCH}{epoch},term={}", Clock::system().fresh_id()));
    updates.push(hickory_proto::rr::Record::from_rdata(epoch_name, TTL, RData::TXT(txt.clone())));
    match client.update(prerequisites, updates).await {
        Ok(Updated::Done) => Ok(Fence { epoch, txt }),
        Ok(Updated::Unlike) => Err(Failure::Unavailable(format!(
            "dns: somebody else raised the epoch or took the name just now, or another TXT record lies at {} or {claim}",
            zone.base
        ))),
        // Nobody's entry is at fault.
        Err(Failure::Rejected(why)) => Err(Failure::Unavailable(format!("dns: {why}"))),
        Err(failure) => Err(failure),
    }
}

/// Nobody but us reads these, and never from a cache.
const TTL: u32 = 1;
