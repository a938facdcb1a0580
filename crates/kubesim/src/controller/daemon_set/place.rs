//! A node as a DaemonSet sees it, and the pod that belongs there. Pure.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use crate::{
    controller::{fit, pod, revision},
    kind,
    object::{self, items, text},
};

/// Every node by its name.
pub(super) type Places = BTreeMap<String, Place>;

#[derive(Debug, Clone)]
pub(super) struct Place {
    pub should_run: bool,
    /// A pod that is there already may stay.
    pub may_stay: bool,
    /// The oldest first.
    pub pods: Vec<Arc<Value>>,
}

impl Place {
    pub(super) fn new(set: &Value, node: &Value) -> Self {
        let pod = wanted(set);
        let bound = text(&pod, "/spec/nodeName");
        let selected = fit::selects(&pod, node) && (bound.is_empty() || bound == object::name(node));
        let mut taints = fit::untolerated(&pod, node).peekable();
        let should_run = selected && taints.peek().is_none();
        let may_stay = selected && taints.all(|t| text(t, "/effect") != fit::NO_EXECUTE);
        Self { should_run, may_stay, pods: Vec::new() }
    }
}

/// What every daemon bears, because it is meant to be there also when a node is not well.
fn tolerations(template: &Value) -> Vec<Value> {
    let mut list = items(template, "/spec/tolerations").to_vec();
    let add = |list: &mut Vec<Value>, condition: &str, effect: &str| {
        let key = format!("node.kubernetes.io/{condition}");
        let toleration = json!({"key": key, "operator": "Exists", "effect": effect});
        if !list.contains(&toleration) {
            list.push(toleration);
        }
    };
    for condition in ["not-ready", "unreachable"] {
        add(&mut list, condition, fit::NO_EXECUTE);
    }
    for condition in ["disk-pressure", "memory-pressure", "pid-pressure", "unschedulable"] {
        add(&mut list, condition, "NoSchedule");
    }
    if template["spec"]["hostNetwork"] == true {
        add(&mut list, "network-unavailable", "NoSchedule");
    }
    list
}

fn wanted(set: &Value) -> Value {
    let mut pod = pod::draft(&kind::DAEMON_SETS, set, &set["spec"]["template"]);
    let tolerations = tolerations(&set["spec"]["template"]);
    object::set(&mut pod, &["spec", "tolerations"], Value::Array(tolerations));
    pod
}

const REQUIRED: &str =
    "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";

/// The pod for one node. Its affinity names the node, and the scheduler does the rest, as for any pod.
pub(super) fn pod(set: &Value, hash: &str, node: &str) -> Value {
    let mut pod = wanted(set);
    object::set(&mut pod, &["metadata", "labels", revision::HASH], json!(hash));
    let here = json!([{"key": "metadata.name", "operator": "In", "values": [node]}]);
    let mut terms = items(&pod, REQUIRED).to_vec();
    if terms.is_empty() {
        terms.push(json!({}));
    }
    for term in &mut terms {
        term["matchFields"] = here.clone();
    }
    let path: Vec<&str> = REQUIRED.trim_start_matches('/').split('/').collect();
    object::set(&mut pod, &path, Value::Array(terms));
    pod
}

/// Where a pod runs or is going to run.
pub(super) fn node_of(pod: &Value) -> &str {
    let node = text(pod, "/spec/nodeName");
    if !node.is_empty() {
        return node;
    }
    let fields = items(pod, REQUIRED).iter().flat_map(|term| items(term, "/matchFields"));
    fields.filter(|f| f["key"] == "metadata.name").map(|f| text(f, "/values/0")).next().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(spec: Value) -> Value {
        json!({"metadata": {"name": "agent"}, "spec": {"template": {"spec": spec}}})
    }

    #[test]
    fn nodes_are_chosen_by_selector_and_taints() {
        let taint = |key: &str, effect: &str| json!({"metadata": {"name": "n"}, "spec": {"taints": [{"key": key, "effect": effect}]}});
        for (what, set, node, should_run, may_stay) in [
            ("any", set(json!({})), json!({"metadata": {"name": "n"}}), true, true),
            ("other label", set(json!({"nodeSelector": {"gpu": "yes"}})), json!({}), false, false),
            ("other name", set(json!({"nodeName": "x"})), json!({"metadata": {"name": "n"}}), false, false),
            ("cordoned", set(json!({})), taint("node.kubernetes.io/unschedulable", "NoSchedule"), true, true),
            ("closed", set(json!({})), taint("k", "NoSchedule"), false, true),
            ("cleared", set(json!({})), taint("k", "NoExecute"), false, false),
            ("lost", set(json!({})), taint("node.kubernetes.io/unreachable", "NoExecute"), true, true),
            (
                "tolerated",
                set(json!({"tolerations": [{"key": "k", "operator": "Exists"}]})),
                taint("k", "NoExecute"),
                true,
                true,
            ),
        ] {
            let place = Place::new(&set, &node);
            assert_eq!((place.should_run, place.may_stay), (should_run, may_stay), "{what}");
        }
    }

    #[test]
    fn a_pod_is_made_for_one_node() {
        let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}
        ]}}});
        let pod = pod(&set(json!({"affinity": affinity})), "h", "n7");
        assert_eq!((node_of(&pod), revision::of_pod(&pod)), ("n7", "h"));
        assert_eq!(items(&pod, REQUIRED)[0]["matchExpressions"][0]["key"], "gpu");
    }
}
