//! The way of a command: the bus confirms that it keeps it, the service decides it, the outcome comes back. An answer
//! can get lost, so the stored outcome is asked for in between; a repeat always has the same id.

use std::time::Duration;

use async_nats::{
    HeaderMap, HeaderName, HeaderValue,
    jetstream::{
        context::{PublishError, PublishErrorKind},
        message::PublishMessage,
    },
};
use bcs_kit::{bus, telemetry};
use bcs_schemas::{
    CommandId, Service,
    codec::{self, ContentType},
    envelope::{CommandHeaders, header},
    outcome::Outcome,
    query::{Answer, Answered, OutcomeQuery},
    subject::Subject,
};
use bytes::Bytes;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{Client, Error, inbox::Place, size};

/// A single server that starts opens its streams within this time.
const OPENED_WITHIN: Duration = Duration::from_millis(750);
/// The servers of a cluster elect another leader of a stream within this time.
const ELECTED_WITHIN: Duration = Duration::from_secs(15);
/// Pause between attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// The bus confirms within milliseconds; after this long the message is sent again, with the same id.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(2);
/// After this long without an answer the stored outcome is asked for.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// A message ready to be sent.
pub(crate) struct Parcel {
    pub(crate) subject: String,
    pub(crate) service: Service,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
    pub(crate) id: Option<CommandId>,
}

/// A message as any program could publish it: nothing about it is checked here but its size.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    /// `bcs.cmd.…`
    pub subject: String,
    /// Anything.
    pub payload: Bytes,
    /// What `ce-datacontenttype` says, if anything.
    pub content_type: Option<ContentType>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
}

impl Client {
    /// Publishes a message as it is, and waits for the outcome if `wait` says how long. A message without an id gets a
    /// fresh one, which is returned. What the bus could not carry is refused, and so is waiting for an answer that could
    /// not be sent.
    pub async fn publish_raw(
        &self,
        raw: Raw,
        wait: Option<Duration>,
    ) -> Result<(String, Option<Outcome>), Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in bus::headers(telemetry::trace_headers()).iter() {
            value.iter().for_each(|value| headers.append(name.clone(), value.clone()));
        }
        if let Some(form) = raw.content_type {
            headers.insert(header::CONTENT_TYPE, form.as_str());
        }
        for (name, value) in &raw.headers {
            let (name, value) = header_line(name, value)?;
            headers.insert(name, value);
        }
        if !carried(&raw.subject) {
            return Err(Error::Subject { subject: raw.subject });
        }
        let given = headers.get(header::MESSAGE_ID).map(|v| v.as_str().to_owned());
        let shown = given.unwrap_or_else(|| self.fresh_id().to_string());
        headers.insert(header::MESSAGE_ID, shown.as_str());
        let place = self.place();
        if wait.is_some() {
            match headers.get(header::REPLY_TO) {
                Some(address) => answerable(address.as_str())?,
                None => headers.insert(header::REPLY_TO, place.address.as_str()),
            }
        }
        let Some(wait) = wait else {
            let parcel = self.parcel(raw, headers, None);
            self.keep_trying(&parcel, Instant::now() + Duration::from_secs(10)).await?;
            return Ok((shown, None));
        };
        let id = shown.parse().ok();
        let parcel = self.parcel(raw, headers, id);
        Ok((shown, Some(self.deliver(parcel, place, wait).await?)))
    }

    fn parcel(&self, raw: Raw, headers: HeaderMap, id: Option<CommandId>) -> Parcel {
        // A subject of another form reaches a service only if its stream binds it; its second token says which.
        let service = raw.subject.parse::<Subject>().map(|s| s.service);
        let token = raw.subject.split('.').nth(2).unwrap_or_default();
        let service = service.or_else(|_| token.parse::<Service>()).unwrap_or(Service::Deploy);
        Parcel { subject: raw.subject, service, headers, payload: raw.payload, id }
    }

    pub(crate) fn place(&self) -> Place {
        self.0.inbox.place()
    }

    /// Sends a parcel and waits for its outcome.
    pub(crate) async fn deliver(
        &self,
        parcel: Parcel,
        mut place: Place,
        timeout: Duration,
    ) -> Result<Outcome, Error> {
        let deadline = Instant::now() + timeout;
        let repeated = self.keep_trying(&parcel, deadline).await?;
        if repeated && parcel.id.is_none() {
            return Err(Error::Repeated { command_id: shown(&parcel) });
        }
        // The bus dropped a repeat: its outcome was sent to whoever asked first, and only the store has it for us.
        let mut ask_at = if repeated { Instant::now() } else { Instant::now() + ANSWERED_WITHIN };
        let mut reason = format!("{} did not answer in {timeout:?}", parcel.service);
        loop {
            let asking = async {
                sleep_until(ask_at.min(deadline)).await;
                if Instant::now() < deadline { Some(self.stored(&parcel, deadline).await) } else { None }
            };
            // An answer that comes meanwhile counts: the instance that is asked may be paused or cut off.
            let asked = tokio::select! {
                Ok(payload) = &mut place.answer => return outcome(&parcel, &payload),
                asked = asking => asked,
            };
            let Some(stored) = asked else {
                let subject = outcome_subject(parcel.service);
                return Err(Error::NoOutcome { command_id: shown(&parcel), subject, reason });
            };
            match stored {
                Ok(Some(outcome)) => return Ok(outcome),
                Ok(None) => (),
                Err(bus::Error::NoResponder(_)) => reason = format!("{} is not running", parcel.service),
                Err(error) => {
                    tracing::debug!(error = telemetry::chain(&error), "stored outcome not readable yet")
                }
            }
            let pause = if repeated { RETRY_PAUSE } else { ANSWERED_WITHIN };
            ask_at = Instant::now() + pause;
        }
    }

    async fn stored(&self, parcel: &Parcel, deadline: Instant) -> Result<Option<Outcome>, bus::Error> {
        let Some(command_id) = parcel.id else { return Ok(None) };
        let left = deadline.saturating_duration_since(Instant::now());
        let within = left.min(Duration::from_secs(2)).max(Duration::from_millis(50));
        let question = OutcomeQuery { command_id };
        let answer: Answer<Option<Outcome>> =
            self.bus().request(outcome_subject(parcel.service), &question, within).await?;
        match answer {
            Answer::Ok(Answered { data, .. }) => Ok(data),
            Answer::Error(refused) => Err(bus::Error::nats("asking for the outcome", refused.message)),
        }
    }

    /// Publishes until the bus confirms; says whether it had the message already.
    async fn keep_trying(&self, parcel: &Parcel, deadline: Instant) -> Result<bool, Error> {
        let limit = self.bus().client().server_info().max_payload;
        let mut unheard = None;
        loop {
            // A claim does not hold for ever: each attempt has its own.
            let headers = self.signed(parcel)?;
            size::check(&headers, &parcel.payload, limit)?;
            let error = match self.publish(parcel, headers, deadline).await {
                Ok(duplicate) => return Ok(duplicate),
                Err(error) => error,
            };
            let no_stream = matches!(error.kind(), PublishErrorKind::StreamNotFound);
            unheard = unheard.filter(|_| no_stream).or_else(|| no_stream.then(Instant::now));
            if unheard.is_some_and(|since| since.elapsed() >= self.patience()) {
                return Err(Error::NoStream { subject: parcel.subject.clone() });
            }
            let passing = matches!(
                error.kind(),
                PublishErrorKind::StreamNotFound
                    | PublishErrorKind::TimedOut
                    | PublishErrorKind::BrokenPipe
                    | PublishErrorKind::MaxAckPending
            );
            if !passing || Instant::now() + RETRY_PAUSE >= deadline {
                let (subject, command_id) = (parcel.subject.clone(), shown(parcel));
                return Err(Error::Unconfirmed { subject, command_id, source: error });
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// How long nobody may take a message before there is no stream for it.
    fn patience(&self) -> Duration {
        let cluster = self.bus().client().server_info().cluster;
        if cluster.is_some_and(|name| !name.is_empty()) { ELECTED_WITHIN } else { OPENED_WITHIN }
    }

    /// The headers, with a claim for the actor that they name, if we have a key.
    fn signed(&self, parcel: &Parcel) -> Result<HeaderMap, Error> {
        let mut headers = parcel.headers.clone();
        if let Some(identity) = self.bus().identity() {
            let signed = identity.vouch(&parcel.subject, &mut headers, &parcel.payload, self.clock().now());
            signed.map_err(|source| bus::Error::Sign { what: parcel.subject.clone(), source })?;
        }
        Ok(headers)
    }

    async fn publish(
        &self,
        parcel: &Parcel,
        headers: HeaderMap,
        deadline: Instant,
    ) -> Result<bool, PublishError> {
        let until = deadline.min(Instant::now() + CONFIRMED_WITHIN);
        let confirmed = async {
            let message = PublishMessage::build().payload(parcel.payload.clone()).headers(headers);
            self.bus().jetstream().send_publish(parcel.subject.clone(), message).await?.await
        };
        match timeout_at(until, confirmed).await {
            Ok(ack) => ack.map(|ack| ack.duplicate),
            Err(_) => Err(PublishError::new(PublishErrorKind::TimedOut)),
        }
    }
}

fn header_line(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Error> {
    let wrong = || Error::Header { name: name.to_owned() };
    // The client library takes some names that a service on the other side cannot read.
    let named = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    if !named || value.contains(['\r', '\n']) {
        return Err(wrong());
    }
    Ok((name.parse().map_err(|_| wrong())?, value.parse().map_err(|_| wrong())?))
}

/// Whether the bus can carry a message on this subject.
fn carried(subject: &str) -> bool {
    !subject.chars().any(|c| c.is_whitespace() || c.is_control())
        && subject.split('.').all(|token| !token.is_empty())
}

/// Whether a service would answer to this address.
fn answerable(address: &str) -> Result<(), Error> {
    let lookup = |name: &str| (name == header::REPLY_TO).then_some(address);
    CommandHeaders::read(lookup).map(drop).map_err(Error::ReplyTo)
}

fn shown(parcel: &Parcel) -> String {
    bus::header(Some(&parcel.headers), header::MESSAGE_ID).unwrap_or_default().to_owned()
}

fn outcome_subject(service: Service) -> String {
    bcs_schemas::subject::query(service, "outcome", "get")
}

/// An outcome has the form of its command; either can be told by its first byte.
fn outcome(parcel: &Parcel, payload: &[u8]) -> Result<Outcome, Error> {
    codec::decode_as(ContentType::guess(payload), payload)
        .map_err(|source| Error::Bus(bus::Error::Answer { subject: parcel.subject.clone(), source }))
}
