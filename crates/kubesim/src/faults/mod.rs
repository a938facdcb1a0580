//! Faults on request: what goes wrong until it is told otherwise, and what goes wrong once.

mod crash;
mod partition;
mod request;
mod starts;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

pub use self::crash::Crash;
pub(crate) use self::{
    crash::Order,
    partition::{Line, Partition},
    request::Request,
    starts::Starts,
};
use crate::{kind, object, status::Status, store::Store};

/// Why a fault cannot be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{field}: there is no node {name:?}; there is {known}")]
    NoNode { field: &'static str, name: String, known: String },
    #[error("crash.selector: expected a label selector such as app=web,tier!=test: {0}")]
    Selector(String),
    #[error("crash: no pod with a running container is {0}")]
    NoPod(String),
}

/// What is set now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Current {
    /// The share of requests that fail with 500.
    pub api_errors: f64,
    /// The share of updates and patches that fail with 409.
    pub conflicts: f64,
    /// How much later every request is answered.
    pub latency_ms: u64,
    /// For how much longer the API cannot be reached.
    pub partition_ms: u64,
    /// How much longer every container takes to start.
    pub slow_start_ms: u64,
    /// The share of pulls that fail.
    pub image_pull_errors: f64,
    /// The images that cannot be pulled.
    pub broken_images: Vec<String>,
    /// The nodes that are lost.
    pub nodes_down: BTreeSet<String>,
    /// Where the randomness began.
    pub seed: u64,
}

struct State {
    api_errors: f64,
    conflicts: f64,
    latency: Duration,
    seed: u64,
    random: StdRng,
}

/// Switches for misbehaviour. Every call acts on the running simulator at once.
pub struct Faults {
    state: Mutex<State>,
    drops: watch::Sender<u64>,
    down: watch::Sender<BTreeSet<String>>,
    starts: watch::Sender<Starts>,
    partition: Arc<Partition>,
    crashes: mpsc::UnboundedSender<Order>,
    store: Arc<Store>,
}

impl Faults {
    /// With what the kubelet is told of crashes.
    pub(crate) fn new(store: Arc<Store>, seed: u64) -> (Self, mpsc::UnboundedReceiver<Order>) {
        let random = StdRng::seed_from_u64(seed);
        let state = State { api_errors: 0.0, conflicts: 0.0, latency: Duration::ZERO, seed, random };
        let (crashes, orders) = mpsc::unbounded_channel();
        let faults = Self {
            state: Mutex::new(state),
            drops: watch::Sender::new(0),
            down: watch::Sender::default(),
            starts: watch::Sender::new(Starts::new(seed)),
            partition: Arc::default(),
            crashes,
            store,
        };
        (faults, orders)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The share (0 to 1) of requests that fail with 500.
    pub fn set_api_errors(&self, rate: f64) {
        self.state().api_errors = rate.clamp(0.0, 1.0);
    }

    /// The share (0 to 1) of updates and patches that fail with 409.
    pub fn set_conflicts(&self, rate: f64) {
        self.state().conflicts = rate.clamp(0.0, 1.0);
    }

    /// How long every request waits before it is served.
    pub fn set_latency(&self, latency: Duration) {
        self.state().latency = latency;
    }

    /// How much longer every container takes to start; zero ends the wait of those that have begun to.
    pub fn set_slow_start(&self, longer: Duration) {
        self.starts.send_modify(|starts| starts.slow = longer);
    }

    /// The share (0 to 1) of pulls that fail; with 0, those that failed are tried again at once.
    pub fn set_image_pull_errors(&self, rate: f64) {
        self.starts.send_modify(|starts| starts.pull_errors = rate.clamp(0.0, 1.0));
    }

    /// The images that cannot be pulled, from now on these and no others: `web:2`, `web` with any tag, `*/web:*`. What lies
    /// on a node already is not pulled.
    pub fn set_broken_images(&self, images: impl IntoIterator<Item = impl Into<String>>) {
        let images = images.into_iter().map(Into::into).collect();
        self.starts.send_modify(|starts| starts.broken = images);
    }

    /// Restarts the randomness, so that a run can be repeated.
    pub fn set_seed(&self, seed: u64) {
        let mut state = self.state();
        (state.seed, state.random) = (seed, StdRng::seed_from_u64(seed));
        self.starts.send_modify(|starts| starts.seeded(seed));
    }

    /// Ends every open watch now.
    pub fn drop_watches(&self) {
        self.drops.send_modify(|n| *n += 1);
    }

    /// Forgets the history: watches and pages from older versions get 410, and so do the watches that are open.
    pub fn compact(&self) {
        self.store.compact();
    }

    /// For so long nobody reaches the API: connections are cut, and new ones closed, without a word. Nodes, pods and
    /// controllers go on, and so does `/sim/`. Zero ends it.
    pub fn partition(&self, length: Duration) {
        self.partition.begin(length, Instant::now());
    }

    /// The node stops reporting: `Ready` becomes `Unknown`, its pods become unready and stop answering.
    pub fn node_down(&self, name: &str) {
        self.down.send_modify(|set| {
            set.insert(name.to_owned());
        });
    }

    /// The node is back.
    pub fn node_up(&self, name: &str) {
        self.down.send_modify(|set| {
            set.remove(name);
        });
    }

    /// The app containers of these pods end now, once; what follows is for their restart policy to say. The pods that were
    /// hit, as `namespace/name`.
    pub fn crash(&self, which: &Crash) -> Result<Vec<String>, Error> {
        let pods = self.store.list(&kind::PODS, "").objects;
        let hit = which.choose(&self.store, &pods)?;
        for order in &hit {
            // Nobody hears it when the simulator stops.
            let _ = self.crashes.send(order.clone());
        }
        Ok(hit.iter().map(|order| format!("{}/{}", order.key.namespace, order.key.name)).collect())
    }

    /// No faults from now on.
    pub fn reset(&self) {
        self.set_api_errors(0.0);
        self.set_conflicts(0.0);
        self.set_latency(Duration::ZERO);
        self.starts.send_modify(Starts::clear);
        self.partition(Duration::ZERO);
        self.down.send_modify(BTreeSet::clear);
    }

    /// What is set now.
    pub fn current(&self) -> Current {
        let (state, starts) = (self.state(), self.starts.borrow());
        Current {
            api_errors: state.api_errors,
            conflicts: state.conflicts,
            latency_ms: millis(state.latency),
            partition_ms: millis(self.partition.left(Instant::now())),
            slow_start_ms: millis(starts.slow),
            image_pull_errors: starts.pull_errors,
            broken_images: starts.broken.clone(),
            nodes_down: self.down.borrow().clone(),
            seed: state.seed,
        }
    }

    /// Everything that was asked for, or nothing; the pods that crash.
    pub(crate) fn request(&self, request: &Request) -> Result<Vec<String>, Error> {
        for (field, names) in request.nodes() {
            self.known(field, names)?;
        }
        // What can be refused comes first.
        let crashed = request.crash.as_ref().map_or(Ok(Vec::new()), |which| self.crash(which))?;
        request.apply(self);
        Ok(crashed)
    }

    fn known(&self, field: &'static str, names: &BTreeSet<String>) -> Result<(), Error> {
        let nodes = self.store.list(&kind::NODES, "").objects;
        let there: BTreeSet<&str> = nodes.iter().map(|node| object::name(node)).collect();
        let Some(name) = names.iter().find(|name| !there.contains(name.as_str())).cloned() else {
            return Ok(());
        };
        let known = there.into_iter().collect::<Vec<_>>().join(", ");
        Err(Error::NoNode { field, name, known })
    }

    fn set_nodes_down(&self, change: impl FnOnce(&mut BTreeSet<String>)) {
        self.down.send_modify(change);
    }

    /// Whether a request gets through to the API; see [`Partition::passes`].
    pub(crate) fn reachable(&self, line: &Line, path: &str) -> bool {
        self.partition.passes(line, path, Instant::now())
    }

    pub(crate) fn latency(&self) -> Duration {
        self.state().latency
    }

    pub(crate) fn roll_error(&self) -> Result<(), Status> {
        let mut state = self.state();
        let rate = state.api_errors;
        if rate > 0.0 && state.random.random_bool(rate) {
            return Err(Status::internal("injected fault: the server could not complete the request"));
        }
        Ok(())
    }

    pub(crate) fn roll_conflict(&self) -> bool {
        let mut state = self.state();
        let rate = state.conflicts;
        rate > 0.0 && state.random.random_bool(rate)
    }

    pub(crate) fn watch_drops(&self) -> watch::Receiver<u64> {
        self.drops.subscribe()
    }

    pub(crate) fn nodes_down(&self) -> watch::Receiver<BTreeSet<String>> {
        self.down.subscribe()
    }

    pub(crate) fn starts(&self) -> watch::Receiver<Starts> {
        self.starts.subscribe()
    }

    pub(crate) fn lines(&self) -> Arc<Partition> {
        Arc::clone(&self.partition)
    }
}

/// Begun ones count: of eight seconds that have only just started eight are left.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}
