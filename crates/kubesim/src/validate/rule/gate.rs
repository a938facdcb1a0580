//! Scheduling gates: they only ever go, and while there are some, the pod may still be told more narrowly where to run.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::{
    object::{self, items, text},
    status::Cause,
};

const GATES: &str = "/spec/schedulingGates";
const REQUIRED: &str =
    "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";

pub(super) fn check(pod: &Value, causes: &mut Vec<Cause>) {
    let mut names = BTreeSet::new();
    for (at, gate) in items(pod, GATES).iter().enumerate() {
        let (name, field) = (text(gate, "/name"), format!("spec.schedulingGates[{at}]"));
        if !super::qualified(name) {
            let why = "name part must consist of alphanumeric characters, '-', '_' or '.'";
            causes.push(Cause::invalid(&field, name, why));
        }
        if !names.insert(name) {
            causes.push(Cause::duplicate(&field, name));
        }
    }
    if !names.is_empty() && !text(pod, "/spec/nodeName").is_empty() {
        causes.push(Cause::forbidden(
            "spec.nodeName",
            "cannot be set until all schedulingGates have been cleared",
        ));
    }
}

/// Takes what these rules judge out of the parts of a pod that never change.
pub(super) fn leave_out(old: &Value, spec: &mut Value) {
    object::unset(spec, &["schedulingGates"]);
    if items(old, GATES).is_empty() {
        return;
    }
    object::unset(spec, &["nodeSelector"]);
    object::unset(spec, &["affinity", "nodeAffinity"]);
    if spec["affinity"].as_object().is_some_and(Map::is_empty) {
        object::unset(spec, &["affinity"]);
    }
}

pub(super) fn check_update(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let before: Vec<&str> = items(old, GATES).iter().map(|gate| text(gate, "/name")).collect();
    for (at, gate) in items(new, GATES).iter().enumerate() {
        let name = text(gate, "/name");
        if !before.contains(&name) {
            let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            causes.push(Cause::forbidden(&format!("spec.schedulingGates[{at}].name"), &why));
        }
    }
    if before.is_empty() {
        return;
    }
    let kept = |(key, value): (&String, &Value)| new["spec"]["nodeSelector"][key] == *value;
    if !old["spec"]["nodeSelector"].as_object().into_iter().flatten().all(kept) {
        let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        causes.push(Cause::invalid("spec.nodeSelector", &new["spec"]["nodeSelector"].to_string(), why));
    }
    let (terms, now) = (items(old, REQUIRED), items(new, REQUIRED));
    let field = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    if !terms.is_empty() && terms.len() != now.len() {
        let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        causes.push(Cause::invalid(field, &Value::from(now).to_string(), why));
        return;
    }
    for (at, (before, after)) in terms.iter().zip(now).enumerate() {
        if !narrower(before, after) {
            let why = "only additions are allowed (no mutations or deletions)";
            causes.push(Cause::invalid(&format!("{field}[{at}]"), &after.to_string(), why));
        }
    }
}

/// Whether a term asks for everything that it asked for before. One that asked for nothing selects nothing, and stays so.
fn narrower(before: &Value, after: &Value) -> bool {
    let lists = ["/matchExpressions", "/matchFields"];
    if lists.iter().all(|list| items(before, list).is_empty()) {
        return lists.iter().all(|list| items(after, list).is_empty());
    }
    lists.iter().all(|list| items(before, list).iter().all(|asked| items(after, list).contains(asked)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::check_update, *};
    use crate::{kind, patch};

    #[test]
    fn gates_only_go_and_gated_pods_are_only_narrowed_down() {
        let terms = |list: Value| json!({"spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list}}}}});
        let disk = json!({"key": "disk", "operator": "Exists"});
        let zone = json!({"key": "zone", "operator": "Exists"});
        let base = json!({"metadata": {"name": "a"}, "spec": {"nodeSelector": {"a": "b"}, "containers": [{"name": "c", "image": "i"}]}});
        let base = patch::merge(&base, &terms(json!([{"matchExpressions": [disk]}])));
        let gated =
            patch::merge(&base, &json!({"spec": {"schedulingGates": [{"name": "x"}, {"name": "y"}]}}));
        let open = json!({"spec": {"schedulingGates": []}});
        for (what, old, change, refused) in [
            ("one goes", &gated, json!({"spec": {"schedulingGates": [{"name": "y"}]}}), None),
            ("all go", &gated, open, None),
            (
                "one comes",
                &gated,
                json!({"spec": {"schedulingGates": [{"name": "z"}]}}),
                Some("only deletion is allowed, but found new scheduling gate 'z'"),
            ),
            (
                "one comes late",
                &base,
                json!({"spec": {"schedulingGates": [{"name": "z"}]}}),
                Some("only deletion"),
            ),
            ("another selector", &gated, json!({"spec": {"nodeSelector": {"c": "d"}}}), None),
            (
                "other selector",
                &gated,
                json!({"spec": {"nodeSelector": {"a": "d"}}}),
                Some("only additions to spec.nodeSelector are allowed"),
            ),
            (
                "selector without gates",
                &base,
                json!({"spec": {"nodeSelector": {"c": "d"}}}),
                Some("pod updates may not change"),
            ),
            ("narrower term", &gated, terms(json!([{"matchExpressions": [disk, zone]}])), None),
            (
                "other term",
                &gated,
                terms(json!([{"matchExpressions": [zone]}])),
                Some("only additions are allowed"),
            ),
            (
                "more terms",
                &gated,
                terms(json!([{"matchExpressions": [disk]}, {"matchExpressions": [zone]}])),
                Some("no additions/deletions to non-empty NodeSelectorTerms"),
            ),
            (
                "something else",
                &gated,
                json!({"spec": {"hostname": "h"}}),
                Some("pod updates may not change"),
            ),
        ] {
            let answer = check_update(&kind::PODS, old, &patch::merge(old, &change));
            match refused {
                None => assert!(answer.is_ok(), "{what}: {answer:?}"),
                Some(why) => {
                    let message = answer.expect_err(what).message;
                    assert!(message.contains(why), "{what}: {message}");
                }
            }
        }
    }

    #[test]
    fn gates_have_names_and_their_pod_has_no_node() {
        let mut causes = Vec::new();
        let pod = json!({"spec": {"nodeName": "n", "schedulingGates": [{"name": "a b"}, {"name": "x"}, {"name": "x"}]}});
        check(&pod, &mut causes);
        let fields: Vec<&str> = causes.iter().map(|cause| cause.field.as_str()).collect();
        assert_eq!(fields, ["spec.schedulingGates[0]", "spec.schedulingGates[2]", "spec.nodeName"]);
    }
}
