//! Which nodes a pod may run on: selector, affinity, taints. The scheduler and the DaemonSets ask. Pure.

use serde_json::Value;

use crate::{
    object::{self, items, text},
    selector::Labels,
};

pub(crate) const NO_EXECUTE: &str = "NoExecute";

/// Whether the pod's node selector and required node affinity let it onto the node.
pub(crate) fn selects(pod: &Value, node: &Value) -> bool {
    let plain = Labels::from_map(pod["spec"]["nodeSelector"].as_object());
    let required = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    plain.matches(object::labels(node))
        && (required.is_null() || items(required, "/nodeSelectorTerms").iter().any(|t| term(t, node)))
}

/// All requirements of a term must hold; a term without any selects nothing.
fn term(term: &Value, node: &Value) -> bool {
    let (labels, fields) = (items(term, "/matchExpressions"), items(term, "/matchFields"));
    let label = |r: &Value| requirement(r, object::label(node, text(r, "/key")));
    let field = |r: &Value| requirement(r, (r["key"] == "metadata.name").then(|| object::name(node)));
    !(labels.is_empty() && fields.is_empty()) && labels.iter().all(label) && fields.iter().all(field)
}

fn requirement(requirement: &Value, found: Option<&str>) -> bool {
    let values = items(requirement, "/values");
    let listed = found.is_some_and(|f| values.iter().any(|v| v == f));
    let number = |text: Option<&str>| text.and_then(|t| t.parse::<i64>().ok());
    let pair = number(found).zip(number(values.first().and_then(Value::as_str)));
    match text(requirement, "/operator") {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        "Gt" => pair.is_some_and(|(found, limit)| found > limit),
        "Lt" => pair.is_some_and(|(found, limit)| found < limit),
        _ => false,
    }
}

/// The taints that keep the pod away from the node.
pub(crate) fn untolerated<'a>(pod: &'a Value, node: &'a Value) -> impl Iterator<Item = &'a Value> {
    let tolerations = items(pod, "/spec/tolerations");
    items(node, "/spec/taints")
        .iter()
        .filter(|taint| text(taint, "/effect") != "PreferNoSchedule")
        .filter(|taint| !tolerations.iter().any(|t| tolerates(t, taint)))
}

/// An empty key is every key, when the toleration asks for no value.
pub(crate) fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let (key, effect) = (text(toleration, "/key"), text(toleration, "/effect"));
    let exists = text(toleration, "/operator") == "Exists";
    let same_key = key == text(taint, "/key") || (key.is_empty() && exists);
    let same_effect = effect.is_empty() || effect == text(taint, "/effect");
    let same_value = exists || text(toleration, "/value") == text(taint, "/value");
    same_key && same_effect && same_value
}

/// Whether a cordoned node is closed for this pod.
pub(crate) fn cordoned(pod: &Value, node: &Value) -> bool {
    let taint = serde_json::json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"});
    node["spec"]["unschedulable"] == true
        && !items(pod, "/spec/tolerations").iter().any(|t| tolerates(t, &taint))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn affinity_selects_by_labels_and_by_name() {
        let node = json!({"metadata": {"name": "n1", "labels": {"disk": "ssd", "cores": "8"}}});
        let label = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        let name = |name: &str| json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]});
        for (terms, expected) in [
            (json!([label("disk", "In", &["ssd", "nvme"])]), true),
            (json!([label("disk", "NotIn", &["ssd"])]), false),
            (json!([label("gpu", "NotIn", &["old"])]), true),
            (json!([label("gpu", "Exists", &[])]), false),
            (json!([label("gpu", "DoesNotExist", &[])]), true),
            (json!([label("cores", "Gt", &["4"])]), true),
            (json!([label("cores", "Lt", &["8"])]), false),
            (json!([label("disk", "Gt", &["4"])]), false),
            (json!([name("n1")]), true),
            (json!([name("n2")]), false),
            (json!([name("n2"), label("disk", "Exists", &[])]), true),
            (json!([{}]), false),
        ] {
            let required = json!({"nodeSelectorTerms": terms});
            let pod = json!({"spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}});
            assert_eq!(selects(&pod, &node), expected, "{terms}");
        }
    }

    #[test]
    fn cordoned_nodes_are_open_for_who_tolerates_it() {
        let node = json!({"spec": {"unschedulable": true}});
        let tolerant = json!({"spec": {"tolerations": [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]}});
        assert!(cordoned(&json!({}), &node) && !cordoned(&tolerant, &node));
    }
}
