//! Nodes of ZooKeeper as Curator's service discovery reads them: `<prefix>/<name>/<id>`. They are persistent, since losing a session
//! would drop every entry at once. Every batch is one transaction, which compares the epoch and what is there.

mod connect;
mod follow;
mod layout;
mod session;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bcs_schemas::resource::registry::ZookeeperDriver;
use futures::{future::BoxFuture, stream::BoxStream};
use zookeeper_client::PersistentWatcher;

use self::{
    follow::Follow,
    layout::Services,
    session::{Committed, Nodes, Session, unsigned},
};
use super::{Able, Capabilities, Drift, Driver, Fence, Listing, Owner, OwnerSlot};
use crate::domain::{Change, Entry, Failure, Item, Layout, Outcome, Place};

/// Far below what a server takes in one request (`jute.maxbuffer`, a megabyte).
const BATCH: usize = 100;
/// How often a transaction is tried that finds something else than was read a moment before.
const TRIES: usize = 3;

/// The driver.
pub struct Zookeeper(Arc<Inner>);

struct Inner {
    settings: ZookeeperDriver,
    services: Services,
    session: tokio::sync::Mutex<Option<Session>>,
    state: Mutex<State>,
}

/// What ZooKeeper holds, as we left or found it.
#[derive(Default)]
struct State {
    /// Number of the transaction that wrote it last.
    known: BTreeMap<Place, u64>,
    /// Raised by every call of ours, so that a look that began before it is not believed.
    calls: u64,
    /// Of the session, until somebody listens.
    watcher: Option<PersistentWatcher>,
}

impl Zookeeper {
    /// Connects only when it is fenced.
    pub fn new(settings: ZookeeperDriver, owner: &Owner) -> Self {
        let services = Services::new(&settings, owner);
        Self(Arc::new(Inner {
            settings,
            services,
            session: tokio::sync::Mutex::default(),
            state: Mutex::default(),
        }))
    }
}

fn unconnected() -> Failure {
    Failure::Unavailable("zookeeper: not connected yet".to_owned())
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn raise(&self, epoch: u64) -> Result<(), Failure> {
        let mut held = self.session.lock().await;
        // The former one ends, whatever it still has to say.
        *held = None;
        let (session, watcher) = Box::pin(Session::open(&self.settings, &self.services, epoch)).await?;
        *held = Some(session);
        let mut state = self.state();
        state.known.clear();
        state.calls += 1;
        state.watcher = Some(watcher);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Item>, Failure> {
        let held = self.session.lock().await;
        let session = held.as_ref().ok_or_else(unconnected)?;
        self.state().calls += 1;
        let nodes = session.read_all(&self.services.prefix).await?;
        let items: Vec<Item> = nodes
            .iter()
            .filter_map(|(place, node)| self.services.item(place, &node.data, unsigned(node.stat.mzxid)))
            .collect();
        let mut state = self.state();
        state.known = items.iter().map(|item| (item.place.clone(), item.version)).collect();
        state.calls += 1;
        Ok(items)
    }

    async fn apply(&self, changes: &[Change]) -> Result<Vec<Outcome>, Failure> {
        let mut held = self.session.lock().await;
        let session = held.as_mut().ok_or_else(unconnected)?;
        self.state().calls += 1;
        let places: Vec<Place> = changes.iter().map(|change| change.place().clone()).collect();
        let mut nodes = session.read(&places).await?;
        for _ in 0..TRIES {
            if let Some(outcomes) = self.obstacles(&nodes, changes) {
                return Ok(outcomes);
            }
            if let Some((index, words)) = session.prepare(changes).await? {
                return Ok(refused(changes.len(), index, &words));
            }
            match session.commit(&self.services, &nodes, changes).await? {
                Committed::Whole(zxid) => return Ok(self.done(changes, zxid)),
                Committed::Refused(index, words) => return Ok(refused(changes.len(), index, &words)),
                Committed::Differs => {
                    session.sync(&self.services.epoch).await?;
                    nodes = session.read(&places).await?;
                }
            }
        }
        Err(Failure::Unavailable("zookeeper: others change the same nodes all the time".to_owned()))
    }

    /// One outcome per change if anything stands in the way of one of them.
    fn obstacles(&self, nodes: &Nodes, changes: &[Change]) -> Option<Vec<Outcome>> {
        let outcomes: Vec<Option<Outcome>> = changes
            .iter()
            .map(|change| {
                let place = change.place();
                let expected = change.expects();
                let Some(node) = nodes.get(place) else {
                    return expected.is_some().then_some(Outcome::Differs(None));
                };
                match self.services.item(place, &node.data, unsigned(node.stat.mzxid)) {
                    Some(item) => (Some(item.version) != expected).then_some(Outcome::Differs(Some(item))),
                    None => Some(Outcome::Foreign(Services::whose(place, &node.data))),
                }
            })
            .collect();
        let blocked = outcomes.iter().any(Option::is_some);
        blocked.then(|| outcomes.into_iter().map(|outcome| outcome.unwrap_or(Outcome::Again)).collect())
    }

    fn done(&self, changes: &[Change], zxid: u64) -> Vec<Outcome> {
        let mut state = self.state();
        state.calls += 1;
        for change in changes {
            match change {
                Change::Put { place, .. } => drop(state.known.insert(place.clone(), zxid)),
                Change::Remove { place, .. } => drop(state.known.remove(place)),
            }
        }
        changes.iter().map(|_| Outcome::Done(zxid)).collect()
    }
}

/// The others are not meant.
fn refused(count: usize, index: usize, words: &str) -> Vec<Outcome> {
    let outcome = |at| if at == index { Outcome::Refused(words.to_owned()) } else { Outcome::Again };
    (0..count).map(outcome).collect()
}

impl Layout for Zookeeper {
    fn place(&self, entry: &Entry) -> Place {
        self.0.services.place(entry)
    }

    fn digest(&self, entry: &Entry) -> u64 {
        self.0.services.digest(entry)
    }
}

impl Driver for Zookeeper {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: "zookeeper",
            batch: BATCH,
            at_once: 1,
            atomic: true,
            compare_and_set: true,
            owner: OwnerSlot::Entry,
            fence: Fence::InWrite,
            // Not ephemeral nodes: losing a session would drop every entry at once.
            expires: false,
            drain_state: false,
            weight: true,
            metadata: true,
            list: true,
            watch: true,
            shows: Able::No("does not show nodes of others yet: see `ls` in its shell"),
            adopts: Able::No(
                "holds a node under the id that its service gave itself, and its watchers see another id as another instance",
            ),
            purges: Able::No("does not purge yet: delete the nodes with the owner in payload.metadata"),
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
        Box::pin(async {
            let client = self.0.session.lock().await.as_ref().map(|session| session.client.clone());
            let watcher = self.0.state().watcher.take();
            let (client, watcher) = client.zip(watcher).ok_or_else(unconnected)?;
            Ok(Follow { inner: self.0.clone(), client, watcher }.stream())
        })
    }
}
