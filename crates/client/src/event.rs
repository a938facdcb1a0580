//! Events from any position on, from one service or several, through any number of reconnects: the reader of each
//! stream keeps the last position that it handed on and begins behind it again.

use std::time::Duration;

use async_nats::jetstream::{
    Message,
    consumer::{DeliverPolicy, ReplayPolicy, push},
};
use bcs_kit::{Bus, Tasks, bus, telemetry};
use bcs_schemas::{
    Service,
    codec::{self, ContentType},
    envelope::{EventHeaders, header},
    subject::{self, Subject, Target},
};
use futures::{Stream, StreamExt};
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::{
    Client, Error,
    merge::{Item, Merge},
};

/// Events that may wait for a slow reader.
const WAITING: usize = 256;

/// How long nothing of the past may come before it is asked for anew: a copy that cannot be read says that it is there, and
/// nothing else. Of several copies, another one is asked sooner or later.
const SILENCE: Duration = Duration::from_secs(5);

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// With the oldest that the bus still has.
    All,
    /// With what comes from now on.
    New,
    /// Behind this position of the stream: [`EventRecord::stream_seq`] of the last one that was seen. Positions belong
    /// to one stream, so this goes with one service.
    After(u64),
    /// With what came onto the bus at this instant or later.
    Since(Timestamp),
}

/// An event, with its payload in a form that people and programs without our types can read.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRecord {
    /// Position in the stream of its service.
    pub stream_seq: u64,
    /// Identity, type, time, actor, cause.
    pub headers: EventHeaders,
    /// Service, object and fact.
    pub subject: Subject,
    /// The payload.
    pub payload: serde_json::Value,
}

/// A running stream of events; it ends when it is dropped.
pub struct Events {
    merge: Merge,
    tasks: Tasks,
}

impl Drop for Events {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
    }
}

impl Client {
    /// Follows the events of `services`; of all of them when none is named. The backlog comes in the order of time.
    pub async fn events(&self, services: &[Service], from: Position) -> Result<Events, Error> {
        self.follow(services, None, from).await
    }

    /// The same for one object only; the bus sends no others.
    pub async fn events_about(
        &self,
        target: &Target,
        services: &[Service],
        from: Position,
    ) -> Result<Events, Error> {
        self.follow(services, Some(target), from).await
    }

    async fn follow(
        &self,
        services: &[Service],
        target: Option<&Target>,
        from: Position,
    ) -> Result<Events, Error> {
        let services = if services.is_empty() { Service::ALL.as_slice() } else { services };
        let tasks = self.0.tasks.child();
        let mut sources = Vec::with_capacity(services.len());
        for service in services {
            let filter = target.map(|target| subject::events_about(*service, target));
            let mut reader = Reader { bus: self.bus().clone(), service: *service, filter, from, last: None };
            // The first time, whatever is wrong is the caller's to know.
            let opened = reader.open().await?;
            let (sender, receiver) = mpsc::channel(WAITING);
            let stopping = tasks.stopping();
            sources.push(receiver);
            tasks.spawn("event-reader", async move {
                tokio::select! {
                    () = stopping.cancelled() => (),
                    () = reader.run(opened, sender) => (),
                }
            });
        }
        Ok(Events { merge: Merge::new(sources), tasks })
    }
}

impl Events {
    /// The next event that was there when the stream began; `None` once all of them were handed out.
    pub async fn next_past(&mut self) -> Option<EventRecord> {
        self.merge.next_past().await
    }

    /// The next event, past or new; `None` when the client is gone.
    pub async fn next(&mut self) -> Option<EventRecord> {
        self.merge.next().await
    }

    /// The same as a stream.
    pub fn into_stream(self) -> impl Stream<Item = EventRecord> + Send {
        futures::stream::unfold(self, |mut events| async move {
            let event = events.next().await?;
            Some((event, events))
        })
    }
}

struct Reader {
    bus: Bus,
    service: Service,
    filter: Option<String>,
    from: Position,
    last: Option<u64>,
}

struct Opened {
    messages: push::Ordered,
    /// Messages that were there already.
    pending: u64,
}

impl Reader {
    async fn open(&mut self) -> Result<Opened, bus::Error> {
        let name = self.service.event_stream();
        let inbox = self.bus.client().new_inbox();
        // Pushed and not pulled: the server says every five seconds that it is there. Of a consumer that went with its server,
        // who pulls learns after a minute.
        let config = push::OrderedConfig {
            // With a name, the request tells the server on its subject what is read: that is what permissions look at.
            name: inbox.rsplit('.').next().map(str::to_owned),
            deliver_subject: inbox,
            deliver_policy: self.policy()?,
            filter_subject: self.filter.clone().unwrap_or_default(),
            replay_policy: ReplayPolicy::Instant,
            ..Default::default()
        };
        let consumer = self.bus.jetstream().create_consumer_on_stream(config, name).await;
        let consumer = consumer.map_err(|e| bus::Error::nats(format!("reading stream {name}"), e))?;
        let pending = consumer.cached_info().num_pending;
        if self.from == Position::New && self.last.is_none() {
            // What comes from now on: also when this consumer breaks before it has handed on anything.
            self.last = Some(consumer.cached_info().delivered.stream_sequence);
        }
        let messages = consumer.messages().await;
        let messages = messages.map_err(|e| bus::Error::nats(format!("reading stream {name}"), e))?;
        Ok(Opened { messages, pending })
    }

    fn policy(&self) -> Result<DeliverPolicy, bus::Error> {
        let after = |seq: u64| DeliverPolicy::ByStartSequence { start_sequence: seq.saturating_add(1) };
        Ok(match (self.last, self.from) {
            (Some(seq), _) | (None, Position::After(seq)) => after(seq),
            (None, Position::All) => DeliverPolicy::All,
            (None, Position::New) => DeliverPolicy::New,
            (None, Position::Since(instant)) => {
                let start_time = async_nats::datetime::from_nanos(instant.as_nanosecond());
                let start_time = start_time.map_err(|e| bus::Error::nats("reading the instant", e))?;
                DeliverPolicy::ByStartTime { start_time }
            }
        })
    }

    async fn run(&mut self, opened: Opened, sender: mpsc::Sender<Item>) {
        let mut opened = Ok(opened);
        let mut past = true;
        loop {
            match opened {
                Ok(opened) => {
                    if past && opened.pending == 0 {
                        if sender.send(Item::CaughtUp).await.is_err() {
                            return;
                        }
                        past = false;
                    }
                    let bus = self.bus.clone();
                    let ended = tokio::select! {
                        ended = self.hand_on(opened.messages, &sender, &mut past) => ended.is_break(),
                        () = bus.reconnected() => false,
                    };
                    if ended {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(error = telemetry::chain(&error), "events cannot be read, trying again")
                }
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
            opened = self.open().await;
        }
    }

    /// Hands messages on until the consumer breaks; breaks itself when nobody listens any more.
    async fn hand_on(
        &mut self,
        mut messages: push::Ordered,
        sender: &mpsc::Sender<Item>,
        past: &mut bool,
    ) -> std::ops::ControlFlow<()> {
        use std::ops::ControlFlow;
        loop {
            let next = async {
                match *past {
                    true => tokio::time::timeout(SILENCE, messages.next()).await.unwrap_or(None),
                    false => messages.next().await,
                }
            };
            let Some(message) = next.await else { return ControlFlow::Continue(()) };
            let message = match message {
                Ok(message) => message,
                Err(error) => {
                    tracing::debug!(%error, "event stream broke, opening it again");
                    return ControlFlow::Continue(());
                }
            };
            let Ok(info) = message.info() else { continue };
            let (seq, pending) = (info.stream_sequence, info.pending);
            if self.last.is_some_and(|last| seq <= last) {
                continue;
            }
            match record(seq, &message) {
                Ok(event) => {
                    if sender.send(Item::Event(Box::new(event))).await.is_err() {
                        return ControlFlow::Break(());
                    }
                }
                Err(error) => tracing::warn!(%error, seq, "event is not understood, skipped"),
            }
            // Only now: whoever cancels us while we wait for a slow reader must find this event still to be handed on.
            self.last = Some(seq);
            if *past && pending == 0 {
                if sender.send(Item::CaughtUp).await.is_err() {
                    return ControlFlow::Break(());
                }
                *past = false;
            }
        }
    }
}

fn record(stream_seq: u64, message: &Message) -> Result<EventRecord, bcs_schemas::FieldError> {
    let lookup = |name: &str| bus::header(message.headers.as_ref(), name);
    let headers = EventHeaders::read(lookup)?;
    let form = match lookup(header::CONTENT_TYPE) {
        Some(text) => ContentType::parse(text).unwrap_or_default(),
        None => ContentType::guess(&message.payload),
    };
    let payload = codec::to_json(form, &message.payload)?;
    Ok(EventRecord { stream_seq, headers, subject: message.subject.parse()?, payload })
}
