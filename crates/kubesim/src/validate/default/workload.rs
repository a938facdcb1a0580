//! The defaults of what makes pods.

use serde_json::{Value, json};

use super::pod_spec;
use crate::{
    clock,
    kind::Kind,
    object::{self, default},
};

pub(super) fn apply(kind: &Kind, object: &mut Value) {
    match kind.id {
        "replicasets.apps" => {
            default(object, &["spec", "replicas"], json!(1));
            template(&mut object["spec"]);
        }
        "replicationcontrollers" => replication(object),
        "deployments.apps" => deployment(object),
        "statefulsets.apps" => stateful_set(object),
        "daemonsets.apps" => daemon_set(object),
        "jobs.batch" => job(object),
        "cronjobs.batch" => cron_job(object),
        "horizontalpodautoscalers.autoscaling" => {
            default(object, &["spec", "minReplicas"], json!(1));
            let target = json!({"type": "Utilization", "averageUtilization": 80});
            let cpu = json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]);
            default(object, &["spec", "metrics"], cpu);
        }
        "persistentvolumeclaims" => default(object, &["spec", "volumeMode"], json!("Filesystem")),
        _ => {}
    }
}

fn template(spec: &mut Value) {
    if spec["template"].is_object() {
        pod_spec(&mut spec["template"]["spec"]);
    }
}

/// One without a selector finds its pods by the labels of its template.
fn replication(object: &mut Value) {
    default(object, &["spec", "replicas"], json!(1));
    if let Some(labels) = object::labels(&object["spec"]["template"]).cloned() {
        default(object, &["spec", "selector"], json!(labels));
        if object::labels(object).is_none_or(serde_json::Map::is_empty) {
            object::set(object, &["metadata", "labels"], json!(labels));
        }
    }
    template(&mut object["spec"]);
}

fn deployment(object: &mut Value) {
    default(object, &["spec", "replicas"], json!(1));
    default(object, &["spec", "strategy", "type"], json!("RollingUpdate"));
    if object["spec"]["strategy"]["type"] == "RollingUpdate" {
        default(object, &["spec", "strategy", "rollingUpdate", "maxSurge"], json!("25%"));
        default(object, &["spec", "strategy", "rollingUpdate", "maxUnavailable"], json!("25%"));
    }
    default(object, &["spec", "revisionHistoryLimit"], json!(10));
    default(object, &["spec", "progressDeadlineSeconds"], json!(600));
    template(&mut object["spec"]);
}

fn stateful_set(object: &mut Value) {
    default(object, &["spec", "replicas"], json!(1));
    default(object, &["spec", "podManagementPolicy"], json!("OrderedReady"));
    default(object, &["spec", "updateStrategy", "type"], json!("RollingUpdate"));
    if object["spec"]["updateStrategy"]["type"] == "RollingUpdate" {
        default(object, &["spec", "updateStrategy", "rollingUpdate", "partition"], json!(0));
    }
    default(object, &["spec", "revisionHistoryLimit"], json!(10));
    for when in ["whenDeleted", "whenScaled"] {
        default(object, &["spec", "persistentVolumeClaimRetentionPolicy", when], json!("Retain"));
    }
    let claims = object["spec"].get_mut("volumeClaimTemplates").and_then(Value::as_array_mut);
    for claim in claims.into_iter().flatten().filter(|c| c.is_object()) {
        default(claim, &["apiVersion"], json!("v1"));
        default(claim, &["kind"], json!("PersistentVolumeClaim"));
        default(claim, &["spec", "volumeMode"], json!("Filesystem"));
        default(claim, &["status", "phase"], json!("Pending"));
    }
    template(&mut object["spec"]);
}

fn daemon_set(object: &mut Value) {
    default(object, &["spec", "updateStrategy", "type"], json!("RollingUpdate"));
    if object["spec"]["updateStrategy"]["type"] == "RollingUpdate" {
        default(object, &["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"], json!(1));
        default(object, &["spec", "updateStrategy", "rollingUpdate", "maxSurge"], json!(0));
    }
    default(object, &["spec", "revisionHistoryLimit"], json!(10));
    template(&mut object["spec"]);
}

fn job(object: &mut Value) {
    let spec = &mut object["spec"];
    if !spec.is_object() {
        return;
    }
    if spec["completions"].is_null() && spec["parallelism"].is_null() {
        default(spec, &["completions"], json!(1));
    }
    // With a limit for every index the common one counts only when it is asked for.
    let limit = if spec["backoffLimitPerIndex"].is_null() { 6 } else { i32::MAX };
    let replace = if spec["podFailurePolicy"].is_null() { "TerminatingOrFailed" } else { "Failed" };
    for (field, value) in [
        ("parallelism", json!(1)),
        ("backoffLimit", json!(limit)),
        ("completionMode", json!("NonIndexed")),
        ("suspend", json!(false)),
        ("podReplacementPolicy", json!(replace)),
        ("manualSelector", json!(false)),
    ] {
        default(spec, &[field], value);
    }
    template(spec);
    if object["spec"]["selector"].is_null() && object["spec"]["manualSelector"] != true {
        select_own_pods(object);
    }
}

/// A job finds its pods by its own uid, which therefore is chosen here already.
fn select_own_pods(object: &mut Value) {
    default(object, &["metadata", "uid"], json!(clock::uid()));
    let (uid, name) = (object::uid(object).to_owned(), object::name(object).to_owned());
    for (label, value) in [("controller-uid", &uid), ("job-name", &name)] {
        for label in [label.to_owned(), format!("batch.kubernetes.io/{label}")] {
            object::set(object, &["spec", "template", "metadata", "labels", &label], json!(value));
        }
    }
    object::set(
        object,
        &["spec", "selector", "matchLabels", "batch.kubernetes.io/controller-uid"],
        json!(uid),
    );
}

fn cron_job(object: &mut Value) {
    for (field, value) in [
        ("concurrencyPolicy", json!("Allow")),
        ("suspend", json!(false)),
        ("successfulJobsHistoryLimit", json!(3)),
        ("failedJobsHistoryLimit", json!(1)),
    ] {
        default(object, &["spec", field], value);
    }
    if object["spec"]["jobTemplate"]["spec"].is_object() {
        template(&mut object["spec"]["jobTemplate"]["spec"]);
    }
}
