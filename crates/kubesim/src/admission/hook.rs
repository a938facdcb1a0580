//! One webhook of a configuration, and whom it concerns. Pure.

use std::time::Duration;

use serde_json::Value;

use super::review::{Attributes, Question};
use crate::{
    expression::Expression,
    kind::{self, Kind},
    object::{self, int, items, text},
    selector::Labels,
};

/// A webhook whose rules mean a request.
pub(super) struct Hook {
    spec: Value,
    mutating: bool,
    /// The version that it asks for, as `apiVersion` of the objects that it is shown.
    pub version: String,
}

impl Hook {
    /// `versions` are all in which the kind is served: unless told otherwise, a rule for one of them means the others too.
    pub(super) fn of(
        spec: &Value,
        what: &Attributes<'_>,
        versions: &[&Kind],
        mutating: bool,
    ) -> Option<Self> {
        let meant = meant(spec, "/rules", what, versions)?;
        Some(Self { spec: spec.clone(), mutating, version: meant.api_version() })
    }

    pub(super) fn name(&self) -> &str {
        text(&self.spec, "/name")
    }

    pub(super) fn client(&self) -> &Value {
        &self.spec["clientConfig"]
    }

    pub(super) fn mutating(&self) -> bool {
        self.mutating
    }

    pub(super) fn reinvoked(&self) -> bool {
        text(&self.spec, "/reinvocationPolicy") == "IfNeeded"
    }

    pub(super) fn may_be_away(&self) -> bool {
        text(&self.spec, "/failurePolicy") == "Ignore"
    }

    pub(super) fn patience(&self) -> Duration {
        let seconds = int(&self.spec, "/timeoutSeconds").and_then(|s| u64::try_from(s).ok());
        Duration::from_secs(seconds.unwrap_or(10))
    }

    /// The newest form of questions that both sides know.
    pub(super) fn form(&self) -> &str {
        let known = items(&self.spec, "/admissionReviewVersions").iter().filter_map(Value::as_str);
        known.into_iter().find(|v| matches!(*v, "v1" | "v1beta1")).unwrap_or("v1")
    }

    /// By the labels of the object and of its namespace.
    pub(super) fn selects(
        &self,
        what: &Attributes<'_>,
        namespace: Option<&Value>,
        object: Option<&Value>,
        old: Option<&Value>,
    ) -> bool {
        selects(&self.spec, what, namespace, object, old)
    }

    /// By its conditions.
    pub(super) fn wants(&self, question: &Question) -> Result<bool, String> {
        for condition in items(&self.spec, "/matchConditions") {
            let request = &question.document["request"];
            let variables =
                [("object", &request["object"]), ("oldObject", &request["oldObject"]), ("request", request)];
            let holds = Expression::compile(text(condition, "/expression"))
                .and_then(|expression| expression.holds(&variables).map_err(|error| error.to_string()));
            match holds {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(why) => return Err(format!("match condition {:?} {why}", text(condition, "/name"))),
            }
        }
        Ok(true)
    }
}

/// The version of a kind that one of these rules means.
pub(super) fn meant<'a>(
    spec: &Value,
    rules: &str,
    what: &Attributes<'_>,
    versions: &[&'a Kind],
) -> Option<&'a Kind> {
    let exact = text(spec, "/matchPolicy") == "Exact";
    let others = versions.iter().copied().filter(|other| !exact && other.version != what.kind.version);
    std::iter::once(what.kind)
        .chain(others)
        .find(|version| items(spec, rules).iter().any(|rule| rule_means(rule, version, what)))
}

/// By the labels of the object and of its namespace.
pub(super) fn selects(
    spec: &Value,
    what: &Attributes<'_>,
    namespace: Option<&Value>,
    object: Option<&Value>,
    old: Option<&Value>,
) -> bool {
    let places = Labels::from_object(&spec["namespaceSelector"]);
    let in_place = if *what.kind == kind::NAMESPACES {
        places.matches(object.or(old).and_then(object::labels))
    } else {
        !what.kind.namespaced || places.matches(namespace.and_then(object::labels))
    };
    let objects = Labels::from_object(&spec["objectSelector"]);
    let fits = |one: Option<&Value>| one.is_some_and(|one| objects.matches(object::labels(one)));
    in_place && (objects.is_empty() || fits(object) || fits(old))
}

fn rule_means(rule: &Value, kind: &Kind, what: &Attributes<'_>) -> bool {
    let names = |list: &str, wanted: &str| {
        items(rule, list).iter().filter_map(Value::as_str).any(|one| one == "*" || one == wanted)
    };
    let resource = |one: &str| {
        let (plural, sub) = one.split_once('/').unwrap_or((one, ""));
        let fits = |pattern: &str, found: &str| pattern == found || pattern == "*";
        fits(plural, kind.plural)
            && (sub == what.subresource || (sub == "*" && (plural == "*" || !what.subresource.is_empty())))
    };
    let scope = match text(rule, "/scope") {
        "Cluster" => !kind.namespaced,
        "Namespaced" => kind.namespaced,
        _ => true,
    };
    // Only policies name objects.
    let named = items(rule, "/resourceNames");
    names("/operations", what.operation.name())
        && (named.is_empty() || named.iter().any(|name| name == what.name))
        && names("/apiGroups", kind.group)
        && names("/apiVersions", kind.version)
        && items(rule, "/resources").iter().filter_map(Value::as_str).any(resource)
        && scope
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{access::Identity, admission::Operation};

    fn attributes<'a>(kind: &'static Kind, subresource: &'a str, who: &'a Identity) -> Attributes<'a> {
        let operation = Operation::Create;
        Attributes { operation, kind, subresource, namespace: "shop", name: "web", who, dry: false }
    }

    fn rule(operations: &[&str], groups: &[&str], resources: &[&str], scope: &str) -> Value {
        json!({"rules": [{
            "operations": operations, "apiGroups": groups, "apiVersions": ["v1"], "resources": resources, "scope": scope,
        }]})
    }

    #[test]
    fn rules_mean_requests_by_operation_group_resource_and_scope() {
        let who = Identity::controller("x");
        let (pods, nodes, deployments) = (&kind::PODS, &kind::NODES, &kind::DEPLOYMENTS);
        for (spec, kind, sub, expected) in [
            (rule(&["CREATE"], &[""], &["pods"], "*"), pods, "", true),
            (rule(&["*"], &["*"], &["*"], "*"), pods, "", true),
            (rule(&["UPDATE", "DELETE"], &[""], &["pods"], "*"), pods, "", false),
            (rule(&["CREATE"], &["apps"], &["pods"], "*"), pods, "", false),
            (rule(&["CREATE"], &["apps"], &["deployments"], "*"), deployments, "", true),
            (rule(&["CREATE"], &[""], &["pods"], "*"), pods, "binding", false),
            (rule(&["CREATE"], &[""], &["*"], "*"), pods, "binding", false),
            (rule(&["CREATE"], &[""], &["pods/*"], "*"), pods, "binding", true),
            (rule(&["CREATE"], &[""], &["pods/*"], "*"), pods, "", false),
            (rule(&["CREATE"], &[""], &["*/binding"], "*"), pods, "binding", true),
            (rule(&["CREATE"], &[""], &["*/*"], "*"), pods, "", true),
            (rule(&["CREATE"], &[""], &["*"], "Cluster"), pods, "", false),
            (rule(&["CREATE"], &[""], &["*"], "Namespaced"), pods, "", true),
            (rule(&["CREATE"], &[""], &["*"], "Namespaced"), nodes, "", false),
            (rule(&["CREATE"], &[""], &["*"], "Cluster"), nodes, "", true),
        ] {
            let found = Hook::of(&spec, &attributes(kind, sub, &who), &[kind], false);
            assert_eq!(found.is_some(), expected, "{} {sub} {spec}", kind.id);
        }
    }

    #[test]
    fn labels_of_the_object_and_of_its_namespace_select() {
        let who = Identity::controller("x");
        let of = |labels: Value| json!({"metadata": {"labels": labels}});
        let (place, other) = (of(json!({"inject": "yes"})), of(json!({})));
        let mut spec = rule(&["*"], &["*"], &["*"], "*");
        spec["namespaceSelector"] = json!({"matchLabels": {"inject": "yes"}});
        spec["objectSelector"] = json!({"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]});
        let (plain, skipped) = (of(json!({})), of(json!({"skip": ""})));
        let selects =
            |kind: &'static Kind, place: Option<&Value>, object: Option<&Value>, old: Option<&Value>| {
                let what = attributes(kind, "", &who);
                let hook = Hook::of(&spec, &what, &[kind], true).expect("means it");
                hook.selects(&what, place, object, old)
            };
        assert!(selects(&kind::PODS, Some(&place), Some(&plain), None));
        assert!(!selects(&kind::PODS, Some(&other), Some(&plain), None));
        assert!(!selects(&kind::PODS, Some(&place), Some(&skipped), None));
        assert!(
            selects(&kind::PODS, Some(&place), Some(&skipped), Some(&plain)),
            "it was not skipped before"
        );
        // What lives in no namespace is in every one; a namespace has labels of its own.
        assert!(selects(&kind::NODES, None, Some(&plain), None));
        assert!(selects(&kind::NAMESPACES, None, Some(&place), None));
        assert!(!selects(&kind::NAMESPACES, None, Some(&other), None));
    }

    #[test]
    fn conditions_are_asked_in_their_own_language() {
        let who = Identity::controller("x");
        let what = attributes(&kind::PODS, "", &who);
        let object = json!({"metadata": {"name": "web"}, "spec": {"hostNetwork": true}});
        for (expression, expected) in [
            ("has(object.spec.hostNetwork) && object.spec.hostNetwork", Ok(true)),
            ("request.userInfo.username == 'nobody'", Ok(false)),
            ("request.operation == 'CREATE' && oldObject == null", Ok(true)),
            ("object.metadata.name", Err("match condition \"it\" is neither true nor false".to_owned())),
        ] {
            let mut spec = rule(&["*"], &["*"], &["*"], "*");
            spec["matchConditions"] = json!([{"name": "it", "expression": expression}]);
            let hook = Hook::of(&spec, &what, &[&kind::PODS], false).expect("means it");
            let question = Question::new(&hook, &what, Some(&object), None);
            assert_eq!(hook.wants(&question), expected, "{expression}");
        }
    }
}
