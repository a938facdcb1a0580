//! Puts events on the bus: in journal order, pipelined, each one at least once. Where to go on is read from the end of the
//! stream itself, at the start and after every failure; the stored watermark, which lags a little on purpose, counts only
//! where the stream holds none of our events any more.

use std::{
    fmt::Display,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_nats::jetstream::{self, context::PublishAckFuture, stream::RawMessageErrorKind};
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

/// How far behind the end of the stream our last event is looked for, in case somebody else wrote there.
const STRANGERS: usize = 100;

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

    /// Returns when every row is on the bus, however long that takes; or before, when the bus lacks something that comes
    /// before these rows.
    async fn publish_all(&mut self, rows: &[Row]) {
        let mut pause = Duration::from_millis(50);
        loop {
            let before = self.published;
            let left: Vec<&Row> = rows.iter().skip_while(|row| row.seq <= self.published).collect();
            match left.first() {
                Some(first) if first.seq == self.published + 1 => (),
                _ => return,
            }
            if let Err(error) = self.publish_some(&left).await {
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
    /// position of the stream it belongs, so the server refuses what would overtake a failed one. Should the end of the
    /// stream not be known, it is looked for instead.
    async fn publish_some(&mut self, rows: &[&Row]) -> Result<(), Error> {
        let Some(end) = self.end.take() else { return self.find_the_end().await };
        let rows = &rows[..rows.len().min(IN_FLIGHT)];
        let mut acks = Vec::with_capacity(rows.len());
        for (position, row) in (end..).zip(rows) {
            acks.push((row.seq, self.send(row, position).await?));
        }
        let mut end = end;
        for (seq, ack) in acks {
            let failed = |e: &dyn Display| bus::Error::nats(format!("publishing event {seq}"), e.to_string());
            let ack = ack.await.map_err(|e| failed(&e))?;
            #[cfg(test)]
            self.journal.trouble.publish.pass().map_err(|e| bus::Error::nats("a test", e))?;
            if ack.duplicate {
                // It is not behind what we know of the stream: where it is, and whether it is, only a look can tell.
                return Err(failed(&"the bus heard of it before").into());
            }
            end = ack.sequence;
            self.is_published(seq);
        }
        self.end = Some(end);
        Ok(())
    }

    fn is_published(&mut self, seq: u64) {
        self.published = seq;
        self.stats.published.store(seq, Ordering::Relaxed);
    }

    /// Asks the server that leads the stream which of our events is the last there. A bus that forgot some, though it had
    /// acknowledged them, gets them again; one that knows more than we remember gets nothing twice, however long ago it was.
    async fn find_the_end(&mut self) -> Result<(), Error> {
        let looking =
            |e: &dyn Display| bus::Error::nats(format!("looking at {}", self.stream), e.to_string());
        let stream = self.bus.jetstream().get_stream(self.stream).await.map_err(|e| looking(&e))?;
        let state = &stream.cached_info().state;
        let end = state.last_sequence;
        let mut found = (end == 0).then_some(0);
        for position in (state.first_sequence.max(1)..=end).rev().take(STRANGERS) {
            let message = match stream.get_raw_message(position).await {
                Ok(message) => message,
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => continue,
                Err(error) => return Err(looking(&error).into()),
            };
            let headers = EventHeaders::read(|name| message.headers.get(name).map(AsRef::as_ref));
            found = match headers {
                Ok(headers) if self.is_ours(&headers).await? => Some(headers.seq),
                _ => continue,
            };
            break;
        }
        if let Some(found) = found.filter(|found| *found != self.published) {
            tracing::info!(at = found, known = self.published, "going on behind the last event on the bus");
            self.is_published(found);
        }
        self.end = Some(end);
        Ok(())
    }

    /// Whether the journal has this event at this place: one that was restored from a copy may not know the last ones.
    async fn is_ours(&self, headers: &EventHeaders) -> Result<bool, Error> {
        if headers.shard != self.journal.shard() || headers.seq == 0 {
            return Ok(false);
        }
        let rows = self.journal.read(headers.seq - 1, 1).await?;
        Ok(rows.first().is_some_and(|row| row.seq == headers.seq && row.id == headers.id))
    }

    async fn send(&self, row: &Row, behind: u64) -> Result<PublishAckFuture, bus::Error> {
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
        let message = jetstream::message::PublishMessage::build()
            .payload(row.payload.clone())
            .headers(bus::headers(headers.write()))
            .expected_stream(self.stream)
            .expected_last_sequence(behind);
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
