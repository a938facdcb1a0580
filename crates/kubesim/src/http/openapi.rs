//! OpenAPI, no more than kubectl needs to know that the server validates fields itself.

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
};
use serde_json::{Map, Value, json};

use super::{Reply, represent};
use crate::{
    kind::{self, Kind},
    status::Status,
};

fn group_path(kind: &Kind) -> String {
    if kind.group.is_empty() {
        format!("api/{}", kind.version)
    } else {
        format!("apis/{}/{}", kind.group, kind.version)
    }
}

pub(crate) fn handle(path: &str) -> Reply {
    let wanted = path.strip_prefix("/openapi/v3").unwrap_or("").trim_matches('/');
    if path == "/openapi/v2" {
        // kubectl reads version 2 as protobuf, for lists only. No bytes are an empty document: nothing to check there,
        // the server checks every item itself.
        let mut response = Response::new(Body::empty());
        let media = HeaderValue::from_static("application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
        response.headers_mut().insert(header::CONTENT_TYPE, media);
        return Ok(response);
    }
    if wanted.is_empty() {
        let mut paths = Map::new();
        for kind in kind::all() {
            let path = group_path(kind);
            paths.insert(
                path.clone(),
                json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash=kubesim")}),
            );
        }
        return Ok(represent::json(StatusCode::OK, &json!({"paths": paths})));
    }
    let kinds: Vec<&Kind> = kind::all().iter().copied().filter(|k| group_path(k) == wanted).collect();
    if kinds.is_empty() {
        return Err(Status::no_such_path());
    }
    Ok(represent::json(StatusCode::OK, &document(&kinds)))
}

fn document(kinds: &[&Kind]) -> Value {
    let parameter =
        |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
    let parameters = json!([
        parameter("dryRun"),
        parameter("fieldManager"),
        parameter("fieldValidation"),
        parameter("force")
    ]);
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for kind in kinds {
        let scope = if kind.namespaced { "namespaces/{namespace}/" } else { "" };
        let path = format!("/{}/{scope}{}/{{name}}", group_path(kind), kind.plural);
        let typed = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
        let operation = |action: &str| {
            json!({
                "operationId": format!("{action}{}", kind.kind), "parameters": parameters, "responses": {"200": {"description": "OK"}},
                "x-kubernetes-action": action, "x-kubernetes-group-version-kind": typed,
            })
        };
        paths.insert(path, json!({"get": operation("get"), "put": operation("put"), "patch": operation("patch"), "delete": operation("delete")}));
        let schema = json!({
            "type": "object", "description": format!("{} as the Kubernetes API publishes it.", kind.kind),
            "x-kubernetes-group-version-kind": [typed], "x-kubernetes-preserve-unknown-fields": true,
        });
        schemas.insert(format!("sim.{}.{}", kind.version, kind.kind), schema);
    }
    json!({"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.36.0"}, "paths": paths, "components": {"schemas": schemas}})
}
