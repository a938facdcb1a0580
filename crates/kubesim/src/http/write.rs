//! Create, replace, patch and delete.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{Response, StatusCode},
};
use serde_json::{Value, json};

use super::{Api, Call, Reply, body, door, read, represent, target::Target};
use crate::{
    access,
    admission::{Attributes, Operation},
    clock,
    kind::{self, Kind},
    object::{self, Key},
    patch::{
        self,
        apply::{self, Manager},
    },
    status::{Cause, Status},
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

pub(super) fn dry(call: &Call) -> bool {
    call.param("dryRun") == "All"
}

/// Only all of a request is tried, or nothing.
pub(super) fn check_options(call: &Call) -> Result<(), Status> {
    match call.param("dryRun") {
        "" | "All" => Ok(()),
        other => Err(no_option("dryRun", other, &["All"])),
    }
}

fn no_option(field: &str, found: &str, supported: &[&str]) -> Status {
    let cause = Cause::unsupported(field, found, supported);
    let message = format!("Options.meta.k8s.io \"\" is invalid: {field}: {}", cause.message);
    Status::new(422, "Invalid", message)
}

/// Deletions say so in their body.
pub(super) fn dry_body(options: &Value) -> bool {
    object::items(options, "/dryRun").iter().any(|one| one == "All")
}

fn reply(
    target: &Target,
    call: &Call,
    code: StatusCode,
    value: &Value,
    warnings: &[String],
) -> Response<Body> {
    let include = call.param("includeObject");
    let mut response = represent::json(code, &represent::one(call.form, target.shown, value, include));
    represent::warn(&mut response, warnings);
    response
}

pub(super) fn attributes<'a>(target: &'a Target, call: &'a Call, operation: Operation) -> Attributes<'a> {
    Attributes {
        operation,
        kind: target.kind,
        subresource: &target.subresource,
        namespace: if *target.kind == kind::NAMESPACES { &target.name } else { &target.namespace },
        name: &target.name,
        who: &call.who,
        dry: dry(call),
    }
}

pub(crate) async fn create(api: &Api, target: Target, call: Call, body: Body) -> Reply {
    let (value, doubled) = body::read_closely(&call.headers, body).await?;
    let (mut value, mut warnings) = prepare(&target, value, doubled, unknown(&call))?;
    forget_system_fields(&mut value)?;
    validate::apply_defaults(target.kind, &mut value);
    let manager = Manager { name: call.manager(), subresource: String::new() };
    apply::record_update(target.kind, &Value::Null, &mut value, &manager, &clock::stamp());
    let what = attributes(&target, &call, Operation::Create);
    let made = api.gate.create(&what, value, &mut warnings).await?;
    Ok(reply(&target, &call, StatusCode::CREATED, &made, &warnings))
}

/// Typing, and agreement between the body and the path.
pub(crate) fn prepare(
    target: &Target,
    mut value: Value,
    doubled: Vec<String>,
    unknown: Unknown,
) -> Result<(Value, Vec<String>), Status> {
    validate::type_matches(target.shown, &mut value)?;
    let (mut value, mut warnings) = validate::typing(target.shown, value)?;
    warnings.extend(doubled);
    let warnings = unknown.heed(warnings)?;
    if let Some(translation) = target.shown.translation() {
        (translation.to_stored)(&mut value);
        value["apiVersion"] = json!(target.kind.api_version());
    }
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

/// Fields that the server sets, whatever a client writes there.
fn forget_system_fields(value: &mut Value) -> Result<(), Status> {
    if !object::text(value, "/metadata/resourceVersion").is_empty() {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
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

/// A new state of an existing object as it may come into the store, by the rules of its door (main, status).
async fn change(
    api: &Api,
    target: &Target,
    call: &Call,
    current: &Value,
    value: Value,
    warnings: &mut Vec<String>,
) -> Result<Value, Status> {
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
    let mut value = door::through(target, current, value);
    let what = attributes(target, call, Operation::Update);
    if let Some(changed) = api.gate.mutate(&what, &value, Some(current), warnings).await? {
        let changed = validate::typing(kind, changed)?.0;
        value = door::through(target, current, changed);
    }
    match target.subresource.as_str() {
        "" => {
            validate::check(kind, &value)?;
            validate::check_update(kind, current, &value)?;
            access::check_escalation(&api.store, &call.who, kind, &value)?;
        }
        "ephemeralcontainers" => validate::check_ephemeral(current, &value)?,
        _ => {}
    }
    access::check_signer(&api.store, &call.who, target, current)?;
    api.gate.validate(&what, Some(&value), Some(current), warnings).await?;
    api.gate.as_stored(kind, &mut value);
    Ok(value)
}

/// Into the store, if nobody wrote in between.
fn store_change(
    api: &Api,
    target: &Target,
    call: &Call,
    current: &Value,
    mut value: Value,
) -> Result<Arc<Value>, Status> {
    if !dry(call) {
        return api.store.swap(target.kind, current, value);
    }
    // Nothing is written, so it is what the version is of: `kubectl diff` compares that too.
    let version = object::text(current, "/metadata/resourceVersion");
    object::set(&mut value, &["metadata", "resourceVersion"], json!(version));
    Ok(Arc::new(value))
}

fn current(api: &Api, target: &Target) -> Result<Arc<Value>, Status> {
    api.store.get(target.kind, &target.key()).ok_or_else(|| Status::not_found(target.kind, &target.name))
}

fn manager(call: &Call, target: &Target) -> Manager {
    Manager { name: call.manager(), subresource: target.subresource.clone() }
}

pub(crate) async fn replace(api: &Api, target: Target, call: Call, body: Body) -> Reply {
    let (value, doubled) = body::read_closely(&call.headers, body).await?;
    let (value, warnings) = prepare(&target, value, doubled, unknown(&call))?;
    let named = !object::text(&value, "/metadata/resourceVersion").is_empty();
    loop {
        let seen = current(api, &target)?;
        let (mut value, mut warnings) = (value.clone(), warnings.clone());
        apply::record_update(target.kind, &seen, &mut value, &manager(&call, &target), &clock::stamp());
        let value = change(api, &target, &call, &seen, value, &mut warnings).await?;
        match store_change(api, &target, &call, &seen, value) {
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

pub(crate) async fn patch(api: &Api, target: Target, call: Call, body: Body) -> Reply {
    let media = body::media(&call.headers).to_owned();
    let bytes = body::read(body).await?;
    if media == "application/apply-patch+yaml" {
        let config = body::yaml(&bytes)?;
        return server_side_apply(api, &target, &call, &config).await;
    }
    let wanted = body::json(&bytes)?;
    let mut tries = 0;
    loop {
        let seen = current(api, &target)?;
        let shown = represent::typed(target.shown, &seen);
        let patched = match media.as_str() {
            "application/json-patch+json" => patch::json(&shown, wanted.clone())?,
            "application/merge-patch+json" => patch::merge(&shown, &wanted),
            "application/strategic-merge-patch+json" if target.kind.custom().is_none() => {
                patch::strategic::merge(target.shown.schema(), &shown, &wanted)
            }
            other if target.kind.custom().is_some() => return Err(body::unsupported(other, CUSTOM_PATCHES)),
            other => return Err(body::unsupported(other, PATCHES)),
        };
        let (mut value, mut warnings) = prepare(&target, patched, Vec::new(), unknown(&call))?;
        apply::record_update(target.kind, &seen, &mut value, &manager(&call, &target), &clock::stamp());
        let value = change(api, &target, &call, &seen, value, &mut warnings).await?;
        match store_change(api, &target, &call, &seen, value) {
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

async fn server_side_apply(api: &Api, target: &Target, call: &Call, config: &Value) -> Reply {
    if call.param("fieldManager").is_empty() {
        return Err(Status::bad_request(
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ));
    }
    let (config, warnings) = prepare(target, config.clone(), Vec::new(), unknown(call))?;
    let given = object::text(&config, "/metadata/resourceVersion").to_owned();
    let manager = manager(call, target);
    for _ in 0..10 {
        let seen = api.store.get(target.kind, &target.key());
        let live = seen.as_deref().unwrap_or(&Value::Null);
        let mut warnings = warnings.clone();
        let mut value =
            apply::apply(target.kind, live, &config, &manager, call.flag("force"), &clock::stamp())?;
        let done = match &seen {
            Some(seen) => {
                object::set(&mut value, &["metadata", "resourceVersion"], json!(given));
                let value = change(api, target, call, seen, value, &mut warnings).await?;
                store_change(api, target, call, seen, value).map(|done| (StatusCode::OK, done))
            }
            None if !target.subresource.is_empty() => {
                return Err(Status::not_found(target.kind, &target.name));
            }
            None => {
                forget_system_fields(&mut value)?;
                let what = attributes(target, call, Operation::Create);
                api.gate.create(&what, value, &mut warnings).await.map(|done| (StatusCode::CREATED, done))
            }
        };
        match done {
            Ok((code, done)) => return Ok(reply(target, call, code, &done, &warnings)),
            Err(status)
                if given.is_empty() && matches!(status.reason.as_ref(), "Conflict" | "AlreadyExists") => {}
            Err(status) => return Err(status),
        }
    }
    Err(Status::stale(target.kind, &target.name))
}

pub(crate) fn delete_options(kind: &Kind, call: &Call, body: &Value) -> Result<DeleteOptions, Status> {
    let text = |field: &str| match body[field].as_str() {
        Some(text) => text.to_owned(),
        None => call.param(field).to_owned(),
    };
    // Both are older than the choice, and keep to what they always did.
    let old = *kind == kind::JOBS || *kind == kind::REPLICATION_CONTROLLERS;
    let orphans = match (&body["orphanDependents"], call.param("orphanDependents")) {
        (Value::Bool(orphans), _) => *orphans,
        (_, "") => old,
        _ => call.flag("orphanDependents"),
    };
    Ok(DeleteOptions {
        grace: body["gracePeriodSeconds"].as_i64().or_else(|| call.param("gracePeriodSeconds").parse().ok()),
        propagation: match text("propagationPolicy").as_str() {
            "Orphan" => Propagation::Orphan,
            "Foreground" => Propagation::Foreground,
            "Background" => Propagation::Background,
            "" if orphans => Propagation::Orphan,
            "" => Propagation::Background,
            other => {
                let known = ["Background", "Foreground", "Orphan"];
                return Err(no_option("propagationPolicy", other, &known));
            }
        },
        uid: body["preconditions"]["uid"].as_str().map(str::to_owned),
        version: body["preconditions"]["resourceVersion"].as_str().map(str::to_owned),
    })
}

pub(crate) async fn delete(api: &Api, target: Target, call: Call, body: Body) -> Reply {
    let given = body::optional(&call.headers, body).await?;
    let (options, dry) = (delete_options(target.kind, &call, &given)?, dry(&call) || dry_body(&given));
    let key = target.key();
    let current = current(api, &target)?;
    let mut warnings = Vec::new();
    let what = Attributes { dry, ..attributes(&target, &call, Operation::Delete) };
    api.gate.admit(&what, None, Some(&current), &mut warnings).await?;
    if dry {
        return Ok(represent::json(StatusCode::OK, &represent::typed(target.shown, &current)));
    }
    let body = match api.store.delete(target.kind, &key, &options)? {
        // Pods answer themselves; the rest a status, as the real server does.
        Deletion::Done(last) if *target.kind == kind::PODS => {
            represent::typed(target.shown, &last).into_owned()
        }
        Deletion::Pending(left) => represent::typed(target.shown, &left).into_owned(),
        Deletion::Done(last) => json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": {"name": target.name, "group": target.kind.group, "kind": target.kind.plural, "uid": object::uid(&last)},
        }),
    };
    let mut response = represent::json(StatusCode::OK, &body);
    represent::warn(&mut response, &warnings);
    Ok(response)
}

pub(crate) async fn delete_collection(api: &Api, target: Target, call: Call, body: Body) -> Reply {
    let given = body::optional(&call.headers, body).await?;
    let (options, selector) = (delete_options(target.kind, &call, &given)?, read::selector(&call)?);
    let dry = dry(&call) || dry_body(&given);
    let mut listing = api.store.list(target.kind, &target.namespace);
    listing.objects.retain(|o| selector.matches(o));
    for object in &listing.objects {
        let mut what = attributes(&target, &call, Operation::Delete);
        what.dry = dry;
        what.name = object::name(object);
        what.namespace = object::namespace(object);
        api.gate.admit(&what, None, Some(object), &mut Vec::new()).await?;
        if dry {
            continue;
        }
        match api.store.delete(target.kind, &Key::of(object), &options) {
            Err(status) if status.code != 404 => return Err(status),
            _ => {}
        }
    }
    Ok(represent::text(StatusCode::OK, represent::list(call.form, target.shown, &listing, None, "")))
}
