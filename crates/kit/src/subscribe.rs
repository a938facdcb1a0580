//! Events of other services, at least once and in order: a durable consumer whose position the bus keeps. Handlers turn
//! an event into a command with a derived id, so a repeat has no second effect.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use bcs_schemas::{
    MessageSet,
    codec::ContentType,
    envelope::EventHeaders,
    subject::{Subject, Target},
};
use futures::StreamExt;

use crate::{
    Bus, Clock, Tasks,
    bus::{self, Error},
    quarantine::{self, Letter},
    telemetry,
};

/// An event of another service.
#[derive(Clone, Debug)]
pub struct Received<E> {
    /// Its headers.
    pub headers: EventHeaders,
    /// The object.
    pub target: Target,
    /// What was decided.
    pub event: E,
}

/// Could not be handled now; the event comes again.
#[derive(Debug, thiserror::Error)]
#[error("not handled yet: {0}")]
pub struct Retry(pub String);

/// Hands every event of `E`'s service to `handler`, from the first that the bus still has, through durable consumer
/// `name`. One at a time: order is kept. What cannot be understood goes into quarantine; a type of event that this
/// program does not know yet is skipped.
pub async fn events<E, F, Fut>(
    bus: &Bus,
    clock: &Clock,
    tasks: &Tasks,
    name: &'static str,
    handler: F,
) -> Result<(), Error>
where
    E: MessageSet,
    F: Fn(Received<E>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Retry>> + Send,
{
    let mut messages = Some(open::<E>(bus, name).await?);
    let (bus, clock, stopping) = (bus.clone(), clock.clone(), tasks.stopping());
    tasks.spawn("event-consumer", async move {
        while !stopping.is_cancelled() {
            let opened = match messages.take() {
                Some(messages) => Ok(messages),
                None => open::<E>(&bus, name).await,
            };
            tokio::select! {
                () = stopping.cancelled() => break,
                () = take_in(&bus, &clock, name, opened, &handler) => tokio::time::sleep(Duration::from_millis(500)).await,
            }
        }
    });
    Ok(())
}

async fn open<E: MessageSet>(bus: &Bus, name: &str) -> Result<pull::Stream, Error> {
    let config = pull::Config {
        durable_name: Some(name.to_owned()),
        ack_policy: AckPolicy::Explicit,
        deliver_policy: DeliverPolicy::All,
        ack_wait: Duration::from_secs(30),
        max_deliver: -1,
        // One at a time, so that a delayed one is not overtaken.
        max_ack_pending: 1,
        ..Default::default()
    };
    let consumer = bus.jetstream().create_consumer_on_stream(config, E::SERVICE.event_stream()).await;
    let consumer = consumer.map_err(|e| Error::nats(format!("opening consumer {name}"), e))?;
    let messages =
        consumer.stream().expires(Duration::from_secs(30)).heartbeat(Duration::from_secs(5)).messages().await;
    messages.map_err(|e| Error::nats(format!("reading consumer {name}"), e))
}

async fn take_in<E, F, Fut>(
    bus: &Bus,
    clock: &Clock,
    name: &str,
    messages: Result<pull::Stream, Error>,
    handler: &F,
) where
    E: MessageSet,
    F: Fn(Received<E>) -> Fut,
    Fut: Future<Output = Result<(), Retry>>,
{
    let mut messages = match messages {
        Ok(messages) => messages,
        Err(error) => {
            return tracing::warn!(error = telemetry::chain(&error), "events cannot be read, trying again");
        }
    };
    let mut reconnected = std::pin::pin!(bus.reconnected());
    loop {
        let message = tokio::select! {
            () = &mut reconnected => return,
            message = messages.next() => message,
        };
        let Some(message) = message else { return };
        let message = match message {
            Ok(message) => message,
            Err(error) => {
                return tracing::warn!(%error, consumer = name, "event stream broke, opening it again");
            }
        };
        let settled = match read::<E>(&message) {
            Ok(Some(received)) => {
                let mut pause = Duration::from_millis(100);
                while let Err(retry) = handler(received.clone()).await {
                    tracing::warn!(
                        consumer = name,
                        seq = received.headers.seq,
                        reason = retry.0,
                        "event is tried again"
                    );
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                    // The server must not think that we are gone.
                    let _ = message.ack_with(async_nats::jetstream::AckKind::Progress).await;
                }
                message.ack().await
            }
            Ok(None) => message.ack().await,
            Err(problem) => {
                let letter = Letter::of(&message, name, "undecodable", &problem, clock.now());
                match quarantine::keep(bus, letter).await {
                    Ok(()) => message.ack().await,
                    Err(error) => {
                        return tracing::warn!(
                            error = telemetry::chain(&error),
                            "quarantine cannot be reached"
                        );
                    }
                }
            }
        };
        if let Err(error) = settled {
            tracing::debug!(%error, "event was not settled, it comes again");
        }
    }
}

/// `None` for a type of event that this program does not know yet.
fn read<E: MessageSet>(message: &async_nats::jetstream::Message) -> Result<Option<Received<E>>, String> {
    let lookup = |name: &str| bus::header(message.headers.as_ref(), name);
    let headers = EventHeaders::read(lookup).map_err(|e| e.to_string())?;
    let subject: Subject = message.subject.parse().map_err(|e: bcs_schemas::FieldError| e.to_string())?;
    let name = &headers.type_name;
    if !E::reads(name) {
        return Ok(None);
    }
    let event = E::decode(&name.kind, &name.verb, name.version, ContentType::MessagePack, &message.payload)
        .map_err(|e| e.to_string())?;
    Ok(Some(Received { headers, target: subject.target, event }))
}
