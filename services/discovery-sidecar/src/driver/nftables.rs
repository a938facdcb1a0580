//! Sets of nftables on this host, such as the allow-lists of its firewall, by the program `nft`: one element per instance, whose
//! comment says whose it is. Every batch is one transaction of the kernel. Rules that are loaded anew take everything away, which
//! is noticed, and written again.

mod adoption;
mod layout;
mod program;
mod ruleset;
#[cfg(test)]
mod tests;
mod transaction;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bcs_schemas::resource::registry::NftablesDriver;
use futures::{future::BoxFuture, stream::BoxStream};

use self::{
    layout::{Held, Sets},
    program::{Committed, Program, failed},
    ruleset::Reading,
    transaction::{CLAIM, Transaction, obstacles},
};
use super::{Able, Capabilities, Drift, Driver, Fence, Listing, Owner, OwnerSlot, look};
use crate::domain::{Adoption, Change, Entry, Failure, Found, Item, Layout, Outcome, Place};

/// The kernel holds everything else up for as long as a transaction takes.
const BATCH: usize = 200;
/// How often it is looked whether somebody else changed something.
const LOOK: Duration = Duration::from_secs(2);
/// How often the epoch is tried to be raised while others do the same.
const TRIES: usize = 5;

/// The driver.
pub struct Nftables(Arc<Inner>);

struct Inner {
    program: Program,
    /// For people.
    table: String,
    sets: Sets,
    owner: Owner,
    state: Mutex<State>,
}

/// What the kernel holds, as we left or found it.
#[derive(Clone, Default)]
struct State {
    epoch: u64,
    /// Set whose name says our epoch, with a number of its own, so that our own earlier calls cannot come late.
    fence: String,
    known: BTreeMap<Place, u64>,
    /// Raised by every call of ours, so that a look that began before it is not believed.
    calls: u64,
}

impl Nftables {
    /// Runs a program for every call.
    pub fn new(settings: NftablesDriver, owner: &Owner) -> Self {
        Self(Arc::new(Inner {
            program: Program::new(&settings),
            sets: Sets::new(&settings, owner),
            table: settings.table,
            owner: owner.clone(),
            state: Mutex::default(),
        }))
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn raise(&self, epoch: u64) -> Result<(), Failure> {
        let fence = format!("{}{epoch}_{:016x}", self.sets.epoch, rand::random::<u64>());
        let mut words = String::new();
        for _ in 0..TRIES {
            let reading = self.program.read().await?;
            if let Some(held) = self.held_epoch(&reading).filter(|held| *held > epoch) {
                return Err(Failure::Fenced(held));
            }
            let claimed = reading.sets.get(&self.sets.claim).map(|set| set.elements.get(CLAIM));
            let whole = match claimed {
                Some(Some(Some(other))) if *other != self.owner.installation => {
                    return Err(Failure::Unavailable(self.taken_by(other)));
                }
                Some(Some(Some(_))) => self.held_epoch(&reading).is_some(),
                Some(_) => false,
                None => true,
            };
            let transaction = match whole {
                true => Transaction::raise(&self.sets, &reading, &fence, &self.owner.installation),
                false => Transaction::clear(&self.sets),
            };
            match self.program.commit(&transaction).await? {
                Committed::Whole if whole => {
                    let mut state = self.state();
                    (state.epoch, state.fence) = (epoch, fence);
                    return Ok(());
                }
                Committed::Whole => (),
                Committed::Nothing(said) => words = said,
            }
        }
        Err(failed(&format!("the epoch cannot be raised in the table {}: {words}", self.table)))
    }

    fn held_epoch(&self, reading: &Reading) -> Option<u64> {
        self.sets.epochs(reading).map(|(_, epoch)| epoch).max()
    }

    fn taken_by(&self, other: &str) -> String {
        let mark = format!("the set {} of the table {}", self.sets.claim, self.table);
        super::taken("nftables", &self.owner.platform, &self.owner.installation, other, &mark)
    }

    /// What lies in a table that no newer sidecar keeps.
    async fn look(&self, state: &State) -> Result<(Reading, BTreeMap<Place, Held>), Failure> {
        let reading = self.program.read().await?;
        if !reading.sets.contains_key(&state.fence) {
            return Err(match self.held_epoch(&reading) {
                Some(held) if held > state.epoch => Failure::Fenced(held),
                _ => failed(&format!(
                    "our epoch is gone from the table {}: the rules were loaded anew",
                    self.table
                )),
            });
        }
        let held = self.sets.held(&reading);
        Ok((reading, held))
    }

    /// A copy of the state, from which on looks that began before are not believed.
    fn begin(&self) -> State {
        let mut state = self.state();
        state.calls += 1;
        state.clone()
    }

    async fn list(&self) -> Result<Vec<Item>, Failure> {
        let began = self.begin();
        let (_, held) = self.look(&began).await?;
        let items = items(&held);
        let mut state = self.state();
        state.known = known(&items);
        state.calls += 1;
        Ok(items)
    }

    async fn apply(&self, changes: &[Change]) -> Result<Vec<Outcome>, Failure> {
        let began = self.begin();
        let (reading, held) = self.look(&began).await?;
        if let Some(outcomes) = obstacles(&self.sets, &reading, &held, changes) {
            return Ok(outcomes);
        }
        let transaction = Transaction::of(&self.sets, &reading, &held, &began.fence, changes);
        if let Committed::Nothing(words) = self.program.commit(&transaction).await? {
            // Somebody was there between the reading and the writing, or the kernel does not want it.
            let (reading, held) = self.look(&began).await?;
            let outcomes = obstacles(&self.sets, &reading, &held, changes);
            return outcomes.ok_or_else(|| Failure::Rejected(format!("nftables: {words}")));
        }
        let mut state = self.state();
        state.calls += 1;
        let done = changes.iter().map(|change| match change {
            Change::Put { place, digest, .. } => {
                state.known.insert(place.clone(), *digest);
                Outcome::Done(*digest)
            }
            Change::Remove { place, .. } => {
                state.known.remove(place);
                Outcome::Done(0)
            }
        });
        Ok(done.collect())
    }

    /// Whether something is not as we left it.
    async fn has_drifted(&self) -> Result<bool, Failure> {
        let before = self.state().clone();
        let looked = self.look(&before).await;
        let state = self.state();
        if state.calls != before.calls || state.fence != before.fence {
            return Ok(false);
        }
        Ok(state.known != known(&items(&looked?.1)))
    }
}

fn items(held: &BTreeMap<Place, Held>) -> Vec<Item> {
    held.iter().map(|(place, held)| held.item(place)).collect()
}

fn known(items: &[Item]) -> BTreeMap<Place, u64> {
    items.iter().map(|item| (item.place.clone(), item.digest)).collect()
}

impl Layout for Nftables {
    fn place(&self, entry: &Entry) -> Place {
        self.0.sets.place(entry)
    }

    fn digest(&self, entry: &Entry) -> u64 {
        self.0.sets.digest(entry)
    }
}

impl Driver for Nftables {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: "nftables",
            batch: BATCH,
            at_once: 1,
            atomic: true,
            // On whether an element is there; whose it is, is read just before.
            compare_and_set: true,
            owner: OwnerSlot::Entry,
            fence: Fence::InWrite,
            expires: false,
            drain_state: false,
            weight: false,
            metadata: false,
            list: true,
            watch: true,
            shows: Able::Yes,
            adopts: Able::Yes,
            purges: Able::No(
                "is as a whole taken away by flushing its table, and keeps no names of owners to find theirs by",
            ),
        }
    }

    fn fence(&self, epoch: u64) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(self.0.raise(epoch))
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, Failure>> {
        Box::pin(async { Ok(Listing { items: self.0.list().await?, at: 0 }) })
    }

    fn apply<'a>(&'a self, changes: &'a [Change]) -> BoxFuture<'a, Result<Vec<Outcome>, Failure>> {
        Box::pin(self.0.apply(changes))
    }

    fn called(&self, entry: &Entry) -> String {
        self.0.sets.element(entry).set
    }

    fn survey(&self) -> BoxFuture<'_, Result<Vec<Found>, Failure>> {
        Box::pin(self.0.survey())
    }

    fn adopt<'a>(&'a self, adoptions: &'a [Adoption]) -> BoxFuture<'a, Result<Vec<Outcome>, Failure>> {
        Box::pin(self.0.take_over(adoptions))
    }

    fn drift(&self, _: u64) -> BoxFuture<'_, Result<BoxStream<'static, Result<Drift, Failure>>, Failure>> {
        let inner = self.0.clone();
        let looks = look::every(LOOK, move || {
            let inner = inner.clone();
            async move { inner.has_drifted().await }
        });
        Box::pin(async { Ok(looks) })
    }
}
