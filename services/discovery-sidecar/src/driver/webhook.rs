//! Providers of ExternalDNS over its webhook protocol: about fifty kinds of DNS that others wrote. The protocol knows
//! neither owners nor conditions: a name has one owner, a text beside it says who as ExternalDNS has it, and another one
//! tells our entries. The epoch is a text as well, and is read, with everything else, before each batch.

mod session;
mod zone;

use std::{collections::BTreeMap, time::Duration};

use bcs_schemas::resource::registry::WebhookDriver;
use futures::future::BoxFuture;
use tokio::time::{Instant, sleep};

use self::{
    session::Session,
    zone::{Zone, own_name, union},
};
use super::{
    Able, Capabilities, Driver, Fence, Listing, Owner, OwnerSlot,
    http::WITHIN,
    rrset::{RrSet, Spelling, merge, parts},
};
use crate::{
    domain::{Change, Entry, Failure, Layout, Outcome, Place},
    externaldns::wire::Changes,
};

/// Every batch reads all records that the provider has, so it may be large.
const BATCH: usize = 200;

/// In this order.
#[derive(Clone, Copy)]
enum Step {
    TextsOfBoth,
    Addresses,
    Texts,
}

/// The driver.
pub struct Webhook {
    settings: WebhookDriver,
    zone: String,
    spelling: Spelling,
    /// Names of the texts that hold the epoch and the installation.
    epoch: String,
    claim: String,
    platform: String,
    installation: String,
    session: tokio::sync::Mutex<Option<Session>>,
}

impl Webhook {
    /// Connects only when it is fenced. `zone` is the registry's.
    pub fn new(settings: WebhookDriver, zone: &str, owner: &Owner) -> Self {
        Self {
            settings,
            zone: zone.to_owned(),
            // Providers change it to what they have.
            spelling: Spelling { owner: owner.to_string(), keeps_ttl: false },
            epoch: own_name("epoch", &owner.to_string(), zone),
            claim: own_name("owner", owner.platform.as_str(), zone),
            platform: owner.platform.to_string(),
            installation: owner.installation.clone(),
            session: tokio::sync::Mutex::new(None),
        }
    }

    async fn session(&self) -> Result<Session, Failure> {
        let session = self.session.lock().await.clone();
        session.ok_or_else(|| Failure::Unavailable("webhook: not connected yet".to_owned()))
    }

    async fn open(&self, epoch: u64) -> Result<Session, Failure> {
        let session = Session::open(&self.settings, &self.zone, epoch).await?;
        let zone = session.records().await?;
        let zone = match zone.kept(&self.claim, "installation") {
            None => self.keep(&session, &zone, &self.claim, ("installation", &self.installation)).await?,
            Some(held) if held == self.installation => zone,
            Some(other) => {
                return Err(Failure::Unavailable(format!(
                    "webhook: the owner {} is another installation, {other}, and this one, {}, writes nothing: set another owner \
                     here, or delete the text {} if the other one is gone for good",
                    self.platform, self.installation, self.claim
                )));
            }
        };
        match self.epoch_of(&zone) {
            held if held > epoch => return Err(Failure::Fenced(held)),
            held if held == epoch => (),
            _ => drop(self.keep(&session, &zone, &self.epoch, ("epoch", &epoch.to_string())).await?),
        }
        Ok(session)
    }

    /// Done when the provider tells it; some need a moment.
    async fn keep(
        &self,
        session: &Session,
        zone: &Zone,
        name: &str,
        (what, value): (&str, &str),
    ) -> Result<Zone, Failure> {
        session.apply(zone.keep(name, what, value)).await.map_err(|failure| match failure {
            Failure::Rejected(words) => {
                Failure::Unavailable(format!("webhook: the text {name} is not taken: {words}"))
            }
            other => other,
        })?;
        let until = Instant::now() + WITHIN;
        loop {
            let zone = session.records().await?;
            if zone.kept(name, what).as_deref() == Some(value) {
                return Ok(zone);
            }
            if Instant::now() > until {
                return Err(Failure::Unavailable(format!(
                    "webhook: the provider does not tell the text {name} as it was written"
                )));
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    fn epoch_of(&self, zone: &Zone) -> u64 {
        zone.kept(&self.epoch, "epoch").and_then(|held| held.parse().ok()).unwrap_or_default()
    }

    async fn write(&self, changes: &[Change]) -> Result<Vec<Outcome>, Failure> {
        let session = self.session().await?;
        let zone = session.records().await?;
        match self.epoch_of(&zone) {
            held if held > session.epoch => return Err(Failure::Fenced(held)),
            held if held < session.epoch => {
                return Err(Failure::Unavailable(format!(
                    "webhook: the text {} says epoch {held} instead of {}: somebody changed it",
                    self.epoch, session.epoch
                )));
            }
            _ => (),
        }
        let mut outcomes = vec![Outcome::Again; changes.len()];
        let sets = self.plan(&zone, changes, &mut outcomes)?;
        self.replace(&session, zone, &sets).await?;
        Ok(outcomes)
    }

    /// Whose an address is stands there before it comes and until it is gone: whatever breaks off between, nothing of ours
    /// looks like somebody else's.
    async fn replace(
        &self,
        session: &Session,
        mut zone: Zone,
        sets: &[(RrSet, RrSet)],
    ) -> Result<(), Failure> {
        for step in [Step::TextsOfBoth, Step::Addresses, Step::Texts] {
            let mut asked = Changes::default();
            for (found, wanted) in sets {
                match step {
                    Step::TextsOfBoth => {
                        zone.texts(&self.spelling, wanted, &union(found, wanted), &mut asked)
                    }
                    Step::Addresses => zone.addresses(wanted, &mut asked),
                    Step::Texts => zone.texts(&self.spelling, wanted, &union(wanted, wanted), &mut asked),
                }
            }
            if !asked.is_empty() {
                zone = zone.after(session.apply(asked).await?);
            }
        }
        Ok(())
    }

    /// Each set that is meant, as it is and as it should be.
    fn plan(
        &self,
        zone: &Zone,
        changes: &[Change],
        outcomes: &mut [Outcome],
    ) -> Result<Vec<(RrSet, RrSet)>, Failure> {
        let mut groups: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
        for (at, change) in changes.iter().enumerate() {
            let (name, kind, _) = parts(change.place())
                .ok_or_else(|| Failure::Rejected(format!("{} is no record set", change.place())))?;
            groups.entry((name.trim_end_matches('.'), kind)).or_default().push(at);
        }
        let mut sets = Vec::new();
        for ((name, kind), group) in groups {
            if let Some(owner) = zone.stranger(&self.spelling, name, kind) {
                let words = format!(
                    "{name} {kind} belongs to owner {owner:?}: expected a name that is free or ours alone"
                );
                group.iter().for_each(|at| outcomes[*at] = Outcome::Foreign(words.clone()));
                continue;
            }
            let found = zone.set(&self.spelling, name, kind);
            let of_set: Vec<&Change> = group.iter().filter_map(|at| changes.get(*at)).collect();
            let (wanted, came) = merge(&self.spelling, &found, &of_set);
            for (at, outcome) in group.iter().zip(came) {
                outcomes[*at] = outcome;
            }
            sets.push((found, wanted));
        }
        Ok(sets)
    }
}

impl Layout for Webhook {
    fn place(&self, entry: &Entry) -> Place {
        self.spelling.place(entry)
    }

    fn digest(&self, entry: &Entry) -> u64 {
        self.spelling.digest(entry)
    }
}

impl Driver for Webhook {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: "webhook",
            batch: BATCH,
            at_once: 1,
            // Nobody knows what a provider does with the rest when one record fails.
            atomic: false,
            compare_and_set: false,
            owner: OwnerSlot::Name,
            fence: Fence::ReadBefore,
            expires: false,
            drain_state: false,
            weight: false,
            metadata: false,
            list: true,
            watch: false,
            shows: Able::No("does not tell of whom a name is that carries no labels of ours"),
            adopts: Able::No(
                "has a protocol without whose a name is, so that taking one over could take it from its provider",
            ),
            purges: Able::No("does not purge yet: remove the names of the owner at its provider"),
        }
    }

    fn fence(&self, epoch: u64) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            *self.session.lock().await = Some(Box::pin(self.open(epoch)).await?);
            Ok(())
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, Failure>> {
        Box::pin(async move {
            let zone = self.session().await?.records().await?;
            let sets = zone.ours(&self.spelling);
            Ok(Listing { items: sets.iter().flat_map(|set| self.spelling.items(set)).collect(), at: 0 })
        })
    }

    fn apply<'a>(&'a self, changes: &'a [Change]) -> BoxFuture<'a, Result<Vec<Outcome>, Failure>> {
        Box::pin(self.write(changes))
    }
}
