//! The columns of what makes pods.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Column, age, duration};
use crate::{
    clock,
    kind::Kind,
    object::{self, int, items, text},
    selector::Labels,
};

pub(super) fn columns(kind: &Kind) -> Option<&'static [Column]> {
    Some(match kind.id {
        "deployments.apps" => &[
            ("Name", false),
            ("Ready", false),
            ("Up-to-date", false),
            ("Available", false),
            ("Age", false),
            ("Containers", true),
            ("Images", true),
            ("Selector", true),
        ],
        "replicasets.apps" => &[
            ("Name", false),
            ("Desired", false),
            ("Current", false),
            ("Ready", false),
            ("Age", false),
            ("Containers", true),
            ("Images", true),
            ("Selector", true),
        ],
        "statefulsets.apps" => {
            &[("Name", false), ("Ready", false), ("Age", false), ("Containers", true), ("Images", true)]
        }
        "daemonsets.apps" => &[
            ("Name", false),
            ("Desired", false),
            ("Current", false),
            ("Ready", false),
            ("Up-to-date", false),
            ("Available", false),
            ("Node Selector", false),
            ("Age", false),
            ("Containers", true),
            ("Images", true),
            ("Selector", true),
        ],
        "controllerrevisions.apps" => {
            &[("Name", false), ("Controller", false), ("Revision", false), ("Age", false)]
        }
        "jobs.batch" => &[
            ("Name", false),
            ("Status", false),
            ("Completions", false),
            ("Duration", false),
            ("Age", false),
            ("Containers", true),
            ("Images", true),
            ("Selector", true),
        ],
        "cronjobs.batch" => &[
            ("Name", false),
            ("Schedule", false),
            ("Timezone", false),
            ("Suspend", false),
            ("Active", false),
            ("Last Schedule", false),
            ("Age", false),
            ("Containers", true),
            ("Images", true),
            ("Selector", true),
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
    let of = |part: &str, whole: &str| json!(format!("{}/{}", count(part), count(whole)));
    let [containers, images, selector] = pods(&object["spec"]);
    let mut row = match kind.id {
        "deployments.apps" => vec![
            of("/status/readyReplicas", "/spec/replicas"),
            count("/status/updatedReplicas"),
            count("/status/availableReplicas"),
            age.clone(),
            containers,
            images,
            selector,
        ],
        "replicasets.apps" => vec![
            count("/spec/replicas"),
            count("/status/replicas"),
            count("/status/readyReplicas"),
            age.clone(),
            containers,
            images,
            selector,
        ],
        "statefulsets.apps" => {
            vec![of("/status/readyReplicas", "/spec/replicas"), age.clone(), containers, images]
        }
        "daemonsets.apps" => vec![
            count("/status/desiredNumberScheduled"),
            count("/status/currentNumberScheduled"),
            count("/status/numberReady"),
            count("/status/updatedNumberScheduled"),
            count("/status/numberAvailable"),
            or(
                &Labels::from_map(object["spec"]["template"]["spec"]["nodeSelector"].as_object()).to_string(),
                "<none>",
            ),
            age.clone(),
            containers,
            images,
            selector,
        ],
        "controllerrevisions.apps" => vec![controller(object), count("/revision"), age.clone()],
        "jobs.batch" => {
            vec![
                json!(job_status(object)),
                completions(object),
                took(object),
                age.clone(),
                containers,
                images,
                selector,
            ]
        }
        "cronjobs.batch" => cron_job(object, age),
        "persistentvolumeclaims" => claim(object, age),
        _ => return None,
    };
    row.insert(0, name.clone());
    Some(row)
}

fn or(text: &str, nothing: &str) -> Value {
    json!(if text.is_empty() { nothing } else { text })
}

/// Names and images of the containers of a template, and by which labels its pods are found.
fn pods(spec: &Value) -> [Value; 3] {
    let containers = items(spec, "/template/spec/containers");
    let join =
        |pointer: &str| json!(containers.iter().map(|c| text(c, pointer)).collect::<Vec<_>>().join(","));
    [join("/name"), join("/image"), or(&Labels::from_object(&spec["selector"]).to_string(), "<none>")]
}

fn controller(object: &Value) -> Value {
    let Some(owner) = object::controller(object) else { return json!("<none>") };
    let group = text(owner, "/apiVersion").split_once('/').map_or(String::new(), |(g, _)| format!(".{g}"));
    json!(format!("{}{group}/{}", text(owner, "/kind").to_lowercase(), text(owner, "/name")))
}

fn job_status(job: &Value) -> &'static str {
    let is = |name: &str| object::condition_true(job, name);
    if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if object::deleting(job) {
        "Terminating"
    } else if is("Suspended") {
        "Suspended"
    } else if is("FailureTarget") {
        "FailureTarget"
    } else if is("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(job: &Value) -> Value {
    let done = int(job, "/status/succeeded").unwrap_or(0);
    let parallel = int(job, "/spec/parallelism").unwrap_or(1);
    json!(match int(job, "/spec/completions") {
        Some(wanted) => format!("{done}/{wanted}"),
        None if parallel > 1 => format!("{done}/1 of {parallel}"),
        None => format!("{done}/1"),
    })
}

fn took(job: &Value) -> Value {
    let instant = |pointer: &str| text(job, pointer).parse::<Timestamp>().ok();
    json!(instant("/status/startTime").map_or(String::new(), |start| {
        let end = instant("/status/completionTime").unwrap_or_else(clock::now);
        duration(end.duration_since(start))
    }))
}

fn cron_job(object: &Value, born: &Value) -> Vec<Value> {
    let [containers, images, selector] = pods(&object["spec"]["jobTemplate"]["spec"]);
    let last = text(object, "/status/lastScheduleTime");
    vec![
        object["spec"]["schedule"].clone(),
        or(text(object, "/spec/timeZone"), "<none>"),
        json!(if object["spec"]["suspend"] == true { "True" } else { "False" }),
        json!(items(object, "/status/active").len()),
        json!(if last.is_empty() { "<none>".to_owned() } else { age(last) }),
        born.clone(),
        containers,
        images,
        selector,
    ]
}

fn claim(object: &Value, age: &Value) -> Vec<Value> {
    let mode = |m: &Value| match m.as_str().unwrap_or("") {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        _ => "",
    };
    let modes: Vec<&str> = items(object, "/status/accessModes").iter().map(mode).collect();
    vec![
        json!(if object::deleting(object) { "Terminating" } else { text(object, "/status/phase") }),
        json!(text(object, "/spec/volumeName")),
        json!(text(object, "/status/capacity/storage")),
        json!(modes.join(",")),
        json!(text(object, "/spec/storageClassName")),
        or(text(object, "/spec/volumeAttributesClassName"), "<unset>"),
        age.clone(),
        json!(text(object, "/spec/volumeMode")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;

    #[test]
    fn every_row_fills_its_columns() {
        for kind in kind::all() {
            let (columns, cells) = (columns(kind), cells(kind, &json!({}), &json!("a"), &json!("1s")));
            assert_eq!(columns.map(<[_]>::len), cells.map(|c| c.len()), "{}", kind.id);
        }
    }
}
