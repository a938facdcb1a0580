//! The columns of what makes pods.

use serde_json::{Value, json};

use super::Column;
use crate::{
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
        "replicasets.apps" | "replicationcontrollers" => &[
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
        _ => return None,
    })
}

pub(super) fn cells(kind: &Kind, object: &Value, name: &Value, age: &Value) -> Option<Vec<Value>> {
    let count = |pointer: &str| json!(int(object, pointer).unwrap_or(0));
    let of = |part: &str, whole: &str| json!(format!("{}/{}", count(part), count(whole)));
    let [containers, images, _] = pods(&object["spec"]);
    let selector = or(&Labels::of_owner(kind, object).to_string(), "<none>");
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
        "replicasets.apps" | "replicationcontrollers" => vec![
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
        _ => return None,
    };
    row.insert(0, name.clone());
    Some(row)
}

pub(super) fn or(text: &str, nothing: &str) -> Value {
    json!(if text.is_empty() { nothing } else { text })
}

/// Names and images of the containers of a template, and by which labels its pods are found.
pub(super) fn pods(spec: &Value) -> [Value; 3] {
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
