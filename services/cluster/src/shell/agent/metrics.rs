//! What agents tell Prometheus (`bcs_agent_…`, by cluster), and whether an agent can do its work.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bcs_engines::Kind;
use bcs_kit::health::Health;
use bcs_schemas::{Name, step::StepResult};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
};

/// Of which cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    cluster: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Step {
    cluster: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Review {
    cluster: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct List {
    cluster: String,
    kind: &'static str,
}

/// The metrics of all agents of a process. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    steps: Family<Step, Counter>,
    lists: Family<List, Counter>,
    lag: Family<Of, Histogram, fn() -> Histogram>,
    mended: Family<Of, Counter>,
    leading: Family<Of, Gauge>,
    reviews: Family<Review, Counter>,
}

impl Metrics {
    /// Adds them to `health`; once for each process.
    pub fn register(health: &Health) -> Self {
        let buckets: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        let metrics = Self {
            steps: Family::default(),
            lists: Family::default(),
            lag: Family::new_with_constructor(buckets),
            mended: Family::default(),
            leading: Family::default(),
            reviews: Family::default(),
        };
        health.metrics(|registry| {
            let ours = registry.sub_registry_with_prefix("bcs_agent");
            ours.register("steps", "Steps carried out, by their result", metrics.steps.clone());
            ours.register("relists", "Complete lists read from the cluster", metrics.lists.clone());
            let help = "Seconds from the sight of a change to its place in the bucket";
            ours.register("observation_lag_seconds", help, metrics.lag.clone());
            ours.register(
                "observations_mended",
                "Keys that a bucket had lost or kept",
                metrics.mended.clone(),
            );
            let help = "Questions about new pods answered, by what became of them";
            ours.register("reviews", help, metrics.reviews.clone());
            ours.register("leading", "Whether this agent has the cluster's lease", metrics.leading.clone());
        });
        metrics
    }

    /// Of the agent of one cluster.
    pub fn of(&self, cluster: &Name) -> Report {
        let standing = Arc::new(Mutex::new(Standing::Starting));
        let injection = Arc::new(Mutex::new(Ok(())));
        Report { cluster: cluster.to_string(), metrics: self.clone(), standing, injection }
    }
}

/// What an agent does just now.
#[derive(Clone, Debug)]
pub(super) enum Standing {
    /// It has not reached its bus yet.
    Starting,
    /// Another agent has the cluster, or this one is about to get it.
    Waiting,
    /// It has the cluster, and sees all of it or not.
    Leading(Result<(), String>),
}

/// The metrics of one agent. Clones share them.
#[derive(Clone, Debug)]
pub struct Report {
    cluster: String,
    metrics: Metrics,
    standing: Arc<Mutex<Standing>>,
    injection: Arc<Mutex<Result<(), String>>>,
}

impl Report {
    /// Whether it can do its work; one that waits for its turn can.
    pub fn ready(&self) -> Result<(), String> {
        match &*self.standing.lock().unwrap_or_else(PoisonError::into_inner) {
            Standing::Starting => return Err("the bus is not reached yet".to_owned()),
            Standing::Waiting => {}
            Standing::Leading(seen) => seen.clone()?,
        }
        self.injection()
    }

    /// Whether its webhook answers and is believed, if it has one; else what is missing.
    pub fn injection(&self) -> Result<(), String> {
        self.injection.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn injects(&self, standing: Result<(), String>) {
        *self.injection.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }

    /// A question about a new pod was answered.
    pub(crate) fn answered(&self, result: &'static str) {
        self.metrics.reviews.get_or_create(&Review { cluster: self.cluster.clone(), result }).inc();
    }

    pub(super) fn stands(&self, standing: Standing) {
        let leading = i64::from(matches!(standing, Standing::Leading(_)));
        self.metrics.leading.get_or_create(&self.of()).set(leading);
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }

    pub(super) fn step(&self, result: &StepResult) {
        let result = match result {
            StepResult::Done => "done",
            StepResult::Stale { .. } => "stale",
            StepResult::Failed { .. } => "failed",
            StepResult::Refused { .. } => "refused",
        };
        self.metrics.steps.get_or_create(&Step { cluster: self.cluster.clone(), result }).inc();
    }

    pub(super) fn listed(&self, kind: Kind) {
        let kind = match kind {
            Kind::Endpoints => "endpoints",
            Kind::Workloads => "workloads",
            Kind::Nodes => "nodes",
        };
        self.metrics.lists.get_or_create(&List { cluster: self.cluster.clone(), kind }).inc();
    }

    pub(super) fn written(&self, after: Duration) {
        self.metrics.lag.get_or_create(&self.of()).observe(after.as_secs_f64());
    }

    pub(super) fn mended(&self, keys: usize) {
        self.metrics.mended.get_or_create(&self.of()).inc_by(u64::try_from(keys).unwrap_or(u64::MAX));
    }

    fn of(&self) -> Of {
        Of { cluster: self.cluster.clone() }
    }
}
