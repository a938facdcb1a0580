use serde_json::json;

use super::*;
use crate::{access::Identity, admission::Operation, kinds::Kinds, patch};

fn policy(spec: &Value) -> Value {
    let rules = json!([{"operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}]);
    let base = json!({"metadata": {"name": "p"}, "spec": {"matchConstraints": {"resourceRules": rules}}});
    patch::merge(&base, &json!({ "spec": spec }))
}

fn binding(spec: &Value) -> Value {
    let base = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}});
    patch::merge(&base, &json!({ "spec": spec }))
}

/// What becomes of a Deployment of four.
fn answer(
    policy: &Value,
    binding: &Value,
    others: &[(&'static Kind, Value)],
) -> (Option<Status>, Vec<String>) {
    let store = Store::new(Kinds::default(), 0, Vec::new());
    let all = [(&kind::POLICIES, policy.clone()), (&kind::POLICY_BINDINGS, binding.clone())];
    for (kind, object) in all.into_iter().chain(others.iter().cloned()) {
        store.create(kind, object).expect("kept");
    }
    let who = Identity::controller("x");
    let what = Attributes {
        operation: Operation::Create,
        kind: &kind::DEPLOYMENTS,
        subresource: "",
        namespace: "shop",
        name: "",
        who: &who,
        dry: false,
    };
    let namespace = json!({"metadata": {"name": "shop", "labels": {"strict": "yes"}}});
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 4}});
    let request = Request {
        what: &what,
        versions: &[&kind::DEPLOYMENTS],
        namespace: Some(&namespace),
        object: Some(&object),
        old: None,
    };
    let mut warnings = Vec::new();
    (check(&store, &request, &mut warnings).err(), warnings)
}

#[test]
fn an_expression_refuses_with_the_message_and_the_reason_that_it_is_given() {
    let said = "deployments.apps \"web\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: ";
    for (validations, expected) in [
        (json!([{"expression": "object.spec.replicas < 5"}]), None),
        (
            json!([{"expression": "object.spec.replicas < 4"}]),
            Some((422, "Invalid", "failed expression: object.spec.replicas < 4")),
        ),
        (
            json!([{"expression": "false", "message": "no", "reason": "Forbidden"}]),
            Some((403, "Forbidden", "no")),
        ),
        (
            json!([{"expression": "false", "message": "no", "messageExpression": "'wants ' + string(object.spec.replicas)"}]),
            Some((422, "Invalid", "wants 4")),
        ),
        (
            json!([{"expression": "false", "message": "no", "messageExpression": "object.nothing"}]),
            Some((422, "Invalid", "no")),
        ),
        (json!([{"expression": "namespaceObject.metadata.name == 'shop' && oldObject == null"}]), None),
        (json!([{"expression": "request.operation == 'CREATE' && request.namespace == 'shop'"}]), None),
        (json!([{"expression": "variables.odd || variables.replicas == 4"}]), None),
        (
            json!([{"expression": "variables.odd"}]),
            Some((422, "Invalid", "failed expression: variables.odd")),
        ),
    ] {
        let spec = json!({"validations": validations, "variables": [
            {"name": "replicas", "expression": "object.spec.replicas"},
            {"name": "odd", "expression": "variables.replicas % 2 == 1"},
        ]});
        let (refused, _) = answer(&policy(&spec), &binding(&json!({})), &[]);
        let found = refused.map(|status| (status.code, status.reason.to_string(), status.message));
        let expected = expected.map(|(code, reason, why)| (code, reason.to_owned(), format!("{said}{why}")));
        assert_eq!(found, expected, "{validations}");
    }
}

#[test]
fn policy_and_binding_both_say_whom_they_concern() {
    let never = json!([{"expression": "false"}]);
    let labelled = |value: &str| json!({"namespaceSelector": {"matchLabels": {"strict": value}}});
    for (in_policy, in_binding, concerned) in [
        (json!({}), json!({}), true),
        (json!({"matchConstraints": labelled("yes")}), json!({"matchResources": labelled("yes")}), true),
        (json!({"matchConstraints": labelled("no")}), json!({}), false),
        (json!({}), json!({"matchResources": labelled("no")}), false),
        (json!({}), json!({"policyName": "other"}), false),
        (json!({}), json!({"validationActions": ["Audit"]}), false),
        (
            json!({"matchConditions": [{"name": "c", "expression": "object.spec.replicas > 4"}]}),
            json!({}),
            false,
        ),
        (
            json!({"matchConstraints": {"excludeResourceRules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]}}),
            json!({}),
            false,
        ),
        (
            json!({"matchConstraints": {"resourceRules": [{"operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"], "resourceNames": ["other"]}]}}),
            json!({}),
            false,
        ),
    ] {
        let spec = patch::merge(&json!({ "validations": never }), &in_policy);
        let (refused, _) = answer(&policy(&spec), &binding(&in_binding), &[]);
        assert_eq!(refused.is_some(), concerned, "{in_policy} {in_binding}");
    }
}

#[test]
fn what_cannot_be_evaluated_refuses_unless_that_is_to_be_ignored() {
    for (failure_policy, refuses) in [("Fail", true), ("Ignore", false)] {
        for spec in [
            json!({"validations": [{"expression": "object.nothing.there"}]}),
            json!({"validations": [{"expression": "object.spec.replicas"}]}),
            json!({"validations": [{"expression": "variables.broken"}], "variables": [{"name": "broken", "expression": "object.nothing"}]}),
            json!({"validations": [{"expression": "true"}], "matchConditions": [{"name": "c", "expression": "object.nothing"}]}),
        ] {
            let policy = policy(&patch::merge(&spec, &json!({ "failurePolicy": failure_policy })));
            let (refused, _) = answer(&policy, &binding(&json!({})), &[]);
            assert_eq!(refused.is_some(), refuses, "{spec}: {refused:?}");
        }
    }
    let warned = binding(&json!({"validationActions": ["Warn", "Audit"]}));
    let (refused, warnings) =
        answer(&policy(&json!({"validations": [{"expression": "false"}]})), &warned, &[]);
    assert!(refused.is_none());
    let said =
        "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': failed expression: false";
    assert_eq!(warnings, [said]);
}

#[test]
fn parameters_come_from_objects_that_the_binding_names_or_selects() {
    let asks = policy(&json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "validations": [{"expression": "object.spec.replicas <= int(params.data.most)"}],
    }));
    let limit = |name: &str, most: &str| {
        let object = json!({"metadata": {"name": name, "namespace": "shop", "labels": {"limit": "yes"}}, "data": {"most": most}});
        (&kind::CONFIG_MAPS, object)
    };
    let place = (&kind::NAMESPACES, json!({"metadata": {"name": "shop"}}));
    let (low, high) = (limit("low", "3"), limit("high", "9"));
    let named =
        |name: &str, missing: &str| json!({"paramRef": {"name": name, "parameterNotFoundAction": missing}});
    let all = json!({"paramRef": {"selector": {"matchLabels": {"limit": "yes"}}, "parameterNotFoundAction": "Deny"}});
    for (binds, refuses) in [
        (named("low", "Deny"), true),
        (named("high", "Deny"), false),
        (named("none", "Deny"), true),
        (named("none", "Allow"), false),
        (all, true),
    ] {
        let (refused, _) = answer(&asks, &binding(&binds), &[place.clone(), low.clone(), high.clone()]);
        assert_eq!(refused.is_some(), refuses, "{binds}: {refused:?}");
    }
}

#[test]
fn what_is_wrong_with_a_policy_or_its_binding_is_told_by_its_field() {
    let good = json!({"validations": [{"expression": "true"}]});
    assert_eq!(check_policy(&policy(&good)), []);
    assert_eq!(check_binding(&binding(&json!({}))), []);
    for (change, field) in [
        (json!({"matchConstraints": null}), "spec.matchConstraints.resourceRules"),
        (json!({"validations": null}), "spec.validations"),
        (json!({"validations": [{"expression": "object."}]}), "spec.validations[0].expression"),
        (json!({"variables": [{"name": "a", "expression": "["}]}), "spec.variables[0].expression"),
    ] {
        let causes = check_policy(&patch::merge(&policy(&good), &json!({ "spec": change })));
        assert_eq!(causes.first().map(|cause| cause.field.as_str()), Some(field), "{change}");
    }
    for (change, field) in [
        (json!({"policyName": null}), "spec.policyName"),
        (json!({"validationActions": null}), "spec.validationActions"),
        (json!({"validationActions": ["Deny", "Warn"]}), "spec.validationActions"),
        (json!({"paramRef": {"namespace": "x"}}), "spec.paramRef.name"),
    ] {
        let causes = check_binding(&binding(&change));
        assert_eq!(causes.first().map(|cause| cause.field.as_str()), Some(field), "{change}");
    }
}
