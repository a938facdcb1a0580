//! Consul's catalog: a service for each entry, on a node that stands for our instances and runs nowhere. Every write is
//! one transaction that compares the epoch key and every service that it touches. Tried with a fake only: no server of
//! Consul can be had where this is tested.

mod agent;
mod layout;
mod local;
mod session;

use std::sync::Arc;

use bcs_schemas::resource::registry::{ConsulDriver, ConsulVia};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use self::{
    agent::Agent,
    layout::{Service, Spelling, ambiguous, whose},
    session::{Committed, Problem, Session},
};
use super::{Able, Capabilities, Driver, Fence, Listing, Owner, OwnerSlot};
use crate::domain::{Change, Entry, Failure, Layout, Outcome, Place};

/// Consul takes 64 operations per transaction, one of which compares the epoch.
const BATCH: usize = 60;

/// The driver for the way that is asked for.
pub fn open(settings: &ConsulDriver, zone: &str, owner: &Owner) -> Arc<dyn Driver> {
    let settings = settings.clone();
    match settings.via {
        ConsulVia::Catalog => Arc::new(Consul::new(settings, zone, owner)),
        ConsulVia::Agent => Arc::new(Agent::new(settings, zone, owner)),
    }
}

/// The driver of the catalog.
struct Consul {
    settings: ConsulDriver,
    spelling: Spelling,
    session: tokio::sync::Mutex<Option<Session>>,
}

impl Consul {
    /// Connects only when it is fenced. `zone` is the registry's.
    fn new(settings: ConsulDriver, zone: &str, owner: &Owner) -> Self {
        let spelling = Spelling::new(owner, &settings.node, zone);
        Self { settings, spelling, session: tokio::sync::Mutex::new(None) }
    }

    async fn session(&self) -> Result<Session, Failure> {
        let session = self.session.lock().await.clone();
        session.ok_or_else(|| Failure::Unavailable("consul: not connected yet".to_owned()))
    }

    async fn write(&self, changes: &[Change]) -> Result<Vec<Outcome>, Failure> {
        let session = self.session().await?;
        let mut outcomes: Vec<Outcome> = changes.iter().map(refused_by_us).collect();
        let sent: Vec<usize> = (0..changes.len()).filter(|at| outcomes[*at] == Outcome::Again).collect();
        let epoch = json!({ "KV": { "Verb": "check-index", "Key": self.spelling.epoch_key(), "Index": session.index } });
        let operations = sent.iter().map(|at| self.operation(&changes[*at]));
        let operations: Value = std::iter::once(epoch).chain(operations).collect();
        match session.commit(&operations).await? {
            Committed::Done(written) => {
                for at in sent {
                    outcomes[at] = Outcome::Done(version(&written, &changes[at]));
                }
            }
            Committed::Refused(problems) => {
                self.explain(&session, changes, &sent, problems, &mut outcomes).await?;
            }
        }
        Ok(outcomes)
    }

    fn operation(&self, change: &Change) -> Value {
        let (verb, service) = match change {
            Change::Put { entry, over, .. } => {
                let service = Service { modify_index: over.unwrap_or(0), ..self.spelling.service(entry) };
                ("cas", json!(service))
            }
            Change::Remove { place, version } => {
                ("delete-cas", json!({ "ID": &**place, "ModifyIndex": version }))
            }
        };
        json!({ "Service": { "Verb": verb, "Node": self.spelling.node, "Service": service } })
    }

    /// Nothing was done: what stood in the way of which change.
    async fn explain(
        &self,
        session: &Session,
        changes: &[Change],
        sent: &[usize],
        problems: Vec<Problem>,
        outcomes: &mut [Outcome],
    ) -> Result<(), Failure> {
        if let Some(problem) = problems.iter().find(|problem| problem.what.contains("Permission denied")) {
            return Err(session.forbidden(&problem.what));
        }
        session.fenced(&self.spelling).await?;
        let there = session.services(&self.spelling).await?;
        for problem in problems {
            let Some(at) = problem.op_index.checked_sub(1).and_then(|nth| sent.get(nth)) else { continue };
            outcomes[*at] = match problem.what.contains("index is stale") {
                true => self.found(changes[*at].place(), &there),
                false => Outcome::Refused(problem.what),
            };
        }
        Ok(())
    }

    fn found(&self, place: &Place, there: &[Service]) -> Outcome {
        let Some(service) = there.iter().find(|service| *service.id == **place) else {
            return Outcome::Differs(None);
        };
        match self.spelling.item(service) {
            Some(item) => Outcome::Differs(Some(item)),
            None => Outcome::Foreign(format!(
                "service {place} of node {} belongs to {}, expected it to be free or ours",
                self.spelling.node,
                whose(service.meta.as_ref())
            )),
        }
    }
}

/// What is not even asked for; everything else waits for its answer.
fn refused_by_us(change: &Change) -> Outcome {
    match change {
        Change::Put { entry, .. } => ambiguous(entry).map_or(Outcome::Again, Outcome::Refused),
        Change::Remove { .. } => Outcome::Again,
    }
}

fn version(written: &[Service], change: &Change) -> u64 {
    written.iter().find(|service| *service.id == **change.place()).map_or(0, |service| service.modify_index)
}

impl Layout for Consul {
    fn place(&self, entry: &Entry) -> Place {
        self.spelling.place(entry)
    }

    fn digest(&self, entry: &Entry) -> u64 {
        self.spelling.digest(entry)
    }
}

impl Driver for Consul {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: "consul",
            batch: BATCH,
            at_once: 1,
            atomic: true,
            compare_and_set: true,
            owner: OwnerSlot::Entry,
            fence: Fence::InWrite,
            // Nobody checks what is on a node without an agent.
            expires: false,
            drain_state: false,
            weight: true,
            metadata: true,
            list: true,
            watch: false,
            shows: Able::No("does not show services of others yet: see `consul catalog services` there"),
            adopts: Able::No(
                "keeps each service below the node that registered it, so whose it is cannot change without a gap",
            ),
            purges: Able::No(
                "does not purge yet: deregister the nodes that bear the name of the owner there",
            ),
        }
    }

    fn fence(&self, epoch: u64) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            *self.session.lock().await =
                Some(Box::pin(Session::open(&self.settings, &self.spelling, epoch)).await?);
            Ok(())
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, Failure>> {
        Box::pin(async move {
            let services = self.session().await?.services(&self.spelling).await?;
            Ok(Listing { items: services.iter().filter_map(|s| self.spelling.item(s)).collect(), at: 0 })
        })
    }

    fn apply<'a>(&'a self, changes: &'a [Change]) -> BoxFuture<'a, Result<Vec<Outcome>, Failure>> {
        Box::pin(self.write(changes))
    }
}
