//! Entries of others in a zone of PowerDNS. Record sets are read just before they are replaced.

use std::collections::BTreeMap;

use super::PowerDns;
use crate::{
    domain::{Adoption, Failure, Found, Outcome},
    driver::rrset::{RrSet, adopt, evict, parts},
};

impl PowerDns {
    pub(super) async fn read_all(&self) -> Result<Vec<Found>, Failure> {
        let zone = self.session().await?.zone("").await?;
        Ok(zone.rrsets.iter().flat_map(|set| self.spelling.sets.found(set)).collect())
    }

    pub(super) async fn take_over(&self, adoptions: &[Adoption]) -> Result<Vec<Outcome>, Failure> {
        let place = |adoption: &Adoption| adoption.wanted.place.to_string();
        self.rewrite(adoptions, place, |set, some| adopt(&self.spelling.sets, set, some)).await
    }

    pub(super) async fn take_out(&self, found: &[Found]) -> Result<Vec<Outcome>, Failure> {
        let us = &self.spelling.sets.owner;
        self.rewrite(found, |found| found.place.to_string(), |set, some| evict(us, set, some)).await
    }

    /// Reads the record sets that things lie in, and replaces those that become others.
    async fn rewrite<T: Sync>(
        &self,
        all: &[T],
        place: impl Fn(&T) -> String,
        become_: impl Fn(&RrSet, &[&T]) -> (RrSet, Vec<Outcome>),
    ) -> Result<Vec<Outcome>, Failure> {
        let session = self.session().await?;
        session.fenced(&self.spelling).await?;
        let mut groups = BTreeMap::<(String, String), Vec<usize>>::new();
        for (at, one) in all.iter().enumerate() {
            let place = place(one);
            let (name, kind, _) =
                parts(&place).ok_or_else(|| Failure::Rejected(format!("{place} is no record set")))?;
            groups.entry((name.to_owned(), kind.to_owned())).or_default().push(at);
        }
        let wanted: Vec<_> = groups.keys().map(|(name, kind)| (name.as_str(), kind.as_str())).collect();
        let found = session.sets(&wanted).await?;
        let mut outcomes = vec![Outcome::Again; all.len()];
        let mut sets = Vec::new();
        for (found, group) in found.iter().zip(groups.values()) {
            let some: Vec<&T> = group.iter().filter_map(|at| all.get(*at)).collect();
            let (set, came) = become_(found, &some);
            for (at, outcome) in group.iter().zip(came) {
                outcomes[*at] = outcome;
            }
            if set != *found {
                sets.push(set);
            }
        }
        self.replace(&session, &sets).await?;
        Ok(outcomes)
    }

    /// The marks of an owner, or of an installation as a whole.
    pub(super) async fn take_marks(&self, owner: &str) -> Result<Vec<String>, Failure> {
        let session = self.session().await?;
        session.fenced(&self.spelling).await?;
        let mut gone = Vec::new();
        for (kind, held) in session.marks().await? {
            if kind == self.spelling.epoch || kind == self.spelling.claim {
                continue;
            }
            let (first, second) = held.split_once(' ').unwrap_or((&held, ""));
            let its = match kind.starts_with("X-BCS-EPOCH-") {
                true => bcs_schemas::adoption::is_of(second, owner),
                false => first == owner,
            };
            if its {
                session.drop_mark(&kind).await?;
                gone.push(format!("the metadata {kind}"));
            }
        }
        Ok(gone)
    }
}
