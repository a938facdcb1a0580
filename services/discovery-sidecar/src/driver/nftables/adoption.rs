//! Elements of others. One changes hands in a transaction of the kernel: its comment is written anew, and no packet finds it
//! missing.

use std::net::IpAddr;

use super::{
    Inner,
    layout::{Element, Held, Sets},
    program::Committed,
    ruleset::Reading,
    transaction::{Transaction, standing},
};
use crate::domain::{Adoption, Change, Failure, Found, Outcome, Place, Whose};

/// What the names of the sets begin with that only sidecars read.
const MARKS: [&str; 2] = ["bcs_owner_", "bcs_epoch_"];

impl Inner {
    pub(super) async fn survey(&self) -> Result<Vec<Found>, Failure> {
        let state = self.state().clone();
        let (reading, held) = self.look(&state).await?;
        let ours = held.iter().map(|(place, held)| found_of_ours(place, held));
        let theirs = reading.sets.iter().filter(|(name, _)| !MARKS.iter().any(|mark| name.starts_with(mark)));
        let theirs = theirs.flat_map(|(name, set)| {
            set.elements.iter().filter_map(|(text, comment)| self.foreign(name, text, comment.as_deref()))
        });
        Ok(ours.chain(theirs).collect())
    }

    fn foreign(&self, set: &str, text: &str, comment: Option<&str>) -> Option<Found> {
        if self.sets.ours(set, comment).is_some() {
            return None;
        }
        let (address, port) = parse(text);
        Some(Found {
            place: Place::from(format!("{set}/{text}")),
            name: set.to_owned(),
            also: None,
            address,
            port,
            whose: whose(comment),
            version: 0,
        })
    }

    pub(super) async fn take_over(&self, adoptions: &[Adoption]) -> Result<Vec<Outcome>, Failure> {
        let began = self.begin();
        let (reading, held) = self.look(&began).await?;
        let obstacles: Vec<_> =
            adoptions.iter().map(|adoption| obstacle(&self.sets, &reading, adoption)).collect();
        if obstacles.iter().any(Option::is_some) {
            return Ok(obstacles.into_iter().map(|obstacle| obstacle.unwrap_or(Outcome::Again)).collect());
        }
        let change = |Adoption { wanted, .. }: &Adoption| Change::Put {
            place: wanted.place.clone(),
            entry: wanted.entry.clone(),
            digest: wanted.digest,
            over: wanted.over,
        };
        let changes: Vec<Change> = adoptions.iter().map(change).collect();
        let mut transaction = Transaction::of(&self.sets, &reading, &held, &began.fence, &changes);
        adoptions.iter().for_each(|adoption| transaction.replace(self.sets.element(&adoption.wanted.entry)));
        if let Committed::Nothing(_) = self.program.commit(&transaction).await? {
            // The epoch is not ours any more, or somebody was there between the reading and the writing.
            self.look(&began).await?;
            return Ok(vec![Outcome::Again; adoptions.len()]);
        }
        let mut state = self.state();
        state.calls += 1;
        for Adoption { wanted, .. } in adoptions {
            state.known.insert(wanted.place.clone(), wanted.digest);
        }
        Ok(adoptions.iter().map(|adoption| Outcome::Done(adoption.wanted.digest)).collect())
    }
}

fn obstacle(sets: &Sets, reading: &Reading, Adoption { wanted, found }: &Adoption) -> Option<Outcome> {
    let Element { set, text } = sets.element(&wanted.entry);
    let there = reading.comment(&set, &text);
    if there.is_none_or(|comment| sets.ours(&set, comment).is_some() || whose(comment) != found.whose) {
        return Some(Outcome::Foreign(format!("{text} in the set {set} was changed since it was read")));
    }
    match standing(sets, reading, &std::collections::BTreeSet::new(), &wanted.place, &wanted.entry) {
        // That it is somebody else's is what it is about.
        Some(Outcome::Foreign(_)) | None => None,
        other => other,
    }
}

fn found_of_ours(place: &Place, held: &Held) -> Found {
    let item = held.item(place);
    let first = held.elements.first();
    let (address, port) = first.map_or((None, None), |element| parse(&element.text));
    let name = first.map(|element| element.set.clone()).unwrap_or_default();
    let (place, version) = (place.clone(), item.version);
    Found { place, name, also: None, address, port, whose: Whose::Ours(item), version }
}

fn parse(text: &str) -> (Option<IpAddr>, Option<u16>) {
    match text.split_once(" . ") {
        Some((address, port)) => (address.parse().ok(), port.parse().ok()),
        None => (text.parse().ok(), None),
    }
}

/// A comment of a sidecar names its owner by a hash; what people write there is no owner.
fn whose(comment: Option<&str>) -> Whose {
    let hash = comment.and_then(|comment| comment.strip_prefix("bcs:")?.split_once(':'));
    hash.map_or(Whose::Nobody, |(hash, _)| Whose::Other(format!("bcs:{hash}")))
}
