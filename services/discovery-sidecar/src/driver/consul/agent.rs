//! One agent of Consul: a service for each entry among those that programs of its host registered with it. The agent tells the
//! catalog of them, again and again, and its node has to live for them to count. It compares nothing when it is written to:
//! the epoch and what is there are read before each batch. Tried with a fake only, as the catalog is.

use std::collections::BTreeMap;

use bcs_schemas::resource::registry::ConsulDriver;
use futures::{StreamExt, future::BoxFuture, stream};
use serde_json::Value;

use super::{
    layout::{Service, Spelling, ambiguous, theirs},
    session::Session,
};
use crate::{
    domain::{Change, Entry, Failure, Layout, Outcome, Place},
    driver::{Able, Capabilities, Driver, Fence, Listing, Owner, OwnerSlot},
};

/// A call each: small, so that a replaced sidecar does not go on for long.
const BATCH: usize = 128;
const AT_ONCE: usize = 16;

/// The driver.
pub(super) struct Agent {
    settings: ConsulDriver,
    spelling: Spelling,
    session: tokio::sync::Mutex<Option<Session>>,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Add or replace it.
    Register(Service),
    /// Take it out.
    Deregister(String),
}

impl Agent {
    /// Connects only when it is fenced. `zone` is the registry's.
    pub(super) fn new(settings: ConsulDriver, zone: &str, owner: &Owner) -> Self {
        let spelling = Spelling::at_agent(owner, &settings.node, zone);
        Self { settings, spelling, session: tokio::sync::Mutex::new(None) }
    }

    async fn session(&self) -> Result<Session, Failure> {
        let session = self.session.lock().await.clone();
        session.ok_or_else(|| Failure::Unavailable("consul: not connected yet".to_owned()))
    }

    async fn write(&self, changes: &[Change]) -> Result<Vec<Outcome>, Failure> {
        let session = self.session().await?;
        session.fenced(&self.spelling).await?;
        let there = session.local_services().await?;
        let mut outcomes = Vec::with_capacity(changes.len());
        let (mut puts, mut removals) = (Vec::new(), Vec::new());
        for (at, change) in changes.iter().enumerate() {
            let (step, outcome) = plan(&self.spelling, &there, change);
            outcomes.push(outcome);
            match step {
                Some(Step::Deregister(_)) => removals.extend(step.map(|step| (at, step))),
                _ => puts.extend(step.map(|step| (at, step))),
            }
        }
        // Additions first; all of them, whatever becomes of one.
        for steps in [puts, removals] {
            let session = &session;
            let calls = steps.into_iter().map(|(at, step)| async move { (at, take(session, step).await) });
            let answers: Vec<_> = stream::iter(calls.collect::<Vec<_>>()).buffered(AT_ONCE).collect().await;
            for (at, answer) in answers {
                match answer {
                    Err(Failure::Rejected(words)) => outcomes[at] = Outcome::Refused(words),
                    answer => answer?,
                }
            }
        }
        Ok(outcomes)
    }
}

async fn take(session: &Session, step: Step) -> Result<(), Failure> {
    match step {
        Step::Register(service) => session.register(&service).await,
        Step::Deregister(id) => session.deregister(&id).await,
    }
}

/// What has to be asked for, if anything, and what the change comes to when that is done. Pure.
fn plan(spelling: &Spelling, there: &BTreeMap<String, Value>, change: &Change) -> (Option<Step>, Outcome) {
    let place = change.place();
    let found = there.get(&**place);
    let ours = found.and_then(|held| spelling.read(held));
    let Change::Put { entry, digest, .. } = change else {
        return (ours.map(|_| Step::Deregister(place.to_string())), Outcome::Done(0));
    };
    if let Some(why) = ambiguous(entry) {
        return (None, Outcome::Refused(why));
    }
    match (found, ours) {
        (Some(held), None) => (None, Outcome::Foreign(words(place, held))),
        (_, Some(item)) if item.digest == *digest => (None, Outcome::Done(0)),
        _ => (Some(Step::Register(spelling.service(entry))), Outcome::Done(0)),
    }
}

fn words(place: &Place, held: &Value) -> String {
    format!("service {place} of this agent belongs to {}, expected it to be free or ours", theirs(held))
}

impl Layout for Agent {
    fn place(&self, entry: &Entry) -> Place {
        self.spelling.place(entry)
    }

    fn digest(&self, entry: &Entry) -> u64 {
        self.spelling.digest(entry)
    }
}

impl Driver for Agent {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: "consul-agent",
            batch: BATCH,
            at_once: 1,
            atomic: false,
            compare_and_set: false,
            owner: OwnerSlot::Entry,
            fence: Fence::ReadBefore,
            // No check of ours is registered with them: a service is as well as the node of its agent.
            expires: false,
            drain_state: false,
            weight: true,
            metadata: true,
            list: true,
            watch: false,
            shows: Able::No("does not show services of others yet: see `consul catalog services` there"),
            adopts: Able::No(
                "compares nothing when it is written to, so a service could be taken from a program that registers itself",
            ),
            purges: Able::No(
                "does not purge yet: deregister the services whose metadata names the owner, at the agent that has them",
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
            let services = self.session().await?.local_services().await?;
            Ok(Listing {
                items: services.values().filter_map(|held| self.spelling.read(held)).collect(),
                at: 0,
            })
        })
    }

    fn apply<'a>(&'a self, changes: &'a [Change]) -> BoxFuture<'a, Result<Vec<Outcome>, Failure>> {
        Box::pin(self.write(changes))
    }
}
