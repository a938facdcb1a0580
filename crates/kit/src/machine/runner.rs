//! The loop itself: takes batches of requests, has them decided, writes, shows and settles them.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bcs_schemas::{CommandId, outcome::Outcome, subject::Target};
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Done, Error, Incoming, Live, StateMachine, Stats, batch, batch::Verdict, fold};
use crate::{
    Clock,
    journal::{self, Journal, Row, Term},
    telemetry,
};

/// Most commands decided in one transaction.
pub(super) const BATCH: usize = 256;
/// Between two tries to write a batch.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What writes the journal while it leads, and reads it while another process does.
pub(super) struct Runner<S: StateMachine> {
    pub(super) journal: Journal,
    pub(super) live: watch::Sender<Arc<Live<S>>>,
    pub(super) touched: broadcast::Sender<Target>,
    pub(super) clock: Clock,
    /// To the publisher; only a leader has one.
    pub(super) rows: Option<mpsc::Sender<Arc<[Row]>>>,
    /// The right to append; only a leader has one.
    pub(super) term: Option<Term>,
    pub(super) stats: Arc<Stats>,
}

/// Another instance has taken the journal over.
pub(super) struct Replaced;

impl<S: StateMachine> Runner<S> {
    /// Takes requests until it is told to stop, and leaves a snapshot, or until it is replaced.
    pub(super) async fn run(
        &self,
        mut requests: mpsc::Receiver<Incoming<S>>,
        stopping: &CancellationToken,
    ) -> Result<(), Replaced> {
        let ended = self.take(&mut requests, stopping).await;
        requests.close();
        let mut left = Vec::new();
        while requests.recv_many(&mut left, BATCH).await > 0 {
            give_back(std::mem::take(&mut left)).await;
        }
        if ended.is_ok() {
            let live = self.live.borrow().clone();
            if let Err(error) = fold::keep(&self.journal, &live).await {
                tracing::warn!(error = telemetry::chain(&error), "no snapshot was kept");
            }
        }
        ended
    }

    async fn take(
        &self,
        requests: &mut mpsc::Receiver<Incoming<S>>,
        stopping: &CancellationToken,
    ) -> Result<(), Replaced> {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                biased;
                () = stopping.cancelled() => return Ok(()),
                received = requests.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        return Ok(());
                    }
                    self.work(std::mem::take(&mut batch), stopping).await?;
                }
            }
        }
    }

    /// Decides and writes a batch and settles it. While the database is in trouble the batch waits here, in its order, and
    /// with it what comes behind; when the loop is told to stop, or is replaced, it goes back.
    async fn work(&self, batch: Vec<Incoming<S>>, stopping: &CancellationToken) -> Result<(), Replaced> {
        let mut pause = SHORTEST_PAUSE;
        let trouble = loop {
            let error = match self.decide_and_write(&batch).await {
                Ok(verdicts) => {
                    for (incoming, verdict) in batch.into_iter().zip(verdicts) {
                        self.settle(incoming, verdict).await;
                    }
                    return Ok(());
                }
                Err(Error::Journal(journal::Error::Fenced)) => {
                    give_back(batch).await;
                    return Err(Replaced);
                }
                Err(error) => error,
            };
            // The commit may have reached the journal though we were told otherwise.
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
                () = stopping.cancelled() => {
                    give_back(batch).await;
                    return Ok(());
                }
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        };
        self.one_by_one(batch, &trouble, stopping).await
    }

    /// Something in the batch is at fault, and only that shall suffer.
    async fn one_by_one(
        &self,
        batch: Vec<Incoming<S>>,
        trouble: &Error,
        stopping: &CancellationToken,
    ) -> Result<(), Replaced> {
        if let [_] = &batch[..] {
            for one in batch {
                self.settle(one, Verdict::Failed(Error::Unwritten(telemetry::chain(trouble)))).await;
            }
            return Ok(());
        }
        tracing::warn!(error = telemetry::chain(trouble), "not written, trying the commands one by one");
        let mut left = batch.into_iter();
        while let Some(one) = left.next() {
            if Box::pin(self.work(vec![one], stopping)).await.is_err() {
                give_back(left.collect()).await;
                return Err(Replaced);
            }
        }
        Ok(())
    }

    async fn decide_and_write(&self, batch: &[Incoming<S>]) -> Result<Vec<Verdict>, Error> {
        let ids: Vec<CommandId> = batch.iter().map(|incoming| incoming.id).collect();
        let known = self.journal.outcomes(&ids).await?;
        let live = Live::clone(&self.live.borrow());
        let decided = batch::decide(live, batch, &known, &self.clock);
        if !decided.rows.is_empty() || !decided.outcomes.is_empty() {
            let term = self.term.ok_or(Error::Follows)?;
            self.journal.append(term, &decided.rows, &decided.outcomes).await?;
        }
        if !decided.rows.is_empty() {
            let targets = decided.rows.iter().filter_map(|row| row.target.parse().ok()).collect();
            self.show(decided.live, targets, decided.rows.into());
        }
        self.stats.repeats.fetch_add(decided.repeats, Ordering::Relaxed);
        Ok(decided.verdicts)
    }

    /// Takes in what the journal has and we have not: another writer's events while it leads, or our own whose commit we did not
    /// hear of.
    pub(super) async fn reload(&self) -> Result<(), Error> {
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
        if let Some(publisher) = &self.rows {
            let _ = publisher.try_send(rows);
        }
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
