//! Pure: whether a pod that is about to be made will be taken for an instance of an application.

use bcs_schemas::Name;
use k8s_openapi::api::core::v1::Pod;

use super::{label, translate::pod::of_a_set};

/// What a pod in `namespace` lacks for an agent to take it for an instance, in words; nothing when it will.
pub fn lacks(pod: &Pod, namespace: &str) -> Vec<String> {
    let labels = pod.metadata.labels.as_ref();
    let label = |key: &str| labels.and_then(|all| all.get(key)).map(String::as_str);
    let mut lacks = Vec::new();
    for key in [label::APP, label::REVISION] {
        match label(key) {
            None => lacks.push(format!("the label {key}")),
            Some(text) if Name::new(text).is_err() => lacks.push(format!("a name in the label {key}")),
            Some(_) => {}
        }
    }
    for (key, expected) in [(label::PROJECT, namespace), (label::MANAGED_BY, label::MANAGER)] {
        if label(key) != Some(expected) {
            lacks.push(format!("the label {key}={expected}"));
        }
    }
    if !of_a_set(pod) {
        lacks.push("a ReplicaSet that keeps it".to_owned());
    }
    lacks
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;
    use crate::kubernetes::translate::{Sight, pod::endpoint};

    fn pod() -> Value {
        json!({
            "metadata": {
                "name": "web-1", "namespace": "shop", "uid": "u1",
                "labels": {
                    "bcs.io/app": "web", "bcs.io/revision": "r1", "bcs.io/project": "shop",
                    "app.kubernetes.io/managed-by": "bcs",
                },
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u0", "controller": true,
                }],
            },
        })
    }

    fn found(value: &Value) -> Vec<String> {
        let pod: Pod = serde_json::from_value(value.clone()).expect("a pod");
        let lacks = lacks(&pod, "shop");
        let cluster = Name::new("sim-a").expect("a name");
        let sight = Sight { cluster: &cluster, now: Timestamp::UNIX_EPOCH };
        // Informers select by this label, so the translation need not look at it.
        let watched = value["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "bcs";
        assert_eq!(watched && endpoint(&pod, sight).is_some(), lacks.is_empty(), "{value}");
        lacks
    }

    #[test]
    fn what_a_pod_lacks_is_exactly_what_keeps_an_agent_from_seeing_it() {
        assert_eq!(found(&pod()), Vec::<String>::new());
        for (pointer, value, words) in [
            ("/metadata/labels/bcs.io~1app", Value::Null, "the label bcs.io/app"),
            ("/metadata/labels/bcs.io~1app", json!("No_Name"), "a name in the label bcs.io/app"),
            ("/metadata/labels/bcs.io~1revision", Value::Null, "the label bcs.io/revision"),
            ("/metadata/labels/bcs.io~1project", json!("other"), "the label bcs.io/project=shop"),
            (
                "/metadata/labels/app.kubernetes.io~1managed-by",
                Value::Null,
                "the label app.kubernetes.io/managed-by=bcs",
            ),
            ("/metadata/ownerReferences/0/kind", json!("Job"), "a ReplicaSet that keeps it"),
            ("/metadata/ownerReferences/0/controller", json!(false), "a ReplicaSet that keeps it"),
        ] {
            let mut wrong = pod();
            let at = wrong.pointer_mut(pointer).expect("a field");
            if value.is_null() {
                let (parent, key) = pointer.rsplit_once('/').expect("a path");
                let key = key.replace("~1", "/");
                wrong.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object").remove(&key);
            } else {
                *at = value;
            }
            assert_eq!(found(&wrong), [words]);
        }
    }
}
