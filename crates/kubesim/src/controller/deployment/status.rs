//! The status of a deployment: its numbers, whether it is available, whether it gets on. Pure.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{plan, revision};
use crate::{
    clock,
    object::{self, int, text},
};

/// The condition and its time of last change when something happens to it.
fn progress(value: &mut Value, state: &str, reason: &str, message: &str, now: Timestamp) {
    put(value, &json!({"type": "Progressing", "status": state, "reason": reason, "message": message}), now);
}

/// Replaces a condition; unlike `object::set_condition` it counts every call as an update.
fn put(value: &mut Value, wanted: &Value, now: Timestamp) {
    let stamp = clock::format(now);
    let mut wanted = wanted.clone();
    let old = object::condition(value, text(&wanted, "/type")).filter(|c| c["status"] == wanted["status"]);
    let since = old.map_or_else(|| json!(stamp), |c| c["lastTransitionTime"].clone());
    wanted["lastTransitionTime"] = since;
    wanted["lastUpdateTime"] = json!(stamp);
    let mut list = object::items(value, "/status/conditions").to_vec();
    list.retain(|c| c["type"] != wanted["type"]);
    list.push(wanted);
    object::set(value, &["status", "conditions"], Value::Array(list));
}

/// Seconds without progress after which a rollout counts as stuck.
fn limit(deployment: &Value) -> Option<i64> {
    int(deployment, "/spec/progressDeadlineSeconds").filter(|s| *s < i64::from(i32::MAX))
}

/// Pausing stops the clock of the deadline, and going on starts it again.
pub(super) fn note_pause(value: &mut Value, now: Timestamp) {
    let reason = object::condition(value, "Progressing").map_or("", |c| text(c, "/reason")).to_owned();
    let paused = value["spec"]["paused"] == true;
    if limit(value).is_none() || reason == "ProgressDeadlineExceeded" {
        return;
    }
    if paused && reason != "DeploymentPaused" {
        progress(value, "Unknown", "DeploymentPaused", "Deployment is paused", now);
    } else if !paused && reason == "DeploymentPaused" {
        progress(value, "Unknown", "DeploymentResumed", "Deployment is resumed", now);
    }
}

pub(super) fn note_creation(value: &mut Value, set: &Value, now: Timestamp) {
    if limit(value).is_some() {
        let message = format!("Created new replica set {:?}", object::name(set));
        progress(value, "True", "NewReplicaSetCreated", &message, now);
    }
}

pub(super) fn complete(deployment: &Value) -> bool {
    let wanted = plan::wanted(deployment);
    let all = ["updatedReplicas", "replicas", "availableReplicas"];
    all.iter().all(|f| deployment["status"][*f].as_i64().unwrap_or(0) == wanted)
        && int(deployment, "/status/observedGeneration") >= int(deployment, "/metadata/generation")
}

/// Brings the status up to what the sets are now; while it is rolling also its progress.
pub(super) fn observe(
    value: &mut Value,
    new: Option<&Value>,
    sets: &[Arc<Value>],
    rolling: bool,
    now: Timestamp,
) {
    if let Some(number) = new.and_then(|s| object::annotation(s, revision::REVISION)) {
        object::set(value, &["metadata", "annotations", revision::REVISION], json!(number));
    }
    let before = value["status"].take();
    value["status"] = numbers(value, &before, new, sets);
    available(value, now);
    failure(value, new, sets, now);
    if rolling {
        judge(value, &before, new, now);
    }
}

fn numbers(value: &Value, before: &Value, new: Option<&Value>, sets: &[Arc<Value>]) -> Value {
    let sum = |field: &str| sets.iter().filter_map(|s| int(s, field)).sum::<i64>();
    let available = sum("/status/availableReplicas");
    let mut status = json!({
        "observedGeneration": value["metadata"]["generation"], "terminatingReplicas": sum("/status/terminatingReplicas"),
    });
    for (field, count) in [
        ("replicas", sum("/status/replicas")),
        ("updatedReplicas", new.and_then(|s| int(s, "/status/replicas")).unwrap_or(0)),
        ("readyReplicas", sum("/status/readyReplicas")),
        ("availableReplicas", available),
        ("unavailableReplicas", (sum("/spec/replicas") - available).max(0)),
    ] {
        if count > 0 {
            status[field] = json!(count);
        }
    }
    for kept in ["conditions", "collisionCount"] {
        if !before[kept].is_null() {
            status[kept] = before[kept].clone();
        }
    }
    status
}

fn available(value: &mut Value, now: Timestamp) {
    let enough = plan::wanted(value) - plan::bounds(value).1;
    let (state, reason, message) = if int(value, "/status/availableReplicas").unwrap_or(0) >= enough {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    if object::condition(value, "Available").is_none_or(|c| c["status"] != state || c["reason"] != reason) {
        put(value, &json!({"type": "Available", "status": state, "reason": reason, "message": message}), now);
    }
}

/// What a set says about pods that it cannot make or delete is said here, too: of the new set before the others.
fn failure(value: &mut Value, new: Option<&Value>, sets: &[Arc<Value>], now: Timestamp) {
    let all = new.into_iter().chain(sets.iter().map(Arc::as_ref));
    let found = all.filter_map(|s| object::condition(s, "ReplicaFailure")).next();
    let known = object::condition(value, "ReplicaFailure");
    match found {
        Some(found) if known.is_none_or(|k| k["message"] != found["message"]) => {
            let mut wanted = found.clone();
            object::unset(&mut wanted, &["lastTransitionTime"]);
            put(value, &wanted, now);
        }
        None if known.is_some() => drop(value, "ReplicaFailure"),
        _ => {}
    }
}

fn drop(value: &mut Value, condition: &str) {
    let mut list = object::items(value, "/status/conditions").to_vec();
    list.retain(|c| c["type"] != condition);
    object::set(value, &["status", "conditions"], Value::Array(list));
}

fn judge(value: &mut Value, before: &Value, new: Option<&Value>, now: Timestamp) {
    if limit(value).is_none() {
        drop(value, "Progressing");
        return;
    }
    let reason = object::condition(value, "Progressing").map_or("", |c| text(c, "/reason")).to_owned();
    let status = &value["status"];
    // Pods that come and go after a rollout do not begin a new one.
    if reason == "NewReplicaSetAvailable" && status["replicas"] == status["updatedReplicas"] {
        return;
    }
    let of = new.map_or_else(
        || format!("Deployment {:?}", object::name(value)),
        |s| format!("ReplicaSet {:?}", object::name(s)),
    );
    if complete(value) {
        let message = format!("{of} has successfully progressed.");
        progress(value, "True", "NewReplicaSetAvailable", &message, now);
    } else if progressed(before, status) {
        progress(value, "True", "ReplicaSetUpdated", &format!("{of} is progressing."), now);
    } else if reason.is_empty() {
        if let Some(set) = new {
            let message = format!("Found new replica set {:?}", object::name(set));
            progress(value, "True", "FoundNewReplicaSet", &message, now);
        }
    } else if reason != "ProgressDeadlineExceeded" && left(value, now).is_some_and(|left| left <= 0) {
        progress(
            value,
            "False",
            "ProgressDeadlineExceeded",
            &format!("{of} has timed out progressing."),
            now,
        );
    }
}

/// More new pods, fewer old ones, or more that serve.
fn progressed(before: &Value, after: &Value) -> bool {
    let of = |status: &Value, field: &str| status[field].as_i64().unwrap_or(0);
    let old = |status: &Value| of(status, "replicas") - of(status, "updatedReplicas");
    let grew = |field: &str| of(after, field) > of(before, field);
    grew("updatedReplicas") || old(after) < old(before) || grew("readyReplicas") || grew("availableReplicas")
}

/// Seconds until the deadline of a rollout under way.
fn left(deployment: &Value, now: Timestamp) -> Option<i64> {
    let progressing = object::condition(deployment, "Progressing")?;
    if matches!(text(progressing, "/reason"), "NewReplicaSetAvailable" | "ProgressDeadlineExceeded") {
        return None;
    }
    let since: Timestamp = text(progressing, "/lastUpdateTime").parse().ok()?;
    Some(limit(deployment)? - now.duration_since(since).as_secs())
}

/// How long to wait before looking whether the rollout is stuck.
pub(super) fn patience(deployment: &Value, now: Timestamp) -> Option<Duration> {
    left(deployment, now).map(|left| Duration::from_secs(u64::try_from(left).unwrap_or(0).max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("an instant")
    }

    fn reason(value: &Value) -> &str {
        object::condition(value, "Progressing").map_or("", |c| text(c, "/reason"))
    }

    fn set(replicas: i64, available: i64) -> Arc<Value> {
        Arc::new(
            json!({"metadata": {"name": "s"}, "spec": {"replicas": replicas}, "status": {"replicas": replicas, "availableReplicas": available}}),
        )
    }

    #[test]
    fn a_rollout_progresses_gets_stuck_and_recovers() {
        let mut value = json!({
            "metadata": {"name": "d", "generation": 1}, "spec": {"replicas": 2, "progressDeadlineSeconds": 10}, "status": {},
        });
        note_creation(&mut value, &set(0, 0), at(0));
        assert_eq!(reason(&value), "NewReplicaSetCreated");
        for (second, available, expected) in [
            (1, 0, "ReplicaSetUpdated"),
            (5, 1, "ReplicaSetUpdated"),
            (14, 1, "ReplicaSetUpdated"),
            (15, 1, "ProgressDeadlineExceeded"),
            (16, 2, "NewReplicaSetAvailable"),
            (90, 1, "NewReplicaSetAvailable"),
        ] {
            let set = set(2, available);
            observe(&mut value, Some(&set), &[Arc::clone(&set)], true, at(second));
            assert_eq!(reason(&value), expected, "after {second} seconds");
        }
    }

    #[test]
    fn a_pause_stops_the_clock() {
        let mut value = json!({"spec": {"paused": true, "progressDeadlineSeconds": 10}});
        note_pause(&mut value, at(0));
        assert_eq!(reason(&value), "DeploymentPaused");
        value["spec"]["paused"] = json!(false);
        note_pause(&mut value, at(100));
        assert_eq!((reason(&value), left(&value, at(101))), ("DeploymentResumed", Some(9)));
    }
}
