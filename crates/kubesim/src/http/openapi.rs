//! OpenAPI: the schemas of what is served, for `kubectl explain`, and the parameters by which kubectl learns that the server
//! validates fields itself.

use std::collections::BTreeSet;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};
use serde_json::{Map, Value, json};

use super::{Reply, discovery::VERSION, represent};
use crate::{
    kind::Kind,
    kinds::Kinds,
    schema::{self, Components},
    status::Status,
};

const REFERENCE: &str = "#/components/schemas/";

fn group_path(kind: &Kind) -> String {
    if kind.group.is_empty() {
        format!("api/{}", kind.version)
    } else {
        format!("apis/{}/{}", kind.group, kind.version)
    }
}

pub(crate) fn handle(kinds: &Kinds, path: &str, headers: &HeaderMap) -> Reply {
    let all = kinds.all();
    if path == "/openapi/v2" {
        return Ok(version_2(&all, headers));
    }
    let wanted = path.strip_prefix("/openapi/v3").unwrap_or("").trim_matches('/');
    if wanted.is_empty() {
        let entry = |kind: &&'static Kind| {
            let path = group_path(kind);
            let at = json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash=kubesim")});
            (path, at)
        };
        let paths: Map<String, Value> = all.iter().map(entry).collect();
        return Ok(represent::json(StatusCode::OK, &json!({"paths": paths})));
    }
    let kinds: Vec<&'static Kind> = all.into_iter().filter(|k| group_path(k) == wanted).collect();
    if kinds.is_empty() {
        return Err(Status::no_such_path());
    }
    let document = json!({
        "openapi": "3.0.0", "info": info(), "paths": paths(&kinds),
        "components": {"schemas": schemas(&kinds)},
    });
    Ok(represent::json(StatusCode::OK, &document))
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": VERSION})
}

/// In JSON, or as protobuf, in which kubectl reads it for lists only: no bytes are an empty document, with nothing to check;
/// the server checks every item itself.
fn version_2(all: &[&'static Kind], headers: &HeaderMap) -> Response<Body> {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
    if accept.contains("protobuf") {
        let mut response = Response::new(Body::empty());
        let media = HeaderValue::from_static("application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
        response.headers_mut().insert(header::CONTENT_TYPE, media);
        return response;
    }
    let document = json!({
        "swagger": "2.0", "info": info(), "paths": paths(all), "definitions": schemas(all),
    });
    let text = document.to_string().replace(REFERENCE, "#/definitions/");
    represent::text(StatusCode::OK, text)
}

fn paths(kinds: &[&Kind]) -> Map<String, Value> {
    let parameter =
        |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
    let parameters = json!(["dryRun", "fieldManager", "fieldValidation", "force"].map(parameter));
    let mut paths = Map::new();
    for kind in kinds {
        let typed = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
        let operation = |action: &str| {
            json!({
                "operationId": format!("{action}{}", kind.kind), "parameters": parameters, "responses": {"200": {"description": "OK"}},
                "x-kubernetes-action": action, "x-kubernetes-group-version-kind": typed,
            })
        };
        let scope = if kind.namespaced { "namespaces/{namespace}/" } else { "" };
        let collection = format!("/{}/{scope}{}", group_path(kind), kind.plural);
        paths.insert(
            format!("{collection}/{{name}}"),
            json!({"get": operation("get"), "put": operation("put"), "patch": operation("patch"), "delete": operation("delete")}),
        );
        paths.insert(collection, json!({"get": operation("list"), "post": operation("post")}));
    }
    paths
}

/// The schemas of these kinds, and all that they refer to.
fn schemas(kinds: &[&'static Kind]) -> Components {
    let mut found = Components::new();
    let mut wanted: Vec<&str> = Vec::new();
    for kind in kinds {
        match kind.custom() {
            None => wanted.extend(schema::root(kind).and_then(name)),
            Some(custom) => {
                references(&custom.schema, &mut |reference| wanted.push(reference));
                found.insert(custom_name(kind), custom_schema(kind, &custom.schema));
            }
        }
    }

    let mut seen: BTreeSet<&str> = wanted.iter().copied().collect();
    while let Some(name) = wanted.pop() {
        let Some(schema) = schema::components().get(name) else { continue };
        references(schema, &mut |reference| {
            if seen.insert(reference) {
                wanted.push(reference);
            }
        });
        found.insert(name.to_owned(), schema.clone());
    }
    found
}

/// As the real server names it: `com.example.stable.v1.CronTab`.
fn custom_name(kind: &Kind) -> String {
    let mut parts: Vec<&str> = kind.group.split('.').rev().collect();
    parts.extend([kind.version, kind.kind]);
    parts.join(".")
}

fn custom_schema(kind: &Kind, schema: &Value) -> Value {
    let mut schema = schema.clone();
    let typed = json!([{"group": kind.group, "version": kind.version, "kind": kind.kind}]);
    schema["x-kubernetes-group-version-kind"] = typed;
    schema
}

fn name(reference: &Value) -> Option<&str> {
    reference.get("$ref")?.as_str()?.strip_prefix(REFERENCE)
}

fn references<'a>(schema: &'a Value, each: &mut impl FnMut(&'a str)) {
    if let Some(name) = name(schema) {
        each(name);
    }
    match schema {
        Value::Object(map) => map.values().for_each(|value| references(value, each)),
        Value::Array(list) => list.iter().for_each(|value| references(value, each)),
        _ => {}
    }
}
