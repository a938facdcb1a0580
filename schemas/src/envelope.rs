//! What travels in NATS headers beside a payload, so that relays, quarantine and tracing never decode the body.
//! Header names are case-sensitive on NATS: they are written here and nowhere else.

use std::str::FromStr;

use jiff::Timestamp;

use crate::{CommandId, EventId, FieldError, TypeName, codec::ContentType};

/// Names of headers.
pub mod header {
    /// Command or event id; JetStream drops repeats by it.
    pub const MESSAGE_ID: &str = "Nats-Msg-Id";
    /// Message type: `bcs.deploy.app.scale.v1`.
    pub const TYPE: &str = "ce-type";
    /// When the event was decided, RFC 3339.
    pub const TIME: &str = "ce-time";
    /// Media type of the payload.
    pub const CONTENT_TYPE: &str = "ce-datacontenttype";
    /// Inbox that waits for the outcome.
    pub const REPLY_TO: &str = "bcs-reply-to";
    /// `apply` or `plan`.
    pub const MODE: &str = "bcs-mode";
    /// Revision that the object must have.
    pub const EXPECTED_REVISION: &str = "bcs-expected-revision";
    /// Instant after which the command is refused, RFC 3339.
    pub const NOT_AFTER: &str = "bcs-not-after";
    /// Who asks.
    pub const ACTOR: &str = "bcs-actor";
    /// Whose key vouches for that, and the signature.
    pub const ACTOR_CLAIM: &str = "bcs-actor-claim";
    /// Position of an event in its owner's journal.
    pub const SEQ: &str = "bcs-seq";
    /// Shard whose journal holds the event.
    pub const SHARD: &str = "bcs-shard";
    /// Command that caused an event, or event that caused a command.
    pub const CAUSATION: &str = "bcs-causation-id";
    /// First command of the chain of causes.
    pub const CORRELATION: &str = "bcs-correlation-id";
    /// W3C trace context.
    pub const TRACEPARENT: &str = "traceparent";
    /// Of a question that is asked again until it is answered: unique, and the same each time.
    pub const REQUEST_ID: &str = "bcs-request-id";
    /// Of a word in a bucket: which process wrote it, so that who keeps that part of the bucket knows its own words.
    pub const WRITER: &str = "bcs-writer";
    /// Original id of a command that was replayed from quarantine.
    pub const REPLAY_OF: &str = "bcs-replay-of";
}

/// Longest name of who asks, in bytes.
pub const MOST_ACTOR: usize = 256;

/// Whether a command is carried out or only planned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Decide, write, make it true.
    #[default]
    Apply,
    /// Decide on a copy and answer with the events that would be written.
    Plan,
}

/// The headers of a command. Everything is optional on the wire: a bare `nats pub` is a valid command.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CommandHeaders {
    /// Identity; derived from the stream position when the sender gave none.
    pub id: Option<CommandId>,
    /// Message type; version 1 of what the subject says when the sender gave none.
    pub type_name: Option<TypeName>,
    /// Form of the payload; guessed from its first byte when the sender gave none.
    pub content_type: Option<ContentType>,
    /// Inbox that waits for the outcome.
    pub reply_to: Option<String>,
    /// Apply or plan.
    pub mode: Mode,
    /// Revision that the object must have.
    pub expected_revision: Option<u64>,
    /// Instant after which the command is refused.
    pub not_after: Option<Timestamp>,
    /// Who asks, as far as the bus knows.
    pub actor: Option<String>,
    /// First command of the chain of causes; the command itself when absent.
    pub correlation: Option<CommandId>,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

impl CommandHeaders {
    /// Reads headers through `get`; the first bad one is named.
    pub fn read<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Result<Self, FieldError> {
        Ok(Self {
            id: parsed(&get, header::MESSAGE_ID, "a UUID")?,
            type_name: match get(header::TYPE) {
                Some(text) => Some(text.parse().map_err(|e| FieldError::new(header::TYPE, shortened(e)))?),
                None => None,
            },
            content_type: match get(header::CONTENT_TYPE) {
                Some(text) => Some(
                    ContentType::parse(text)
                        .map_err(|e| FieldError::new(header::CONTENT_TYPE, shortened(e)))?,
                ),
                None => None,
            },
            reply_to: get(header::REPLY_TO).map(inbox).transpose()?,
            mode: match get(header::MODE) {
                None | Some("apply") => Mode::Apply,
                Some("plan") => Mode::Plan,
                Some(other) => return Err(unexpected(header::MODE, other, "apply or plan")),
            },
            expected_revision: parsed(&get, header::EXPECTED_REVISION, "an integer")?,
            not_after: parsed(&get, header::NOT_AFTER, "an instant such as 2026-11-22T10:00:00Z")?,
            actor: short(&get, header::ACTOR, MOST_ACTOR)?,
            correlation: parsed(&get, header::CORRELATION, "a UUID")?,
            // Nobody's command fails for the sake of a trace: what is not in the form of W3C is left out.
            traceparent: get(header::TRACEPARENT).filter(|t| traceparent(t)).map(str::to_owned),
        })
    }

    /// The headers as they are written.
    pub fn write(&self) -> Vec<(&'static str, String)> {
        let mode = match self.mode {
            Mode::Apply => None,
            Mode::Plan => Some("plan".to_owned()),
        };
        let all = [
            (header::MESSAGE_ID, self.id.map(|v| v.to_string())),
            (header::TYPE, self.type_name.as_ref().map(ToString::to_string)),
            (header::CONTENT_TYPE, self.content_type.map(|v| v.as_str().to_owned())),
            (header::REPLY_TO, self.reply_to.clone()),
            (header::MODE, mode),
            (header::EXPECTED_REVISION, self.expected_revision.map(|v| v.to_string())),
            (header::NOT_AFTER, self.not_after.map(|v| v.to_string())),
            (header::ACTOR, self.actor.clone()),
            (header::CORRELATION, self.correlation.map(|v| v.to_string())),
            (header::TRACEPARENT, self.traceparent.clone()),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// The headers of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct EventHeaders {
    /// Identity; also what JetStream drops repeats by.
    pub id: EventId,
    /// Message type.
    pub type_name: TypeName,
    /// Position in the owner's journal; a consumer that keeps the last one drops repeats by it.
    pub seq: u64,
    /// Shard whose journal holds the event.
    pub shard: u32,
    /// When it was decided.
    pub time: Timestamp,
    /// Who asked for it.
    pub actor: String,
    /// The command that caused it.
    pub causation: CommandId,
    /// First command of the chain of causes.
    pub correlation: CommandId,
    /// W3C trace context of the command.
    pub traceparent: Option<String>,
}

impl EventHeaders {
    /// Reads headers through `get`; the first missing or bad one is named.
    pub fn read<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Result<Self, FieldError> {
        fn required<T>(value: Option<T>, name: &str) -> Result<T, FieldError> {
            value.ok_or_else(|| FieldError::new(name, "is missing: an event has this header"))
        }
        let type_name = required(get(header::TYPE), header::TYPE)?;
        let causation = required(parsed(&get, header::CAUSATION, "a UUID")?, header::CAUSATION)?;
        Ok(Self {
            id: required(parsed(&get, header::MESSAGE_ID, "a UUID")?, header::MESSAGE_ID)?,
            type_name: type_name.parse().map_err(|e| FieldError::new(header::TYPE, shortened(e)))?,
            seq: required(parsed(&get, header::SEQ, "an integer")?, header::SEQ)?,
            shard: parsed(&get, header::SHARD, "an integer")?.unwrap_or(0),
            time: required(parsed(&get, header::TIME, "an RFC 3339 instant")?, header::TIME)?,
            actor: get(header::ACTOR).unwrap_or("anonymous").to_owned(),
            causation,
            correlation: parsed(&get, header::CORRELATION, "a UUID")?.unwrap_or(causation),
            traceparent: get(header::TRACEPARENT).map(str::to_owned),
        })
    }

    /// The headers as they are written.
    pub fn write(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![
            (header::MESSAGE_ID, self.id.to_string()),
            (header::TYPE, self.type_name.to_string()),
            (header::CONTENT_TYPE, ContentType::MessagePack.as_str().to_owned()),
            (header::SEQ, self.seq.to_string()),
            (header::SHARD, self.shard.to_string()),
            (header::TIME, self.time.to_string()),
            (header::ACTOR, self.actor.clone()),
            (header::CAUSATION, self.causation.to_string()),
            (header::CORRELATION, self.correlation.to_string()),
        ];
        all.extend(self.traceparent.clone().map(|t| (header::TRACEPARENT, t)));
        all
    }
}

/// An outcome is published with the rights of the service: a sender must not be able to aim it at anything but an inbox.
fn inbox(text: &str) -> Result<String, FieldError> {
    let plain = |c: char| c.is_ascii_graphic() && c != '*' && c != '>';
    let fits =
        text.starts_with("_INBOX") && text.len() <= 256 && text.chars().all(plain) && !text.contains("..");
    if fits {
        Ok(text.to_owned())
    } else {
        Err(unexpected(header::REPLY_TO, text, "an inbox, which begins with _INBOX"))
    }
}

/// The characters of a W3C trace context. It is copied into every event, and databases refuse some others.
fn traceparent(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// A text that is copied into every event of the command: short, and without control characters, which databases refuse.
fn short<'a>(
    get: &impl Fn(&str) -> Option<&'a str>,
    name: &str,
    most: usize,
) -> Result<Option<String>, FieldError> {
    match get(name) {
        Some(text) if text.len() > most || text.chars().any(char::is_control) => Err(unexpected(
            name,
            text,
            &format!("at most {most} characters, none of them control characters"),
        )),
        text => Ok(text.map(str::to_owned)),
    }
}

fn parsed<'a, T: FromStr>(
    get: &impl Fn(&str) -> Option<&'a str>,
    name: &str,
    expected: &str,
) -> Result<Option<T>, FieldError> {
    match get(name) {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| unexpected(name, text, expected)),
    }
}

fn unexpected(name: &str, text: &str, expected: &str) -> FieldError {
    let shown: String = text.chars().take(80).collect();
    FieldError::new(name, format!("{shown:?} is not understood: expected {expected}"))
}

fn shortened(problem: String) -> String {
    problem.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn full() -> CommandHeaders {
        CommandHeaders {
            id: Some(CommandId::derived("test", "id")),
            type_name: "bcs.deploy.app.scale.v1".parse().ok(),
            content_type: Some(ContentType::Json),
            reply_to: Some("_INBOX.1".to_owned()),
            mode: Mode::Plan,
            expected_revision: Some(9),
            not_after: "2026-11-22T10:00:00Z".parse().ok(),
            actor: Some("ada".to_owned()),
            correlation: Some(CommandId::derived("test", "first")),
            traceparent: Some("00-1-2-01".to_owned()),
        }
    }

    #[test]
    fn headers_read_back_and_none_is_needed() {
        let written: HashMap<_, _> = full().write().into_iter().collect();
        assert_eq!(CommandHeaders::read(|name| written.get(name).map(String::as_str)), Ok(full()));
        assert_eq!(CommandHeaders::read(|_| None), Ok(CommandHeaders::default()));
    }

    #[test]
    fn a_trace_context_in_another_form_is_left_out() {
        for strange in ["00-1-2-01\0", "00 1", "über", &"0".repeat(65)] {
            let read = CommandHeaders::read(|name| (name == header::TRACEPARENT).then_some(strange));
            assert_eq!(read.expect("is read").traceparent, None, "{strange:?}");
        }
    }

    #[test]
    fn a_bad_header_is_named_with_what_was_expected() {
        for (name, value, words) in [
            (header::MESSAGE_ID, "17", "a UUID"),
            (header::TYPE, "scale", "bcs.<service>"),
            (header::CONTENT_TYPE, "text/xml", "application/msgpack"),
            (header::MODE, "try", "apply or plan"),
            (header::EXPECTED_REVISION, "-3", "an integer"),
            (header::NOT_AFTER, "tomorrow", "2026"),
            (header::REPLY_TO, "bcs.cmd.deploy.local.demo.app.shop.delete", "an inbox"),
            (header::REPLY_TO, "_INBOX.>", "an inbox"),
            (header::ACTOR, "ada\0", "control characters"),
        ] {
            let error = CommandHeaders::read(|n| (n == name).then_some(value)).expect_err(name);
            assert_eq!(error.field, name);
            assert!(error.problem.contains(words), "{error}");
        }
    }
}
