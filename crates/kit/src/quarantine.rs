//! Quarantine: a message that could be neither handled nor answered is kept with the reason, never dropped in silence
//! and never in the way of its neighbours.

use std::fmt::Write;

use async_nats::jetstream::{self, message::PublishMessage, stream::LastRawMessageErrorKind};
use bcs_schemas::{
    CommandId, codec,
    envelope::{MOST_ACTOR, header},
    quarantine::Quarantined,
    stream, subject,
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;

use crate::{Bus, actor::ANONYMOUS, bus, bus::Error};

/// What is kept of a message, before it is known when.
pub struct Letter {
    service: String,
    record: Quarantined,
}

/// A message as it was found in its stream.
pub(crate) struct Found {
    pub(crate) stream: String,
    pub(crate) seq: u64,
    pub(crate) subject: String,
    pub(crate) deliveries: u64,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) payload: Bytes,
}

impl From<&jetstream::Message> for Found {
    fn from(message: &jetstream::Message) -> Self {
        let info = message.info().ok();
        let headers = message.headers.iter().flat_map(|map| map.iter());
        let headers =
            headers.flat_map(|(name, values)| values.iter().map(move |v| (name.to_string(), v.to_string())));
        Self {
            stream: info.as_ref().map(|i| i.stream.to_string()).unwrap_or_default(),
            seq: info.as_ref().map(|i| i.stream_sequence).unwrap_or_default(),
            subject: message.subject.to_string(),
            deliveries: info.as_ref().map(|i| i.delivered.unsigned_abs()).unwrap_or_default(),
            headers: headers.collect(),
            payload: message.payload.clone(),
        }
    }
}

impl Letter {
    /// A letter about `message`, which `consumer` could not handle.
    pub fn of(
        message: &jetstream::Message,
        consumer: &str,
        code: &str,
        reason: &str,
        now: Timestamp,
    ) -> Self {
        Self::about(message.into(), consumer, code, reason, now)
    }

    /// A letter about a message that was found.
    pub(crate) fn about(found: Found, consumer: &str, code: &str, reason: &str, now: Timestamp) -> Self {
        let service = found.subject.split('.').nth(2).unwrap_or("unknown").to_owned();
        let record = Quarantined {
            stream: found.stream,
            stream_seq: found.seq,
            subject: found.subject,
            consumer: consumer.to_owned(),
            deliveries: found.deliveries,
            code: code.to_owned(),
            reason: reason.chars().take(1_000).collect(),
            headers: found.headers,
            payload_hex: hex(&found.payload),
            quarantined_at: now,
        };
        Self { service, record }
    }
}

/// Keeps a letter; returns when the stream has it. Keeping the same message twice keeps one letter.
pub async fn keep(bus: &Bus, letter: Letter) -> Result<(), Error> {
    let Letter { service, record } = letter;
    let id = format!("dlq:{}:{}:{}", record.stream, record.stream_seq, record.consumer);
    tracing::warn!(
        subject = record.subject,
        code = record.code,
        reason = record.reason,
        "message put into quarantine"
    );
    let message = PublishMessage::build().payload(codec::encode(&record)?).message_id(id);
    let subject = subject::quarantine(&service, &record.consumer);
    let ack = bus.jetstream().send_publish(subject, message).await;
    let ack = ack.map_err(|e| Error::nats("writing to quarantine", e))?;
    ack.await.map(drop).map_err(|e| Error::nats("writing to quarantine", e))
}

/// Everything in quarantine, with its position, oldest first.
pub async fn list(bus: &Bus) -> Result<Vec<(u64, Quarantined)>, Error> {
    let stream = open(bus).await?;
    let state = &stream.cached_info().state;
    let (first, last) = (state.first_sequence, state.last_sequence);
    let found = futures::stream::iter(first..=last).map(|seq| show(bus, seq)).buffered(32);
    let found: Vec<Option<(u64, Quarantined)>> = found.try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

/// One letter.
pub async fn show(bus: &Bus, seq: u64) -> Result<Option<(u64, Quarantined)>, Error> {
    if seq == 0 {
        return Ok(None);
    }
    let stream = bus.jetstream().get_stream_no_info(stream::QUARANTINE).await;
    let stream = stream.map_err(|e| Error::nats("opening quarantine", e))?;
    // From the leader: another replica may not have a letter yet that was just kept.
    let message = match stream.get_raw_message(seq).await {
        Ok(message) => message,
        Err(e) if e.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(None),
        Err(e) => return Err(Error::nats(format!("reading letter {seq}"), e)),
    };
    let record = codec::decode(&message.payload)
        .map_err(|source| Error::Answer { subject: format!("letter {seq}"), source })?;
    Ok(Some((seq, record)))
}

/// Who publishes a message of quarantine again, and as what.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Who does it.
    pub actor: String,
    /// Id of the new command.
    pub id: CommandId,
    /// When.
    pub now: Timestamp,
}

/// Publishes the message of a letter again, as a new command that names the old one, and drops the letter. It is whoever
/// replays it that asks for it now, and signs for that; whom the old one named is said beside.
pub async fn replay(
    bus: &Bus,
    seq: u64,
    Replay { actor, id, now }: Replay,
) -> Result<Option<CommandId>, Error> {
    let Some((_, record)) = show(bus, seq).await? else { return Ok(None) };
    let mut headers = async_nats::HeaderMap::new();
    let (mut old_id, mut old_actor) = (None, ANONYMOUS);
    for (name, value) in &record.headers {
        match name.as_str() {
            header::MESSAGE_ID => old_id = Some(value.clone()),
            header::ACTOR => old_actor = value,
            // Nobody waits there any more, and nobody vouched for the new command.
            header::REPLY_TO | header::ACTOR_CLAIM => (),
            _ => headers.insert(name.as_str(), value.as_str()),
        }
    }
    headers.insert(header::MESSAGE_ID, id.to_string());
    headers.insert(header::ACTOR, replaying(&actor, old_actor));
    headers.insert(
        header::REPLAY_OF,
        old_id.unwrap_or_else(|| format!("{}:{}", record.stream, record.stream_seq)),
    );
    let payload = unhex(&record.payload_hex);
    if let Some(identity) = bus.identity() {
        let what = || format!("letter {seq}");
        identity
            .vouch(&record.subject, &mut headers, &payload, now)
            .map_err(|source| Error::Sign { what: what(), source })?;
    }
    let sent = bus.jetstream().publish_with_headers(record.subject, headers, payload.into()).await;
    let ack = sent.map_err(|e| Error::nats(format!("replaying letter {seq}"), e))?;
    ack.await.map_err(|e| Error::nats(format!("replaying letter {seq}"), e))?;
    drop_letter(bus, seq).await?;
    Ok(Some(id))
}

/// `grace replaying ada`, in the length and the characters of an actor.
fn replaying(actor: &str, old_actor: &str) -> String {
    let words = format!("{actor} replaying {old_actor}");
    let mut kept = String::with_capacity(words.len());
    for c in words.chars().filter(|c| !c.is_control()) {
        if kept.len() + c.len_utf8() > MOST_ACTOR {
            break;
        }
        kept.push(c);
    }
    kept
}

/// Drops a letter for good; whether there was one.
pub async fn drop_letter(bus: &Bus, seq: u64) -> Result<bool, Error> {
    if show(bus, seq).await?.is_none() {
        return Ok(false);
    }
    let stream = open(bus).await?;
    stream.delete_message(seq).await.map_err(|e| bus::Error::nats(format!("dropping letter {seq}"), e))
}

async fn open(bus: &Bus) -> Result<jetstream::stream::Stream, Error> {
    bus.jetstream().get_stream(stream::QUARANTINE).await.map_err(|e| Error::nats("opening quarantine", e))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The bytes of a letter's payload; what is no hexadecimal digit ends it.
pub fn unhex(text: &str) -> Vec<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.map_while(|pair| Some(digit(pair[0])? * 16 + digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_payload_survives_quarantine(bytes: Vec<u8>) {
            proptest::prop_assert_eq!(unhex(&hex(&bytes)), bytes);
        }

        #[test]
        fn whoever_replays_is_an_actor_whatever_the_old_one_was(old: String) {
            let actor = replaying("grace", &old);
            proptest::prop_assert!(actor.starts_with("grace replaying") && actor.len() <= MOST_ACTOR);
            proptest::prop_assert!(!actor.chars().any(char::is_control));
        }
    }
}
