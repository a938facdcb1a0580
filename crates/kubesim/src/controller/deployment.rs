//! Deployments: one ReplicaSet per template, and the way from the old ones to the new one.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Controller, Outcome,
    recorder::{Note, Recorder},
};
use crate::{
    clock,
    kind::{self, Kind},
    object::{self, Key, int, text},
    status::Status,
    store::{DeleteOptions, Event, Store},
};

const HASH: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";

pub(crate) struct Deployments {
    pub store: Arc<Store>,
    pub recorder: Arc<Recorder>,
}

impl Controller for Deployments {
    fn kinds(&self) -> Vec<&'static Kind> {
        vec![&kind::DEPLOYMENTS, &kind::REPLICA_SETS]
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        if *event.kind == kind::DEPLOYMENTS {
            queue.insert(Key::of(&event.object));
        } else if let Some(owner) = object::controller(&event.object).filter(|o| o["kind"] == "Deployment") {
            queue.insert(Key::new(object::namespace(&event.object), text(owner, "/name")));
        }
    }

    fn reconcile(&mut self, key: &Key) -> Outcome {
        let Some(deployment) = self.store.get(&kind::DEPLOYMENTS, key) else { return Ok(None) };
        if object::deleting(&deployment) {
            return Ok(None);
        }
        let sets = self.store.owned(&kind::REPLICA_SETS, object::uid(&deployment));
        let paused = deployment["spec"]["paused"] == true;
        let newest = match find_new(&deployment, &sets) {
            Some(set) => Some(self.keep_revision(set, &sets)?),
            None if paused => None,
            None => Some(self.create_set(&deployment, &sets)?),
        };
        let newest_uid = newest.as_ref().map(|s| object::uid(s).to_owned()).unwrap_or_default();
        let sets = self.store.owned(&kind::REPLICA_SETS, object::uid(&deployment));
        let old: Vec<Arc<Value>> = sets.iter().filter(|s| object::uid(s) != newest_uid).cloned().collect();
        let steps = match &newest {
            Some(new) if !paused => plan(&deployment, new, &old),
            _ => proportional(&deployment, &sets),
        };
        for (set, replicas) in &steps {
            self.scale(&deployment, set, *replicas)?;
        }
        if steps.is_empty() && !paused {
            self.drop_history(&deployment, &old)?;
        }
        self.write_status(key, newest.as_deref(), &sets)
    }
}

impl Deployments {
    fn create_set(&self, deployment: &Value, sets: &[Arc<Value>]) -> Result<Arc<Value>, Status> {
        let collisions = int(deployment, "/status/collisionCount").unwrap_or(0);
        let hash = template_hash(&deployment["spec"]["template"], collisions);
        let revision = sets.iter().map(|s| revision(s)).max().unwrap_or(0) + 1;
        let mut set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": format!("{}-{hash}", object::name(deployment)), "namespace": object::namespace(deployment),
                "ownerReferences": [object::owner_reference(&kind::DEPLOYMENTS, deployment)],
                "labels": deployment["spec"]["template"]["metadata"]["labels"],
                "annotations": own_annotations(deployment),
            },
            "spec": {
                "replicas": 0, "selector": deployment["spec"]["selector"], "template": deployment["spec"]["template"],
                "minReadySeconds": deployment["spec"]["minReadySeconds"],
            },
            "status": {"replicas": 0},
        });
        for path in [
            &["metadata", "labels", HASH][..],
            &["spec", "selector", "matchLabels", HASH],
            &["spec", "template", "metadata", "labels", HASH],
        ] {
            object::set(&mut set, path, json!(hash));
        }
        if set["spec"]["minReadySeconds"].is_null() {
            object::unset(&mut set, &["spec", "minReadySeconds"]);
        }
        object::set(&mut set, &["metadata", "annotations", REVISION], json!(revision.to_string()));
        match self.store.create(&kind::REPLICA_SETS, set) {
            // The name belongs to somebody else: another hash next time.
            Err(status) if status.reason == "AlreadyExists" => {
                self.store.update(&kind::DEPLOYMENTS, &Key::of(deployment), |seen| {
                    let mut value = seen.clone();
                    object::set(&mut value, &["status", "collisionCount"], json!(collisions + 1));
                    Ok(Some(value))
                })?;
                Err(status)
            }
            other => other,
        }
    }

    /// A set that becomes the new one again (a rollback) gets the highest revision.
    fn keep_revision(&self, set: &Arc<Value>, sets: &[Arc<Value>]) -> Result<Arc<Value>, Status> {
        let highest = sets
            .iter()
            .filter(|s| object::uid(s) != object::uid(set))
            .map(|s| revision(s))
            .max()
            .unwrap_or(0);
        if revision(set) > highest {
            return Ok(Arc::clone(set));
        }
        self.store.update(&kind::REPLICA_SETS, &Key::of(set), |seen| {
            let mut value = seen.clone();
            object::set(&mut value, &["metadata", "annotations", REVISION], json!((highest + 1).to_string()));
            Ok(Some(value))
        })
    }

    fn scale(&self, deployment: &Value, set: &Value, replicas: i64) -> Result<(), Status> {
        let before = int(set, "/spec/replicas").unwrap_or(0);
        self.store.update(&kind::REPLICA_SETS, &Key::of(set), |seen| {
            let mut value = seen.clone();
            object::set(&mut value, &["spec", "replicas"], json!(replicas));
            Ok(Some(value))
        })?;
        let way = if replicas > before { "up" } else { "down" };
        let message = format!("Scaled {way} replica set {} from {before} to {replicas}", object::name(set));
        let note =
            Note { warning: false, reason: "ScalingReplicaSet", message, component: "deployment-controller" };
        self.recorder.record(&kind::DEPLOYMENTS, deployment, &note);
        Ok(())
    }

    fn drop_history(&self, deployment: &Value, old: &[Arc<Value>]) -> Result<(), Status> {
        let limit =
            usize::try_from(int(deployment, "/spec/revisionHistoryLimit").unwrap_or(10)).unwrap_or(10);
        let mut idle: Vec<_> = old
            .iter()
            .filter(|s| int(s, "/spec/replicas") == Some(0) && int(s, "/status/replicas").unwrap_or(0) == 0)
            .collect();
        idle.sort_by_key(|s| revision(s));
        for set in idle.iter().take(idle.len().saturating_sub(limit)) {
            self.store.delete(&kind::REPLICA_SETS, &Key::of(set), &DeleteOptions::now())?;
        }
        Ok(())
    }

    fn write_status(&self, key: &Key, newest: Option<&Value>, sets: &[Arc<Value>]) -> Outcome {
        let fresh: Vec<Arc<Value>> =
            sets.iter().filter_map(|s| self.store.get(&kind::REPLICA_SETS, &Key::of(s))).collect();
        let newest = newest.and_then(|s| fresh.iter().find(|f| object::uid(f) == object::uid(s)));
        let now = clock::now();
        let done = self.store.update(&kind::DEPLOYMENTS, key, |seen| {
            let mut value = seen.clone();
            status(&mut value, newest.map(Arc::as_ref), &fresh, now);
            Ok((value != *seen).then_some(value))
        })?;
        Ok(deadline(&done).map(|(left, _)| left))
    }
}

fn revision(set: &Value) -> i64 {
    object::annotation(set, REVISION).and_then(|r| r.parse().ok()).unwrap_or(0)
}

fn own_annotations(deployment: &Value) -> Value {
    let mut map = deployment["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    map.retain(|k, _| k != REVISION && k != "kubectl.kubernetes.io/last-applied-configuration");
    Value::Object(map)
}

/// FNV over the template in its sorted form: equal templates get equal names.
fn template_hash(template: &Value, collisions: i64) -> String {
    let text = format!("{template}{}", if collisions > 0 { collisions.to_string() } else { String::new() });
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    format!("{}{}", clock::suffix_of(hash), clock::suffix_of(hash.rotate_left(29)))
}

fn find_new<'a>(deployment: &Value, sets: &'a [Arc<Value>]) -> Option<&'a Arc<Value>> {
    sets.iter().find(|set| {
        let mut template = set["spec"]["template"].clone();
        object::unset(&mut template, &["metadata", "labels", HASH]);
        template == deployment["spec"]["template"]
    })
}

fn share(value: &Value, of: i64, up: bool) -> i64 {
    match value {
        Value::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            (percent * of + if up { 99 } else { 0 }) / 100
        }
        other => other.as_i64().unwrap_or(0),
    }
}

/// How far a rollout may go above and below the wanted number.
fn bounds(deployment: &Value, wanted: i64) -> (i64, i64) {
    let rolling = &deployment["spec"]["strategy"]["rollingUpdate"];
    let surge = share(&rolling["maxSurge"], wanted, true);
    let unavailable = share(&rolling["maxUnavailable"], wanted, false);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

fn replicas(set: &Value) -> i64 {
    int(set, "/spec/replicas").unwrap_or(0)
}

type Step<'a> = (&'a Value, i64);

/// The scaling steps that are allowed now.
fn plan<'a>(deployment: &Value, new: &'a Value, old: &'a [Arc<Value>]) -> Vec<Step<'a>> {
    let wanted = int(deployment, "/spec/replicas").unwrap_or(1);
    let running_old: i64 = old.iter().map(|s| int(s, "/status/replicas").unwrap_or(0).max(replicas(s))).sum();
    let to = |set: &'a Value, count: i64| (replicas(set) != count).then_some((set, count));
    if text(deployment, "/spec/strategy/type") == "Recreate" {
        let downs: Vec<_> = old.iter().filter_map(|s| to(s, 0)).collect();
        return if downs.is_empty() && running_old == 0 {
            to(new, wanted).into_iter().collect()
        } else {
            downs
        };
    }
    let (surge, unavailable) = bounds(deployment, wanted);
    let mut steps = Vec::new();
    let total: i64 = old.iter().map(|s| replicas(s)).sum::<i64>() + replicas(new);
    if replicas(new) > wanted {
        steps.extend(to(new, wanted));
    } else {
        let room = (wanted + surge - total).max(0);
        steps.extend(to(new, (replicas(new) + room).min(wanted)));
    }
    steps.extend(shrink_old(wanted - unavailable, total, new, old));
    steps
}

/// Old sets give up what is unhealthy first, then as much as the minimum leaves.
fn shrink_old<'a>(minimum: i64, total: i64, new: &Value, old: &'a [Arc<Value>]) -> Vec<Step<'a>> {
    let ready = |s: &Value| int(s, "/status/availableReplicas").unwrap_or(0);
    let new_missing = (replicas(new) - ready(new)).max(0);
    let mut budget = (total - minimum - new_missing).max(0);
    let mut left: Vec<Step<'a>> = old.iter().map(|s| (&**s, replicas(s))).collect();
    left.sort_by_key(|(s, _)| text(s, "/metadata/creationTimestamp").to_owned());
    for (set, count) in &mut left {
        let sick = (*count - ready(set)).max(0).min(budget);
        *count -= sick;
        budget -= sick;
    }
    let serving: i64 = ready(new) + left.iter().map(|(s, c)| ready(s).min(*c)).sum::<i64>();
    let mut healthy = (serving - minimum).max(0);
    for (_, count) in &mut left {
        let gone = (*count).min(healthy);
        *count -= gone;
        healthy -= gone;
    }
    left.into_iter().filter(|(s, c)| replicas(s) != *c).collect()
}

/// A paused deployment only follows its number: the largest set takes the difference.
fn proportional<'a>(deployment: &Value, sets: &'a [Arc<Value>]) -> Vec<Step<'a>> {
    let wanted = int(deployment, "/spec/replicas").unwrap_or(1);
    let total: i64 = sets.iter().map(|s| replicas(s)).sum();
    let Some(largest) = sets.iter().max_by_key(|s| replicas(s)).filter(|_| total != wanted) else {
        return Vec::new();
    };
    vec![(&**largest, (replicas(largest) + wanted - total).max(0))]
}

fn status(value: &mut Value, newest: Option<&Value>, sets: &[Arc<Value>], now: Timestamp) {
    let sum = |field: &str| sets.iter().map(|s| int(s, field).unwrap_or(0)).sum::<i64>();
    let wanted = int(value, "/spec/replicas").unwrap_or(1);
    let (total, ready, available) =
        (sum("/status/replicas"), sum("/status/readyReplicas"), sum("/status/availableReplicas"));
    let updated = newest.map_or(0, |s| int(s, "/status/replicas").unwrap_or(0));
    let updated_available = newest.map_or(0, |s| int(s, "/status/availableReplicas").unwrap_or(0));
    if let Some(number) = newest.and_then(|s| object::annotation(s, REVISION)) {
        object::set(value, &["metadata", "annotations", REVISION], json!(number));
    }
    let before = value["status"].clone();
    let mut status = json!({"observedGeneration": value["metadata"]["generation"]});
    for (field, count) in [
        ("replicas", total),
        ("updatedReplicas", updated),
        ("readyReplicas", ready),
        ("availableReplicas", available),
        ("unavailableReplicas", (wanted - available).max(0)),
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
    let progressed = ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"]
        .iter()
        .any(|f| before[*f] != status[*f]);
    let settled = updated == wanted && total == wanted && updated_available == wanted;
    value["status"] = status;
    conditions(value, available >= wanted - bounds(value, wanted).1, settled, progressed, newest, now);
}

fn conditions(
    value: &mut Value,
    available: bool,
    settled: bool,
    progressed: bool,
    newest: Option<&Value>,
    now: Timestamp,
) {
    let stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let (state, reason, message) = if available {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    let wanted = json!({"type": "Available", "status": state, "reason": reason, "message": message, "lastUpdateTime": stamp});
    object::set_condition(value, &wanted, &stamp);
    let set = newest.map_or("", |s| object::name(s)).to_owned();
    let (state, reason, message) = if settled {
        ("True", "NewReplicaSetAvailable", format!("ReplicaSet {set:?} has successfully progressed."))
    } else if !progressed && deadline(value).is_some_and(|(_, passed)| passed) {
        ("False", "ProgressDeadlineExceeded", format!("ReplicaSet {set:?} has timed out progressing."))
    } else {
        ("True", "ReplicaSetUpdated", format!("ReplicaSet {set:?} is progressing."))
    };
    let old = object::condition(value, "Progressing").cloned().unwrap_or_default();
    let stays = old["reason"] == reason && (!progressed || settled);
    let at = if stays { old["lastUpdateTime"].clone() } else { json!(stamp) };
    let wanted = json!({"type": "Progressing", "status": state, "reason": reason, "message": message, "lastUpdateTime": at});
    object::set_condition(value, &wanted, &stamp);
    // `set_condition` keeps the update time of an unchanged condition, but progress is news by itself.
    if !stays
        && let Some(list) = value["status"]["conditions"].as_array_mut()
        && let Some(found) = list.iter_mut().find(|c| c["type"] == "Progressing")
    {
        found["lastUpdateTime"] = json!(stamp);
    }
}

/// How long a rollout under way may still go without progress, and whether that has passed.
fn deadline(deployment: &Value) -> Option<(Duration, bool)> {
    let progressing = object::condition(deployment, "Progressing")?;
    if progressing["reason"] != "ReplicaSetUpdated" {
        return (progressing["reason"] == "ProgressDeadlineExceeded")
            .then_some((Duration::from_secs(3600), true));
    }
    let limit = int(deployment, "/spec/progressDeadlineSeconds").unwrap_or(600);
    let since: Timestamp = text(progressing, "/lastUpdateTime").parse().ok()?;
    let left = limit - clock::now().duration_since(since).as_secs();
    Some((Duration::from_secs(u64::try_from(left).unwrap_or(0).max(1)), left <= 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, replicas: i64, available: i64) -> Arc<Value> {
        Arc::new(
            json!({"metadata": {"name": name}, "spec": {"replicas": replicas}, "status": {"replicas": replicas, "availableReplicas": available}}),
        )
    }

    fn deployment(replicas: i64, kind: &str, surge: Value, unavailable: Value) -> Value {
        json!({"spec": {"replicas": replicas, "strategy": {"type": kind, "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}})
    }

    #[test]
    fn rollouts_stay_within_their_bounds() {
        let rolling = |s: i64, u: i64| deployment(4, "RollingUpdate", json!(s), json!(u));
        let recreate = deployment(4, "Recreate", json!(0), json!(0));
        type Case = (&'static str, Value, (i64, i64), (i64, i64), Vec<(&'static str, i64)>);
        let cases: Vec<Case> = vec![
            ("first: as many as wanted", rolling(1, 0), (0, 0), (0, 0), vec![("new", 4)]),
            ("surge first", rolling(1, 0), (0, 0), (4, 4), vec![("new", 1)]),
            ("old waits for the new to be available", rolling(1, 0), (1, 0), (4, 4), vec![]),
            ("one available, one old goes", rolling(1, 0), (1, 1), (4, 4), vec![("old", 3)]),
            ("unavailable allowed: old goes at once", rolling(0, 2), (0, 0), (4, 4), vec![("old", 2)]),
            ("sick old pods go first", rolling(1, 1), (1, 0), (4, 0), vec![("old", 3)]),
            ("scale down", rolling(1, 0), (6, 6), (0, 0), vec![("new", 4)]),
            ("recreate: first down", recreate.clone(), (0, 0), (4, 4), vec![("old", 0)]),
            ("recreate: then up", recreate, (0, 0), (0, 0), vec![("new", 4)]),
        ];
        for (what, deployment, new, old, expected) in cases {
            let (new, old) = (set("new", new.0, new.1), [set("old", old.0, old.1)]);
            let found: Vec<_> =
                plan(&deployment, &new, &old).into_iter().map(|(s, n)| (object::name(s), n)).collect();
            assert_eq!(found, expected, "{what}");
        }
    }

    #[test]
    fn percentages_round_in_favour_of_progress() {
        assert_eq!(bounds(&deployment(10, "RollingUpdate", json!("25%"), json!("25%")), 10), (3, 2));
        assert_eq!(bounds(&deployment(1, "RollingUpdate", json!("0%"), json!("0%")), 1), (0, 1));
    }
}
