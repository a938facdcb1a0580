//! Who a pod of a StatefulSet is: its ordinal, its name, its labels, its claims. Pure.

use serde_json::{Value, json};

use crate::{
    controller::{pod, revision},
    kind,
    object::{self, items, text},
};

/// The number behind the name of the set; `None` for a pod that cannot be its member.
pub(super) fn ordinal(set: &Value, pod: &Value) -> Option<i64> {
    let digits = object::name(pod).strip_prefix(object::name(set))?.strip_prefix('-')?;
    let canonical = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if canonical { digits.parse().ok() } else { None }
}

/// The name of the claim that a pod makes by a template.
pub(super) fn claim_name(template: &Value, pod: &str) -> String {
    format!("{}-{pod}", object::name(template))
}

pub(super) fn pod(set: &Value, template: &Value, revision: &str, ordinal: i64) -> Value {
    let mut pod = pod::draft(&kind::STATEFUL_SETS, set, template);
    let name = format!("{}-{ordinal}", object::name(set));
    object::unset(&mut pod, &["metadata", "generateName"]);
    for (path, value) in [
        (&["metadata", "name"][..], name.as_str()),
        (&["metadata", "labels", "statefulset.kubernetes.io/pod-name"], &name),
        (&["metadata", "labels", "apps.kubernetes.io/pod-index"], &ordinal.to_string()),
        (&["metadata", "labels", revision::HASH], revision),
        (&["spec", "hostname"], &name),
        (&["spec", "subdomain"], text(set, "/spec/serviceName")),
    ] {
        if !value.is_empty() {
            object::set(&mut pod, path, json!(value));
        }
    }
    let claims = items(set, "/spec/volumeClaimTemplates");
    let mut volumes = items(&pod, "/spec/volumes").to_vec();
    volumes.retain(|v| !claims.iter().any(|c| object::name(c) == v["name"]));
    volumes.extend(claims.iter().map(
        |c| json!({"name": object::name(c), "persistentVolumeClaim": {"claimName": claim_name(c, &name)}}),
    ));
    if !volumes.is_empty() {
        object::set(&mut pod, &["spec", "volumes"], Value::Array(volumes));
    }
    pod
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_numbers_behind_the_name_are_ordinals() {
        let set = json!({"metadata": {"name": "db"}});
        for (name, expected) in [
            ("db-0", Some(0)),
            ("db-12", Some(12)),
            ("db-01", None),
            ("db-", None),
            ("db-x", None),
            ("db-1-2", None),
            ("dbx-1", None),
        ] {
            assert_eq!(ordinal(&set, &json!({"metadata": {"name": name}})), expected, "{name}");
        }
    }

    #[test]
    fn a_pod_knows_its_name_its_number_and_its_claims() {
        let template = json!({"metadata": {"labels": {"app": "db"}}, "spec": {"volumes": [{"name": "data"}, {"name": "tmp"}]}});
        let set = json!({
            "metadata": {"name": "db", "namespace": "n", "uid": "u"},
            "spec": {"serviceName": "dbs", "volumeClaimTemplates": [{"metadata": {"name": "data"}}]},
        });
        let pod = pod(&set, &template, "db-abc", 3);
        assert_eq!(object::name(&pod), "db-3");
        assert_eq!(
            pod["metadata"]["labels"],
            json!({
                "app": "db", "statefulset.kubernetes.io/pod-name": "db-3", "apps.kubernetes.io/pod-index": "3",
                "controller-revision-hash": "db-abc",
            })
        );
        assert_eq!((text(&pod, "/spec/hostname"), text(&pod, "/spec/subdomain")), ("db-3", "dbs"));
        assert_eq!(
            pod["spec"]["volumes"],
            json!([{"name": "tmp"}, {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-3"}}])
        );
    }
}
