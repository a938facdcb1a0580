//! What may stand in the configuration of a webhook. Pure.

use serde_json::Value;

use crate::{
    expression::Expression,
    object::{int, items, text},
    status::Cause,
};

/// What is wrong with a configuration.
pub(crate) fn check(configuration: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let hooks = items(configuration, "/webhooks");
    for (at, hook) in hooks.iter().enumerate() {
        let place = format!("webhooks[{at}]");
        if hooks.iter().take(at).any(|other| other["name"] == hook["name"]) {
            let message = format!("Duplicate value: {}", hook["name"]);
            causes.push(Cause { reason: "FieldValueDuplicate", field: format!("{place}.name"), message });
        }
        manners(hook, &place, &mut causes);
        client(&hook["clientConfig"], &format!("{place}.clientConfig"), &mut causes);
        for (index, rule) in items(hook, "/rules").iter().enumerate() {
            self::rule(rule, &format!("{place}.rules[{index}]"), &mut causes);
        }
        for (index, condition) in items(hook, "/matchConditions").iter().enumerate() {
            let found = text(condition, "/expression");
            if let Err(why) = Expression::compile(found) {
                let field = format!("{place}.matchConditions[{index}].expression");
                causes.push(Cause::invalid(&field, found, &format!("compilation failed: {why}")));
            }
        }
    }
    causes
}

/// How it is asked, and what happens when it does not answer.
fn manners(hook: &Value, place: &str, causes: &mut Vec<Cause>) {
    let field = |name: &str| format!("{place}.{name}");
    let name = text(hook, "/name");
    if name.split('.').filter(|part| !part.is_empty()).count() < 3 {
        let why = "should be a domain with at least three segments separated by dots";
        causes.push(Cause::invalid(&field("name"), name, why));
    }
    if !matches!(text(hook, "/sideEffects"), "None" | "NoneOnDryRun") {
        causes.push(Cause::required(&field("sideEffects"), "must specify one of None, NoneOnDryRun"));
    }
    let versions = items(hook, "/admissionReviewVersions");
    if versions.is_empty() {
        causes.push(Cause::required(&field("admissionReviewVersions"), "must specify one of v1, v1beta1"));
    } else if !versions.iter().any(|v| v == "v1" || v == "v1beta1") {
        let found = Value::Array(versions.to_vec()).to_string();
        let why = "must include at least one of v1, v1beta1";
        causes.push(Cause::invalid(&field("admissionReviewVersions"), &found, why));
    }
    if let Some(seconds) = int(hook, "/timeoutSeconds").filter(|s| !(1..=30).contains(s)) {
        let why = "the timeout value must be between 1 and 30 seconds";
        causes.push(Cause::invalid(&field("timeoutSeconds"), &seconds.to_string(), why));
    }
    for (name, known) in [
        ("failurePolicy", &["Fail", "Ignore"]),
        ("matchPolicy", &["Equivalent", "Exact"]),
        ("reinvocationPolicy", &["IfNeeded", "Never"]),
    ] {
        let found = text(hook, &format!("/{name}"));
        if !found.is_empty() {
            one_of(found, known, &field(name), causes);
        }
    }
}

fn one_of(found: &str, known: &[&str], field: &str, causes: &mut Vec<Cause>) {
    if !known.contains(&found) {
        causes.push(Cause::unsupported(field, found, known));
    }
}

fn rule(rule: &Value, place: &str, causes: &mut Vec<Cause>) {
    for list in ["operations", "apiGroups", "apiVersions", "resources"] {
        if items(rule, &format!("/{list}")).is_empty() {
            causes.push(Cause::required(&format!("{place}.{list}"), ""));
        }
    }
    let known = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    for operation in items(rule, "/operations").iter().filter_map(Value::as_str) {
        one_of(operation, &known, &format!("{place}.operations"), causes);
    }
    let scope = text(rule, "/scope");
    if !scope.is_empty() {
        one_of(scope, &["*", "Cluster", "Namespaced"], &format!("{place}.scope"), causes);
    }
}

fn client(config: &Value, field: &str, causes: &mut Vec<Cause>) {
    let (url, service) = (text(config, "/url"), &config["service"]);
    if url.is_empty() == service.is_null() {
        return causes.push(Cause::required(field, "exactly one of url or service is required"));
    }
    if service.is_object() {
        for name in ["name", "namespace"] {
            if text(service, &format!("/{name}")).is_empty() {
                let why = format!("service {name} is required");
                causes.push(Cause::required(&format!("{field}.service.{name}"), &why));
            }
        }
        return;
    }
    let field = format!("{field}.url");
    let mut wrong = |why: &str| causes.push(Cause::invalid(&field, url, why));
    let Ok(parsed) = url.parse::<axum::http::Uri>() else {
        return wrong("url must be a valid URL; desired format: https://host[/path]");
    };
    if parsed.scheme_str() != Some("https") {
        wrong("'https' is the only allowed URL scheme; desired format: https://host[/path]");
    }
    if parsed.host().unwrap_or("").is_empty() {
        wrong("host must be specified; desired format: https://host[/path]");
    }
    if parsed.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        wrong("user information is not permitted in the URL");
    }
    if parsed.query().is_some() {
        wrong("query parameters are not permitted in the URL");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hook() -> Value {
        json!({
            "name": "inject.shop.example", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://127.0.0.1:8443/inject"},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
        })
    }

    #[test]
    fn what_is_wrong_with_a_webhook_is_told_by_its_field() {
        assert_eq!(check(&json!({"webhooks": [hook()]})), []);
        let twice = check(&json!({"webhooks": [hook(), hook()]}));
        assert_eq!(twice[0].field, "webhooks[1].name");
        for (pointer, value, field) in [
            ("/name", json!("inject"), "name"),
            ("/sideEffects", json!("Some"), "sideEffects"),
            ("/admissionReviewVersions", json!(["v9"]), "admissionReviewVersions"),
            ("/admissionReviewVersions", json!([]), "admissionReviewVersions"),
            ("/rules/0/operations", json!([]), "rules[0].operations"),
            ("/rules/0/operations", json!(["MAKE"]), "rules[0].operations"),
            ("/rules/0/resources", json!([]), "rules[0].resources"),
            ("/clientConfig", json!({}), "clientConfig"),
            ("/clientConfig", json!({"service": {"name": "x"}}), "clientConfig.service.namespace"),
            ("/clientConfig/url", json!("http://host/x"), "clientConfig.url"),
            ("/clientConfig/url", json!("https://host/x?y=1"), "clientConfig.url"),
            ("/clientConfig/url", json!("https://me@host/x"), "clientConfig.url"),
            ("/clientConfig/url", json!("no address"), "clientConfig.url"),
        ] {
            let mut wrong = hook();
            *wrong.pointer_mut(pointer).expect("a field") = value.clone();
            let causes = check(&json!({"webhooks": [wrong]}));
            let fields: Vec<&str> = causes.iter().map(|cause| cause.field.as_str()).collect();
            assert_eq!(fields, [format!("webhooks[0].{field}")], "{pointer} {value}");
        }
        for (field, value) in [
            ("failurePolicy", json!("Maybe")),
            ("timeoutSeconds", json!(31)),
            ("reinvocationPolicy", json!("Always")),
        ] {
            let mut wrong = hook();
            wrong[field] = value;
            assert_eq!(check(&json!({"webhooks": [wrong]}))[0].field, format!("webhooks[0].{field}"));
        }
        let mut wrong = hook();
        wrong["matchConditions"] = json!([{"name": "x", "expression": "object."}]);
        let causes = check(&json!({"webhooks": [wrong]}));
        assert_eq!(causes[0].field, "webhooks[0].matchConditions[0].expression");
    }
}
