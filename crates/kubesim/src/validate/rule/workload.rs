//! The rules of what makes pods: selector and template agree, numbers are possible, strategies make sense.

mod batch;

use serde_json::Value;

use super::{container, labels, pod_spec};
use crate::{
    kind::Kind,
    object::{self, int, text},
    selector::Labels,
    status::Cause,
};

pub(super) fn check(kind: &Kind, value: &Value, causes: &mut Vec<Cause>) {
    match kind.id {
        "replicasets.apps" | "replicationcontrollers" => workload(kind, value, causes),
        "deployments.apps" => {
            workload(kind, value, causes);
            deployment(value, causes);
        }
        "statefulsets.apps" => {
            workload(kind, value, causes);
            stateful_set(value, causes);
        }
        "daemonsets.apps" => {
            workload(kind, value, causes);
            one_of(value, "/spec/updateStrategy/type", &["OnDelete", "RollingUpdate"], causes);
            let rolling = &value["spec"]["updateStrategy"]["rollingUpdate"];
            rolling_bounds(rolling, "spec.updateStrategy.rollingUpdate", causes);
        }
        "jobs.batch" => batch::job(value, causes),
        "cronjobs.batch" => batch::cron_job(value, causes),
        "horizontalpodautoscalers.autoscaling" => autoscaler(value, causes),
        _ => {}
    }
}

/// Rules about a change, not about a state.
pub(super) fn check_update(kind: &Kind, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let fixed: Vec<&str> = match kind.id {
        "deployments.apps" | "replicasets.apps" | "daemonsets.apps" => vec!["selector"],
        "jobs.batch" => batch::fixed(old, new),
        "statefulsets.apps" if stateful_core(old) != stateful_core(new) => {
            causes.push(forbidden("spec", STATEFUL_FIXED));
            Vec::new()
        }
        _ => Vec::new(),
    };
    for field in fixed {
        if old["spec"][field] != new["spec"][field] {
            let found = new["spec"][field].to_string();
            causes.push(Cause::invalid(&format!("spec.{field}"), &found, "field is immutable"));
        }
    }
}

const STATEFUL_FIXED: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
     'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";

/// The part of a StatefulSet that never changes.
fn stateful_core(set: &Value) -> Value {
    let mut spec = set["spec"].clone();
    for field in [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ] {
        object::unset(&mut spec, &[field]);
    }
    spec
}

fn stateful_set(value: &Value, causes: &mut Vec<Cause>) {
    one_of(value, "/spec/podManagementPolicy", &["OrderedReady", "Parallel"], causes);
    one_of(value, "/spec/updateStrategy/type", &["OnDelete", "RollingUpdate"], causes);
    let strategy = &value["spec"]["updateStrategy"];
    if strategy["type"] == "OnDelete" && !strategy["rollingUpdate"].is_null() {
        let why = "only allowed for updateStrategy 'RollingUpdate'";
        causes.push(forbidden("spec.updateStrategy.rollingUpdate", why));
    }
    for (pointer, name) in [
        ("/spec/updateStrategy/rollingUpdate/partition", "spec.updateStrategy.rollingUpdate.partition"),
        ("/spec/ordinals/start", "spec.ordinals.start"),
    ] {
        if let Some(found) = int(value, pointer).filter(|n| *n < 0) {
            causes.push(Cause::invalid(name, &found.to_string(), "must be greater than or equal to 0"));
        }
    }
    for when in ["whenDeleted", "whenScaled"] {
        let pointer = format!("/spec/persistentVolumeClaimRetentionPolicy/{when}");
        one_of(value, &pointer, &["Retain", "Delete"], causes);
    }
}

fn forbidden(field: &str, why: &str) -> Cause {
    Cause { reason: "FieldValueForbidden", field: field.to_owned(), message: format!("Forbidden: {why}") }
}

/// One of a few words.
fn one_of(value: &Value, pointer: &str, supported: &[&str], causes: &mut Vec<Cause>) {
    let found = text(value, pointer);
    if !found.is_empty() && !supported.contains(&found) {
        let field = pointer.trim_start_matches('/').replace('/', ".");
        causes.push(Cause::unsupported(&field, found, supported));
    }
}

fn not_negative(value: &Value, fields: &[&str], causes: &mut Vec<Cause>) {
    for field in fields {
        if let Some(found) = value["spec"][*field].as_i64().filter(|n| *n < 0) {
            let why = "must be greater than or equal to 0";
            causes.push(Cause::invalid(&format!("spec.{field}"), &found.to_string(), why));
        }
    }
}

fn workload(kind: &Kind, value: &Value, causes: &mut Vec<Cause>) {
    not_negative(value, &["replicas", "minReadySeconds", "revisionHistoryLimit"], causes);
    let selector = Labels::of_owner(kind, value);
    let template = &value["spec"]["template"];
    labels(object::labels(template), "spec.template.metadata.labels", causes);
    if selector.is_empty() {
        causes.push(Cause::required("spec.selector", ""));
    } else if !selector.matches(object::labels(template)) {
        let found = template["metadata"]["labels"].to_string();
        let why = "`selector` does not match template `labels`";
        causes.push(Cause::invalid("spec.template.metadata.labels", &found, why));
    }
    pod_spec(&template["spec"], "spec.template.spec", causes);
    if kind.id != "statefulsets.apps" {
        container::mounts(&template["spec"], "spec.template.spec", causes);
    }
    one_of(value, "/spec/template/spec/restartPolicy", &["Always"], causes);
}

fn deployment(value: &Value, causes: &mut Vec<Cause>) {
    one_of(value, "/spec/strategy/type", &["Recreate", "RollingUpdate"], causes);
    not_negative(value, &["progressDeadlineSeconds"], causes);
    let (strategy, rolling) = (&value["spec"]["strategy"], &value["spec"]["strategy"]["rollingUpdate"]);
    if strategy["type"] == "Recreate" && !rolling.is_null() {
        let why = "may not be specified when strategy `type` is 'Recreate'";
        causes.push(forbidden("spec.strategy.rollingUpdate", why));
    }
    rolling_bounds(rolling, "spec.strategy.rollingUpdate", causes);
    let (deadline, ready) =
        (int(value, "/spec/progressDeadlineSeconds"), int(value, "/spec/minReadySeconds"));
    if let Some(deadline) = deadline.filter(|d| *d <= ready.unwrap_or(0)) {
        let why = "must be greater than minReadySeconds";
        causes.push(Cause::invalid("spec.progressDeadlineSeconds", &deadline.to_string(), why));
    }
}

fn autoscaler(value: &Value, causes: &mut Vec<Cause>) {
    for field in ["kind", "name"] {
        if text(value, &format!("/spec/scaleTargetRef/{field}")).is_empty() {
            causes.push(Cause::required(&format!("spec.scaleTargetRef.{field}"), ""));
        }
    }
    let (least, most) =
        (int(value, "/spec/minReplicas").unwrap_or(1), int(value, "/spec/maxReplicas").unwrap_or(0));
    if least < 1 {
        causes.push(Cause::invalid(
            "spec.minReplicas",
            &least.to_string(),
            "must be greater than or equal to 1",
        ));
    }
    if most < 1 {
        causes.push(Cause::invalid("spec.maxReplicas", &most.to_string(), "must be greater than 0"));
    } else if most < least {
        let why = "must be greater than or equal to `minReplicas`";
        causes.push(Cause::invalid("spec.maxReplicas", &most.to_string(), why));
    }
}

/// A rollout that may neither add nor take a pod would never move.
fn rolling_bounds(rolling: &Value, field: &str, causes: &mut Vec<Cause>) {
    let zero = |v: &Value| matches!(v.as_str(), Some("0%")) || v.as_i64() == Some(0);
    if zero(&rolling["maxSurge"]) && zero(&rolling["maxUnavailable"]) {
        let (field, found) = (format!("{field}.maxUnavailable"), rolling["maxUnavailable"].to_string());
        causes.push(Cause::invalid(&field, &found, "may not be 0 when `maxSurge` is 0"));
    }
    for name in ["maxSurge", "maxUnavailable"] {
        let percent = |t: &str| t.strip_suffix('%').is_some_and(|n| n.parse::<u32>().is_ok());
        let wrong = rolling[name].as_str().is_some_and(|t| !percent(t));
        if wrong {
            let why = "a valid percent string must be a numeric string followed by an ending '%'";
            let found = rolling[name].as_str().unwrap_or("");
            causes.push(Cause::invalid(&format!("{field}.{name}"), found, why));
        } else if rolling[name].as_i64().is_some_and(|n| n < 0) {
            let why = "must be greater than or equal to 0";
            causes.push(Cause::invalid(&format!("{field}.{name}"), &rolling[name].to_string(), why));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn strategies_that_cannot_work_are_refused() {
        for (what, strategy, field) in [
            (
                "fine",
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}}),
                None,
            ),
            (
                "never moves",
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}),
                Some("spec.strategy.rollingUpdate.maxUnavailable"),
            ),
            (
                "no percentage",
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "many", "maxUnavailable": 1}}),
                Some("spec.strategy.rollingUpdate.maxSurge"),
            ),
            (
                "bounds of another strategy",
                json!({"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}),
                Some("spec.strategy.rollingUpdate"),
            ),
            ("unknown", json!({"type": "BlueGreen"}), Some("spec.strategy.type")),
        ] {
            let mut causes = Vec::new();
            deployment(&json!({"spec": {"strategy": strategy}}), &mut causes);
            assert_eq!(causes.first().map(|c| c.field.as_str()), field, "{what}");
        }
    }
}
