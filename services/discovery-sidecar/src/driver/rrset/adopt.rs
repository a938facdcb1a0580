//! Record sets whose records change hands: the records stay, and beside each it is written whose it is from now on. Pure.

use std::net::IpAddr;

use super::{Mark, RrSet, Spelling, merge, place};
use crate::domain::{Adoption, Change, Found, Outcome, Place, Whose, survey::plain};

/// The record set with these records as ours. A name has one owner, so all of the set changes hands or nothing.
pub(in crate::driver) fn adopt(
    spelling: &Spelling,
    found: &RrSet,
    adoptions: &[&Adoption],
) -> (RrSet, Vec<Outcome>) {
    let mut set = found.clone();
    let outcome = |adoption: &&Adoption| {
        let Adoption { wanted, found: theirs } = adoption;
        if !set.records.iter().any(|record| !record.disabled && record.is(wanted.entry.address)) {
            return Outcome::Foreign(format!("{} is not in {} any more", wanted.entry.address, found.name));
        }
        set.comments.retain(|comment| {
            let Some(mark) = comment.mark() else { return true };
            let ours = mark.owner == spelling.owner && mark.id == wanted.entry.id;
            let before = matches!(&theirs.whose, Whose::Other(owner) if *owner == mark.owner)
                && mark.address == wanted.entry.address;
            !ours && !before
        });
        set.comments.push(spelling.mark(&wanted.entry).comment());
        set.ttl = wanted.entry.ttl;
        Outcome::Done(0)
    };
    let outcomes: Vec<Outcome> = adoptions.iter().map(outcome).collect();
    let marks: Vec<Mark> = set.comments.iter().filter_map(|comment| comment.mark()).collect();
    let ours = |address: &str| {
        marks.iter().any(|mark| mark.owner == spelling.owner && address.parse() == Ok(mark.address))
    };
    match set.records.iter().find(|record| !ours(&record.content)) {
        None => (set, outcomes),
        Some(stranger) => {
            let words = format!(
                "{} {} also holds {}, which is not taken over with it: a name has one owner here, so take all of its addresses \
                 over at once or take that one out before",
                found.name, found.kind, stranger.content
            );
            (found.clone(), outcomes.iter().map(|_| Outcome::Foreign(words.clone())).collect())
        }
    }
}

/// The record set without these entries; `us` is whose those are that are ours.
pub(in crate::driver) fn evict(us: &str, set: &RrSet, gone: &[&Found]) -> (RrSet, Vec<Outcome>) {
    let mut set = set.clone();
    let outcome = |found: &&Found| {
        let owner = found.owner(us).unwrap_or_default().to_owned();
        let its = |mark: &Mark| mark.owner == owner && *place(&set.name, &set.kind, &mark.id) == *found.place;
        if !set.comments.iter().filter_map(super::Comment::mark).any(|mark| its(&mark)) {
            return Outcome::Foreign("it is gone or another's since it was read".to_owned());
        }
        let theirs = Spelling { owner, keeps_ttl: true };
        let remove = Change::Remove { place: found.place.clone(), version: 0 };
        set = merge(&theirs, &set, &[&remove]).0;
        Outcome::Done(0)
    };
    let outcomes = gone.iter().map(outcome).collect();
    (set, outcomes)
}

impl Spelling {
    /// Everything in a record set of addresses.
    pub(in crate::driver) fn found(&self, set: &RrSet) -> Vec<Found> {
        if set.kind != "A" && set.kind != "AAAA" {
            return Vec::new();
        }
        let ours = self.items(set);
        let marks: Vec<Mark> = set.comments.iter().filter_map(super::Comment::mark).collect();
        let one = |place: Place, address: Option<IpAddr>, whose| Found {
            place,
            name: plain(&set.name),
            also: None,
            address,
            port: None,
            whose,
            version: 0,
        };
        let marked = marks.iter().map(|mark| {
            let place = place(&set.name, &set.kind, &mark.id);
            let item = ours.iter().find(|item| mark.owner == self.owner && item.place == place);
            let whose = item.cloned().map_or_else(|| Whose::Other(mark.owner.clone()), Whose::Ours);
            one(place, Some(mark.address), whose)
        });
        let strangers = set.records.iter().filter(|record| !marks.iter().any(|mark| record.is(mark.address)));
        let strangers = strangers.map(|record| {
            let place = place(&set.name, &set.kind, &record.content);
            one(place, record.content.parse().ok(), Whose::Nobody)
        });
        marked.chain(strangers).collect()
    }
}
