//! What the last reader of commands had in hand: delivered, and not settled. Before commands are read again it is looked
//! at through the API of the stream, which shows a message as text, for two kinds of harm that reading does not survive:
//! headers that the NATS client cannot take apart (it drops the connection), and commands that end the process. Both go
//! into quarantine. What is left comes again in its old order.

use std::str::FromStr;

use async_nats::{
    HeaderName, HeaderValue, StatusCode,
    jetstream::{ErrorCode, consumer, response::Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bcs_schemas::{
    CommandId,
    envelope::{CommandHeaders, header},
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;
use serde_json::json;

use super::{Error, StateMachine, door::Door};
use crate::{
    bus,
    quarantine::{self, Found, Letter},
};

/// Starts of the process that a command may have been in hand at and not got an outcome: after these it is taken for
/// what ended them.
const MOST_STARTS: u64 = 5;
/// Messages fetched at once.
const AT_ONCE: usize = 64;

/// A message as the stream has it.
struct Stored {
    found: Found,
    /// The command's id, or the header line that cannot be read.
    id: Result<CommandId, String>,
}

impl<S: StateMachine> Door<S> {
    /// Puts what is harmful into quarantine and settles it; the last position of such. At the start of the process
    /// (`fresh`) it is counted for each command that it was in hand.
    pub(super) async fn sort_out(&self, info: &consumer::Info, fresh: bool) -> Result<Option<u64>, Error> {
        if info.num_ack_pending == 0 {
            return Ok(None);
        }
        let range = info.ack_floor.stream_sequence + 1..=info.delivered.stream_sequence;
        let stored = futures::stream::iter(range).map(|seq| self.stored(seq)).buffered(AT_ONCE);
        let stored: Vec<Stored> = stored.try_filter_map(async |found| Ok(found)).try_collect().await?;
        let (broken, readable): (Vec<_>, Vec<_>) = stored.into_iter().partition(|one| one.id.is_err());
        let mut harmful = broken.last().map(|one| one.found.seq);
        for Stored { found, id } in broken {
            let reason = id.err().unwrap_or_default();
            self.put_away(found, "unreadable", &reason).await?;
        }
        if fresh {
            harmful = harmful.max(self.count(readable).await?);
        }
        Ok(harmful)
    }

    /// Counts a start for each command without an outcome; the last position of one that had too many.
    async fn count(&self, stored: Vec<Stored>) -> Result<Option<u64>, Error> {
        let ids: Vec<CommandId> = stored.iter().filter_map(|one| one.id.clone().ok()).collect();
        let starts = self.machine.count_attempts(&ids).await?;
        let mut harmful = None;
        for Stored { found, id } in stored {
            let count = id.ok().and_then(|id| starts.get(&id)).copied().unwrap_or_default();
            if count > MOST_STARTS {
                harmful = Some(found.seq);
                let reason =
                    format!("was in hand when the service ended, {count} times, and never got an outcome");
                self.put_away(found, "exhausted", &reason).await?;
            }
        }
        Ok(harmful)
    }

    async fn put_away(&self, found: Found, code: &str, reason: &str) -> Result<(), Error> {
        let seq = found.seq;
        let letter = Letter::about(found, &self.name, code, reason, self.clock.now());
        quarantine::keep(&self.bus, letter).await?;
        self.machine.stats().quarantined.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // The server looks at nothing but the position in the stream for a message that waits to be acknowledged.
        let ack = format!("$JS.ACK.{}.{}.1.{seq}.1.1.0", Self::stream(), self.name);
        let sent = self.bus.client().request(ack, Bytes::from_static(b"+TERM")).await;
        sent.map(drop).map_err(|e| bus::Error::nats(format!("settling message {seq}"), e).into())
    }

    async fn stored(&self, seq: u64) -> Result<Option<Stored>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            message: Raw,
        }
        #[derive(Deserialize)]
        struct Raw {
            subject: String,
            #[serde(default)]
            hdrs: String,
            #[serde(default)]
            data: String,
        }
        let doing = || format!("looking at message {seq}");
        let subject = format!("STREAM.MSG.GET.{}", Self::stream());
        let answer = self.bus.jetstream().request(subject, &json!({ "seq": seq })).await;
        let raw = match answer.map_err(|e| bus::Error::nats(doing(), e))? {
            Response::Ok::<Answer>(answer) => answer.message,
            Response::Err { error } if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => return Ok(None),
            Response::Err { error } => return Err(bus::Error::nats(doing(), error).into()),
        };
        let bytes = |text: &str| BASE64_STANDARD.decode(text).map_err(|e| bus::Error::nats(doing(), e));
        let (head, payload) = (bytes(&raw.hdrs)?, bytes(&raw.data)?);
        let (headers, unreadable) = lines(&head);
        let id = match unreadable {
            Some(line) => Err(format!(
                "header line {line:?} cannot be read: expected `name: value`, printable and without line breaks"
            )),
            None => Ok(command_id(&headers, Self::stream(), seq)),
        };
        let stream = Self::stream().to_owned();
        let found =
            Found { stream, seq, subject: raw.subject, deliveries: 0, headers, payload: payload.into() };
        Ok(Some(Stored { found, id }))
    }
}

/// The id that the sender gave, or the one that the place in the stream makes.
pub(super) fn derived(stream: &str, position: u64) -> CommandId {
    CommandId::derived(stream, &position.to_string())
}

fn command_id(headers: &[(String, String)], stream: &str, seq: u64) -> CommandId {
    let named = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let only_id = |name: &str| named(name).filter(|_| name == header::MESSAGE_ID);
    let read = CommandHeaders::read(only_id).ok().and_then(|headers| headers.id);
    read.unwrap_or_else(|| derived(stream, seq))
}

/// The headers in a block as it goes over the wire, and the first line that the NATS client does not take.
fn lines(block: &[u8]) -> (Vec<(String, String)>, Option<String>) {
    let text = String::from_utf8_lossy(block);
    let mut wrong = matches!(text, std::borrow::Cow::Owned(_)).then(|| text.to_string());
    let mut lines = text.lines();
    let first = lines.next().unwrap_or("NATS/1.0");
    if !version(first) {
        wrong.get_or_insert_with(|| first.to_owned());
    }
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        match headers.last_mut() {
            // A value goes on where a line begins with a space.
            Some((_, value)) if line.starts_with(char::is_whitespace) => value.push_str(line.trim_end()),
            _ => match line.split_once(':').filter(|(name, _)| HeaderName::from_str(name).is_ok()) {
                Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
                None => drop(wrong.get_or_insert_with(|| line.to_owned())),
            },
        }
    }
    let taken = |(_, value): &(String, String)| HeaderValue::from_str(value).is_ok();
    if let Some(position) = headers.iter().position(|header| !taken(header)) {
        let (name, value) = &headers[position];
        wrong.get_or_insert_with(|| format!("{name}: {value}"));
    }
    headers.retain(taken);
    (headers, wrong)
}

/// `NATS/1.0`, possibly with a status and its description.
fn version(line: &str) -> bool {
    let Some(rest) = line.strip_prefix("NATS/1.0").map(str::trim) else { return false };
    let status = rest.split_once(' ').map_or(rest, |(status, _)| status.trim());
    status.is_empty() || status.parse::<StatusCode>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_the_client_does_not_take_is_named() {
        for (block, wrong) in [
            ("", None),
            ("NATS/1.0\r\n\r\n", None),
            ("NATS/1.0\r\na: b\r\n\r\n", None),
            ("NATS/1.0 503\r\n\r\n", None),
            ("NATS/1.0\r\na: b\r\n  and more\r\n\r\n", None),
            ("NATS/2.0\r\na: b\r\n\r\n", Some("NATS/2.0")),
            ("NATS/1.0 abc\r\n\r\n", Some("NATS/1.0 abc")),
            ("NATS/1.0\r\nno colon\r\n\r\n", Some("no colon")),
            ("NATS/1.0\r\na: b\r\ntwo words: c\r\n\r\n", Some("two words: c")),
            ("NATS/1.0\r\na: b\rc\r\n\r\n", Some("a: b\rc")),
        ] {
            assert_eq!(lines(block.as_bytes()).1.as_deref(), wrong, "{block:?}");
        }
        assert!(lines(b"NATS/1.0\r\na: \xff\r\n\r\n").1.is_some());
    }

    #[test]
    fn what_can_be_read_of_a_block_is_kept() {
        let (headers, _) = lines(b"NATS/1.0\r\nNats-Msg-Id: 7\r\nbad name: x\r\nlong: a\r\n b\r\n\r\n");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(headers, [pair("Nats-Msg-Id", "7"), pair("long", "a b")]);
    }
}
