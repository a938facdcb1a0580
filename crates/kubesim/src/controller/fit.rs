//! Which nodes a pod may run on: selector, affinity, taints. The scheduler and the DaemonSets ask. Pure.

use serde_json::Value;

use crate::{
    object::{self, items, text},
    selector::Labels,
};

pub(crate) const NO_EXECUTE: &str = "NoExecute";
pub(crate) const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Which nodes the pod's node selector and required node affinity let it onto.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    plain: Labels,
    required: Option<Vec<Term>>,
}

impl Choice {
    pub(crate) fn of(pod: &Value) -> Self {
        let required =
            &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        let terms = || items(required, "/nodeSelectorTerms").iter().map(Term::of).collect();
        Self {
            plain: Labels::from_map(pod["spec"]["nodeSelector"].as_object()),
            required: (!required.is_null()).then(terms),
        }
    }

    pub(crate) fn admits(&self, node: &Value) -> bool {
        (self.plain.is_empty() || self.plain.matches(object::labels(node)))
            && self.required.as_ref().is_none_or(|terms| terms.iter().any(|term| term.admits(node)))
    }

    /// The nodes that the choice names one by one, if it does.
    pub(crate) fn names(&self) -> Option<Vec<String>> {
        let named = self.required.as_ref()?.iter().map(Term::names).collect::<Option<Vec<_>>>()?;
        Some(named.concat())
    }
}

/// All requirements of a term must hold; a term without any selects nothing.
#[derive(Debug)]
pub(crate) struct Term {
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

impl Term {
    pub(crate) fn of(term: &Value) -> Self {
        let all = |pointer: &str| items(term, pointer).iter().map(Requirement::of).collect();
        Self { labels: all("/matchExpressions"), fields: all("/matchFields") }
    }

    pub(crate) fn admits(&self, node: &Value) -> bool {
        let label = |r: &Requirement| r.holds(object::label(node, &r.key));
        let field = |r: &Requirement| r.holds((r.key == "metadata.name").then(|| object::name(node)));
        !(self.labels.is_empty() && self.fields.is_empty())
            && self.labels.iter().all(label)
            && self.fields.iter().all(field)
    }

    fn names(&self) -> Option<Vec<String>> {
        let named = |r: &&Requirement| r.key == "metadata.name" && r.operator == "In";
        self.fields.iter().find(named).map(|r| r.values.clone())
    }
}

#[derive(Debug)]
struct Requirement {
    key: String,
    operator: String,
    values: Vec<String>,
}

impl Requirement {
    fn of(requirement: &Value) -> Self {
        let values = items(requirement, "/values").iter().filter_map(Value::as_str);
        Self {
            key: text(requirement, "/key").to_owned(),
            operator: text(requirement, "/operator").to_owned(),
            values: values.map(str::to_owned).collect(),
        }
    }

    fn holds(&self, found: Option<&str>) -> bool {
        let listed = found.is_some_and(|found| self.values.iter().any(|value| value == found));
        let number = |text: Option<&str>| text.and_then(|t| t.parse::<i64>().ok());
        let pair = || number(found).zip(number(self.values.first().map(String::as_str)));
        match self.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => found.is_some(),
            "DoesNotExist" => found.is_none(),
            "Gt" => pair().is_some_and(|(found, limit)| found > limit),
            "Lt" => pair().is_some_and(|(found, limit)| found < limit),
            _ => false,
        }
    }
}

/// Whether the pod's node selector and required node affinity let it onto the node.
pub(crate) fn selects(pod: &Value, node: &Value) -> bool {
    Choice::of(pod).admits(node)
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
}
