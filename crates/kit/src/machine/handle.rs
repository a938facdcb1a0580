//! The handle of a command loop, which the rest of the process holds.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use bcs_schemas::{CommandId, MessageSet, outcome::Outcome, subject::Target};
use tokio::sync::{Mutex, broadcast, mpsc, oneshot, watch};

use super::{Done, Error, Incoming, Live, Request, StateMachine, fold, runner::Runner};
use crate::{Clock, Tasks, journal::Journal, telemetry};

/// Decisions that a listener may lag behind.
const TOUCHED: usize = 4096;

/// What has happened since the start.
#[derive(Debug, Default)]
pub struct Stats {
    /// Commands that got an outcome.
    pub commands: AtomicU64,
    /// Commands that had one already.
    pub repeats: AtomicU64,
    /// Commands refused.
    pub rejected: AtomicU64,
    /// Messages put into quarantine.
    pub quarantined: AtomicU64,
    /// Position up to which events are on the bus.
    pub published: AtomicU64,
}

/// A running command loop. Clones share it.
pub struct Machine<S: StateMachine> {
    pub(super) runner: Arc<Mutex<Runner<S>>>,
    /// Where requests go, while this process leads.
    pub(super) inbox: Arc<watch::Sender<Option<mpsc::Sender<Incoming<S>>>>>,
    live: watch::Receiver<Arc<Live<S>>>,
    touched: broadcast::Sender<Target>,
    pub(super) journal: Journal,
    pub(super) stats: Arc<Stats>,
}

impl<S: StateMachine> Clone for Machine<S> {
    fn clone(&self) -> Self {
        Self {
            runner: self.runner.clone(),
            inbox: self.inbox.clone(),
            live: self.live.clone(),
            touched: self.touched.clone(),
            journal: self.journal.clone(),
            stats: self.stats.clone(),
        }
    }
}

impl<S: StateMachine> Machine<S> {
    /// Folds the journal at `url`, and follows what is written there until the group stops. It decides nothing before it
    /// leads: see [`Machine::lead`].
    pub async fn start(url: &str, clock: &Clock, tasks: &Tasks) -> Result<Self, Error> {
        let journal = Journal::open(url, S::Event::SERVICE).await?;
        let live = fold::load::<S>(&journal).await?;
        let stats = Arc::new(Stats::default());
        let (live_sender, live_receiver) = watch::channel(Arc::new(live));
        let touched = broadcast::Sender::new(TOUCHED);
        let runner = Runner {
            journal: journal.clone(),
            live: live_sender,
            touched: touched.clone(),
            clock: clock.clone(),
            rows: None,
            term: None,
            stats: stats.clone(),
        };
        let runner = Arc::new(Mutex::new(runner));
        let inbox = Arc::new(watch::Sender::new(None));
        let machine = Self { runner, inbox, live: live_receiver, touched, journal, stats };
        let (follower, stopping) = (machine.clone(), tasks.stopping());
        tasks.spawn("journal-follower", async move {
            tokio::select! {
                () = stopping.cancelled() => (),
                () = follower.follow() => (),
            }
        });
        Ok(machine)
    }

    /// The state as of the last commit.
    pub fn live(&self) -> Arc<Live<S>> {
        self.live.borrow().clone()
    }

    /// The objects about which something was decided, from now on, each after its commit. A reader that lags behind is
    /// told so by the channel and must look at everything.
    pub fn touched(&self) -> broadcast::Receiver<Target> {
        self.touched.subscribe()
    }

    /// The state once it reflects position `seq`, or as it is when `within` has passed.
    pub async fn live_at(&self, seq: u64, within: Duration) -> Arc<Live<S>> {
        let mut live = self.live.clone();
        let reached = tokio::time::timeout(within, live.wait_for(|live| live.seq >= seq)).await;
        match reached {
            Ok(Ok(live)) => live.clone(),
            _ => self.live(),
        }
    }

    /// The state as of position `until` of the journal.
    pub async fn replay(&self, until: u64) -> Result<Arc<Live<S>>, Error> {
        fold::replay(&self.journal, until).await
    }

    /// Notes one more attempt of each command that has no outcome; how many there were.
    pub(super) async fn count_attempts(&self, ids: &[CommandId]) -> Result<HashMap<CommandId, u64>, Error> {
        let known = self.journal.outcomes(ids).await?;
        let mut counts = HashMap::new();
        for id in ids.iter().filter(|id| !known.contains_key(id)) {
            counts.insert(*id, self.journal.attempt(*id).await?);
        }
        Ok(counts)
    }

    /// Position of the last event in the journal, whoever wrote it.
    pub async fn journal_end(&self) -> Result<u64, Error> {
        Ok(self.journal.last_seq().await?)
    }

    /// The stored outcome of a command.
    pub async fn outcome(&self, command: CommandId) -> Result<Option<Outcome>, Error> {
        let found = self.journal.outcomes(&[command]).await?;
        Ok(found.get(&command).and_then(|payload| bcs_schemas::codec::decode(payload).ok()))
    }

    /// Counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Asks from inside. `id` is derived from the cause, so that a repeated cause has one effect.
    pub async fn submit(&self, id: CommandId, target: Target, wish: S::Internal) -> Result<Outcome, Error> {
        let (sender, receiver) = oneshot::channel();
        let incoming = Incoming {
            id,
            correlation: None,
            target: Some(target),
            request: Ok(Request::Internal(wish)),
            plan: false,
            expected_revision: None,
            not_after: None,
            actor: "system".to_owned(),
            traceparent: telemetry::current_traceparent(),
            span: tracing::Span::current(),
            done: Done::Local(sender),
        };
        self.send(incoming).await?;
        receiver.await.map_err(|_| Error::Stopping)?
    }

    pub(super) async fn send(&self, incoming: Incoming<S>) -> Result<(), Error> {
        let inbox = self.inbox.borrow().clone().ok_or(Error::Follows)?;
        inbox.send(incoming).await.map_err(|_| Error::Stopping)
    }
}
