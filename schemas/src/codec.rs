//! The one place where bytes become messages and messages bytes: MessagePack with named maps in human-readable mode,
//! and JSON on input for programs that have nothing else.
//!
//! Named maps let fields come and go inside a version; human-readable mode keeps ids as the strings that the JSON
//! Schema promises, so that any message can be shown as JSON.

mod document;

use std::io::Cursor;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use self::document::Document;
use crate::FieldError;

/// Deepest nesting that is read. Our own documents stay below ten.
const MAX_DEPTH: usize = 64;

/// How a payload is written, as `ce-datacontenttype` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ContentType {
    /// `application/msgpack`.
    #[default]
    MessagePack,
    /// `application/json`.
    Json,
}

impl ContentType {
    /// The media type.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MessagePack => "application/msgpack",
            Self::Json => "application/json",
        }
    }

    /// Reads a media type; parameters such as `charset` are ignored.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split(';').next().unwrap_or_default().trim() {
            "application/msgpack" | "application/x-msgpack" | "application/vnd.msgpack" => {
                Ok(Self::MessagePack)
            }
            "application/json" => Ok(Self::Json),
            other => {
                Err(format!("{other:?} is not understood: expected application/msgpack or application/json"))
            }
        }
    }

    /// What a payload without a content type must be: JSON objects begin with a brace or white space, and no named
    /// MessagePack map does.
    pub fn guess(payload: &[u8]) -> Self {
        match payload.first() {
            Some(b'{' | b' ' | b'\n' | b'\r' | b'\t') => Self::Json,
            _ => Self::MessagePack,
        }
    }
}

/// Writes `message` as MessagePack. Fails only for types that cannot be a message (maps with composite keys).
pub fn encode<T: Serialize + ?Sized>(message: &T) -> Result<Bytes, EncodeError> {
    let mut out = Vec::with_capacity(256);
    let mut serializer = rmp_serde::Serializer::new(&mut out).with_struct_map().with_human_readable();
    message.serialize(&mut serializer).map_err(|e| EncodeError(e.to_string()))?;
    Ok(out.into())
}

/// Reads a MessagePack payload and uses all of it.
pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, FieldError> {
    let mut deserializer = rmp_serde::Deserializer::new(Cursor::new(payload)).with_human_readable();
    deserializer.set_max_depth(MAX_DEPTH);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|e| located(&e))?;
    let used = deserializer.get_ref().position();
    if used == payload.len() as u64 {
        Ok(value)
    } else {
        Err(FieldError::new(".", format!("{} bytes follow the message", payload.len() as u64 - used)))
    }
}

/// Reads a JSON payload and uses all of it.
pub fn decode_json<T: DeserializeOwned>(payload: &[u8]) -> Result<T, FieldError> {
    let mut deserializer = serde_json::Deserializer::from_slice(payload);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|e| located(&e))?;
    deserializer.end().map_err(|e| FieldError::new(".", e.to_string()))?;
    Ok(value)
}

/// Reads a payload in either form.
pub fn decode_as<T: DeserializeOwned>(form: ContentType, payload: &[u8]) -> Result<T, FieldError> {
    match form {
        ContentType::MessagePack => decode(payload),
        ContentType::Json => decode_json(payload),
    }
}

/// Reads a payload at a door: like [`decode_as`], and a field that the type does not know is refused by name, however
/// deep it lies, as is one that is there twice. The same type read elsewhere skips it, so that old readers understand new events.
pub fn decode_strict<T: DeserializeOwned>(form: ContentType, payload: &[u8]) -> Result<T, FieldError> {
    let Document { value, twice } =
        decode_as::<Document>(form, payload).map_err(|e| unreadable(form, &e.problem))?;
    match twice {
        // Which of the two was meant, only the sender knows.
        Some(path) => Err(FieldError::new(path, "is there twice: expected it once")),
        None => strict(value),
    }
}

/// Bytes that are not of the form that they claim: no field is to blame, so the form is named.
fn unreadable(form: ContentType, problem: &str) -> FieldError {
    let name = form.as_str();
    FieldError::new("payload", format!("is no {name} ({problem}): expected one whole message in this form"))
}

/// Reads a document that was parsed already, and refuses unknown fields by name.
pub fn strict<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, FieldError> {
    let mut unknown = None;
    let mut note = |path: serde_ignored::Path<'_>| {
        unknown.get_or_insert_with(|| path.to_string());
    };
    let value = serde_path_to_error::deserialize(serde_ignored::Deserializer::new(value, &mut note))
        .map_err(|e| located(&e))?;
    match unknown {
        None => Ok(value),
        // The library marks the inside of an option with a question mark; people do not write one.
        Some(path) => {
            Err(FieldError::new(path.replace(".?", ""), "unknown field: expected none of this name here"))
        }
    }
}

/// Any payload as JSON, for people: events, quarantined messages.
pub fn to_json(form: ContentType, payload: &[u8]) -> Result<serde_json::Value, FieldError> {
    decode_as(form, payload)
}

fn located<E: std::fmt::Display>(error: &serde_path_to_error::Error<E>) -> FieldError {
    FieldError::new(error.path().to_string(), error.inner().to_string())
}

/// The value cannot be written as a message.
#[derive(Debug, thiserror::Error)]
#[error("cannot be encoded: {0}")]
pub struct EncodeError(String);

#[cfg(test)]
mod tests;
