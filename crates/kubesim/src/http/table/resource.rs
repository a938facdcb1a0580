//! The columns of what workloads get: storage, and more or fewer pods.

use serde_json::{Value, json};

use super::{Column, workload::or};
use crate::{
    kind::Kind,
    object::{self, int, items, text},
};

pub(super) fn columns(kind: &Kind) -> Option<&'static [Column]> {
    Some(match kind.id {
        "horizontalpodautoscalers.autoscaling" => &[
            ("Name", false),
            ("Reference", false),
            ("Targets", false),
            ("MinPods", false),
            ("MaxPods", false),
            ("Replicas", false),
            ("Age", false),
        ],
        "persistentvolumeclaims" => &[
            ("Name", false),
            ("Status", false),
            ("Volume", false),
            ("Capacity", false),
            ("Access Modes", false),
            ("StorageClass", false),
            ("VolumeAttributesClass", false),
            ("Age", false),
            ("VolumeMode", true),
        ],
        _ => return None,
    })
}

pub(super) fn cells(kind: &Kind, object: &Value, name: &Value, age: &Value) -> Option<Vec<Value>> {
    let count = |pointer: &str| json!(int(object, pointer).unwrap_or(0));
    let mut row = match kind.id {
        "horizontalpodautoscalers.autoscaling" => vec![
            json!(format!(
                "{}/{}",
                text(object, "/spec/scaleTargetRef/kind"),
                text(object, "/spec/scaleTargetRef/name")
            )),
            json!(targets(object)),
            count("/spec/minReplicas"),
            count("/spec/maxReplicas"),
            count("/status/currentReplicas"),
            age.clone(),
        ],
        "persistentvolumeclaims" => claim(object, age),
        _ => return None,
    };
    row.insert(0, name.clone());
    Some(row)
}

/// What is used of what, for every metric of an autoscaler.
fn targets(object: &Value) -> String {
    let known = items(object, "/status/currentMetrics");
    let word = |value: &Value, percent: &str, average: &str| match int(value, percent) {
        Some(percent) => format!("{percent}%"),
        None => or(text(value, average), "<unknown>").as_str().unwrap_or("").to_owned(),
    };
    let one = |metric: &Value| {
        let name = text(metric, "/resource/name");
        let now = known.iter().find(|k| text(k, "/resource/name") == name).unwrap_or(&Value::Null);
        let (target, current) = ("/resource/target", "/resource/current");
        let of = |value: &Value, at: &str| {
            word(value, &format!("{at}/averageUtilization"), &format!("{at}/averageValue"))
        };
        format!("{name}: {}/{}", of(now, current), of(metric, target))
    };
    items(object, "/spec/metrics").iter().map(one).collect::<Vec<_>>().join(", ")
}

/// How a volume may be used, as short as kubectl says it.
pub(super) fn modes(modes: &[Value]) -> String {
    let short = |mode: &Value| match mode.as_str().unwrap_or("") {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        _ => "",
    };
    modes.iter().map(short).collect::<Vec<_>>().join(",")
}

fn claim(object: &Value, age: &Value) -> Vec<Value> {
    vec![
        json!(if object::deleting(object) { "Terminating" } else { text(object, "/status/phase") }),
        json!(text(object, "/spec/volumeName")),
        json!(text(object, "/status/capacity/storage")),
        json!(modes(items(object, "/status/accessModes"))),
        json!(text(object, "/spec/storageClassName")),
        or(text(object, "/spec/volumeAttributesClassName"), "<unset>"),
        age.clone(),
        json!(text(object, "/spec/volumeMode")),
    ]
}
