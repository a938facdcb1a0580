//! Subresources: status, scale, binding, eviction, log, finalize; those that stream have a folder of their own.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{Method, Response, StatusCode},
};
use serde_json::{Value, json};

use super::{Api, Call, Reply, Wire, body, log, read, represent, stream, target::Target, write};
use crate::{
    access,
    admission::Operation,
    clock,
    controller::disruption,
    kind::{self, Kind},
    object::{self, text},
    patch::{
        self,
        apply::{self, Manager},
    },
    selector::Labels,
    status::{Cause, Status},
};

pub(crate) async fn handle(api: &Arc<Api>, target: Target, call: Call, wire: Wire) -> Reply {
    let kind = target.kind;
    let body = wire.body;
    match target.subresource.as_str() {
        "status" if kind.status => part(api, target, call, body).await,
        "approval" if *kind == kind::SIGNING_REQUESTS => part(api, target, call, body).await,
        "ephemeralcontainers" if *kind == kind::PODS => part(api, target, call, body).await,
        "scale" if kind.scale => scale(api, &target, call, body).await,
        "finalize" if *kind == kind::NAMESPACES && call.method == Method::PUT => {
            write::replace(api, target, call, body).await
        }
        "binding" if *kind == kind::PODS && call.method == Method::POST => {
            binding(api, &target, call, body).await
        }
        "eviction" if *kind == kind::PODS && call.method == Method::POST => {
            eviction(api, &target, call, body).await
        }
        "token" if *kind == kind::SERVICE_ACCOUNTS && call.method == Method::POST => {
            token(api, &target, call, body).await
        }
        "log" if *kind == kind::PODS && call.method == Method::GET => log::serve(api, &target, &call),
        "exec" | "attach" | "portforward" if *kind == kind::PODS => {
            stream::serve(api, &target, call, wire.upgrade).await
        }
        _ => Err(Status::no_such_path()),
    }
}

/// A door to a part of the object, by which nothing else is changed.
async fn part(api: &Api, target: Target, call: Call, body: Body) -> Reply {
    match call.method {
        Method::GET => read::get(api, &target, &call),
        Method::PUT => write::replace(api, target, call, body).await,
        Method::PATCH => write::patch(api, target, call, body).await,
        _ => Err(Status::method_not_allowed()),
    }
}

fn current(api: &Api, target: &Target) -> Result<Arc<Value>, Status> {
    api.store.get(target.kind, &target.key()).ok_or_else(|| Status::not_found(target.kind, &target.name))
}

/// What the scale subresource shows, and changes: a custom resource says where that lies.
fn scale_of(kind: &Kind, object: &Value) -> Value {
    let (wanted, seen, selector) = match kind.custom().and_then(|custom| custom.scale.as_ref()) {
        None => (
            object["spec"]["replicas"].clone(),
            object["status"]["replicas"].clone(),
            Labels::of_owner(kind, object).to_string(),
        ),
        Some(scale) => (
            at(object, &scale.spec_replicas).clone(),
            at(object, &scale.status_replicas).clone(),
            scale.selector.as_ref().and_then(|path| at(object, path).as_str()).unwrap_or("").to_owned(),
        ),
    };
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": object::name(object), "namespace": object::namespace(object), "uid": object::uid(object),
            "resourceVersion": object["metadata"]["resourceVersion"],
            "creationTimestamp": object["metadata"]["creationTimestamp"],
        },
        "spec": {"replicas": wanted},
        "status": {"replicas": seen.as_i64().unwrap_or(0), "selector": selector},
    })
}

fn at<'a>(object: &'a Value, path: &[String]) -> &'a Value {
    path.iter().fold(object, |place, name| &place[name])
}

async fn scale(api: &Api, target: &Target, call: Call, body: Body) -> Reply {
    if call.method == Method::GET {
        return Ok(represent::json(StatusCode::OK, &scale_of(target.kind, &*current(api, target)?)));
    }
    let media = body::media(&call.headers).to_owned();
    let bytes = body::read(body).await?;
    let given = body::yaml(&bytes)?;
    let manager = Manager { name: call.manager(), subresource: "scale".to_owned() };
    let mut warnings = Vec::new();
    let done = loop {
        let seen = current(api, target)?;
        let scale = scale_of(target.kind, &seen);
        let wanted = match (&call.method, media.as_str()) {
            (&Method::PUT, _) => given.clone(),
            (&Method::PATCH, "application/json-patch+json") => patch::json(&scale, given.clone())?,
            (&Method::PATCH, _) => patch::merge(&scale, &given),
            _ => return Err(Status::method_not_allowed()),
        };
        let version = text(&wanted, "/metadata/resourceVersion");
        if !version.is_empty() && version != text(&seen, "/metadata/resourceVersion") {
            return Err(Status::stale(target.kind, &target.name));
        }
        let what = write::attributes(target, &call, Operation::Update);
        let wanted =
            api.gate.admit(&what, Some(&wanted), Some(&scale), &mut warnings).await?.unwrap_or(wanted);
        let value = scaled(target, &manager, &seen, &wanted)?;
        if write::dry(&call) {
            break Arc::new(value);
        }
        match api.store.swap(target.kind, &seen, value) {
            Err(status) if status.reason == "Conflict" => {}
            other => break other?,
        }
    };
    let mut response = represent::json(StatusCode::OK, &scale_of(target.kind, &done));
    represent::warn(&mut response, &warnings);
    Ok(response)
}

/// The object with as many replicas as a scale wants.
fn scaled(target: &Target, manager: &Manager, seen: &Value, wanted: &Value) -> Result<Value, Status> {
    let replicas = object::int(wanted, "/spec/replicas").unwrap_or(0);
    if replicas < 0 {
        let why = "must be greater than or equal to 0";
        let cause = Cause::invalid("spec.replicas", &replicas.to_string(), why);
        return Err(Status::invalid(target.kind, &target.name, &[cause]));
    }
    let mut value = seen.clone();
    let path =
        target.kind.custom().and_then(|custom| custom.scale.as_ref()).map(|scale| &scale.spec_replicas);
    let path: Vec<&str> =
        path.map_or_else(|| vec!["spec", "replicas"], |path| path.iter().map(String::as_str).collect());
    object::set(&mut value, &path, json!(replicas));
    apply::record_update(target.kind, seen, &mut value, manager, &clock::stamp());
    Ok(value)
}

fn success() -> Response<Body> {
    let body =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    represent::json(StatusCode::CREATED, &body)
}

async fn binding(api: &Api, target: &Target, call: Call, body: Body) -> Reply {
    let wanted = body::object(&call.headers, body).await?;
    let what = write::attributes(target, &call, Operation::Create);
    let wanted = api.gate.admit(&what, Some(&wanted), None, &mut Vec::new()).await?.unwrap_or(wanted);
    let node = text(&wanted, "/target/name").to_owned();
    api.store
        .update(target.kind, &target.key(), |seen| {
            let assigned = text(seen, "/spec/nodeName");
            if !assigned.is_empty() {
                let why = format!("pod {} is already assigned to node {assigned:?}", target.name);
                return Err(Status::new(409, "Unassignable", why));
            }
            if !object::items(seen, "/spec/schedulingGates").is_empty() {
                let why = format!("pod {} has non-empty .spec.schedulingGates", target.name);
                return Err(Status::new(409, "Unassignable", why));
            }
            let mut value = seen.clone();
            object::set(&mut value, &["spec", "nodeName"], json!(node));
            let scheduled = json!({"type": "PodScheduled", "status": "True"});
            object::set_condition(&mut value, &scheduled, &clock::stamp());
            Ok(Some(value))
        })
        .map_err(|mut status| {
            if status.reason == "Unassignable" {
                status.reason = "Conflict".into();
            }
            status
        })?;
    Ok(success())
}

async fn token(api: &Api, target: &Target, call: Call, body: Body) -> Reply {
    let request = body::object(&call.headers, body).await?;
    let account = current(api, target)?;
    let issued = access::issue_token(&api.tokens, &account, &request, clock::now());
    let issued = issued.ok_or_else(|| Status::internal("the token cannot be signed"))?;
    Ok(represent::json(StatusCode::CREATED, &issued))
}

async fn eviction(api: &Api, target: &Target, call: Call, body: Body) -> Reply {
    let given = body::object(&call.headers, body).await?;
    let what = write::attributes(target, &call, Operation::Create);
    api.gate.admit(&what, Some(&given), None, &mut Vec::new()).await?;
    let pod = current(api, target)?;
    if let Some(budget) = disruption::exhausted(&api.store, &pod) {
        let mut status = Status::new(
            429,
            "TooManyRequests",
            "Cannot evict pod as it would violate the pod's disruption budget.",
        );
        let why = format!("The disruption budget {budget} does not allow evicting the pod now");
        status.details = Some(json!({"causes": [{"reason": "DisruptionBudget", "message": why}]}));
        return Err(status);
    }
    if write::dry(&call) || write::dry_body(&given["deleteOptions"]) {
        return Ok(success());
    }
    let disrupted = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
    });
    api.store.update(target.kind, &target.key(), |seen| {
        let mut value = seen.clone();
        object::set_condition(&mut value, &disrupted, &clock::stamp());
        Ok(Some(value))
    })?;
    api.store.delete(
        target.kind,
        &target.key(),
        &write::delete_options(target.kind, &call, &given["deleteOptions"])?,
    )?;
    Ok(success())
}
