//! Several processes may run one service. One of them leads, by a lease: it takes commands, decides, writes and
//! publishes. The others follow the journal and answer questions. Should two ever believe to lead, the journal refuses the one
//! that took it over earlier, and that one steps down.

use std::{sync::atomic::Ordering, time::Duration};

use bcs_schemas::{MessageSet, bucket};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Admission, Error, Machine, StateMachine, door, publisher, runner::BATCH};
use crate::{Bus, Clock, Tasks, journal::Journal, lease::Candidate, telemetry};

/// How often one that does not lead looks what was written.
const FOLLOW: Duration = Duration::from_millis(100);
/// Outcomes are kept this long.
const OUTCOMES_KEPT: jiff::SignedDuration = jiff::SignedDuration::from_hours(30 * 24);

impl<S: StateMachine> Machine<S> {
    /// Leads whenever the lease of the service is ours, until `tasks` stops: opens the door to commands, and begins `work`
    /// in the group that it is given, which is stopped when the lead ends. What does not start gives the lead away.
    pub fn lead<W, Fut>(
        &self,
        bus: &Bus,
        clock: &Clock,
        tasks: &Tasks,
        admission: Option<Admission<S::Command>>,
        work: W,
    ) where
        W: Fn(Tasks) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), crate::bus::Error>> + Send + 'static,
    {
        let candidate = Candidate::new(bus, clock, bucket::service_lease(S::Event::SERVICE));
        let (machine, bus, clock, tasks_) = (self.clone(), bus.clone(), clock.clone(), tasks.clone());
        tasks.spawn("lead", async move {
            let term = |_lease, group: Tasks| {
                let (machine, bus, clock, admission) = (&machine, &bus, &clock, admission.clone());
                let work = &work;
                async move {
                    machine.decide(Some(bus), clock, &group).await?;
                    door::open(machine.clone(), bus, clock, &group, admission).await?;
                    work(group).await?;
                    tracing::info!(service = %S::Event::SERVICE, "this instance decides");
                    Ok::<_, Error>(())
                }
            };
            candidate.lead(tasks_, term).await;
        });
    }

    /// Whether this process decides.
    pub fn leads(&self) -> bool {
        self.inbox.borrow().as_ref().is_some_and(|inbox| !inbox.is_closed())
    }

    /// Returns when this process decides.
    pub async fn leading(&self) {
        let mut inbox = self.inbox.subscribe();
        // The sender lives as long as we do.
        let _ = inbox.wait_for(Option::is_some).await;
    }

    /// Decides until `group` stops: returns when everything that was written before is known.
    pub(super) async fn decide(&self, bus: Option<&Bus>, clock: &Clock, group: &Tasks) -> Result<(), Error> {
        let (inbox, requests) = mpsc::channel(4 * BATCH);
        let (began, begins) = oneshot::channel();
        let (machine, bus, tasks, stopping) = (self.clone(), bus.cloned(), group.clone(), group.stopping());
        group.spawn("command-loop", async move {
            let mut runner = machine.runner.lock().await;
            let read = async {
                // Behind the lock: who follows counts everything as published, because whoever leads sees to it.
                let (journal, stats) = (machine.journal.clone(), machine.stats.clone());
                runner.term = Some(journal.take_over().await?);
                runner.rows = Some(publisher::start::<S>(journal, bus, stats, &tasks).await?);
                runner.reload().await
            };
            let read = read.await;
            let ready = read.is_ok();
            if ready {
                machine.inbox.send_replace(Some(inbox));
            }
            let _ = began.send(read);
            if ready && runner.run(requests, &stopping).await.is_err() {
                tracing::warn!(service = %S::Event::SERVICE, "another instance has taken the journal over, stepping down");
                stopping.cancel();
            }
            machine.inbox.send_replace(None);
            (runner.rows, runner.term) = (None, None);
        });
        group.spawn("outcome-tidy", tidy(self.journal.clone(), clock.clone(), group.stopping()));
        begins.await.map_err(|_| Error::Stopping)?
    }

    /// Reads what others write, while this process does not.
    pub(super) async fn follow(&self) {
        let mut trouble = None;
        loop {
            {
                let runner = self.runner.lock().await;
                let read = runner.reload().await.err().map(|error| telemetry::chain(&error));
                if let Some(error) = read.as_ref().filter(|_| read != trouble) {
                    tracing::warn!(error, "journal cannot be followed, trying again");
                }
                trouble = read;
                self.stats.published.store(self.live().seq, Ordering::Relaxed);
            }
            tokio::time::sleep(FOLLOW).await;
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
