//! Faults on request: errors, latency, conflicts, dropped watches, compaction, lost nodes.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde::Deserialize;
use tokio::sync::watch;

use crate::{status::Status, store::Store};

/// What `POST /sim/faults` takes; fields that are left out stay as they are.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Request {
    pub api_errors: Option<f64>,
    pub latency_ms: Option<u64>,
    pub conflicts: Option<f64>,
    pub drop_watches: bool,
    pub compact: bool,
    pub nodes_down: Option<BTreeSet<String>>,
    pub seed: Option<u64>,
}

struct State {
    api_errors: f64,
    conflicts: f64,
    latency: Duration,
    random: StdRng,
}

/// Switches for misbehaviour. Every clone and every call act on the running simulator at once.
pub struct Faults {
    state: Mutex<State>,
    drops: watch::Sender<u64>,
    down: watch::Sender<BTreeSet<String>>,
    store: Arc<Store>,
}

impl Faults {
    pub(crate) fn new(store: Arc<Store>, seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed);
        let state = State { api_errors: 0.0, conflicts: 0.0, latency: Duration::ZERO, random };
        Self { state: Mutex::new(state), drops: watch::Sender::new(0), down: watch::Sender::default(), store }
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

    /// Restarts the randomness, so that a run can be repeated.
    pub fn set_seed(&self, seed: u64) {
        self.state().random = StdRng::seed_from_u64(seed);
    }

    /// Ends every open watch now.
    pub fn drop_watches(&self) {
        self.drops.send_modify(|n| *n += 1);
    }

    /// Forgets the history: watches and pages from older versions get 410, and so do the watches that are open.
    pub fn compact(&self) {
        self.store.compact();
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

    /// No faults from now on.
    pub fn reset(&self) {
        self.set_api_errors(0.0);
        self.set_conflicts(0.0);
        self.set_latency(Duration::ZERO);
        self.down.send_modify(BTreeSet::clear);
    }

    pub(crate) fn request(&self, request: Request) {
        if let Some(seed) = request.seed {
            self.set_seed(seed);
        }
        if let Some(rate) = request.api_errors {
            self.set_api_errors(rate);
        }
        if let Some(rate) = request.conflicts {
            self.set_conflicts(rate);
        }
        if let Some(ms) = request.latency_ms {
            self.set_latency(Duration::from_millis(ms));
        }
        if let Some(names) = request.nodes_down {
            self.down.send_replace(names);
        }
        if request.compact {
            self.compact();
        }
        if request.drop_watches {
            self.drop_watches();
        }
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
}
