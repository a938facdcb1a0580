//! Request bodies: bounded; JSON, YAML, or protobuf of published types.

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use serde_json::Value;

use super::duplicate;
use crate::{protobuf, status::Status};

const LIMIT: usize = 3 << 20;

/// So much of a body that is too large is read all the same: who is still sending would see a broken connection, and no answer.
const DISCARDED: usize = 16 << 20;

pub(crate) async fn read(body: Body) -> Result<Bytes, Status> {
    let (mut stream, mut kept, mut read) = (body.into_data_stream(), BytesMut::new(), 0);
    while let Some(part) = stream.next().await {
        let part = part.map_err(|error| Status::bad_request(format!("the body ends too early: {error}")))?;
        read += part.len();
        if read <= LIMIT {
            kept.extend_from_slice(&part);
        } else if read > DISCARDED {
            break;
        }
    }
    if read > LIMIT {
        let message = format!("Request entity too large: limit is {LIMIT}");
        return Err(Status::new(413, "RequestEntityTooLarge", message));
    }
    Ok(kept.freeze())
}

pub(crate) fn media(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    value.split(';').next().unwrap_or("").trim()
}

pub(crate) fn unsupported(found: &str, supported: &str) -> Status {
    let message = format!(
        "the body of the request was in an unknown format - accepted media types include: {supported} (got {found:?})"
    );
    Status::new(415, "UnsupportedMediaType", message)
}

pub(crate) async fn object(headers: &HeaderMap, body: Body) -> Result<Value, Status> {
    let media = media(headers).to_owned();
    let bytes = read(body).await?;
    match media.as_str() {
        "" | "application/json" | "*/*" => json(&bytes),
        "application/yaml" => yaml(&bytes),
        protobuf::MEDIA => protobuf::decode(&bytes).map_err(|error| match error {
            protobuf::Error::Unknown(_) => unsupported(protobuf::MEDIA, "application/json, application/yaml"),
            wrong => Status::bad_request(wrong.to_string()),
        }),
        other => {
            Err(unsupported(other, "application/json, application/yaml, application/vnd.kubernetes.protobuf"))
        }
    }
}

/// The object in a body, and a warning for each field that it has twice.
pub(crate) async fn read_closely(headers: &HeaderMap, body: Body) -> Result<(Value, Vec<String>), Status> {
    let bytes = read(body).await?;
    let object = object(headers, Body::from(bytes.clone())).await?;
    let doubled = if matches!(media(headers), "" | "application/json" | "*/*") {
        duplicate::fields(&bytes)
    } else {
        Vec::new()
    };
    Ok((object, doubled.iter().map(|field| format!("duplicate field {field:?}")).collect()))
}

/// Like `object`, where an empty body means nothing.
pub(crate) async fn optional(headers: &HeaderMap, body: Body) -> Result<Value, Status> {
    let bytes = read(body).await?;
    if bytes.is_empty() { Ok(Value::Null) } else { object(headers, Body::from(bytes)).await }
}

pub(crate) fn json(bytes: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(bytes)
        .map_err(|e| Status::bad_request(format!("couldn't get version/kind; json parse error: {e}")))
}

pub(crate) fn yaml(bytes: &[u8]) -> Result<Value, Status> {
    serde_saphyr::from_slice(bytes)
        .map_err(|e| Status::bad_request(format!("error converting YAML to JSON: {e}")))
}
