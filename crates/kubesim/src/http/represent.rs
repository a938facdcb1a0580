//! How answers look: whole objects, tables for people, or only their metadata.

use std::{borrow::Cow, fmt::Write as _, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};
use serde_json::{Map, Value, json};

use super::table;
use crate::{custom, kind::Kind, object, status::Status, store::Listing};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Full,
    Table,
    Metadata,
}

impl Form {
    /// The first form of `Accept` that this server has.
    pub(crate) fn negotiate(headers: &HeaderMap) -> Result<Self, Status> {
        let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
        if accept.trim().is_empty() {
            return Ok(Self::Full);
        }
        for choice in accept.split(',') {
            let mut parts = choice.split(';').map(str::trim);
            let media = parts.next().unwrap_or("");
            if !matches!(
                media,
                "application/json" | "application/*" | "*/*" | "application/yaml" | "text/plain"
            ) {
                continue;
            }
            match parts.find_map(|p| p.strip_prefix("as=")) {
                None => return Ok(Self::Full),
                Some("Table") => return Ok(Self::Table),
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") => return Ok(Self::Metadata),
                Some(_) => {}
            }
        }
        Err(not_acceptable())
    }
}

pub(crate) fn not_acceptable() -> Status {
    let message = "only the following media types are accepted: application/json, application/yaml";
    Status::new(406, "NotAcceptable", message)
}

pub(crate) fn json(code: StatusCode, value: &Value) -> Response<Body> {
    text(code, value.to_string())
}

pub(crate) fn text(code: StatusCode, json: String) -> Response<Body> {
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Warnings travel in headers that kubectl prints.
pub(crate) fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings {
        let text = warning.replace(['"', '\\'], "'");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}

/// The object as lists and watches show it: with its type, which the store need not have.
pub(crate) fn typed<'a>(kind: &Kind, value: &'a Value) -> Cow<'a, Value> {
    // Every version of a custom resource is the same but for its name.
    let fits =
        kind.is_stored() && (kind.custom().is_none() || value["apiVersion"] == kind.api_version().as_str());
    let filled = kind.custom().is_some_and(|custom| custom.defaults);
    if value.get("kind").is_some_and(Value::is_string) && fits && !filled {
        return Cow::Borrowed(value);
    }
    let mut value = value.clone();
    if let Some(custom) = kind.custom() {
        // It may be older than a default.
        custom::fill(&custom.schema, &mut value);
    }
    if let Some(translation) = kind.translation() {
        (translation.from_stored)(&mut value);
    }
    value["kind"] = json!(kind.kind);
    value["apiVersion"] = json!(kind.api_version());
    Cow::Owned(value)
}

fn metadata_only(value: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": value["metadata"]})
}

pub(crate) fn one(form: Form, kind: &Kind, value: &Value, include: &str) -> Value {
    match form {
        Form::Full => typed(kind, value).into_owned(),
        Form::Metadata => metadata_only(value),
        Form::Table => {
            table::render(kind, std::iter::once(value), include, &list_metadata(object::version(value)), true)
        }
    }
}

fn list_metadata(version: u64) -> Map<String, Value> {
    Map::from_iter([("resourceVersion".to_owned(), json!(version.to_string()))])
}

/// The rest of a list that was cut at a limit.
pub(crate) struct Rest {
    pub token: String,
    pub remaining: Option<usize>,
}

pub(crate) fn list(form: Form, kind: &Kind, listing: &Listing, rest: Option<Rest>, include: &str) -> String {
    let mut metadata = list_metadata(listing.version);
    if let Some(rest) = rest {
        metadata.insert("continue".to_owned(), json!(rest.token));
        if let Some(remaining) = rest.remaining {
            metadata.insert("remainingItemCount".to_owned(), json!(remaining));
        }
    }
    let objects = listing.objects.iter().map(Arc::as_ref);
    let (name, version) = match form {
        Form::Table => return table::render(kind, objects, include, &metadata, true).to_string(),
        Form::Full => (format!("{}List", kind.kind), kind.api_version()),
        Form::Metadata => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
    };
    // Written straight into text: a list may be as large as the cluster.
    let mut text = format!(
        "{{\"kind\":{name:?},\"apiVersion\":{version:?},\"metadata\":{},\"items\":[",
        Value::Object(metadata)
    );
    for (at, object) in objects.enumerate() {
        let comma = if at == 0 { "" } else { "," };
        // Writing into a string cannot fail.
        let _ = match form {
            Form::Metadata => write!(text, "{comma}{}", metadata_only(object)),
            _ => write!(text, "{comma}{}", typed(kind, object)),
        };
    }
    text.push_str("]}");
    text
}
