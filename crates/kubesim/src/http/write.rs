//! Create, replace, patch and delete.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{Response, StatusCode},
};
use serde_json::{Value, json};

use super::{Api, Call, Reply, body, read, represent, target::Target};
use crate::{
    access, clock,
    kind::{self, Kind},
    object::{self, Key},
    patch::{
        self,
        apply::{self, Manager},
    },
    status::Status,
    store::{DeleteOptions, Deletion, Propagation},
    validate::{self, Unknown},
};

pub(crate) fn unknown(call: &Call) -> Unknown {
    match call.param("fieldValidation") {
        "Strict" => Unknown::Strict,
        "Ignore" => Unknown::Ignore,
        _ => Unknown::Warn,
    }
}

fn dry(call: &Call) -> bool {
    call.param("dryRun") == "All"
}

fn reply(
    target: &Target,
    call: &Call,
    code: StatusCode,
    value: &Value,
    warnings: &[String],
) -> Response<Body> {
    let include = call.param("includeObject");
    let mut response = represent::json(code, &represent::one(call.form, target.kind, value, include));
    represent::warn(&mut response, warnings);
    response
}

pub(crate) async fn create(api: &Api, target: Target, mut call: Call) -> Reply {
    let value = body::object(&call.headers, std::mem::take(&mut call.body)).await?;
    let (mut value, warnings) = prepare(&target, value, unknown(&call))?;
    name_it(&mut value)?;
    validate::apply_defaults(target.kind, &mut value);
    fresh_status(target.kind, &mut value);
    validate::check_new(target.kind, &value)?;
    access::check_escalation(&api.store, &call.who, target.kind, &value)?;
    let manager = Manager { name: call.manager(), subresource: String::new() };
    apply::record_update(target.kind, &Value::Null, &mut value, &manager, &clock::stamp());
    if dry(&call) {
        return Ok(reply(&target, &call, StatusCode::CREATED, &value, &warnings));
    }
    let made = store_new(api, target.kind, value)?;
    Ok(reply(&target, &call, StatusCode::CREATED, &made, &warnings))
}

/// Into the store, in the version in which objects of the kind are kept.
fn store_new(api: &Api, kind: &'static Kind, mut value: Value) -> Result<Arc<Value>, Status> {
    if kind.custom().is_some() {
        let definition = api.store.get(&kind::CUSTOM_RESOURCE_DEFINITIONS, &Key::new("", kind.id));
        if definition.is_none_or(|definition| object::deleting(&definition)) {
            let why = "create not allowed while custom resource definition is terminating";
            return Err(Status::new(405, "MethodNotAllowed", why));
        }
    }
    as_stored(api, kind, &mut value);
    api.store.create(kind, value)
}

fn as_stored(api: &Api, kind: &Kind, value: &mut Value) {
    if let Some(stored) = api.store.kinds().by_id(kind.id).filter(|_| !kind.is_stored()) {
        value["apiVersion"] = json!(stored.api_version());
    }
}

/// Typing, and agreement between the body and the path.
pub(crate) fn prepare(
    target: &Target,
    mut value: Value,
    unknown: Unknown,
) -> Result<(Value, Vec<String>), Status> {
    validate::type_matches(target.kind, &mut value)?;
    let (mut value, warnings) = validate::typing(target.kind, value, unknown)?;
    if target.kind.namespaced {
        let found = object::namespace(&value);
        if !found.is_empty() && found != target.namespace {
            let message =
                "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Status::bad_request(message));
        }
        object::set(&mut value, &["metadata", "namespace"], json!(target.namespace));
    } else {
        object::unset(&mut value, &["metadata", "namespace"]);
    }
    let found = object::name(&value);
    if !target.name.is_empty() && !found.is_empty() && found != target.name {
        let message =
            format!("the name of the object ({found}) does not match the name on the URL ({})", target.name);
        return Err(Status::bad_request(message));
    }
    if !target.name.is_empty() {
        object::set(&mut value, &["metadata", "name"], json!(target.name));
    }
    Ok((value, warnings))
}

fn name_it(value: &mut Value) -> Result<(), Status> {
    if !object::text(value, "/metadata/resourceVersion").is_empty() {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    let base = object::text(value, "/metadata/generateName").to_owned();
    if object::name(value).is_empty() && !base.is_empty() {
        let base: String = base.chars().take(58).collect();
        object::set(value, &["metadata", "name"], json!(format!("{base}{}", clock::suffix())));
    }
    for field in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "selfLink",
    ] {
        object::unset(value, &["metadata", field]);
    }
    Ok(())
}

/// Clients do not set the status of new objects.
fn fresh_status(kind: &Kind, value: &mut Value) {
    if !kind.status {
        return;
    }
    if kind.custom().is_some() {
        return object::unset(value, &["status"]);
    }
    let status = match kind.id {
        "pods" => json!({"phase": "Pending", "qosClass": qos(&value["spec"])}),
        "namespaces" => json!({"phase": "Active"}),
        "services" => json!({"loadBalancer": {}}),
        // Nodes register themselves with what they are.
        "nodes" => return,
        _ => json!({}),
    };
    value["status"] = status;
}

pub(crate) fn qos(spec: &Value) -> &'static str {
    let all = object::items(spec, "/containers");
    let named = |c: &Value, list: &str| c["resources"][list].as_object().is_some_and(|m| !m.is_empty());
    if all.iter().all(|c| !named(c, "requests") && !named(c, "limits")) {
        "BestEffort"
    } else if all.iter().all(|c| named(c, "limits") && c["resources"]["requests"] == c["resources"]["limits"])
    {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// Brings a new state of an existing object into the store, by the rules of its door (main, status).
pub(crate) fn write_over(
    api: &Api,
    target: &Target,
    call: &Call,
    current: &Arc<Value>,
    mut value: Value,
) -> Result<Arc<Value>, Status> {
    let (kind, name) = (target.kind, &target.name);
    let given = object::text(&value, "/metadata/resourceVersion").to_owned();
    if !given.is_empty() && given != object::text(current, "/metadata/resourceVersion") {
        return Err(Status::stale(kind, name));
    }
    let uid = object::uid(&value);
    if !uid.is_empty() && uid != object::uid(current) {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            object::uid(current)
        );
        return Err(Status::conflict(kind, name, &why));
    }
    match target.subresource.as_str() {
        "status" => value = with_part(current, value, &["status"]),
        "ephemeralcontainers" => {
            value = with_part(current, value, &["spec", "ephemeralContainers"]);
            validate::apply_defaults(kind, &mut value);
            validate::check_ephemeral(current, &value)?;
        }
        "finalize" => {}
        _ => {
            match current.get("status") {
                Some(status) if kind.status => value["status"] = status.clone(),
                _ => {}
            }
            if *kind == kind::NAMESPACES {
                value["spec"] = current["spec"].clone();
            }
            validate::apply_defaults(kind, &mut value);
            keep_assigned(kind, current, &mut value);
            validate::check(kind, &value)?;
            validate::check_update(kind, current, &value)?;
            access::check_escalation(&api.store, &call.who, kind, &value)?;
        }
    }
    if dry(call) {
        return Ok(Arc::new(value));
    }
    as_stored(api, kind, &mut value);
    api.store.swap(kind, current, value)
}

/// The object as it was, but for one part.
fn with_part(current: &Value, mut given: Value, path: &[&str]) -> Value {
    let part = path.iter().fold(&mut given, |place, name| &mut place[*name]).take();
    let managed = given["metadata"]["managedFields"].take();
    let mut value = current.clone();
    match part {
        Value::Null => object::unset(&mut value, path),
        part => object::set(&mut value, path, part),
    }
    if managed.is_array() {
        value["metadata"]["managedFields"] = managed;
    }
    value
}

/// What the server assigned stays when a client leaves it out.
fn keep_assigned(kind: &Kind, current: &Value, value: &mut Value) {
    if *kind == kind::SERVICES {
        for field in ["clusterIP", "clusterIPs"] {
            let old = current["spec"][field].clone();
            if !old.is_null() {
                object::default(value, &["spec", field], old);
            }
        }
    }
}

fn current(api: &Api, target: &Target) -> Result<Arc<Value>, Status> {
    api.store.get(target.kind, &target.key()).ok_or_else(|| Status::not_found(target.kind, &target.name))
}

fn manager(call: &Call, target: &Target) -> Manager {
    Manager { name: call.manager(), subresource: target.subresource.clone() }
}

pub(crate) async fn replace(api: &Api, target: Target, mut call: Call) -> Reply {
    let value = body::object(&call.headers, std::mem::take(&mut call.body)).await?;
    let (value, warnings) = prepare(&target, value, unknown(&call))?;
    let named = !object::text(&value, "/metadata/resourceVersion").is_empty();
    loop {
        let seen = current(api, &target)?;
        let mut value = value.clone();
        apply::record_update(target.kind, &seen, &mut value, &manager(&call, &target), &clock::stamp());
        match write_over(api, &target, &call, &seen, value) {
            // Without a version the last writer wins, also against a concurrent one.
            Err(status) if status.reason == "Conflict" && !named => {}
            Ok(done) => return Ok(reply(&target, &call, StatusCode::OK, &done, &warnings)),
            Err(status) => return Err(status),
        }
    }
}

const PATCHES: &str = "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, \
                       application/apply-patch+yaml";

/// Nobody knows the merge keys of a custom resource.
const CUSTOM_PATCHES: &str =
    "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";

pub(crate) async fn patch(api: &Api, target: Target, mut call: Call) -> Reply {
    let media = body::media(&call.headers).to_owned();
    let bytes = body::read(std::mem::take(&mut call.body)).await?;
    if media == "application/apply-patch+yaml" {
        let config = body::yaml(&bytes)?;
        return server_side_apply(api, &target, &call, &config);
    }
    let wanted = body::json(&bytes)?;
    let mut tries = 0;
    loop {
        let seen = current(api, &target)?;
        let shown = represent::typed(target.kind, &seen);
        let patched = match media.as_str() {
            "application/json-patch+json" => patch::json(&shown, wanted.clone())?,
            "application/merge-patch+json" => patch::merge(&shown, &wanted),
            "application/strategic-merge-patch+json" if target.kind.custom().is_none() => {
                patch::strategic::merge(target.kind.schema(), &seen, &wanted)
            }
            other if target.kind.custom().is_some() => return Err(body::unsupported(other, CUSTOM_PATCHES)),
            other => return Err(body::unsupported(other, PATCHES)),
        };
        let (mut value, warnings) = prepare(&target, patched, unknown(&call))?;
        apply::record_update(target.kind, &seen, &mut value, &manager(&call, &target), &clock::stamp());
        match write_over(api, &target, &call, &seen, value) {
            Ok(done) => return Ok(reply(&target, &call, StatusCode::OK, &done, &warnings)),
            // Somebody wrote in between: the patch applies to the new state just as well, unless it names a version.
            Err(status)
                if status.reason == "Conflict"
                    && tries < 5
                    && wanted.pointer("/metadata/resourceVersion").is_none() =>
            {
                tries += 1;
            }
            Err(status) => return Err(status),
        }
    }
}

fn server_side_apply(api: &Api, target: &Target, call: &Call, config: &Value) -> Reply {
    if call.param("fieldManager").is_empty() {
        return Err(Status::bad_request(
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ));
    }
    let (config, warnings) = prepare(target, config.clone(), unknown(call))?;
    let given = object::text(&config, "/metadata/resourceVersion").to_owned();
    let manager = manager(call, target);
    for _ in 0..10 {
        let seen = api.store.get(target.kind, &target.key());
        let live = seen.as_deref().unwrap_or(&Value::Null);
        let mut value =
            apply::apply(target.kind, live, &config, &manager, call.flag("force"), &clock::stamp())?;
        let done = match &seen {
            Some(seen) => {
                object::set(&mut value, &["metadata", "resourceVersion"], json!(given));
                write_over(api, target, call, seen, value).map(|done| (StatusCode::OK, done))
            }
            None if !target.subresource.is_empty() => {
                return Err(Status::not_found(target.kind, &target.name));
            }
            None => {
                name_it(&mut value)?;
                validate::apply_defaults(target.kind, &mut value);
                fresh_status(target.kind, &mut value);
                validate::check_new(target.kind, &value)?;
                access::check_escalation(&api.store, &call.who, target.kind, &value)?;
                let made = if dry(call) { Ok(Arc::new(value)) } else { store_new(api, target.kind, value) };
                made.map(|done| (StatusCode::CREATED, done))
            }
        };
        match done {
            Ok((code, done)) => return Ok(reply(target, call, code, &done, &warnings)),
            Err(status) if given.is_empty() && matches!(status.reason, "Conflict" | "AlreadyExists") => {}
            Err(status) => return Err(status),
        }
    }
    Err(Status::stale(target.kind, &target.name))
}

pub(crate) fn delete_options(call: &Call, body: &Value) -> DeleteOptions {
    let text = |field: &str| match body[field].as_str() {
        Some(text) => text.to_owned(),
        None => call.param(field).to_owned(),
    };
    let orphans = body["orphanDependents"] == true || call.flag("orphanDependents");
    DeleteOptions {
        grace: body["gracePeriodSeconds"].as_i64().or_else(|| call.param("gracePeriodSeconds").parse().ok()),
        propagation: match text("propagationPolicy").as_str() {
            "Orphan" => Propagation::Orphan,
            "Foreground" => Propagation::Foreground,
            _ if orphans => Propagation::Orphan,
            _ => Propagation::Background,
        },
        uid: body["preconditions"]["uid"].as_str().map(str::to_owned),
        version: body["preconditions"]["resourceVersion"].as_str().map(str::to_owned),
    }
}

pub(crate) async fn delete(api: &Api, target: Target, mut call: Call) -> Reply {
    let body = body::optional(&call.headers, std::mem::take(&mut call.body)).await?;
    let options = delete_options(&call, &body);
    let key = target.key();
    let current = current(api, &target)?;
    if dry(&call) {
        return Ok(represent::json(StatusCode::OK, &represent::typed(target.kind, &current)));
    }
    let body = match api.store.delete(target.kind, &key, &options)? {
        // Pods answer themselves; the rest a status, as the real server does.
        Deletion::Done(last) if *target.kind == kind::PODS => {
            represent::typed(target.kind, &last).into_owned()
        }
        Deletion::Pending(left) => represent::typed(target.kind, &left).into_owned(),
        Deletion::Done(last) => json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": {"name": target.name, "group": target.kind.group, "kind": target.kind.plural, "uid": object::uid(&last)},
        }),
    };
    Ok(represent::json(StatusCode::OK, &body))
}

pub(crate) async fn delete_collection(api: &Api, target: Target, mut call: Call) -> Reply {
    let body = body::optional(&call.headers, std::mem::take(&mut call.body)).await?;
    let (options, selector) = (delete_options(&call, &body), read::selector(&call)?);
    let mut listing = api.store.list(target.kind, &target.namespace);
    listing.objects.retain(|o| selector.matches(o));
    for object in &listing.objects {
        match api.store.delete(target.kind, &Key::of(object), &options) {
            Err(status) if status.code != 404 => return Err(status),
            _ => {}
        }
    }
    Ok(represent::text(StatusCode::OK, represent::list(call.form, target.kind, &listing, None, "")))
}
