//! The door through which commands come from the bus: a durable pull consumer. The bus keeps a command until its
//! outcome is in the journal.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_nats::jetstream::{
    self, AckKind,
    consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull},
};
use bcs_schemas::{
    CommandId, FieldError, MessageSet,
    codec::{self, ContentType},
    envelope::{CommandHeaders, Mode, header},
    outcome::{Outcome, Rejection, RejectionCode},
    stream,
    subject::{Subject, Target},
};
use futures::{FutureExt, StreamExt};
use tokio::sync::{Semaphore, oneshot};
use tracing::Instrument;

use super::{Admission, Done, Error, Incoming, Machine, Request, StateMachine, in_hand};
use crate::{
    Bus, Clock, Tasks,
    actor::{ANONYMOUS, Covered},
    bus, lease,
    quarantine::{self, Letter},
    telemetry,
};

/// Deliveries of a message after which a panic on it is the last.
const MOST_DELIVERIES: i64 = 5;
/// Commands looked at by admission at once.
const ADMISSIONS: usize = 64;
/// A command that is not settled after this long is delivered again: what a killed service had in hand waits no longer.
/// A repeat of one that is merely slow finds its outcome stored.
const ACK_WAIT: Duration = Duration::from_secs(5);
/// How long the bus may hand commands to one request for them. A reader that froze, or whose network was cut, gets no more
/// of them when another one takes over.
const PULL_LASTS: Duration = Duration::from_secs(2);
const _: () =
    assert!(PULL_LASTS.as_millis() < lease::SOONEST.as_millis(), "an old reader would still be served");

/// A command message that waits to be settled.
pub(crate) struct Delivery {
    bus: Bus,
    clock: Clock,
    message: jetstream::Message,
    reply_to: Option<String>,
    form: ContentType,
    consumer: String,
}

/// Opens the door and keeps it open until the group stops.
pub(super) async fn open<S: StateMachine>(
    machine: Machine<S>,
    bus: &Bus,
    clock: &Clock,
    tasks: &Tasks,
    admission: Option<Admission<S::Command>>,
) -> Result<(), Error> {
    let service = S::Command::SERVICE;
    let name = stream::command_consumer(service);
    let places = Arc::new(Semaphore::new(ADMISSIONS));
    let (bus, clock, group) = (bus.clone(), clock.clone(), tasks.clone());
    let door = Arc::new(Door { machine, bus, clock, name, admission, places, tasks: group });
    // A service that cannot open its door must not look started.
    let opened = door.opened(true).await?;
    let stopping = tasks.stopping();
    tasks.spawn("command-door", async move {
        let mut opened = Ok(opened);
        loop {
            match opened {
                Ok(inlet) => door.take_in(inlet).await,
                Err(error) => {
                    let error = telemetry::chain(&error);
                    tracing::warn!(error, "commands cannot be read, trying again");
                }
            }
            tokio::select! {
                () = stopping.cancelled() => break,
                () = tokio::time::sleep(Duration::from_millis(200)) => (),
            }
            opened = door.opened(false).await;
        }
    });
    Ok(())
}

pub(super) struct Door<S: StateMachine> {
    pub(super) machine: Machine<S>,
    pub(super) bus: Bus,
    pub(super) clock: Clock,
    /// Of the consumer.
    pub(super) name: String,
    admission: Option<Admission<S::Command>>,
    places: Arc<Semaphore>,
    tasks: Tasks,
}

/// A connection that nothing but commands come through, and their stream.
struct Inlet {
    bus: Bus,
    messages: pull::Stream,
}

/// For each object with a command under way, what tells that it has been handed over.
type Queues = HashMap<Target, oneshot::Receiver<()>>;

impl<S: StateMachine> Door<S> {
    pub(super) fn stream() -> &'static str {
        S::Command::SERVICE.command_stream()
    }

    /// Sorts out what was in hand, and begins to read where the last reader had settled everything.
    async fn opened(&self, fresh: bool) -> Result<Inlet, Error> {
        let mut consumer = self.consumer().await?;
        let failed = |e| bus::Error::nats(format!("reading consumer {}", self.name), e);
        if let Some(harmful) = self.sort_out(consumer.cached_info(), fresh).await? {
            let info = consumer.info().await.map_err(|e| failed(e.into()))?;
            // Read from the beginning, a harmful one would come again, unless everything before it is settled as well.
            // Otherwise what was in hand with it comes when its time is up.
            if info.ack_floor.stream_sequence >= harmful {
                consumer.reset(None).await.map_err(|e| failed(e.into()))?;
            }
        } else if consumer.cached_info().num_ack_pending > 0 {
            // What was in hand would come again behind newer commands.
            consumer.reset(None).await.map_err(|e| failed(e.into()))?;
        }
        let bus = self.bus.inlet("door").await?;
        let stream = bus.jetstream().get_stream_no_info(Self::stream()).await;
        let stream = stream.map_err(|e| failed(e.into()))?;
        let consumer: PullConsumer = stream.get_consumer(&self.name).await.map_err(failed)?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(256)
            .expires(PULL_LASTS)
            .heartbeat(PULL_LASTS / 2)
            .messages()
            .await;
        Ok(Inlet { bus, messages: messages.map_err(|e| failed(e.into()))? })
    }

    async fn consumer(&self) -> Result<PullConsumer, bus::Error> {
        let config = pull::Config {
            durable_name: Some(self.name.clone()),
            ack_policy: AckPolicy::Explicit,
            deliver_policy: DeliverPolicy::All,
            ack_wait: ACK_WAIT,
            // Never given up by the server: the loop itself sorts out what harms it, so nothing is dropped in silence.
            max_deliver: -1,
            max_ack_pending: 2048,
            ..Default::default()
        };
        let consumer = self.bus.jetstream().create_consumer_on_stream(config, Self::stream()).await;
        consumer.map_err(|e| bus::Error::nats(format!("opening consumer {}", self.name), e))
    }

    /// Hands messages to the loop until the connection is lost or the group stops.
    async fn take_in(self: &Arc<Self>, Inlet { bus, mut messages }: Inlet) {
        let stopping = self.tasks.stopping();
        let mut queues = Queues::new();
        {
            // A server that comes back may have forgotten that we wait; its silence would tell only after seconds.
            let mut lost = std::pin::pin!(async {
                tokio::select! {
                    () = bus.reconnected() => (),
                    () = bus.ended() => (),
                }
            });
            loop {
                let message = tokio::select! {
                    biased;
                    () = stopping.cancelled() => break,
                    () = &mut lost => return,
                    message = messages.next() => message,
                };
                match message {
                    Some(Ok(message)) => self.one(message, &mut queues).await,
                    Some(Err(error)) => {
                        return tracing::warn!(%error, "command stream broke, opening it again");
                    }
                    None => return,
                }
            }
        }
        // What was fetched and not begun goes back at once, for whoever comes next.
        while let Some(Some(Ok(message))) = messages.next().now_or_never() {
            if let Err(error) = message.ack_with(AckKind::Nak(None)).await {
                tracing::debug!(%error, "message was not given back, it comes again by itself");
            }
        }
        bus.close().await;
    }

    async fn one(self: &Arc<Self>, message: jetstream::Message, queues: &mut Queues) {
        let (incoming, admit) = match self.read(message).await {
            Some(read) => read,
            None => return,
        };
        let Some((admission, target, command)) = admit else { return self.hand_over(incoming).await };
        let Ok(place) = self.places.clone().acquire_owned().await else { return };
        queues.retain(|_, before| matches!(before.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
        let (handed_over, after) = oneshot::channel();
        let before = queues.insert(target.clone(), after);
        let door = self.clone();
        self.tasks.spawn("command-admission", async move {
            let mut incoming = incoming;
            if let Err(rejection) = admission(target, command).await {
                incoming.request = Err(rejection);
            }
            // A look at the world takes as long as it takes; commands for one object keep their order all the same.
            if let Some(before) = before {
                let _ = before.await;
            }
            door.hand_over(incoming).await;
            drop((handed_over, place));
        });
    }

    async fn hand_over(&self, incoming: Incoming<S>) {
        // When the loop has ended the message stays unsettled, and the bus brings it again.
        let _ = self.machine.send(incoming).await;
    }

    /// Makes a request of a message. What can be neither read nor answered goes into quarantine at once.
    async fn read(&self, message: jetstream::Message) -> Option<(Incoming<S>, Admit<S>)> {
        let info = message.info().ok()?;
        let (position, deliveries) = (info.stream_sequence, info.delivered);
        let headers = CommandHeaders::read(|name| bus::header(message.headers.as_ref(), name));
        let subject: Result<Subject, FieldError> = message.subject.parse();
        let reply_to = reply_to(&message, &headers);
        let form = headers.as_ref().ok().and_then(|h| h.content_type);
        let form = form.unwrap_or_else(|| ContentType::guess(&message.payload));
        let actor = self.actor(&message, &subject, &headers, info.published.unix_timestamp());
        let read = match &actor {
            Ok(_) => self.understand(&message, &subject, &headers, form),
            Err(refusal) => Err(refusal.clone()),
        };
        let headers = headers.unwrap_or_default();
        let delivery = Delivery {
            bus: self.bus.clone(),
            clock: self.clock.clone(),
            message,
            reply_to,
            form,
            consumer: self.name.clone(),
        };
        // What is forbidden was understood: its outcome is kept for whoever asks.
        let garbage = read.as_ref().err().filter(|rejection| rejection.code != RejectionCode::Forbidden);
        if let (Some(rejection), None) = (garbage, &delivery.reply_to) {
            self.quarantine(delivery, "undecodable", &rejection.message).await;
            return None;
        }
        // A command without an id is known by its place in the stream, which a redelivery shares.
        let id = headers.id.unwrap_or_else(|| in_hand::derived(Self::stream(), position));
        let target = subject.ok().map(|s| s.target);
        let admit = match (&self.admission, &target, &read) {
            (Some(admission), Some(target), Ok(command)) => {
                Some((admission.clone(), target.clone(), command.clone()))
            }
            _ => None,
        };
        let span = process_span(Self::stream(), &id, &delivery.message, deliveries);
        telemetry::continue_trace(&span, headers.traceparent.as_deref().filter(|_| deliveries == 1));
        let incoming = Incoming {
            id,
            correlation: headers.correlation,
            target,
            request: read.map(Request::Command),
            plan: headers.mode == Mode::Plan,
            expected_revision: headers.expected_revision,
            not_after: headers.not_after,
            actor: actor.unwrap_or_else(|_| ANONYMOUS.to_owned()),
            traceparent: headers.traceparent,
            span,
            done: Done::Bus(delivery),
        };
        Some((incoming, admit))
    }

    /// Who asks: whoever the sender says, unless this bus wants it proved. `received` is when the bus took the message.
    fn actor(
        &self,
        message: &jetstream::Message,
        subject: &Result<Subject, FieldError>,
        headers: &Result<CommandHeaders, FieldError>,
        received: i64,
    ) -> Result<String, Rejection> {
        // What cannot be read is refused as such.
        let (Ok(subject), Ok(headers)) = (subject, headers) else { return Ok(ANONYMOUS.to_owned()) };
        let Some(signers) = self.bus.signers() else {
            return Ok(headers.actor.clone().unwrap_or_else(|| ANONYMOUS.to_owned()));
        };
        let command = Covered {
            subject: &message.subject,
            headers: message.headers.as_ref(),
            payload: &message.payload,
        };
        signers.judge(&command, &subject.target.project, received).map_err(|refusal| {
            tracing::warn!(subject = %message.subject, %refusal, "a command was not believed");
            refusal.into()
        })
    }

    fn understand(
        &self,
        message: &jetstream::Message,
        subject: &Result<Subject, FieldError>,
        headers: &Result<CommandHeaders, FieldError>,
        form: ContentType,
    ) -> Result<S::Command, Rejection> {
        let invalid = |error: &FieldError| Rejection::invalid(vec![error.clone()]);
        let subject = subject.as_ref().map_err(invalid)?;
        let headers = headers.as_ref().map_err(invalid)?;
        let (kind, verb) = (subject.target.kind.as_str(), subject.verb.as_str());
        let version = match &headers.type_name {
            None => 1,
            Some(name) if name.service == subject.service && name.kind == kind && name.verb == verb => {
                name.version
            }
            Some(name) => {
                let words =
                    format!("{name} does not fit the subject, which says {}.{kind}.{verb}", subject.service);
                return Err(invalid(&FieldError::new(header::TYPE, words)));
            }
        };
        S::Command::decode(kind, verb, version, form, &message.payload).map_err(|mut error| {
            if headers.content_type.is_none() && error.field == "." {
                let taken = form.as_str();
                error
                    .problem
                    .push_str(&format!(" (taken for {taken}, because {} is not set)", header::CONTENT_TYPE));
            }
            let unsupported = error.field == "subject" || error.field == header::TYPE;
            let code = if unsupported { RejectionCode::Unsupported } else { RejectionCode::Invalid };
            Rejection { code, ..Rejection::invalid(vec![error]) }
        })
    }

    async fn quarantine(&self, delivery: Delivery, code: &str, reason: &str) {
        if delivery.quarantine(code, reason).await {
            self.machine.stats().quarantined.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

/// The span of a command, named as the conventions for messaging have it. A first delivery continues the sender's trace;
/// a repeat begins one of its own.
fn process_span(
    stream: &str,
    id: &CommandId,
    message: &jetstream::Message,
    deliveries: i64,
) -> tracing::Span {
    tracing::info_span!(
        "process",
        otel.kind = "consumer",
        messaging.system = "nats",
        messaging.operation.type = "process",
        messaging.destination.name = stream,
        messaging.message.id = %id,
        messaging.message.body.size = message.payload.len(),
        messaging.nats.delivery_count = deliveries,
        subject = %message.subject,
    )
}

/// Where the outcome goes. Of a command whose headers are wrong otherwise, the inbox may still be right.
fn reply_to(message: &jetstream::Message, headers: &Result<CommandHeaders, FieldError>) -> Option<String> {
    let only = |name: &str| bus::header(message.headers.as_ref(), name).filter(|_| name == header::REPLY_TO);
    match headers {
        Ok(headers) => headers.reply_to.clone(),
        Err(_) => CommandHeaders::read(only).ok()?.reply_to,
    }
}

/// What admission has to look at.
type Admit<S> = Option<(Admission<<S as StateMachine>::Command>, Target, <S as StateMachine>::Command)>;

impl Delivery {
    /// Answers the sender, if it waits, and settles the message.
    pub(super) async fn answer(self, outcome: &Outcome) {
        if let Some(inbox) = &self.reply_to {
            let payload = match self.form {
                ContentType::MessagePack => codec::encode(outcome).ok(),
                ContentType::Json => serde_json::to_vec(outcome).ok().map(Into::into),
            };
            // The sender can ask for the stored outcome at any time: an answer that is lost costs time only.
            if let Some(payload) = payload
                && let Err(error) = self.bus.client().publish(inbox.clone(), payload).await
            {
                tracing::warn!(%error, inbox, "outcome was not sent");
            }
        }
        self.settle(AckKind::Ack).await;
    }

    /// Tries again a little later; after some deliveries, quarantine. Says whether it came to that.
    pub(super) async fn failed(self, code: &str, words: &str) -> bool {
        let deliveries = self.message.info().map(|info| info.delivered).unwrap_or(1);
        if deliveries >= MOST_DELIVERIES {
            return self.quarantine(code, words).await;
        }
        let pause = Duration::from_secs(1 << deliveries.clamp(0, 4));
        self.settle(AckKind::Nak(Some(pause))).await;
        false
    }

    /// Gives it back untouched, for whoever comes next.
    pub(super) async fn give_back(self) {
        self.settle(AckKind::Nak(None)).await;
    }

    /// Keeps the message with the reason, and only then takes it off the consumer. Says whether it is kept.
    async fn quarantine(self, code: &str, reason: &str) -> bool {
        let letter = Letter::of(&self.message, &self.consumer, code, reason, self.clock.now());
        let span = tracing::info_span!("quarantine", subject = %self.message.subject);
        match quarantine::keep(&self.bus, letter).instrument(span).await {
            Ok(()) => {
                self.settle(AckKind::Term).await;
                true
            }
            Err(error) => {
                tracing::error!(
                    error = telemetry::chain(&error),
                    "quarantine cannot be reached, keeping the message"
                );
                self.settle(AckKind::Nak(Some(Duration::from_secs(30)))).await;
                false
            }
        }
    }

    /// Through the service's own connection: the one that the message came through may be lost already.
    async fn settle(&self, kind: AckKind) {
        let Some(reply) = self.message.reply.clone() else { return };
        if let Err(error) = self.bus.client().publish(reply, kind.into()).await {
            // It will be delivered again, and its stored outcome answers it.
            tracing::debug!(%error, "message was not settled");
        }
    }
}
