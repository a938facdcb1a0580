//! The loop itself, and the handle that the rest of the process holds.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bcs_schemas::{CommandId, outcome::Outcome, subject::Target};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Admission, Done, Error, Incoming, Live, Request, StateMachine, batch, batch::Verdict, door, fold,
    publisher,
};
use crate::{
    Bus, Clock, Tasks,
    journal::{Journal, Row},
    telemetry,
};

/// Most commands decided in one transaction.
const BATCH: usize = 256;
/// Decisions that a listener may lag behind.
const TOUCHED: usize = 4096;
/// Between two tries to write a batch.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Outcomes are kept this long.
const OUTCOMES_KEPT: jiff::SignedDuration = jiff::SignedDuration::from_hours(30 * 24);

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

/// How a machine is started.
pub struct Options<S: StateMachine> {
    /// Where the journal lies.
    pub journal_url: String,
    /// A look at bus commands before they are decided.
    pub admission: Option<Admission<S::Command>>,
}

/// A running command loop. Clones share it.
pub struct Machine<S: StateMachine> {
    inbox: mpsc::Sender<Incoming<S>>,
    live: watch::Receiver<Arc<Live<S>>>,
    touched: broadcast::Sender<Target>,
    pub(super) journal: Journal,
    stats: Arc<Stats>,
}

impl<S: StateMachine> Clone for Machine<S> {
    fn clone(&self) -> Self {
        Self {
            inbox: self.inbox.clone(),
            live: self.live.clone(),
            touched: self.touched.clone(),
            journal: self.journal.clone(),
            stats: self.stats.clone(),
        }
    }
}

impl<S: StateMachine> Machine<S> {
    /// Folds the journal, starts deciding and opens the door to the bus.
    pub async fn start(options: Options<S>, bus: &Bus, clock: &Clock, tasks: &Tasks) -> Result<Self, Error> {
        let machine = Self::start_without_bus(&options.journal_url, clock, tasks, Some(bus.clone())).await?;
        door::open(machine.clone(), bus, clock, tasks, options.admission).await?;
        Ok(machine)
    }

    /// The loop and its journal, with events going to `bus`.
    pub(super) async fn start_without_bus(
        url: &str,
        clock: &Clock,
        tasks: &Tasks,
        bus: Option<Bus>,
    ) -> Result<Self, Error> {
        use bcs_schemas::MessageSet;
        let journal = Journal::open(url, S::Event::SERVICE).await?;
        let live = fold::load::<S>(&journal).await?;
        let stats = Arc::new(Stats::default());
        let (live_sender, live_receiver) = watch::channel(Arc::new(live));
        let touched = broadcast::Sender::new(TOUCHED);
        let (inbox, requests) = mpsc::channel(4 * BATCH);
        let rows = publisher::start::<S>(journal.clone(), bus, stats.clone(), tasks).await?;
        let runner = Runner {
            journal: journal.clone(),
            live: live_sender,
            touched: touched.clone(),
            clock: clock.clone(),
            rows,
            stats: stats.clone(),
        };
        tasks.spawn("command-loop", runner.run(requests, tasks.stopping()));
        tasks.spawn("outcome-tidy", tidy(journal.clone(), clock.clone(), tasks.stopping()));
        Ok(Self { inbox, live: live_receiver, touched, journal, stats })
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
        self.inbox.send(incoming).await.map_err(|_| Error::Stopping)
    }
}

struct Runner<S: StateMachine> {
    journal: Journal,
    live: watch::Sender<Arc<Live<S>>>,
    touched: broadcast::Sender<Target>,
    clock: Clock,
    rows: mpsc::Sender<Arc<[Row]>>,
    stats: Arc<Stats>,
}

impl<S: StateMachine> Runner<S> {
    async fn run(self, mut requests: mpsc::Receiver<Incoming<S>>, stopping: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                biased;
                () = stopping.cancelled() => break,
                received = requests.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        break;
                    }
                    self.work(std::mem::take(&mut batch), &stopping).await;
                }
            }
        }
        requests.close();
        let mut left = Vec::new();
        while requests.recv_many(&mut left, BATCH).await > 0 {
            give_back(std::mem::take(&mut left)).await;
        }
        let live = self.live.borrow().clone();
        if let Err(error) = fold::keep(&self.journal, &live).await {
            tracing::warn!(error = telemetry::chain(&error), "no snapshot was kept");
        }
    }

    /// Decides and writes a batch and settles it. While the database is in trouble the batch waits here, in its order, and
    /// with it what comes behind; when the loop is told to stop it goes back.
    async fn work(&self, batch: Vec<Incoming<S>>, stopping: &CancellationToken) {
        let mut pause = SHORTEST_PAUSE;
        let trouble = loop {
            let error = match self.decide_and_write(&batch).await {
                Ok(verdicts) => {
                    for (incoming, verdict) in batch.into_iter().zip(verdicts) {
                        self.settle(incoming, verdict).await;
                    }
                    return;
                }
                Err(error) => error,
            };
            // The commit may have reached the journal though we were told otherwise, or another writer was faster.
            let error = self.reload().await.err().unwrap_or(error);
            if !error.is_transient() {
                break error;
            }
            tracing::warn!(
                error = telemetry::chain(&error),
                commands = batch.len(),
                "not written, trying again"
            );
            tokio::select! {
                () = stopping.cancelled() => return give_back(batch).await,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        };
        self.one_by_one(batch, &trouble, stopping).await;
    }

    /// Something in the batch is at fault, and only that shall suffer.
    async fn one_by_one(&self, batch: Vec<Incoming<S>>, trouble: &Error, stopping: &CancellationToken) {
        if batch.len() > 1 {
            tracing::warn!(error = telemetry::chain(trouble), "not written, trying the commands one by one");
            for one in batch {
                Box::pin(self.work(vec![one], stopping)).await;
            }
            return;
        }
        for one in batch {
            self.settle(one, Verdict::Failed(Error::Unwritten(telemetry::chain(trouble)))).await;
        }
    }

    async fn decide_and_write(&self, batch: &[Incoming<S>]) -> Result<Vec<Verdict>, Error> {
        let ids: Vec<CommandId> = batch.iter().map(|incoming| incoming.id).collect();
        let known = self.journal.outcomes(&ids).await?;
        let live = Live::clone(&self.live.borrow());
        let decided = batch::decide(live, batch, &known, &self.clock);
        if !decided.rows.is_empty() || !decided.outcomes.is_empty() {
            self.journal.append(&decided.rows, &decided.outcomes).await?;
        }
        if !decided.rows.is_empty() {
            let targets = decided.rows.iter().filter_map(|row| row.target.parse().ok()).collect();
            self.show(decided.live, targets, decided.rows.into());
        }
        self.stats.repeats.fetch_add(decided.repeats, Ordering::Relaxed);
        Ok(decided.verdicts)
    }

    /// Takes in what the journal has and we have not: another writer's events, or our own whose commit we did not hear of.
    async fn reload(&self) -> Result<(), Error> {
        let mut live = Live::clone(&self.live.borrow());
        let mut targets = Vec::new();
        loop {
            let rows = self.journal.read(live.seq, 1_000).await?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                live.apply(row)?;
                targets.extend(row.target.parse().ok());
            }
        }
        if !targets.is_empty() {
            self.show(live, targets, Arc::new([]));
        }
        Ok(())
    }

    /// Lets everyone see a state that is in the journal.
    fn show(&self, live: Live<S>, targets: Vec<Target>, rows: Arc<[Row]>) {
        self.live.send_replace(Arc::new(live));
        for target in targets {
            // Nobody may be listening.
            let _ = self.touched.send(target);
        }
        // A publisher that lags, or is handed nothing, reads the rest from the journal.
        let _ = self.rows.try_send(rows);
    }

    async fn settle(&self, incoming: Incoming<S>, verdict: Verdict) {
        let _open = incoming.span;
        self.stats.commands.fetch_add(1, Ordering::Relaxed);
        if let Verdict::Outcome(Outcome::Rejected(rejected)) = &verdict {
            self.stats.rejected.fetch_add(1, Ordering::Relaxed);
            tracing::info!(command = %incoming.id, code = %rejected.code, why = rejected.message, "command rejected");
        }
        match (incoming.done, verdict) {
            (Done::Local(waiter), Verdict::Outcome(outcome)) => drop(waiter.send(Ok(outcome))),
            (Done::Local(waiter), Verdict::Failed(error)) => drop(waiter.send(Err(error))),
            (Done::Bus(delivery), Verdict::Outcome(outcome)) => delivery.answer(&outcome).await,
            (Done::Bus(delivery), Verdict::Failed(error)) => {
                let words = telemetry::chain(&error);
                tracing::error!(command = %incoming.id, error = words, "no outcome");
                if delivery.failed(error.code(), &words).await {
                    self.stats.quarantined.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// Nothing was written: whoever comes next gets the commands at once.
async fn give_back<S: StateMachine>(batch: Vec<Incoming<S>>) {
    for incoming in batch {
        if let Done::Bus(delivery) = incoming.done {
            delivery.give_back().await;
        }
    }
}

/// Forgets old outcomes now and then, beside the loop.
async fn tidy(journal: Journal, clock: Clock, stopping: CancellationToken) {
    let mut every = tokio::time::interval(Duration::from_secs(3600));
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            _ = every.tick() => (),
        }
        match journal.forget_outcomes(clock.now() - OUTCOMES_KEPT).await {
            Ok(0) => (),
            Ok(forgotten) => tracing::info!(forgotten, "old outcomes forgotten"),
            Err(error) => tracing::warn!(error = telemetry::chain(&error), "old outcomes were not forgotten"),
        }
    }
}
