//! What happens to an object between the wire and the store: typing, defaults, rules.

mod default;
mod rule;
pub(crate) mod typed;

use serde_json::Value;

pub(crate) use self::default::{apply as apply_defaults, base64, normalise};
pub(crate) use self::rule::{check, check_update};
use crate::{kind::Kind, object, status::Status};

/// What to do with fields that the type does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    Strict,
    Warn,
    Ignore,
}

/// Types the object: wrong types are refused, unknown fields are dropped, as the real server prunes them.
pub(crate) fn typing(
    kind: &Kind,
    mut object: Value,
    unknown: Unknown,
) -> Result<(Value, Vec<String>), Status> {
    drop_nulls(&mut object);
    normalise(&mut object);
    let managed =
        object.get_mut("metadata").and_then(Value::as_object_mut).and_then(|m| m.remove("managedFields"));
    let known = (kind.check)(&object).map_err(|e| {
        let (kind, version) = (kind.kind, kind.version);
        Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {e}"))
    })?;
    let found = typed::unknown_fields(&object, &known);
    let warnings: Vec<String> = found.iter().map(|f| format!("unknown field {f:?}")).collect();
    for field in &found {
        prune(&mut object, field);
    }
    if let Some(managed) = managed {
        object["metadata"]["managedFields"] = managed;
    }
    match unknown {
        Unknown::Strict if !warnings.is_empty() => {
            Err(Status::bad_request(format!("strict decoding error: {}", warnings.join(", "))))
        }
        Unknown::Ignore => Ok((object, Vec::new())),
        _ => Ok((object, warnings)),
    }
}

/// `null` says the same as nothing; clients write it for fields that they leave out.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Removes a field by the path that `typed::unknown_fields` made. A key with a dot in it just stays.
fn prune(object: &mut Value, path: &str) {
    let pointer = format!("/{}", path.replace('[', "/").replace(']', "").replace('.', "/"));
    let Some((parent, last)) = pointer.rsplit_once('/') else { return };
    if let Some(map) = object.pointer_mut(parent).and_then(Value::as_object_mut) {
        map.remove(last);
    }
}

/// Body and request must speak of the same type.
pub(crate) fn type_matches(kind: &Kind, object: &mut Value) -> Result<(), Status> {
    if !object.is_object() {
        return Err(Status::bad_request("the body of the request must be an object"));
    }
    for (field, wanted) in [("apiVersion", kind.api_version()), ("kind", kind.kind.to_owned())] {
        match object.get(field).and_then(Value::as_str) {
            None => {
                object[field] = Value::String(wanted);
            }
            Some(found) if found == wanted => {}
            Some(found) => {
                let message = format!(
                    "the API version or kind in the data ({found}) does not match the expected one ({wanted})"
                );
                return Err(Status::bad_request(message));
            }
        }
    }
    object::default(object, &["metadata"], Value::Object(serde_json::Map::new()));
    Ok(())
}
