//! Decoding through the published types: it finds wrong types and unknown fields and names the field.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

#[derive(Debug, thiserror::Error)]
#[error("{field}: {message}")]
pub(crate) struct Error {
    pub field: String,
    pub message: String,
}

/// Decodes and encodes again: what the type does not know is missing from the result.
pub(crate) fn decode<T: DeserializeOwned + Serialize>(object: &Value) -> Result<Value, Error> {
    let typed: T = serde_path_to_error::deserialize(object)
        .map_err(|e| Error { field: e.path().to_string(), message: e.inner().to_string() })?;
    serde_json::to_value(typed).map_err(|e| Error { field: String::new(), message: e.to_string() })
}

/// Paths of fields in `given` that did not survive decoding.
pub(crate) fn unknown_fields(given: &Value, known: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(given, known, "", &mut found);
    found
}

fn walk(given: &Value, known: &Value, path: &str, found: &mut Vec<String>) {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (key, value) in given.iter().filter(|(_, v)| !v.is_null()) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match known.get(key) {
                    Some(inner) => walk(value, inner, &path, found),
                    None => found.push(path),
                }
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (at, (value, inner)) in given.iter().zip(known).enumerate() {
                walk(value, inner, &format!("{path}[{at}]"), found);
            }
        }
        _ => {}
    }
}
