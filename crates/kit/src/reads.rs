//! Read endpoints: core request and reply through the NATS services framework, so that `nats micro ls` finds them.
//! Answers come from memory and carry the revision that they reflect; a question may ask to wait for one.

use std::{sync::Arc, time::Duration};

use async_nats::service::{self, ServiceExt};
use bcs_schemas::{
    FieldError, Service, codec,
    outcome::Outcome,
    query::{Answer, Answered, OutcomeQuery, Query, Refused, ServiceStatus},
};
use bytes::Bytes;
use futures::StreamExt;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Bus, Clock, Tasks,
    bus::{self, Error},
    machine::{LONGEST_WAIT, Live, Machine, StateMachine},
};
use bcs_schemas::envelope::header;

/// The read endpoints of one service.
pub struct Reads<S: StateMachine> {
    service: Service,
    machine: Machine<S>,
    clock: Clock,
    tasks: Tasks,
    /// The announcement ends with its last holder: every endpoint is one.
    endpoints: Arc<service::Service>,
}

impl<S: StateMachine> Reads<S> {
    /// Announces the service, with the endpoints that every service has: its status, and outcomes by command id.
    pub async fn open(
        service: Service,
        machine: Machine<S>,
        bus: &Bus,
        clock: &Clock,
        tasks: &Tasks,
    ) -> Result<Self, Error> {
        let endpoints = bus
            .client()
            .service_builder()
            .queue_group(service.as_str())
            .description(format!("reads of {service}"))
            .start(format!("bcs-{service}"), env!("CARGO_PKG_VERSION"))
            .await
            .map_err(|e| Error::nats(format!("announcing {service}"), e))?;
        let reads = Self {
            service,
            machine,
            clock: clock.clone(),
            tasks: tasks.clone(),
            endpoints: Arc::new(endpoints),
        };
        reads.serve_status().await?;
        reads.serve_outcomes().await?;
        Ok(reads)
    }

    /// Serves `bcs.qry.<service>.<kind>.<verb>`: `look` answers from the state, at the revision that was asked for.
    pub async fn serve<T, F>(&self, kind: &str, verb: &str, look: F) -> Result<(), Error>
    where
        T: Serialize + Send + 'static,
        F: Fn(&Live<S>, &Query) -> Result<T, String> + Send + Sync + 'static,
    {
        let (machine, clock, look) = (self.machine.clone(), self.clock.clone(), Arc::new(look));
        self.endpoint(kind, verb, move |query: Query| {
            let (machine, clock, look) = (machine.clone(), clock.clone(), look.clone());
            async move {
                let live = match query.wait_for {
                    Some(seq) => machine.live_at(seq, LONGEST_WAIT).await,
                    None => machine.live(),
                };
                if let Some(seq) = query.wait_for.filter(|seq| live.seq < *seq) {
                    return refused(format!(
                        "revision {seq} was not reached in {LONGEST_WAIT:?}, now at {}",
                        live.seq
                    ));
                }
                match look(&live, &query) {
                    Ok(data) => Answer::Ok(Answered { revision: live.seq, as_of: clock.now(), data }),
                    Err(message) => refused(message),
                }
            }
        })
        .await
    }

    async fn serve_status(&self) -> Result<(), Error> {
        use std::sync::atomic::Ordering::Relaxed;
        let (machine, clock, service, started_at) =
            (self.machine.clone(), self.clock.clone(), self.service, self.clock.now());
        self.endpoint("service", "status", move |_: Query| {
            let (live, stats) = (machine.live(), machine.stats());
            let data = ServiceStatus {
                service: service.to_string(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                started_at,
                revision: live.seq,
                unpublished: live.seq.saturating_sub(stats.published.load(Relaxed)),
                commands: stats.commands.load(Relaxed),
                quarantined: stats.quarantined.load(Relaxed),
            };
            let answer = Answer::Ok(Answered { revision: live.seq, as_of: clock.now(), data });
            async move { answer }
        })
        .await
    }

    async fn serve_outcomes(&self) -> Result<(), Error> {
        let (machine, clock) = (self.machine.clone(), self.clock.clone());
        self.endpoint("outcome", "get", move |query: OutcomeQuery| {
            let (machine, clock) = (machine.clone(), clock.clone());
            async move {
                match machine.outcome(query.command_id).await {
                    Ok(data) => {
                        let data: Option<Outcome> = data;
                        Answer::Ok(Answered { revision: machine.live().seq, as_of: clock.now(), data })
                    }
                    Err(error) => refused(crate::telemetry::chain(&error)),
                }
            }
        })
        .await
    }

    async fn endpoint<Q, T, F, Fut>(&self, kind: &str, verb: &str, handler: F) -> Result<(), Error>
    where
        Q: DeserializeOwned + Send,
        T: Serialize + Send + 'static,
        F: Fn(Q) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Answer<T>> + Send,
    {
        let subject = bcs_schemas::subject::query(self.service, kind, verb);
        let builder = self.endpoints.endpoint_builder().name(format!("{kind}-{verb}"));
        let mut questions =
            builder.add(&subject).await.map_err(|e| Error::nats(format!("serving {subject}"), e))?;
        let (handler, stopping, group) = (Arc::new(handler), self.tasks.stopping(), self.tasks.clone());
        let announced = self.endpoints.clone();
        self.tasks.spawn("read-endpoint", async move {
            let _announced = announced;
            loop {
                let question = tokio::select! {
                    () = stopping.cancelled() => break,
                    question = questions.next() => question,
                };
                let Some(question) = question else { break };
                let handler = handler.clone();
                group.spawn("read", async move { answer(&*handler, question).await });
            }
        });
        Ok(())
    }
}

async fn answer<Q, T, F, Fut>(handler: &F, question: service::Request)
where
    Q: DeserializeOwned,
    T: Serialize,
    F: Fn(Q) -> Fut,
    Fut: Future<Output = Answer<T>>,
{
    let message = &question.message;
    let form = bus::form_of(bus::header(message.headers.as_ref(), header::CONTENT_TYPE), &message.payload);
    let payload: &[u8] = if message.payload.is_empty() { b"{}" } else { &message.payload };
    let read: Result<Q, FieldError> = form.clone().and_then(|form| codec::decode_strict(form, payload));
    let answer = match read {
        Ok(query) => handler(query).await,
        Err(error) => Answer::Error(Refused { message: error.to_string(), fields: vec![error] }),
    };
    let form = form.unwrap_or_default();
    let mut payload = bus::write(form, &answer).unwrap_or_else(|e| Bytes::from(e.into_bytes()));
    if payload.len() > LARGEST_ANSWER {
        let words = format!(
            "the answer has {} bytes, {LARGEST_ANSWER} fit: ask for one project or one name",
            payload.len()
        );
        payload = bus::write(form, &refused::<T>(words)).unwrap_or_default();
    }
    if let Err(error) = question.respond(Ok(payload)).await {
        tracing::debug!(%error, "answer was not sent");
    }
}

fn refused<T>(message: String) -> Answer<T> {
    Answer::Error(Refused { message, fields: Vec::new() })
}

/// Largest answer: a little below what the bus carries in one message.
const LARGEST_ANSWER: usize = 1_000_000;

/// How long a caller should wait for an answer: longer than the service may wait for a revision.
pub const PATIENCE: Duration = Duration::from_secs(35);
