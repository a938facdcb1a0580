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
use futures::StreamExt;
use tokio::sync::Semaphore;
use tracing::Instrument;

use super::{Admission, Done, Error, Incoming, Machine, Request, StateMachine};
use crate::{
    Bus, Clock, Tasks, bus,
    quarantine::{self, Letter},
    telemetry,
};

/// Deliveries after which a message that harms us goes into quarantine.
const MOST_DELIVERIES: i64 = 5;
/// Commands looked at by admission at once.
const ADMISSIONS: usize = 64;
/// A command that is not settled after this long is delivered again.
const ACK_WAIT: Duration = Duration::from_secs(30);

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
            tokio::select! {
                () = stopping.cancelled() => break,
                () = door.take_in(opened) => tokio::time::sleep(Duration::from_millis(200)).await,
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

    /// Hands messages to the loop until the stream breaks.
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
        while let Some(message) = messages.next().await {
            match message {
                Ok(message) => self.one(message).await,
                Err(error) => return tracing::warn!(%error, "command stream broke, opening it again"),
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
        let reply_to = bus::header(message.headers.as_ref(), header::REPLY_TO).map(str::to_owned);
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
        if deliveries > MOST_DELIVERIES {
            self.quarantine(delivery, "exhausted", "was delivered again and again without being settled")
                .await;
            return None;
        }
        if let (Err(rejection), None) = (&read, &delivery.reply_to) {
            self.quarantine(delivery, "undecodable", &rejection.message).await;
            return None;
        }
        let stream = S::Command::SERVICE.command_stream();
        let target = subject.ok().map(|s| s.target);
        let admit = match (&self.admission, &target, &read) {
            (Some(admission), Some(target), Ok(command)) => {
                Some((admission.clone(), target.clone(), command.clone()))
            }
            _ => None,
        };
        let incoming = Incoming {
            // A command without an id is known by its place in the stream, which a redelivery shares.
            id: headers.id.unwrap_or_else(|| CommandId::derived(stream, &position.to_string())),
            correlation: headers.correlation,
            target,
            request: read.map(Request::Command),
            plan: headers.mode == Mode::Plan,
            expected_revision: headers.expected_revision,
            not_after: headers.not_after,
            actor: headers.actor.unwrap_or_else(|| "anonymous".to_owned()),
            traceparent: headers.traceparent,
            done: Done::Bus(delivery),
        };
        Some((incoming, admit))
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
        S::Command::decode(kind, verb, version, form, &message.payload).map_err(|error| {
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

    /// Tries again a little later.
    pub(super) async fn later(self) {
        self.settle(AckKind::Nak(Some(Duration::from_secs(1)))).await;
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
