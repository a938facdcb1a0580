//! Where what an ExternalDNS asks waits for the worker that keeps the registry: a desk for each registry, and a seat at it
//! for each cluster that the sidecar keeps it for. Any of them can do what is asked, if it keeps the registry now.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bcs_kit::{kv::Store, telemetry::chain};
use bcs_schemas::{Name, observation::RegistryStatus};
use tokio::sync::{mpsc, oneshot};

use crate::domain::guest::{Domains, Refusal, Shown, Wish};

/// How many may wait at a seat at once.
const WAITING: usize = 16;
/// How long one waits: less than an ExternalDNS between its loops.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is asked of a zone.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// Everything that is there for these names.
    Records(Arc<Domains>),
    /// That these come true.
    Change(Arc<Domains>, Vec<Wish>),
}

/// What is told.
#[derive(Debug)]
pub(crate) enum Told {
    /// What is there, and the names that are not for others.
    Records(Vec<Shown>, std::collections::BTreeSet<String>),
    /// It is done: so many record sets changed.
    Done(usize),
}

/// Why not.
#[derive(Debug)]
pub(crate) enum Why {
    /// Nobody can do it here now, in words.
    Nobody(String),
    /// It is refused.
    Refused(Refusal),
}

/// A question, and who waits for the answer.
pub(crate) struct Asked {
    pub(crate) ask: Ask,
    reply: oneshot::Sender<Result<Told, Why>>,
}

impl Asked {
    pub(crate) fn answer(self, answer: Result<Told, Why>) {
        // Nobody may wait any more.
        let _ = self.reply.send(answer);
    }

    /// Nobody waits for it: what nobody hears of is better not done.
    fn is_given_up(&self) -> bool {
        self.reply.is_closed()
    }
}

/// What a worker can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It keeps the registry.
    Keeps,
    /// It keeps it and cannot reach it, in words.
    Away(String),
    /// It does not keep it.
    Follows,
}

struct Seat {
    state: State,
    sender: mpsc::Sender<Asked>,
}

type Seats = Arc<Mutex<BTreeMap<Name, Seat>>>;

/// The desk of one registry. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Desk {
    registry: Name,
    statuses: Store<RegistryStatus>,
    seats: Seats,
}

impl Desk {
    pub(crate) fn new(registry: &Name, statuses: &Store<RegistryStatus>) -> Self {
        Self { registry: registry.clone(), statuses: statuses.clone(), seats: Seats::default() }
    }

    /// The place of the worker for a cluster.
    pub(crate) fn sit(&self, cluster: &Name) -> Place {
        let (sender, receiver) = mpsc::channel(WAITING);
        lock(&self.seats).insert(cluster.clone(), Seat { state: State::Follows, sender });
        Place { cluster: cluster.clone(), seats: self.seats.clone(), receiver, next: None }
    }

    pub(crate) async fn ask(&self, ask: Ask) -> Result<Told, Why> {
        let Some(sender) = self.keeper() else {
            return Err(Why::Nobody(self.why_nobody().await));
        };
        let (reply, answer) = oneshot::channel();
        if sender.try_send(Asked { ask, reply }).is_err() {
            return Err(Why::Nobody(format!("{WAITING} others wait here already: ask again later")));
        }
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => {
                Err(Why::Nobody("the registry is another's to keep since just now: look again".to_owned()))
            }
            Err(_) => {
                Err(Why::Nobody("it did not come to it in time: look again what came of it".to_owned()))
            }
        }
    }

    /// Whether somebody here keeps the registry.
    pub(crate) fn is_kept(&self) -> bool {
        self.keeper().is_some()
    }

    fn keeper(&self) -> Option<mpsc::Sender<Asked>> {
        let seats = lock(&self.seats);
        seats.values().find(|seat| seat.state == State::Keeps).map(|seat| seat.sender.clone())
    }

    /// Who keeps the registry, if it is not this sidecar, or why this one cannot reach it.
    async fn why_nobody(&self) -> String {
        let states: Vec<(Name, State)> =
            lock(&self.seats).iter().map(|(cluster, seat)| (cluster.clone(), seat.state.clone())).collect();
        let registry = &self.registry;
        if let Some(why) = states.iter().find_map(|(_, state)| match state {
            State::Away(why) => Some(why),
            State::Keeps | State::Follows => None,
        }) {
            return format!("the registry {registry} cannot be reached now: {why}");
        }
        for (cluster, _) in &states {
            match self.statuses.glance(&format!("{cluster}.{registry}")).await {
                Ok(Some((status, _))) => {
                    let who = match status.sidecar {
                        Some(name) => format!("the sidecar {name} keeps"),
                        None => "another sidecar, which has no name, keeps".to_owned(),
                    };
                    let epoch = status.epoch;
                    return format!(
                        "{who} the registry {registry} for {cluster} (epoch {epoch}): ask that one"
                    );
                }
                Ok(None) => (),
                Err(error) => {
                    tracing::warn!(error = %chain(&error), %registry, "who keeps the registry cannot be told");
                }
            }
        }
        format!("nobody keeps the registry {registry} yet: ask again")
    }
}

/// The place of one worker at the desk. It is free again when this is dropped.
pub(crate) struct Place {
    cluster: Name,
    seats: Seats,
    receiver: mpsc::Receiver<Asked>,
    next: Option<Asked>,
}

impl Place {
    /// Says what the worker can do now. What waits is refused if it is nothing.
    pub(crate) fn show(&mut self, state: State) {
        let idle = match &state {
            State::Keeps => None,
            State::Away(why) => Some(format!("the registry cannot be reached now: {why}")),
            State::Follows => {
                Some("another sidecar keeps the registry since just now: look again".to_owned())
            }
        };
        if let Some(seat) = lock(&self.seats).get_mut(&self.cluster) {
            seat.state = state;
        }
        if let Some(why) = idle {
            while let Some(asked) = self.next() {
                asked.answer(Err(Why::Nobody(why.clone())));
            }
        }
    }

    /// Waits for the next question.
    pub(crate) async fn knock(&mut self) {
        if self.next.is_some() {
            return std::future::pending().await;
        }
        match self.receiver.recv().await {
            Some(asked) => self.next = Some(asked),
            None => std::future::pending().await,
        }
    }

    /// The question whose turn it is.
    pub(crate) fn next(&mut self) -> Option<Asked> {
        let mut asked = self.next.take().or_else(|| self.receiver.try_recv().ok());
        while asked.as_ref().is_some_and(Asked::is_given_up) {
            asked = self.receiver.try_recv().ok();
        }
        asked
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.seats).remove(&self.cluster);
    }
}

fn lock(seats: &Seats) -> MutexGuard<'_, BTreeMap<Name, Seat>> {
    seats.lock().unwrap_or_else(PoisonError::into_inner)
}
