//! What a sender learns of its command: accepted with the events it caused, or rejected with the reason.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{CommandId, EventId, FieldError, field::abridged};

/// Of a refusal, in bytes: what it quotes may be as large as what was sent.
const LONGEST_MESSAGE: usize = 2048;
/// Fields that a refusal names.
const MOST_FIELDS: usize = 32;

/// The one outcome of a command, for ever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The command was decided and its events are durable (or, for a plan, are what would be written).
    Accepted(Accepted),
    /// Nothing was written.
    Rejected(Rejected),
}

/// A command that was accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {
    /// The command.
    pub command_id: CommandId,
    /// Whether this is only a plan.
    #[serde(default)]
    pub plan: bool,
    /// Position of the last event in the journal; for a plan, the object's revision that it was made on. A reader that
    /// asks to wait for it sees what the command did.
    pub revision: u64,
    /// What was decided, in order.
    pub events: Vec<EventSummary>,
    /// What [`digest`] says of the events. Whoever has a plan with the same digest got exactly what was planned. Absent in
    /// outcomes of older services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// A hash of events in order, each as its object, its type and its encoded payload: 32 hexadecimal digits. Identities and
/// positions are left out, so a plan and what is decided later on the same state have the same.
pub fn digest<'a>(events: impl IntoIterator<Item = (&'a str, &'a str, &'a [u8])>) -> String {
    let mut hash = Sha256::new();
    for (target, type_name, payload) in events {
        for part in [target.as_bytes(), type_name.as_bytes(), payload] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// One event of an accepted command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventSummary {
    /// Identity.
    pub id: EventId,
    /// Position in the journal; 0 in a plan.
    pub seq: u64,
    /// The object: `demo/app/shop-web`.
    pub target: String,
    /// Message type: `bcs.deploy.app.scaled.v1`.
    #[serde(rename = "type")]
    pub type_name: String,
    /// The payload; only in plans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<serde_json::Value>,
}

/// A command that was refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rejected {
    /// The command, when it could be read at all.
    pub command_id: Option<CommandId>,
    /// The kind of reason, for programs.
    pub code: RejectionCode,
    /// One sentence, for people.
    pub message: String,
    /// The fields to mend.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldError>,
}

/// Kinds of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RejectionCode {
    /// A field is wrong.
    Invalid,
    /// The verb, the kind or the schema version is not known here.
    Unsupported,
    /// The object does not exist.
    NotFound,
    /// The object has another revision than expected.
    RevisionMismatch,
    /// The object is in a state in which this cannot be done.
    Precondition,
    /// The command came after its `not-after`.
    Expired,
    /// The actor may not do this.
    Forbidden,
    /// Something that the command needs could not be reached.
    Unreachable,
    /// A reason that this reader does not know yet.
    #[serde(other)]
    Unknown,
}

impl std::fmt::Display for RejectionCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::NotFound => "not_found",
            Self::RevisionMismatch => "revision_mismatch",
            Self::Precondition => "precondition",
            Self::Expired => "expired",
            Self::Forbidden => "forbidden",
            Self::Unreachable => "unreachable",
            Self::Unknown => "unknown",
        })
    }
}

/// Why a state machine refuses a command. A refusal is a result that the caller sees, not an error of the service.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Rejection {
    /// The kind of reason.
    pub code: RejectionCode,
    /// One sentence.
    pub message: String,
    /// The fields to mend.
    pub fields: Vec<FieldError>,
}

impl Rejection {
    /// A refusal without fields.
    pub fn new(code: RejectionCode, message: impl Into<String>) -> Self {
        Self { code, message: abridged(message.into(), LONGEST_MESSAGE), fields: Vec::new() }
    }

    /// A refusal because of `fields`. Of very many, only the first are named: the outcome is a message of limited size.
    pub fn invalid(mut fields: Vec<FieldError>) -> Self {
        let message = match fields.as_slice() {
            [one] => one.to_string(),
            several if several.len() > MOST_FIELDS => {
                format!("{} fields are wrong, the first {MOST_FIELDS} are named", several.len())
            }
            several => format!("{} fields are wrong", several.len()),
        };
        fields.truncate(MOST_FIELDS);
        Self { code: RejectionCode::Invalid, message, fields }
    }

    /// The outcome that the sender gets.
    pub fn outcome(self, command_id: Option<CommandId>) -> Outcome {
        let Self { code, message, fields } = self;
        Outcome::Rejected(Rejected { command_id, code, message, fields })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{codec, stream::MAX_MESSAGE_SIZE};

    #[test]
    fn a_refusal_is_small_whatever_it_quotes() {
        let long = "\u{1}".repeat(200_000);
        let field = FieldError::new(long.clone(), format!("{long:?} is wrong"));
        let refusals = [
            Rejection::new(RejectionCode::NotFound, format!("{long:?} is not there")),
            Rejection::invalid(vec![field.clone()]),
            Rejection::invalid(vec![field; 40_000]),
        ];
        for refusal in refusals {
            let written = codec::encode(&refusal.outcome(None)).expect("can be written");
            assert!(written.len() < MAX_MESSAGE_SIZE as usize / 4, "{} bytes", written.len());
        }
    }

    #[test]
    fn a_refusal_says_how_many_fields_it_does_not_name() {
        let field = FieldError::new("a", "b");
        let few = Rejection::invalid(vec![field.clone(); 2]);
        assert_eq!((few.message.as_str(), few.fields.len()), ("2 fields are wrong", 2));
        let many = Rejection::invalid(vec![field; 33]);
        assert_eq!(
            (many.message.as_str(), many.fields.len()),
            ("33 fields are wrong, the first 32 are named", 32)
        );
    }
}
