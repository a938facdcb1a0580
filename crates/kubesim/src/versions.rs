//! Kinds that are served in two versions, and stored in one: what each says in the words of the other. Pure.

use serde_json::{Map, Value, json};

use crate::object::{self, items, text};

/// Between a version that is served and the one that is stored; type and version are not part of it.
#[derive(Debug)]
pub(crate) struct Translation {
    pub to_stored: fn(&mut Value),
    pub from_stored: fn(&mut Value),
}

/// `events.k8s.io/v1`, stored as events of the core.
pub(crate) static EVENT: Translation = Translation {
    to_stored: |event| {
        rename(event, |(core, new)| (new, core));
        // Events without a series are dated by the only time that they have.
        let at = event["eventTime"].clone();
        for field in ["firstTimestamp", "lastTimestamp"] {
            if !at.is_null() {
                object::default(event, &[field], seconds(&at));
            }
        }
        if !text(event, "/reportingComponent").is_empty() {
            let component = event["reportingComponent"].clone();
            object::default(event, &["source", "component"], component);
        }
    },
    from_stored: |event| rename(event, |pair| pair),
};

/// Fields of an event: in the core, and in `events.k8s.io`.
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("message", "note"),
    ("involvedObject", "regarding"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

fn rename(object: &mut Value, direction: fn((&'static str, &'static str)) -> (&'static str, &'static str)) {
    let Some(map) = object.as_object_mut() else { return };
    for (from, to) in EVENT_FIELDS.map(direction) {
        if let Some(value) = map.remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
}

/// The times of the core have no parts of seconds.
fn seconds(at: &Value) -> Value {
    match at.as_str().and_then(|at| at.split_once('.')) {
        Some((whole, _)) => json!(format!("{whole}Z")),
        None => at.clone(),
    }
}

/// `autoscaling/v1`, which knows of processors only; what else there is travels in annotations, as on a real server.
pub(crate) static AUTOSCALER: Translation = Translation {
    to_stored: |autoscaler| {
        let percent = take(autoscaler, "spec", "targetCPUUtilizationPercentage");
        let mut metrics = from_annotation(autoscaler, METRICS);
        if !percent.is_null() {
            let target = json!({"type": "Utilization", "averageUtilization": percent});
            metrics.insert(0, json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
        }
        if !metrics.is_empty() {
            object::set(autoscaler, &["spec", "metrics"], Value::Array(metrics));
        }
        let percent = take(autoscaler, "status", "currentCPUUtilizationPercentage");
        let mut current = from_annotation(autoscaler, CURRENT);
        if !percent.is_null() {
            let found = json!({"averageUtilization": percent});
            current.insert(0, json!({"type": "Resource", "resource": {"name": "cpu", "current": found}}));
        }
        if !current.is_empty() {
            object::set(autoscaler, &["status", "currentMetrics"], Value::Array(current));
        }
        let conditions = from_annotation(autoscaler, CONDITIONS);
        if !conditions.is_empty() {
            object::set(autoscaler, &["status", "conditions"], Value::Array(conditions));
        }
    },
    from_stored: |autoscaler| {
        let cpu = |metric: &Value| text(metric, "/resource/name") == "cpu";
        let metrics = take(autoscaler, "spec", "metrics");
        let percent = "/resource/target/averageUtilization";
        let (known, others) = split(&metrics, |m| cpu(m) && m.pointer(percent).is_some());
        if let Some(value) = known.and_then(|metric| metric.pointer(percent).cloned()) {
            object::set(autoscaler, &["spec", "targetCPUUtilizationPercentage"], value);
        }
        into_annotation(autoscaler, METRICS, others);
        let current = take(autoscaler, "status", "currentMetrics");
        let percent = "/resource/current/averageUtilization";
        let (known, others) = split(&current, |m| cpu(m) && m.pointer(percent).is_some());
        if let Some(value) = known.and_then(|metric| metric.pointer(percent).cloned()) {
            object::set(autoscaler, &["status", "currentCPUUtilizationPercentage"], value);
        }
        into_annotation(autoscaler, CURRENT, others);
        let conditions = take(autoscaler, "status", "conditions");
        into_annotation(autoscaler, CONDITIONS, items(&conditions, "").to_vec());
    },
};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

fn take(object: &mut Value, part: &str, field: &str) -> Value {
    let map: Option<&mut Map<String, Value>> = object.get_mut(part).and_then(Value::as_object_mut);
    map.and_then(|map| map.remove(field)).unwrap_or(Value::Null)
}

fn split(list: &Value, wanted: impl Fn(&Value) -> bool) -> (Option<&Value>, Vec<Value>) {
    let all = items(list, "");
    let at = all.iter().position(wanted);
    let others = all.iter().enumerate().filter(|(index, _)| Some(*index) != at).map(|(_, m)| m.clone());
    (at.map(|at| &all[at]), others.collect())
}

fn into_annotation(object: &mut Value, name: &str, list: Vec<Value>) {
    if !list.is_empty() {
        object::set(object, &["metadata", "annotations", name], json!(Value::Array(list).to_string()));
    }
}

fn from_annotation(object: &mut Value, name: &str) -> Vec<Value> {
    let found = object::annotation(object, name).and_then(|text| serde_json::from_str(text).ok());
    object::unset(object, &["metadata", "annotations", name]);
    if object["metadata"]["annotations"].as_object().is_some_and(Map::is_empty) {
        object::unset(object, &["metadata", "annotations"]);
    }
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_the_same_in_both_versions() {
        let new = json!({
            "metadata": {"name": "e"}, "eventTime": "2026-01-01T00:00:00.250000Z", "action": "Binding", "reason": "Scheduled",
            "reportingController": "scheduler", "reportingInstance": "one", "note": "it is placed", "type": "Normal",
            "regarding": {"kind": "Pod", "name": "web"},
        });
        let mut core = new.clone();
        (EVENT.to_stored)(&mut core);
        assert_eq!(
            (&core["message"], &core["involvedObject"]["name"]),
            (&json!("it is placed"), &json!("web"))
        );
        assert_eq!(
            (&core["lastTimestamp"], &core["source"]["component"]),
            (&json!("2026-01-01T00:00:00Z"), &json!("scheduler"))
        );
        assert!(core.get("note").is_none());
        let mut back = core;
        (EVENT.from_stored)(&mut back);
        for (field, value) in new.as_object().expect("a map") {
            assert_eq!(back[field], *value, "{field}");
        }
        assert!(back.get("message").is_none());
    }

    #[test]
    fn an_autoscaler_loses_nothing_on_the_way_through_the_old_version() {
        let metric = |name: &str| json!({"type": "Resource", "resource": {"name": name, "target": {"type": "Utilization", "averageUtilization": 70}}});
        let stored = json!({
            "metadata": {"name": "a"},
            "spec": {"maxReplicas": 3, "metrics": [metric("cpu"), metric("memory")]},
            "status": {
                "currentReplicas": 1, "conditions": [{"type": "AbleToScale", "status": "True"}],
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 35}}}],
            },
        });
        let mut old = stored.clone();
        (AUTOSCALER.from_stored)(&mut old);
        assert_eq!(
            (
                &old["spec"]["targetCPUUtilizationPercentage"],
                &old["status"]["currentCPUUtilizationPercentage"]
            ),
            (&json!(70), &json!(35))
        );
        assert!(
            old["spec"].get("metrics").is_none()
                && object::annotation(&old, METRICS).is_some_and(|m| m.contains("memory"))
        );
        (AUTOSCALER.to_stored)(&mut old);
        assert_eq!(old, stored);
    }
}
