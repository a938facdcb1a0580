//! Puts events on the bus: in journal order, pipelined, each one at least once. The stored watermark lags a little on
//! purpose; what is published again after a crash has the same message id.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_nats::jetstream::{self, context::PublishAckFuture};
use bcs_schemas::{
    MessageSet, TypeName,
    envelope::EventHeaders,
    subject::{Flow, Subject, Target},
};
use tokio::sync::mpsc;

use super::{Error, StateMachine, Stats};
use crate::{
    Bus, Tasks, bus,
    journal::{Journal, Row},
    telemetry,
};

/// Events on their way at once.
const IN_FLIGHT: usize = 256;
/// Batches that may wait here; beyond, the publisher reads the journal itself.
const WAITING: usize = 1024;
/// How often the watermark is stored.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// Starts publishing behind the stored watermark; committed rows are sent to what this returns. Without a bus nothing is
/// published: the loop alone is under test.
pub(super) async fn start<S: StateMachine>(
    journal: Journal,
    bus: Option<Bus>,
    stats: Arc<Stats>,
    tasks: &Tasks,
) -> Result<mpsc::Sender<Arc<[Row]>>, Error> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let published = journal.published().await?;
    stats.published.store(published, Ordering::Relaxed);
    let stopping = tasks.stopping();
    let Some(bus) = bus else { return Ok(sender) };
    let mut publisher = Publisher {
        journal,
        bus,
        stats,
        stream: S::Event::SERVICE.event_stream(),
        published,
        noted: published,
        end: None,
    };
    tasks.spawn("event-publisher", async move {
        tokio::select! {
            () = stopping.cancelled() => (),
            () = publisher.run(receiver) => (),
        }
        publisher.note().await;
    });
    Ok(sender)
}

struct Publisher {
    journal: Journal,
    bus: Bus,
    stats: Arc<Stats>,
    stream: &'static str,
    /// Position up to which events are on the bus.
    published: u64,
    /// What the journal knows of it.
    noted: u64,
    /// Where the stream ends, while nobody but us can have written to it.
    end: Option<u64>,
}

impl Publisher {
    async fn run(&mut self, mut batches: mpsc::Receiver<Arc<[Row]>>) {
        self.catch_up().await;
        let mut note = tokio::time::interval(NOTE_EVERY);
        note.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                batch = batches.recv() => {
                    let Some(rows) = batch else { return };
                    if rows.first().is_some_and(|row| row.seq == self.published + 1) {
                        self.publish_all(&rows).await;
                    } else {
                        // Some batches did not fit into the channel, or another replica wrote them.
                        self.catch_up().await;
                    }
                }
                _ = note.tick() => {
                    // Whatever was not handed to us, by a full channel or by another writer, is found here.
                    self.catch_up().await;
                    self.note().await;
                }
            }
        }
    }

    async fn catch_up(&mut self) {
        loop {
            match self.journal.read(self.published, 1_000).await {
                Ok(rows) if rows.is_empty() => return,
                Ok(rows) => self.publish_all(&rows).await,
                Err(error) => {
                    tracing::warn!(
                        error = telemetry::chain(&error),
                        "journal cannot be read, publishing later"
                    );
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    /// Returns when every row is on the bus, however long that takes.
    async fn publish_all(&mut self, rows: &[Row]) {
        let mut pause = Duration::from_millis(50);
        let rows = rows.iter().skip_while(|row| row.seq <= self.published).collect::<Vec<_>>();
        let mut left = rows.as_slice();
        while !left.is_empty() {
            let before = self.published;
            let result = self.publish_some(left).await;
            let done = left.iter().take_while(|row| row.seq <= self.published).count();
            left = &left[done..];
            if let Err(error) = result {
                tracing::warn!(
                    error = telemetry::chain(&error),
                    at = self.published + 1,
                    "event was not published, trying again"
                );
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
            if self.published > before {
                pause = Duration::from_millis(50);
            }
        }
    }

    /// Sends some, then awaits the acknowledgements in order; stops at the first that fails. Each says behind which
    /// position of the stream it belongs, so the server refuses what would overtake a failed one. While the end of the
    /// stream is not known, one event goes alone and tells it. Should a stranger write into the stream meanwhile, some of
    /// those on their way may overtake others: nobody but the service has the right to.
    async fn publish_some(&mut self, rows: &[&Row]) -> Result<(), bus::Error> {
        let end = self.end.take();
        let count = if end.is_some() { rows.len().min(IN_FLIGHT) } else { 1 };
        let mut acks = Vec::with_capacity(count);
        for (ahead, row) in (0..).zip(&rows[..count]) {
            acks.push((row.seq, self.send(row, end.map(|end| end + ahead)).await?));
        }
        let mut last = None;
        for (seq, ack) in acks {
            let ack = ack.await.map_err(|e| bus::Error::nats(format!("publishing event {seq}"), e))?;
            #[cfg(test)]
            self.journal.trouble.publish.pass().map_err(|e| bus::Error::nats("a test", e))?;
            self.published = seq;
            self.stats.published.store(seq, Ordering::Relaxed);
            // One that the stream has already says nothing about its end.
            last = (!ack.duplicate).then_some(ack.sequence);
        }
        self.end = last;
        Ok(())
    }

    async fn send(&self, row: &Row, behind: Option<u64>) -> Result<PublishAckFuture, bus::Error> {
        let failed = |problem: String| bus::Error::nats(format!("reading event {}", row.seq), problem);
        let type_name: TypeName = row.type_name.parse().map_err(failed)?;
        let target: Target = row.target.parse().map_err(|e| failed(format!("{e}")))?;
        let verb = type_name.verb.parse().map_err(|e| failed(format!("{e}")))?;
        let service = type_name.service;
        let subject = Subject { flow: Flow::Event, service, site: self.bus.site().clone(), target, verb };
        let headers = EventHeaders {
            id: row.id,
            type_name,
            seq: row.seq,
            shard: self.journal.shard(),
            time: row.at,
            actor: row.actor.clone(),
            causation: row.command,
            correlation: row.correlation,
            traceparent: row.traceparent.clone(),
        };
        let mut message = jetstream::message::PublishMessage::build()
            .payload(row.payload.clone())
            .headers(bus::headers(headers.write()))
            .expected_stream(self.stream);
        if let Some(end) = behind {
            message = message.expected_last_sequence(end);
        }
        let sent = self.bus.jetstream().send_publish(subject.to_string(), message).await;
        sent.map_err(|e| bus::Error::nats(format!("publishing event {}", row.seq), e))
    }

    async fn note(&mut self) {
        if self.noted == self.published {
            return;
        }
        match self.journal.set_published(self.published).await {
            Ok(()) => self.noted = self.published,
            Err(error) => tracing::warn!(error = telemetry::chain(&error), "watermark was not stored"),
        }
    }
}

#[cfg(test)]
mod tests;
