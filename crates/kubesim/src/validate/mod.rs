//! What happens to an object between the wire and the store: typing, defaults, rules.

mod default;
mod rule;
pub(crate) mod typed;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

pub(crate) use self::default::{apply as apply_defaults, normalise};
pub(crate) use self::rule::{check, check_ephemeral, check_new, check_update};
use crate::{
    custom,
    kind::{Kind, Published, Shape},
    object,
    status::Status,
};

/// What to do with fields that the type does not know, or that are there twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    Strict,
    Warn,
    Ignore,
}

/// Types the object: wrong types are refused, unknown fields are dropped, as the real server prunes them. Which those were is told
/// in the words of a warning.
pub(crate) fn typing(kind: &Kind, mut object: Value) -> Result<(Value, Vec<String>), Status> {
    drop_nulls(&mut object);
    normalise(&mut object);
    let managed =
        object.get_mut("metadata").and_then(Value::as_object_mut).and_then(|m| m.remove("managedFields"));
    let found = match &kind.shape {
        Shape::Published(published) => published_fields(kind, published, &mut object)?,
        Shape::Custom(custom) => {
            let pruned = prune_metadata(&mut object["metadata"], "metadata");
            let mut found = pruned.map_err(|error| cannot_be_handled(kind, &error))?;
            found.extend(custom::prune(&custom.schema, &mut object));
            found
        }
    };
    let warnings: Vec<String> = found.iter().map(|f| format!("unknown field {f:?}")).collect();
    if let Some(managed) = managed {
        object["metadata"]["managedFields"] = managed;
    }
    Ok((object, warnings))
}

impl Unknown {
    /// What a client reads of such warnings, unless it is refused for them.
    pub(crate) fn heed(self, warnings: Vec<String>) -> Result<Vec<String>, Status> {
        match self {
            Self::Strict if !warnings.is_empty() => {
                Err(Status::bad_request(format!("strict decoding error: {}", warnings.join(", "))))
            }
            Self::Ignore => Ok(Vec::new()),
            _ => Ok(warnings),
        }
    }
}

/// Drops the fields that a published type does not know; which those were.
fn published_fields(kind: &Kind, published: &Published, object: &mut Value) -> Result<Vec<String>, Status> {
    let known = (published.check)(object).map_err(|error| cannot_be_handled(kind, &error))?;
    let found = typed::unknown_fields(object, &known);
    for field in &found {
        prune(object, field);
    }
    Ok(found)
}

/// The metadata of a custom resource, and of an object within it, are of a published type as well: drops the fields that it does not
/// know, and tells which those were.
pub(crate) fn prune_metadata(metadata: &mut Value, path: &str) -> Result<Vec<String>, typed::Error> {
    let known = typed::decode::<ObjectMeta>(metadata)?;
    let found = typed::unknown_fields(metadata, &known);
    for field in &found {
        prune(metadata, field);
    }
    Ok(found.iter().map(|field| format!("{path}.{field}")).collect())
}

fn cannot_be_handled(kind: &Kind, error: &typed::Error) -> Status {
    let (kind, version) = (kind.kind, kind.version);
    Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {error}"))
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
