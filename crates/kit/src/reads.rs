//! Read endpoints: core request and reply through the NATS services framework, so that `nats micro ls` finds them.
//! Answers come from memory and carry the revision that they reflect; a question may ask to wait for one.

mod history;
mod page;

use std::{pin::Pin, sync::Arc, time::Duration};

use async_nats::service::{self, ServiceExt};
use bcs_schemas::{
    FieldError, Service, codec,
    envelope::header,
    outcome::Outcome,
    query::{Answer, Answered, OutcomeQuery, Query, Refused, ServiceStatus},
};
use bytes::Bytes;
use futures::{StreamExt, stream::SelectAll};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Semaphore;

use crate::{
    Bus, Clock, Tasks,
    bus::{self, Error},
    machine::{LONGEST_WAIT, Live, Machine, StateMachine},
    telemetry,
};

pub use self::page::Page;

/// Questions worked on at once; those behind them wait.
const AT_ONCE: usize = 256;
/// How many of them may wait for a revision. The rest are for those that can be answered at once.
const WAITING: usize = 128;
/// Between two tries to announce the endpoints again.
const PAUSE: Duration = Duration::from_millis(200);

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;
type Handler = Arc<dyn Fn(service::Request) -> Work + Send + Sync>;
type Questions = SelectAll<Pin<Box<dyn futures::Stream<Item = (Handler, service::Request)> + Send>>>;

/// The read endpoints of one service: named first, then opened together.
pub struct Reads<S: StateMachine> {
    service: Service,
    machine: Machine<S>,
    clock: Clock,
    endpoints: Vec<Endpoint>,
    waiting: Arc<Semaphore>,
    turns: history::Turns,
}

struct Endpoint {
    name: String,
    subject: String,
    handler: Handler,
}

impl<S: StateMachine> Reads<S> {
    /// With the endpoints that every service has: its status, outcomes by command id, and events.
    pub fn new(service: Service, machine: Machine<S>, clock: &Clock) -> Self {
        let waiting = Arc::new(Semaphore::new(WAITING));
        let (clock, turns) = (clock.clone(), history::Turns::new());
        let mut reads = Self { service, machine, clock, endpoints: Vec::new(), waiting, turns };
        reads.serve_status();
        reads.serve_outcomes();
        reads.serve_events();
        reads
    }

    /// Serves `bcs.qry.<service>.<kind>.<verb>`: `look` answers from the state, at the revision that was asked for.
    pub fn serve<T, F>(&mut self, kind: &str, verb: &str, look: F)
    where
        T: Serialize + Send + 'static,
        F: Fn(&Live<S>, &Query) -> Result<T, String> + Send + Sync + 'static,
    {
        self.serve_pages(kind, verb, move |live, query| look(live, query).map(|data| (data, None)));
    }

    /// Serves `bcs.qry.<service>.<kind>.list`: `look` adds what fits the question to the page, in the order of the
    /// positions and beginning after [`Query::after`], until the page has no more room.
    pub fn serve_list<T, F>(&mut self, kind: &str, look: F)
    where
        T: Serialize + Send + 'static,
        F: Fn(&Live<S>, &Query, &mut Page<T>) -> Result<(), String> + Send + Sync + 'static,
    {
        self.serve_pages(kind, "list", move |live, query| {
            let mut page = Page::new(query.limit);
            look(live, query, &mut page)?;
            Ok(page.end())
        });
    }

    fn serve_pages<T, F>(&mut self, kind: &str, verb: &str, look: F)
    where
        T: Serialize + Send + 'static,
        F: Fn(&Live<S>, &Query) -> Result<(T, Option<String>), String> + Send + Sync + 'static,
    {
        let (machine, clock, look) = (self.machine.clone(), self.clock.clone(), Arc::new(look));
        let waiting = self.waiting.clone();
        self.endpoint(kind, verb, move |query: Query| {
            let (machine, clock, look, waiting) =
                (machine.clone(), clock.clone(), look.clone(), waiting.clone());
            async move {
                let answered = async {
                    let live = at_revision(&machine, query.wait_for, &waiting).await?;
                    let (data, next) = look(&live, &query)?;
                    Ok(Answered { revision: live.seq, as_of: clock.now(), data, next })
                };
                answered.await.map_or_else(refused, Answer::Ok)
            }
        });
    }

    /// Announces the service and answers until the group stops. Questions come through a connection of their own: one
    /// with a header that cannot be read costs the others a moment.
    pub async fn open(self, bus: &Bus, tasks: &Tasks) -> Result<(), Error> {
        let mut announced = Some(self.announce(bus).await?);
        let (bus, group, stopping) = (bus.clone(), tasks.clone(), tasks.stopping());
        let places = Arc::new(Semaphore::new(AT_ONCE));
        tasks.spawn("reads", async move {
            loop {
                if let Some(open) = announced.take() {
                    tokio::select! {
                        () = stopping.cancelled() => return open.inlet.close().await,
                        () = open.inlet.ended() => (),
                        () = answer_all(open.questions, &places, &group) => (),
                    }
                    tracing::warn!("questions cannot be heard, announcing the service again");
                }
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = tokio::time::sleep(PAUSE) => (),
                }
                match self.announce(&bus).await {
                    Ok(open) => announced = Some(open),
                    Err(error) => tracing::warn!(error = telemetry::chain(&error), "trying again"),
                }
            }
        });
        Ok(())
    }

    async fn announce(&self, bus: &Bus) -> Result<Open, Error> {
        let inlet = bus.inlet("reads").await?;
        let service = self.service;
        let announcement = inlet
            .client()
            .service_builder()
            .queue_group(service.as_str())
            .description(format!("reads of {service}"))
            .start(format!("bcs-{service}"), env!("CARGO_PKG_VERSION"))
            .await
            .map_err(|e| Error::nats(format!("announcing {service}"), e))?;
        let mut questions = Questions::new();
        for Endpoint { name, subject, handler } in &self.endpoints {
            let endpoint = announcement.endpoint_builder().name(name).add(subject).await;
            let asked = endpoint.map_err(|e| Error::nats(format!("serving {subject}"), e))?;
            let handler = handler.clone();
            questions.push(Box::pin(asked.map(move |question| (handler.clone(), question))));
        }
        Ok(Open { inlet, _announcement: announcement, questions })
    }

    fn serve_status(&mut self) {
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
            let answer = Answer::Ok(Answered { revision: live.seq, as_of: clock.now(), data, next: None });
            async move { answer }
        });
    }

    fn serve_outcomes(&mut self) {
        let (machine, clock) = (self.machine.clone(), self.clock.clone());
        self.endpoint("outcome", "get", move |query: OutcomeQuery| {
            let (machine, clock) = (machine.clone(), clock.clone());
            async move {
                match machine.outcome(query.command_id).await {
                    Ok(data) => {
                        let data: Option<Outcome> = data;
                        let revision = machine.live().seq;
                        Answer::Ok(Answered { revision, as_of: clock.now(), data, next: None })
                    }
                    Err(error) => refused(telemetry::chain(&error)),
                }
            }
        });
    }

    fn endpoint<Q, T, F, Fut>(&mut self, kind: &str, verb: &str, look: F)
    where
        Q: DeserializeOwned + Send,
        T: Serialize + Send + 'static,
        F: Fn(Q) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Answer<T>> + Send,
    {
        let look = Arc::new(look);
        let handler: Handler = Arc::new(move |question| {
            let look = look.clone();
            Box::pin(async move { answer(&*look, question).await })
        });
        let subject = bcs_schemas::subject::query(self.service, kind, verb);
        self.endpoints.push(Endpoint { name: format!("{kind}-{verb}"), subject, handler });
    }
}

/// Endpoints that are announced.
struct Open {
    inlet: Bus,
    /// It ends when this is dropped.
    _announcement: service::Service,
    questions: Questions,
}

async fn answer_all(mut questions: Questions, places: &Arc<Semaphore>, group: &Tasks) {
    while let Some((handler, question)) = questions.next().await {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        group.spawn("read", async move {
            handler(question).await;
            drop(place);
        });
    }
}

/// The state once it has reached a revision.
async fn at_revision<S: StateMachine>(
    machine: &Machine<S>,
    wait_for: Option<u64>,
    waiting: &Semaphore,
) -> Result<Arc<Live<S>>, String> {
    let live = machine.live();
    let Some(seq) = wait_for.filter(|seq| live.seq < *seq) else { return Ok(live) };
    let _place = waiting.try_acquire().map_err(|_| {
        format!("{WAITING} questions wait for a revision already: ask again, or without wait_for")
    })?;
    let live = machine.live_at(seq, LONGEST_WAIT).await;
    if live.seq < seq {
        return Err(format!("revision {seq} was not reached in {LONGEST_WAIT:?}, now at {}", live.seq));
    }
    Ok(live)
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
            "the answer has {} bytes, {LARGEST_ANSWER} fit: ask with a limit, or for one name",
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
