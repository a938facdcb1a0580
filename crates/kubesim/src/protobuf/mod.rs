//! Objects as protobuf, which clients in Go send of published types (`kubectl create`, `kubectl auth can-i`). Answers are JSON, which all
//! of them accept. The schemas say what a field is; `numbers.txt` says which number it has, as the `generated.proto` files of the
//! Kubernetes API do: `1:name` is a property, `2>type` the properties of another message, which are those of this one in JSON.

mod wire;

use std::{collections::HashMap, sync::LazyLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use self::wire::{Field, fields};
use crate::schema;

pub(crate) const MEDIA: &str = "application/vnd.kubernetes.protobuf";

/// How every such body begins: https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding
const MAGIC: &[u8] = b"k8s\0";

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Error {
    #[error("the body does not begin as protobuf of Kubernetes does")]
    Magic,
    #[error("the body is cut off, or is no protobuf")]
    Wire,
    #[error("protobuf of {0} is not known here: send JSON")]
    Unknown(String),
}

enum Number {
    Property(&'static str),
    Inlined(&'static str),
}

type Message = HashMap<u64, Number>;

static MESSAGES: LazyLock<HashMap<&'static str, Message>> = LazyLock::new(|| {
    let number = |part: &'static str| {
        let at = part.find([':', '>'])?;
        let number = if part[at..].starts_with(':') { Number::Property } else { Number::Inlined };
        Some((part[..at].parse().ok()?, number(&part[at + 1..])))
    };
    let message = |line: &'static str| {
        let (name, numbers) = line.split_once(' ')?;
        Some((name, numbers.split(' ').filter_map(number).collect()))
    };
    include_str!("numbers.txt").lines().filter_map(message).collect()
});

/// Fields that say something when they are zero or false. Others are written always, and say nothing then.
const ZERO_COUNTS: [&str; 36] = [
    "activeDeadlineSeconds",
    "allocateLoadBalancerNodePorts",
    "allowPrivilegeEscalation",
    "automountServiceAccountToken",
    "backoffLimit",
    "backoffLimitPerIndex",
    "blockOwnerDeletion",
    "completions",
    "controller",
    "defaultMode",
    "enableServiceLinks",
    "failedJobsHistoryLimit",
    "fsGroup",
    "gracePeriodSeconds",
    "hostUsers",
    "immutable",
    "minReplicas",
    "mode",
    "optional",
    "orphanDependents",
    "parallelism",
    "partition",
    "privileged",
    "progressDeadlineSeconds",
    "readOnlyRootFilesystem",
    "replicas",
    "revisionHistoryLimit",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "shareProcessNamespace",
    "successfulJobsHistoryLimit",
    "suspend",
    "terminationGracePeriodSeconds",
    "tolerationSeconds",
    "ttlSecondsAfterFinished",
];

/// The object in a body.
pub(crate) fn decode(body: &[u8]) -> Result<Value, Error> {
    let envelope = body.strip_prefix(MAGIC).ok_or(Error::Magic)?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in fields(envelope) {
        match field? {
            (1, Field::Bytes(of_type)) => {
                for part in fields(of_type) {
                    match part? {
                        (1, Field::Bytes(text)) => api_version = wire::text(text)?,
                        (2, Field::Bytes(text)) => kind = wire::text(text)?,
                        _ => {}
                    }
                }
            }
            (2, Field::Bytes(object)) => raw = object,
            _ => {}
        }
    }
    let name = component(&api_version, &kind);
    let unknown = || Error::Unknown(format!("{api_version} {kind}"));
    let message = MESSAGES.get(name.as_str()).ok_or_else(unknown)?;
    let schema = schema::components().get(&format!("io.k8s.{name}")).ok_or_else(unknown)?;
    let mut object =
        Map::from_iter([("apiVersion".to_owned(), json!(api_version)), ("kind".to_owned(), json!(kind))]);
    decode_message(message, schema, raw, &mut object)?;
    Ok(Value::Object(object))
}

/// `api.apps.v1.Deployment`.
fn component(api_version: &str, kind: &str) -> String {
    let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
    if kind == "DeleteOptions" {
        return "apimachinery.pkg.apis.meta.v1.DeleteOptions".to_owned();
    }
    format!("api.{}.{version}.{kind}", group.split('.').next().unwrap_or(""))
}

fn decode_message(
    message: &Message,
    schema: &'static Value,
    bytes: &[u8],
    object: &mut Map<String, Value>,
) -> Result<(), Error> {
    for field in fields(bytes) {
        let (number, field) = field?;
        match (message.get(&number), &field) {
            (Some(Number::Inlined(name)), Field::Bytes(inner)) => {
                let message = MESSAGES.get(name).ok_or_else(|| Error::Unknown((*name).to_owned()))?;
                decode_message(message, schema, inner, object)?;
            }
            (Some(Number::Property(name)), _) => property(schema, name, &field, object)?,
            // A newer client: what is not known is not there, as in JSON.
            _ => {}
        }
    }
    Ok(())
}

fn property(
    schema: &'static Value,
    name: &str,
    field: &Field<'_>,
    object: &mut Map<String, Value>,
) -> Result<(), Error> {
    let Some(of) = schema["properties"].get(name) else { return Ok(()) };
    if of["type"] == "array" {
        let list = object.entry(name).or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            items(&of["items"], field, list)?;
        }
        return Ok(());
    }
    if of["additionalProperties"].is_object() {
        let map = object.entry(name).or_insert_with(|| json!({}));
        if let Some(map) = map.as_object_mut() {
            entry(&of["additionalProperties"], field, map)?;
        }
        return Ok(());
    }
    let value = single(of, field)?;
    let required = schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
    let says_nothing = match &value {
        Value::Null => true,
        Value::Bool(false) => !required && !ZERO_COUNTS.contains(&name),
        Value::Number(number) => number.as_f64() == Some(0.0) && !required && !ZERO_COUNTS.contains(&name),
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    if !says_nothing {
        object.insert(name.to_owned(), value);
    }
    Ok(())
}

/// One item; or many numbers in one field.
fn items(schema: &'static Value, field: &Field<'_>, list: &mut Vec<Value>) -> Result<(), Error> {
    if let (Some("integer"), Field::Bytes(packed)) = (schema["type"].as_str(), field) {
        for number in wire::packed(packed) {
            list.push(json!(number?.cast_signed()));
        }
        return Ok(());
    }
    list.push(single(schema, field)?);
    Ok(())
}

fn entry(schema: &'static Value, field: &Field<'_>, map: &mut Map<String, Value>) -> Result<(), Error> {
    let Field::Bytes(bytes) = field else { return Err(Error::Wire) };
    let (mut key, mut value) = (String::new(), empty(schema));
    for part in fields(bytes) {
        match part? {
            (1, Field::Bytes(text)) => key = wire::text(text)?,
            (2, inner) => value = single(schema, &inner)?,
            _ => {}
        }
    }
    map.insert(key, value);
    Ok(())
}

fn empty(schema: &Value) -> Value {
    if schema["type"] == "string" { json!("") } else { json!({}) }
}

fn single(schema: &'static Value, field: &Field<'_>) -> Result<Value, Error> {
    if let Some(name) = reference(schema) {
        let Field::Bytes(bytes) = field else { return Err(Error::Wire) };
        return referred(name, bytes);
    }
    Ok(match (schema["type"].as_str(), field) {
        (Some("string"), Field::Bytes(bytes)) if schema["format"] == "byte" => json!(STANDARD.encode(bytes)),
        (Some("string"), Field::Bytes(bytes)) => json!(wire::text(bytes)?),
        (Some("integer"), Field::Number(number)) => json!(number.cast_signed()),
        (Some("boolean"), Field::Number(number)) => json!(*number != 0),
        (Some("number"), Field::Double(number)) => json!(number),
        // A list of texts as the value of a map: what a claim says more of a user.
        (Some("array"), Field::Bytes(bytes)) => {
            let mut list = Vec::new();
            for part in fields(bytes) {
                items(&schema["items"], &part?.1, &mut list)?;
            }
            Value::Array(list)
        }
        (_, Field::Bytes(bytes)) => raw_json(bytes)?,
        _ => return Err(Error::Wire),
    })
}

fn reference(schema: &Value) -> Option<&str> {
    let reference = schema.get("$ref").or_else(|| schema.get("allOf")?.get(0)?.get("$ref"))?;
    reference.as_str()?.rsplit('/').next()
}

/// A message of its own, some of which JSON writes as text or as a number.
fn referred(name: &str, bytes: &[u8]) -> Result<Value, Error> {
    let short = name.strip_prefix("io.k8s.").unwrap_or(name);
    match short {
        "apimachinery.pkg.api.resource.Quantity" => {
            let text = fields(bytes).find_map(|field| match field {
                Ok((1, Field::Bytes(text))) => Some(wire::text(text)),
                _ => None,
            });
            Ok(json!(text.transpose()?.unwrap_or_default()))
        }
        "apimachinery.pkg.util.intstr.IntOrString" => int_or_string(bytes),
        "apimachinery.pkg.apis.meta.v1.Time" | "apimachinery.pkg.apis.meta.v1.MicroTime" => time(bytes),
        "apimachinery.pkg.apis.meta.v1.FieldsV1" | "apimachinery.pkg.runtime.RawExtension" => raw_json(bytes),
        _ => {
            let unknown = || Error::Unknown(short.to_owned());
            let message = MESSAGES.get(short).ok_or_else(unknown)?;
            let schema = schema::components().get(name).ok_or_else(unknown)?;
            let mut object = Map::new();
            decode_message(message, schema, bytes, &mut object)?;
            Ok(Value::Object(object))
        }
    }
}

fn int_or_string(bytes: &[u8]) -> Result<Value, Error> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    for field in fields(bytes) {
        match field? {
            (1, Field::Number(kind)) => is_text = kind == 1,
            (2, Field::Number(value)) => number = value.cast_signed(),
            (3, Field::Bytes(value)) => text = wire::text(value)?,
            _ => {}
        }
    }
    Ok(if is_text { json!(text) } else { json!(number) })
}

/// Seconds and nanoseconds since 1970; nothing when there are neither.
fn time(bytes: &[u8]) -> Result<Value, Error> {
    let (mut seconds, mut nanos) = (0, 0);
    for field in fields(bytes) {
        match field? {
            (1, Field::Number(value)) => seconds = value.cast_signed(),
            (2, Field::Number(value)) => nanos = value.cast_signed(),
            _ => {}
        }
    }
    if (seconds, nanos) == (0, 0) {
        return Ok(Value::Null);
    }
    let at = Timestamp::from_second(seconds).and_then(|at| at.checked_add(SignedDuration::from_nanos(nanos)));
    at.map(|at| json!(at.to_string())).map_err(|_| Error::Wire)
}

/// JSON inside of protobuf.
fn raw_json(bytes: &[u8]) -> Result<Value, Error> {
    let raw = fields(bytes).find_map(|field| match field {
        Ok((1, Field::Bytes(raw))) => Some(raw),
        _ => None,
    });
    raw.map_or(Ok(Value::Null), |raw| serde_json::from_slice(raw).map_err(|_| Error::Wire))
}

#[cfg(test)]
mod tests;
