//! How objects end: graceful deletion, finalizers, preconditions. Pure decisions over values.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    kind::{self, Kind},
    object,
    status::Status,
};

pub(crate) enum Deletion {
    /// The object is gone; this was its last state.
    Done(Arc<Value>),
    /// Somebody still has to finish: a finalizer or the node.
    Pending(Arc<Value>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Propagation {
    #[default]
    Background,
    Foreground,
    Orphan,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub grace: Option<i64>,
    pub propagation: Propagation,
    pub uid: Option<String>,
    pub version: Option<String>,
}

impl Options {
    pub(crate) fn now() -> Self {
        Self { grace: Some(0), ..Self::default() }
    }

    pub(super) fn check(&self, kind: &Kind, current: &Value) -> Result<(), Status> {
        let differs = |wanted: &Option<String>, found: &str| wanted.as_deref().is_some_and(|w| w != found);
        let refuse = |what: &str, found: &str, wanted: &Option<String>| {
            let wanted = wanted.clone().unwrap_or_default();
            let why = format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
            );
            Err(Status::conflict(kind, object::name(current), &why))
        };
        if differs(&self.uid, object::uid(current)) {
            return refuse("UID", object::uid(current), &self.uid);
        }
        let version = object::text(current, "/metadata/resourceVersion");
        if differs(&self.version, version) {
            return refuse("ResourceVersion", version, &self.version);
        }
        Ok(())
    }
}

pub(super) enum Decision {
    Keep,
    Mark(Value),
    Remove,
}

/// Fields that no client may change, whatever it sends.
pub(super) fn keep_system_fields(kind: &Kind, current: &Value, value: &mut Value) {
    for field in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        match current["metadata"].get(field) {
            Some(kept) => value["metadata"][field] = kept.clone(),
            None => object::unset(value, &["metadata", field]),
        }
    }
    value["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"].clone();
    let generation = object::int(current, "/metadata/generation");
    if let Some(generation) = generation {
        value["metadata"]["generation"] =
            json!(generation + i64::from(wanted_otherwise(kind, current, value)));
    }
}

/// Whether a change is one of what is wanted, and not only of what is seen. A custom resource wants whatever is neither its metadata nor
/// its status.
fn wanted_otherwise(kind: &Kind, before: &Value, after: &Value) -> bool {
    if kind.custom().is_none() {
        return before["spec"] != after["spec"];
    }
    let counts = |name: &str| name != "metadata" && !(kind.status && name == "status");
    let wish = |object: &Value| -> Option<Vec<(String, Value)>> {
        let fields = object.as_object()?.iter().filter(|(name, _)| counts(name));
        Some(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
    };
    wish(before) != wish(after)
}

/// True when a deletion under way has nothing left to wait for.
pub(super) fn finished(kind: &Kind, value: &Value) -> bool {
    object::deleting(value)
        && object::items(value, "/metadata/finalizers").is_empty()
        && object::int(value, "/metadata/deletionGracePeriodSeconds").unwrap_or(0) == 0
        && (*kind != kind::NAMESPACES || object::items(value, "/spec/finalizers").is_empty())
}

pub(super) fn delete(kind: &Kind, current: &Value, options: &Options, now: &str) -> Decision {
    let grace = grace(kind, current, options);
    if object::deleting(current) {
        let left = object::int(current, "/metadata/deletionGracePeriodSeconds").unwrap_or(0);
        // Only a shorter grace changes anything.
        if grace >= left {
            return Decision::Keep;
        }
    }
    let mut value = current.clone();
    if !object::deleting(current) {
        object::set(&mut value, &["metadata", "deletionTimestamp"], json!(now));
        if let Some(generation) = object::int(current, "/metadata/generation") {
            value["metadata"]["generation"] = json!(generation + 1);
        }
        match options.propagation {
            Propagation::Foreground => add_finalizer(&mut value, "foregroundDeletion"),
            Propagation::Orphan => add_finalizer(&mut value, "orphan"),
            Propagation::Background => {}
        }
    }
    object::set(&mut value, &["metadata", "deletionGracePeriodSeconds"], json!(grace));
    if *kind == kind::NAMESPACES {
        object::set(&mut value, &["status", "phase"], json!("Terminating"));
    }
    if finished(kind, &value) { Decision::Remove } else { Decision::Mark(value) }
}

/// Only pods that run somewhere get time to stop.
fn grace(kind: &Kind, current: &Value, options: &Options) -> i64 {
    let ended = matches!(object::text(current, "/status/phase"), "Succeeded" | "Failed");
    if *kind != kind::PODS || object::text(current, "/spec/nodeName").is_empty() || ended {
        return 0;
    }
    let wanted = options.grace.or_else(|| object::int(current, "/spec/terminationGracePeriodSeconds"));
    wanted.unwrap_or(30).max(0)
}

fn add_finalizer(value: &mut Value, name: &str) {
    let mut list = object::items(value, "/metadata/finalizers").to_vec();
    if !list.iter().any(|f| f == name) {
        list.push(json!(name));
    }
    object::set(value, &["metadata", "finalizers"], Value::Array(list));
}
