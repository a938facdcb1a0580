//! Servers of HAProxy, by its runtime API. They live as long as its process: one that is started again gets them again. A server that
//! leaves is put into maintenance, so that it gets nothing new, and counts as out when its last request was answered.

mod carry;
mod layout;
mod talk;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bcs_schemas::resource::registry::HaproxyDriver;
use futures::{future::BoxFuture, stream::BoxStream};

use self::{
    layout::{Server, Servers},
    talk::Talk,
};
use super::{Able, Capabilities, Drift, Driver, Fence, Listing, Owner, OwnerSlot, look};
use crate::domain::{Change, Entry, Failure, Item, Layout, Outcome, Place, change::unfinished};

/// A line for each, all of them sent before the first is answered.
const BATCH: usize = 500;
/// How often it is looked whether somebody else changed something, or a new process began.
const LOOK: Duration = Duration::from_secs(1);

/// The driver.
pub struct Haproxy(Arc<Inner>);

struct Inner {
    settings: HaproxyDriver,
    servers: Servers,
    state: Mutex<State>,
}

/// What HAProxy holds, as we left or found it.
#[derive(Default)]
struct State {
    epoch: u64,
    known: BTreeMap<Place, u64>,
    /// Raised by every call of ours, so that a look that began before it is not believed.
    calls: u64,
    /// Out of service and not deleted yet, since idle connections were left.
    leftover: BTreeSet<Place>,
}

impl Haproxy {
    /// Connects for every call.
    pub fn new(settings: HaproxyDriver, owner: &Owner) -> Self {
        let servers = Servers::new(&settings, owner);
        Self(Arc::new(Inner { settings, servers, state: Mutex::default() }))
    }
}

impl Inner {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A talk with a HAProxy that no newer sidecar keeps. A new process has no epoch: somebody has to read it anew.
    async fn begin(&self) -> Result<Talk, Failure> {
        let epoch = self.state().epoch;
        let mut talk = Talk::begin(&self.settings.socket).await?;
        match self.held(&mut talk).await? {
            Some(held) if held == epoch => Ok(talk),
            Some(held) if held > epoch => Err(Failure::Fenced(held)),
            _ => Err(Failure::Unavailable("haproxy: it was started again".to_owned())),
        }
    }

    async fn held(&self, talk: &mut Talk) -> Result<Option<u64>, Failure> {
        let answer = talk.ask(&format!("get var {}", self.servers.variable)).await?;
        let number = answer.split_once("value=<").and_then(|(_, rest)| rest.split('>').next());
        Ok(number.and_then(|number| number.parse().ok()))
    }

    async fn raise(&self, epoch: u64) -> Result<(), Failure> {
        let mut talk = Talk::begin(&self.settings.socket).await?;
        if let Some(held) = self.held(&mut talk).await?.filter(|held| *held > epoch) {
            return Err(Failure::Fenced(held));
        }
        // Variables of the process count as an experiment, which has to be said first.
        let set = format!("set var {} int({epoch})", self.servers.variable);
        let answer = talk.ask_all(&["experimental-mode on".to_owned(), set]).await?.join(" ");
        if self.held(&mut talk).await? != Some(epoch) {
            return Err(Failure::Unavailable(format!(
                "haproxy: the socket does not take our epoch ({answer}): expected one of level admin, of HAProxy 2.6 or later"
            )));
        }
        self.state().epoch = epoch;
        Ok(())
    }

    async fn look(&self, talk: &mut Talk) -> Result<Vec<Server>, Failure> {
        let text = talk.ask("show servers state").await?;
        self.servers.parse(&text).map_err(|e| Failure::Unavailable(format!("haproxy: {e}")))
    }

    /// Our servers that are in service, and those out of it that still answer somebody; the others are deleted on the way, if they let
    /// themselves be.
    async fn list(&self) -> Result<Vec<Item>, Failure> {
        let mut talk = self.begin().await?;
        let (out, there): (Vec<_>, Vec<_>) =
            self.look(&mut talk).await?.into_iter().partition(|server| server.out);
        self.state().leftover = out.iter().map(|server| server.place.clone()).collect();
        self.sweep(&mut talk).await?;
        let busy = self.busy(&mut talk, &out).await?;
        let items: Vec<Item> = there.iter().filter_map(|server| self.servers.item(server)).collect();
        let mut state = self.state();
        state.known = known(&items);
        state.calls += 1;
        Ok(items.into_iter().chain(busy).collect())
    }

    /// Of those that are out of service and could not be deleted, whoever has connections in use: it counts as there.
    async fn busy(&self, talk: &mut Talk, out: &[Server]) -> Result<Vec<Item>, Failure> {
        let left = self.state().leftover.clone();
        if left.is_empty() {
            return Ok(Vec::new());
        }
        let connections = talk.ask("show servers conn").await?;
        let busy = out.iter().filter(|server| left.contains(&server.place));
        let busy = busy.filter(|server| carry::in_use(&connections, &server.place) > 0);
        let leaving = |item: Item| Item { digest: unfinished(item.digest), ..item };
        Ok(busy.filter_map(|server| self.servers.item(server)).map(leaving).collect())
    }

    async fn sweep(&self, talk: &mut Talk) -> Result<(), Failure> {
        let leftover: Vec<Place> = self.state().leftover.iter().cloned().collect();
        let commands: Vec<String> = leftover.iter().map(|place| format!("del server {place}")).collect();
        for (place, answer) in leftover.iter().zip(talk.ask_all(&commands).await?) {
            if answer.contains("deleted") || answer.contains("No such server") {
                self.state().leftover.remove(place);
            }
        }
        Ok(())
    }

    async fn apply(&self, changes: &[Change]) -> Result<Vec<Outcome>, Failure> {
        let mut talk = self.begin().await?;
        self.state().calls += 1;
        self.sweep(&mut talk).await?;
        let outcomes = self.carry_out(&mut talk, changes).await?;
        self.state().calls += 1;
        Ok(outcomes)
    }

    /// Whether something is not as we left it.
    async fn has_drifted(&self) -> Result<bool, Failure> {
        let calls = self.state().calls;
        let mut talk = self.begin().await?;
        let there: Vec<Server> =
            self.look(&mut talk).await?.into_iter().filter(|server| !server.out).collect();
        let items: Vec<Item> = there.iter().filter_map(|server| self.servers.item(server)).collect();
        let state = self.state();
        Ok(state.calls == calls && state.known != known(&items))
    }
}

fn known(items: &[Item]) -> BTreeMap<Place, u64> {
    items.iter().map(|item| (item.place.clone(), item.digest)).collect()
}

impl Layout for Haproxy {
    fn place(&self, entry: &Entry) -> Place {
        self.0.servers.place(entry)
    }

    fn digest(&self, entry: &Entry) -> u64 {
        self.0.servers.digest(entry)
    }
}

impl Driver for Haproxy {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: "haproxy",
            batch: BATCH,
            at_once: 1,
            atomic: false,
            compare_and_set: false,
            owner: OwnerSlot::Entry,
            fence: Fence::ReadBefore,
            expires: false,
            drain_state: true,
            weight: true,
            metadata: false,
            list: true,
            watch: true,
            shows: Able::No("does not show servers of others yet: see `show servers state` there"),
            adopts: Able::No(
                "knows a server by its name alone, which cannot be changed while it runs, so whose a server is cannot change without a gap",
            ),
            purges: Able::No("forgets servers of a sidecar at its next reload"),
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

    fn drift(&self, _: u64) -> BoxFuture<'_, Result<BoxStream<'static, Result<Drift, Failure>>, Failure>> {
        let inner = self.0.clone();
        let looks = look::every(LOOK, move || {
            let inner = inner.clone();
            async move { inner.has_drifted().await }
        });
        Box::pin(async { Ok(looks) })
    }
}
