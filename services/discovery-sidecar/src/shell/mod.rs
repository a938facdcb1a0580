//! The edge to the world: the bus on one side, registries on the other, and a worker that moves between them.

pub(crate) mod attend;
pub(crate) mod board;
pub(crate) mod call;
pub(crate) mod door;
pub(crate) mod former;
pub(crate) mod hand;
pub(crate) mod hold;
pub(crate) mod installation;
pub(crate) mod lease;
pub(crate) mod report;
pub(crate) mod worker;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::jetstream::kv::{self, Operation};
use bcs_kit::{
    Bus, Clock, Tasks, bus,
    kv::{Store, View},
    run::Deps,
};
use bcs_schemas::{
    bucket,
    observation::{ClusterHealth, Endpoint, Registration, RegistryStatus},
};
use futures::{StreamExt, stream};
use tokio::time::Instant;

use crate::{Config, domain::Budget, externaldns::Desk};
use board::Board;

/// How soon a reading that failed is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// What all workers share.
#[derive(Clone)]
pub(crate) struct Platform {
    pub(crate) config: Arc<Config>,
    pub(crate) board: Board,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    pub(crate) bus: Bus,
    pub(crate) site: bcs_schemas::Name,
    /// Id of the installation.
    pub(crate) installation: String,
    pub(crate) endpoints: View<Endpoint>,
    pub(crate) clusters: View<ClusterHealth>,
    pub(crate) registrations: Store<Registration>,
    pub(crate) registries: Store<RegistryStatus>,
    pub(crate) leases: Store<String>,
    /// Where an ExternalDNS is served, by the names of the registries.
    pub(crate) desks: Arc<HashMap<bcs_schemas::Name, Desk>>,
    budgets: Budgets,
    /// The bucket of endpoints as the server keeps it, marks of deletions included.
    marks: kv::Store,
}

impl Platform {
    pub(crate) async fn open(config: Config, deps: &Deps, board: Board) -> Result<Self, bus::Error> {
        let bus = &deps.bus;
        let beats = config.cluster.as_ref().map_or_else(|| ">".to_owned(), ToString::to_string);
        let leases = bus.bucket(bucket::LEASES).await?;
        // Who keeps no registry has nowhere to write who we are, and need not be allowed to say it.
        let installation = match config.registries[..] {
            [] => String::new(),
            _ => installation::id(&leases, &deps.clock).await?,
        };
        let marks = bus.jetstream().get_key_value(bucket::ENDPOINTS.name).await;
        let registries = bus.bucket(bucket::REGISTRIES).await?;
        let serving = config.registries.iter().filter(|registry| registry.spec.external_dns.is_some());
        let desks = serving.map(|registry| {
            let name = &registry.metadata.name;
            (name.clone(), Desk::new(name, &registries))
        });
        Ok(Self {
            board,
            clock: deps.clock.clone(),
            tasks: deps.tasks.clone(),
            bus: bus.clone(),
            site: bus.site().clone(),
            endpoints: bus.bucket(bucket::ENDPOINTS).await?.watch(&deps.tasks, &config.instances()),
            clusters: bus.bucket(bucket::CLUSTERS).await?.watch(&deps.tasks, &beats),
            registrations: bus.bucket(bucket::REGISTRATIONS).await?,
            desks: Arc::new(desks.collect()),
            registries,
            leases,
            installation,
            marks: marks.map_err(|e| bus::Error::nats("opening bucket endpoints", e))?,
            budgets: Budgets::of(&config),
            config: Arc::new(config),
        })
    }

    /// For each key that is gone: whether somebody deleted it. A bucket that lost its data has no mark of a deletion.
    pub(crate) async fn prove(self, keys: Vec<Arc<str>>) -> Vec<(Arc<str>, Proof)> {
        let looks = stream::iter(keys).map(|key| {
            let marks = &self.marks;
            async move {
                let proof = match marks.entry(key.to_string()).await {
                    Ok(Some(entry)) if entry.operation == Operation::Put => Proof::There,
                    Ok(Some(_)) => Proof::Deleted,
                    Ok(None) => Proof::Missing,
                    Err(_) => Proof::Unknown,
                };
                (key, proof)
            }
        });
        looks.buffer_unordered(64).collect().await
    }
}

/// What accounts of registries may be asked for, by the names of the registries.
#[derive(Clone)]
struct Budgets {
    begun: Instant,
    of: Arc<HashMap<bcs_schemas::Name, Arc<Mutex<Budget>>>>,
}

impl Budgets {
    fn of(config: &Config) -> Self {
        let (mut accounts, mut of) = (HashMap::new(), HashMap::new());
        for registry in &config.registries {
            let Some(rate) = registry.spec.rate.clone() else { continue };
            let name = &registry.metadata.name;
            // The name of an account and that of a registry are two things.
            let account = rate.account.clone().ok_or_else(|| name.clone());
            let budget = accounts.entry(account).or_insert_with(|| Arc::new(Mutex::new(Budget::new(rate))));
            of.insert(name.clone(), Arc::clone(budget));
        }
        Self { begun: Instant::now(), of: Arc::new(of) }
    }
}

impl Platform {
    /// What `plan` makes of the number of changes that the registry may be asked for now; or how long to wait.
    pub(crate) fn within_budget<T>(
        &self,
        registry: &bcs_schemas::Name,
        plan: impl FnOnce(usize) -> (usize, T),
    ) -> Result<T, Duration> {
        let Some(budget) = self.budgets.of.get(registry) else { return Ok(plan(usize::MAX).1) };
        let mut budget = budget.lock().unwrap_or_else(PoisonError::into_inner);
        let granted = budget.granted(self.budgets.begun.elapsed())?;
        let (made, planned) = plan(granted);
        budget.spend(made);
        Ok(planned)
    }
}

/// What the bucket says of a key that a view does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It was deleted: a fact.
    Deleted,
    /// It is not there, and nobody deleted it.
    Missing,
    /// It is there after all.
    There,
    /// The bucket did not answer.
    Unknown,
}
