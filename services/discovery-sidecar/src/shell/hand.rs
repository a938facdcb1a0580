//! What the sidecar does of what people ask about a registry: shows it, takes entries over, takes them out.

use std::sync::Arc;

use bcs_schemas::adoption::{self, Adopted, Pick, RegistryAsk, RegistryPage, RegistryTold, is_of};

use crate::{
    domain::{
        Failure, Found, Outcome, Wanted,
        survey::{self, compare, position},
    },
    driver::{Able, Driver},
};

/// Bytes of a page, counted as JSON: below what the bus carries in a message.
const ROOM: usize = 800_000;

/// What one answer was, and how far on the list it went.
pub(crate) struct Handed {
    pub(crate) told: RegistryTold,
    /// Where the next page begins.
    pub(crate) next: Option<String>,
    /// The registry has to be read again before it is believed.
    pub(crate) reread: bool,
}

/// A registry in somebody's hands, and what belongs there at this moment.
pub(crate) struct Hand {
    pub(crate) driver: Arc<dyn Driver>,
    /// Who we are there.
    pub(crate) us: String,
    pub(crate) wanted: Vec<Wanted>,
}

impl Hand {
    pub(crate) async fn does(mut self, ask: &RegistryAsk) -> Result<Handed, Failure> {
        for wanted in &mut self.wanted {
            wanted.called = self.driver.called(&wanted.entry);
        }
        match ask {
            RegistryAsk::Entries { limit, after } => self.show(*limit, after.as_deref()).await,
            RegistryAsk::Adopt { entries, from, by } => {
                tracing::info!(owner = self.us, by, count = entries.len(), "adopting entries");
                self.adopt(entries, from.as_deref()).await
            }
            RegistryAsk::Purge { owner, force, by } => {
                tracing::info!(owner = self.us, by, purged = owner, force, "purging entries");
                self.purge(owner, *force).await
            }
        }
    }

    fn cannot(&self, able: Able) -> Option<String> {
        able.why_not(self.driver.capabilities().kind)
    }

    async fn show(self, limit: Option<u32>, after: Option<&str>) -> Result<Handed, Failure> {
        let able = self.driver.capabilities();
        let found = self.driver.survey().await?;
        let limit = limit.map_or(adoption::AT_ONCE, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let limit = limit.clamp(1, adoption::AT_ONCE);
        let rows = compare(&self.us, &self.wanted, &found);
        let (mut entries, mut bytes, mut next) = (Vec::new(), 0, None);
        for row in rows.into_iter().skip_while(|row| after.is_some_and(|after| *position(row) <= *after)) {
            bytes += serde_json::to_vec(&row).map_or(0, |text| text.len());
            if entries.len() >= limit || (bytes > ROOM && !entries.is_empty()) {
                next = entries.last().map(position);
                break;
            }
            entries.push(row);
        }
        let page = RegistryPage {
            driver: able.kind.to_owned(),
            blind: self.cannot(able.shows),
            cannot_adopt: self.cannot(able.adopts),
            cannot_purge: self.cannot(able.purges),
            owner: self.us,
            entries,
        };
        // One that shows others has a reading of its own for it; elsewhere it was the usual one.
        Ok(Handed { told: RegistryTold::Entries(page), next, reread: able.shows != Able::Yes })
    }

    async fn adopt(self, picks: &[Pick], from: Option<&str>) -> Result<Handed, Failure> {
        let able = self.driver.capabilities();
        if let Some(why) = self.cannot(able.adopts) {
            return Err(Failure::Rejected(why));
        }
        few(picks.len())?;
        let found = self.driver.survey().await?;
        let planned = survey::adoptions(&self.wanted, &found, picks, from);
        let (mut outcomes, mut meant, mut at) = (Vec::new(), Vec::new(), Vec::new());
        for (pick, planned) in picks.iter().zip(planned) {
            let mut adopted =
                Adopted { place: pick.place.clone(), address: pick.address, instance: None, refused: None };
            match planned {
                Ok(adoption) => {
                    adopted.instance = Some(adoption.wanted.entry.key());
                    at.push(outcomes.len());
                    meant.push(adoption);
                }
                Err(why) => adopted.refused = Some(why),
            }
            outcomes.push(adopted);
        }
        let batch = able.batch.clamp(1, adoption::AT_ONCE);
        for (some, at) in meant.chunks(batch).zip(at.chunks(batch)) {
            let became = self.driver.adopt(some).await?;
            // What only stood beside something that was in the way goes by itself.
            for ((adoption, at), outcome) in some.iter().zip(at).zip(became) {
                let outcome = match outcome {
                    Outcome::Again => alone(self.driver.adopt(std::slice::from_ref(adoption)).await)?,
                    outcome => outcome,
                };
                if let Some(adopted) = outcomes.get_mut(*at) {
                    adopted.refused = refusal(outcome);
                }
            }
        }
        Ok(Handed { told: RegistryTold::Adopted { outcomes }, next: None, reread: true })
    }

    async fn purge(self, owner: &str, force: bool) -> Result<Handed, Failure> {
        let able = self.driver.capabilities();
        if let Some(why) = self.cannot(able.purges) {
            return Err(Failure::Rejected(why));
        }
        if owner.is_empty() {
            return Err(Failure::Rejected(
                "the owner is empty: expected one such as eu1.sim-a.dns or eu1".to_owned(),
            ));
        }
        let ours = is_of(&self.us, owner);
        if ours && !force {
            let us = &self.us;
            return Err(Failure::Rejected(format!(
                "{us} is the one that writes here now: stop its sidecar and purge through another one, or drain it (on_stop); \
                 with force its entries go and come back at once"
            )));
        }
        let found: Vec<Found> = self.driver.survey().await?;
        let theirs =
            found.into_iter().filter(|found| found.owner(&self.us).is_some_and(|whose| is_of(whose, owner)));
        let theirs: Vec<Found> = theirs.collect();
        let (mut removed, mut kept) = (0_u64, Vec::new());
        let now = &theirs[..theirs.len().min(adoption::AT_ONCE)];
        for some in now.chunks(able.batch.clamp(1, adoption::AT_ONCE)) {
            let became = self.driver.evict(some).await?;
            for (found, outcome) in some.iter().zip(became) {
                let outcome = match outcome {
                    Outcome::Again => alone(self.driver.evict(std::slice::from_ref(found)).await)?,
                    outcome => outcome,
                };
                match refusal(outcome) {
                    None => removed += 1,
                    Some(why) => kept.push(format!("{}: {why}", found.place)),
                }
            }
        }
        let left = u64::try_from(theirs.len()).unwrap_or(u64::MAX).saturating_sub(removed);
        // Our own marks are what keeps a replaced sidecar of ours from writing.
        let marks = if left == 0 && !ours { self.driver.forget(owner).await? } else { Vec::new() };
        let told = RegistryTold::Purged { removed, left, marks, kept };
        Ok(Handed { told, next: None, reread: ours })
    }
}

fn few(count: usize) -> Result<(), Failure> {
    let most = adoption::AT_ONCE;
    if count <= most {
        return Ok(());
    }
    Err(Failure::Rejected(format!("{count} entries are too many for one question: expected {most} at most")))
}

/// The only outcome.
fn alone(outcomes: Result<Vec<Outcome>, Failure>) -> Result<Outcome, Failure> {
    Ok(outcomes?.pop().unwrap_or(Outcome::Again))
}

/// Why it was not done, if it was not.
fn refusal(outcome: Outcome) -> Option<String> {
    match outcome {
        Outcome::Done(_) => None,
        Outcome::Foreign(words) | Outcome::Refused(words) | Outcome::Waits(words) => Some(words),
        Outcome::Differs(_) | Outcome::Again => Some("somebody changed it just now: look again".to_owned()),
    }
}
