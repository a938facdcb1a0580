//! The door through which commands come from the bus: a durable pull consumer. The bus keeps a command until its
//! outcome is in the journal.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{
    self, AckKind,
    consumer::{AckPolicy, DeliverPolicy, pull},
};
use bcs_schemas::{
    CommandId, FieldError, MessageSet,
    codec::{self, ContentType},
    envelope::{CommandHeaders, Mode, header},
    outcome::{Outcome, Rejection, RejectionCode},
    stream,
    subject::Subject,
};
use futures::{FutureExt, StreamExt};
use tokio::sync::Semaphore;
use tracing::Instrument;

use super::{Admission, Done, Error, Incoming, Machine, Request, StateMachine};
use crate::{
    Bus, Clock, Tasks, bus,
    quarantine::{self, Letter},
    telemetry,
};

/// Deliveries of a message after which a panic on it is the last, and after which its attempts are counted.
const MOST_DELIVERIES: i64 = 5;
/// Counted attempts that ended with neither an outcome nor a word: the process ended instead.
const MOST_ATTEMPTS: u64 = 3;
/// Commands looked at by admission at once.
const ADMISSIONS: usize = 64;
/// A command that is not settled after this long is delivered again: what a killed service had in hand waits no longer.
/// A repeat of one that is merely slow finds its outcome stored.
const ACK_WAIT: Duration = Duration::from_secs(5);

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
    let mut messages = Some(door.messages().await?);
    let stopping = tasks.stopping();
    tasks.spawn("command-door", async move {
        while !stopping.is_cancelled() {
            let opened = match messages.take() {
                Some(messages) => Ok(messages),
                None => door.messages().await,
            };
            door.take_in(opened).await;
            tokio::select! {
                () = stopping.cancelled() => break,
                () = tokio::time::sleep(Duration::from_millis(200)) => (),
            }
        }
    });
    Ok(())
}

struct Door<S: StateMachine> {
    machine: Machine<S>,
    bus: Bus,
    clock: Clock,
    name: String,
    admission: Option<Admission<S::Command>>,
    places: Arc<Semaphore>,
    tasks: Tasks,
}

impl<S: StateMachine> Door<S> {
    async fn messages(&self) -> Result<pull::Stream, bus::Error> {
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
        let stream = S::Command::SERVICE.command_stream();
        let consumer = self.bus.jetstream().create_consumer_on_stream(config, stream).await;
        let consumer =
            consumer.map_err(|e| bus::Error::nats(format!("opening consumer {}", self.name), e))?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(256)
            .expires(Duration::from_secs(30))
            .heartbeat(Duration::from_secs(5))
            .messages()
            .await;
        messages.map_err(|e| bus::Error::nats(format!("reading consumer {}", self.name), e))
    }

    /// Hands messages to the loop until the stream breaks or the group stops.
    async fn take_in(self: &Arc<Self>, messages: Result<pull::Stream, bus::Error>) {
        let mut messages = match messages {
            Ok(messages) => messages,
            Err(error) => {
                return tracing::warn!(
                    error = telemetry::chain(&error),
                    "commands cannot be read, trying again"
                );
            }
        };
        let stopping = self.tasks.stopping();
        // A server that comes back may have forgotten that we wait; its silence would tell only after seconds.
        let mut reconnected = std::pin::pin!(self.bus.reconnected());
        loop {
            let message = tokio::select! {
                biased;
                () = stopping.cancelled() => break,
                () = &mut reconnected => return,
                message = messages.next() => message,
            };
            match message {
                Some(Ok(message)) => self.one(message).await,
                Some(Err(error)) => return tracing::warn!(%error, "command stream broke, opening it again"),
                None => return,
            }
        }
        // What was fetched and not begun goes back at once, for whoever comes next.
        while let Some(Some(Ok(message))) = messages.next().now_or_never() {
            if let Err(error) = message.ack_with(AckKind::Nak(None)).await {
                tracing::debug!(%error, "message was not given back, it comes again by itself");
            }
        }
    }

    async fn one(self: &Arc<Self>, message: jetstream::Message) {
        let (incoming, admit) = match self.read(message).await {
            Some(read) => read,
            None => return,
        };
        let Some((admission, target, command)) = admit else { return self.hand_over(incoming).await };
        let Ok(place) = self.places.clone().acquire_owned().await else { return };
        let door = self.clone();
        self.tasks.spawn("command-admission", async move {
            let mut incoming = incoming;
            if let Err(rejection) = admission(target, command).await {
                incoming.request = Err(rejection);
            }
            door.hand_over(incoming).await;
            drop(place);
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
        let read = self.understand(&message, &subject, &headers, form);
        let headers = headers.unwrap_or_default();
        let delivery = Delivery {
            bus: self.bus.clone(),
            clock: self.clock.clone(),
            message,
            reply_to,
            form,
            consumer: self.name.clone(),
        };
        if let (Err(rejection), None) = (&read, &delivery.reply_to) {
            self.quarantine(delivery, "undecodable", &rejection.message).await;
            return None;
        }
        // A command without an id is known by its place in the stream, which a redelivery shares.
        let stream = S::Command::SERVICE.command_stream();
        let id = headers.id.unwrap_or_else(|| CommandId::derived(stream, &position.to_string()));
        let delivery = self.harmless(delivery, id, deliveries).await?;
        let target = subject.ok().map(|s| s.target);
        let admit = match (&self.admission, &target, &read) {
            (Some(admission), Some(target), Ok(command)) => {
                Some((admission.clone(), target.clone(), command.clone()))
            }
            _ => None,
        };
        let span = process_span(S::Command::SERVICE.command_stream(), &id, &delivery.message, deliveries);
        telemetry::continue_trace(&span, headers.traceparent.as_deref().filter(|_| deliveries == 1));
        let incoming = Incoming {
            id,
            correlation: headers.correlation,
            target,
            request: read.map(Request::Command),
            plan: headers.mode == Mode::Plan,
            expected_revision: headers.expected_revision,
            not_after: headers.not_after,
            actor: headers.actor.unwrap_or_else(|| "anonymous".to_owned()),
            traceparent: headers.traceparent,
            span,
            done: Done::Bus(delivery),
        };
        Some((incoming, admit))
    }

    /// Gives back a delivery that may be tried. One that came back often is counted before each try; when that did not
    /// end with an outcome several times, it takes the process down with it and goes into quarantine.
    async fn harmless(&self, delivery: Delivery, id: CommandId, deliveries: i64) -> Option<Delivery> {
        if deliveries <= MOST_DELIVERIES {
            return Some(delivery);
        }
        match self.machine.attempt(id).await {
            Ok(attempts) if attempts <= MOST_ATTEMPTS => Some(delivery),
            Ok(_) => {
                self.quarantine(delivery, "exhausted", "was tried again and again and never got an outcome")
                    .await;
                None
            }
            Err(error) => {
                tracing::warn!(error = telemetry::chain(&error), "attempt cannot be noted, trying later");
                delivery.later().await;
                None
            }
        }
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
type Admit<S> = Option<(
    Admission<<S as StateMachine>::Command>,
    bcs_schemas::subject::Target,
    <S as StateMachine>::Command,
)>;

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
    pub(super) async fn panicked(self, words: &str) -> bool {
        let deliveries = self.message.info().map(|info| info.delivered).unwrap_or(1);
        if deliveries >= MOST_DELIVERIES {
            return self.quarantine("panicked", words).await;
        }
        let pause = Duration::from_secs(1 << deliveries.clamp(0, 4));
        self.settle(AckKind::Nak(Some(pause))).await;
        false
    }

    /// Tries again later: soon at first, then at growing pauses.
    pub(super) async fn later(self) {
        let deliveries = self.message.info().map(|info| info.delivered).unwrap_or(1);
        let pause = Duration::from_secs(1 << deliveries.clamp(1, 6).saturating_sub(1));
        self.settle(AckKind::Nak(Some(pause.min(Duration::from_secs(30))))).await;
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

    async fn settle(&self, kind: AckKind) {
        if let Err(error) = self.message.ack_with(kind).await {
            // It will be delivered again, and its stored outcome answers it.
            tracing::debug!(%error, "message was not settled");
        }
    }
}
