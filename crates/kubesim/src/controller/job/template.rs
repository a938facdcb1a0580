//! The pods of a job, as its template and their index want them. Pure.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{FINALIZER, index, tally};
use crate::{
    controller::pod,
    kind,
    object::{self, items},
};

const VARIABLE: &str = "JOB_COMPLETION_INDEX";

pub(super) fn pod(job: &Value, at: Option<i64>, pods: &[Arc<Value>]) -> Value {
    let mut pod = pod::draft(&kind::JOBS, job, &job["spec"]["template"]);
    let mut finalizers = items(&pod, "/metadata/finalizers").to_vec();
    finalizers.push(json!(FINALIZER));
    object::set(&mut pod, &["metadata", "finalizers"], Value::Array(finalizers));
    let Some(at) = at else { return pod };
    let name = format!("{}-{at}", object::name(job));
    pod::name_randomly(&mut pod, &format!("{name}-"));
    for place in ["labels", "annotations"] {
        object::set(&mut pod, &["metadata", place, index::LABEL], json!(at.to_string()));
    }
    if !job["spec"]["backoffLimitPerIndex"].is_null() {
        let failures = tally::failures_of(job, at, pods).to_string();
        object::set(&mut pod, &["metadata", "annotations", tally::FAILURES], json!(failures));
    }
    object::default(&mut pod, &["spec", "hostname"], json!(name));
    for list in ["containers", "initContainers"] {
        for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            tell_index(container);
        }
    }
    pod
}

fn tell_index(container: &mut Value) {
    let mut env = items(container, "/env").to_vec();
    if env.iter().any(|e| e["name"] == VARIABLE) {
        return;
    }
    let path = format!("metadata.labels['{}']", index::LABEL);
    env.push(json!({"name": VARIABLE, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}));
    object::set(container, &["env"], Value::Array(env));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_told_its_index() {
        let job = json!({
            "metadata": {"name": "work"},
            "spec": {"backoffLimitPerIndex": 1, "template": {"spec": {"containers": [{"name": "c"}]}}},
        });
        let pod = pod(&job, Some(3), &[]);
        assert_eq!(pod["metadata"]["generateName"], "work-3-");
        assert_eq!(pod["spec"]["hostname"], "work-3");
        assert_eq!((index::of_pod(&pod), object::label(&pod, index::LABEL)), (Some(3), Some("3")));
        assert_eq!(pod["spec"]["containers"][0]["env"][0]["name"], VARIABLE);
        assert_eq!(object::annotation(&pod, tally::FAILURES), Some("0"));
        assert_eq!(pod["metadata"]["finalizers"], json!([FINALIZER]));
    }
}
