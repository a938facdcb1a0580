//! Entries of others in Redis: members of sets below the prefix that no record of ours or of another sidecar wants.

use super::{Redis, connect, fenced};
use crate::domain::{Adoption, Failure, Found, Outcome, Place, Whose, survey::plain};

/// What begins the roots of sidecars.
const ROOT: &str = "bcs:";

impl Redis {
    pub(super) async fn read_all(&self) -> Result<Vec<Found>, Failure> {
        let rows = self.ask_all(&[]).await?;
        Ok(rows.iter().filter_map(|row| self.found(row)).collect())
    }

    /// The script answers a row of fields for each thing, after one for the call.
    async fn ask_all(&self, more: &[&str]) -> Result<Vec<Vec<String>>, Failure> {
        let mut session = self.session().await?;
        let mut call = self.scripts.survey.arg(&self.sets.root);
        call.arg(&session.written).arg(self.sets.prefix()).arg(ROOT);
        for more in more {
            call.arg(*more);
        }
        let answer: Vec<Vec<String>> =
            call.invoke_async(&mut session.connection).await.map_err(|e| connect::judge("reading", &e))?;
        match answer.split_first() {
            Some((head, rows)) if head.first().is_some_and(|said| said == "ok") => Ok(rows.to_vec()),
            Some((head, _)) => Err(fenced(session.epoch, head.get(1))),
            None => Err(Failure::Unavailable("redis: an empty answer came".to_owned())),
        }
    }

    /// `entry`, owner, place, version and record; or `member`, set and member.
    fn found(&self, row: &[String]) -> Option<Found> {
        match row {
            [kind, owner, place, raw] if kind == "entry" => {
                let (name, (address, port)) = self.sets.shared(raw)?;
                let place_of = Place::from(place.as_str());
                let item = self.sets.is_us(owner).then(|| self.sets.item(place, raw)).flatten();
                let (place, whose) = match item {
                    Some(item) => (place_of, Whose::Ours(item)),
                    None => (Place::from(format!("{owner} {place}")), Whose::Other(owner.clone())),
                };
                Some(Found { place, name, also: None, address, port, whose, version: 0 })
            }
            [kind, set, member] if kind == "member" => {
                let (address, port) = self.sets.parse(member);
                Some(Found {
                    place: Place::from(format!("{set} {member}")),
                    name: plain(self.sets.name_of(set)),
                    also: None,
                    address,
                    port,
                    whose: Whose::Nobody,
                    version: 0,
                })
            }
            _ => None,
        }
    }

    pub(super) async fn take_over(&self, adoptions: &[Adoption]) -> Result<Vec<Outcome>, Failure> {
        let rows = adoptions.iter().map(|Adoption { wanted, found }| {
            let from = match &found.whose {
                Whose::Other(_) => Some(found.place.to_string()),
                _ => None,
            };
            self.sets.adoption(&wanted.place, &wanted.entry, wanted.over, from)
        });
        let rows = rows.collect::<Result<Vec<_>, _>>().and_then(|rows| serde_json::to_string(&rows));
        self.change(&rows.map_err(|e| Failure::Rejected(e.to_string()))?, adoptions.len()).await
    }

    pub(super) async fn take_out(&self, found: &[Found]) -> Result<Vec<Outcome>, Failure> {
        let rows: Vec<_> = found.iter().map(|found| serde_json::json!({ "evict": &*found.place })).collect();
        let rows = serde_json::to_string(&rows).map_err(|e| Failure::Rejected(e.to_string()))?;
        self.change(&rows, found.len()).await
    }

    async fn change(&self, rows: &str, count: usize) -> Result<Vec<Outcome>, Failure> {
        let mut session = self.session().await?;
        let mut call = self.scripts.adopt.arg(&self.sets.root);
        call.arg(&session.written).arg(rows).arg(ROOT);
        let answer: Vec<Vec<String>> =
            call.invoke_async(&mut session.connection).await.map_err(|e| connect::judge("writing", &e))?;
        let head = answer.first().map_or(&[][..], Vec::as_slice);
        if head.first().is_none_or(|said| said != "ok") {
            return Err(fenced(session.epoch, head.get(1)));
        }
        let version = head.get(1).and_then(|version| version.parse().ok()).unwrap_or_default();
        let outcomes = answer.iter().skip(1).take(count).map(|row| match row.as_slice() {
            [said] if said == "done" => Outcome::Done(version),
            [said, words] if said == "foreign" => Outcome::Foreign(words.clone()),
            _ => Outcome::Again,
        });
        Ok(outcomes.collect())
    }

    /// The marks of an owner, or of an installation as a whole.
    pub(super) async fn take_marks(&self, owner: &str) -> Result<Vec<String>, Failure> {
        let rows = self.ask_all(&[owner, &self.sets.claim]).await?;
        Ok(rows.into_iter().filter(|row| row.len() == 2).filter_map(|mut row| row.pop()).collect())
    }
}
