//! Roles and their bindings (RBAC).

use std::sync::Arc;

use serde_json::Value;

use super::{Attributes, Identity};
use crate::{
    kind,
    object::{self, Key, items, text},
    status::Status,
    store::Store,
};

/// Whether somebody may do something; if not, the answer.
pub(crate) fn authorize(store: &Store, who: &Identity, what: &Attributes) -> Result<(), Status> {
    if is_allowed(store, who, what) {
        return Ok(());
    }
    let mut status = Status::new(403, "Forbidden", what.refusal(&who.name));
    if what.path.is_empty() {
        let resource = what.resource.split('/').next().unwrap_or("");
        let name = &what.name;
        status.details = Some(serde_json::json!({"name": name, "group": what.group, "kind": resource}));
    }
    Err(status)
}

pub(super) fn is_allowed(store: &Store, who: &Identity, what: &Attributes) -> bool {
    who.is_master() || rules_of(store, who, &what.namespace).iter().any(|rule| allows(rule, what))
}

/// Every rule that counts for somebody in a namespace, or in the whole cluster when that is empty.
pub(super) fn rules_of(store: &Store, who: &Identity, namespace: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for binding in store.list(&kind::CLUSTER_ROLE_BINDINGS, "").objects {
        take(store, who, &binding, &mut found);
    }
    if !namespace.is_empty() {
        for binding in store.list(&kind::ROLE_BINDINGS, namespace).objects {
            take(store, who, &binding, &mut found);
        }
    }
    found
}

fn take(store: &Store, who: &Identity, binding: &Value, found: &mut Vec<Value>) {
    let namespace = object::namespace(binding);
    if items(binding, "/subjects").iter().any(|subject| is_meant(who, subject, namespace))
        && let Some(role) = role_of(store, binding)
    {
        found.extend_from_slice(items(&role, "/rules"));
    }
}

pub(super) fn role_of(store: &Store, binding: &Value) -> Option<Arc<Value>> {
    let name = text(binding, "/roleRef/name");
    match text(binding, "/roleRef/kind") {
        "ClusterRole" => store.get(&kind::CLUSTER_ROLES, &Key::new("", name)),
        _ => store.get(&kind::ROLES, &Key::new(object::namespace(binding), name)),
    }
}

fn is_meant(who: &Identity, subject: &Value, namespace: &str) -> bool {
    let name = text(subject, "/name");
    match text(subject, "/kind") {
        "User" => who.name == name,
        "Group" => who.groups.iter().any(|group| group == name),
        "ServiceAccount" => {
            let of = match text(subject, "/namespace") {
                "" => namespace,
                given => given,
            };
            who.name == format!("system:serviceaccount:{of}:{name}")
        }
        _ => false,
    }
}

pub(super) fn allows(rule: &Value, what: &Attributes) -> bool {
    let has = |list: &str, wanted: &str| items(rule, list).iter().any(|item| item == "*" || item == wanted);
    if !has("/verbs", &what.verb) {
        return false;
    }
    if !what.path.is_empty() {
        let covers = |path: &str| {
            path.strip_suffix('*').map_or(path == what.path, |start| what.path.starts_with(start))
        };
        return items(rule, "/nonResourceURLs").iter().filter_map(Value::as_str).any(covers);
    }
    let names = items(rule, "/resourceNames");
    let below = what.resource.split_once('/').map(|(_, sub)| format!("*/{sub}"));
    has("/apiGroups", &what.group)
        && (has("/resources", &what.resource) || below.is_some_and(|all| has("/resources", &all)))
        && (names.is_empty() || names.iter().any(|name| name == what.name.as_str()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_allows_what_it_names_and_nothing_else() {
        let rule = json!({"apiGroups": ["", "apps"], "resources": ["pods", "*/scale", "secrets"], "verbs": ["get", "patch"]});
        let one =
            json!({"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a"], "verbs": ["*"]});
        let paths = json!({"nonResourceURLs": ["/healthz", "/openapi/*"], "verbs": ["get"]});
        let ask = |verb: &str, group: &str, resource: &str, name: &str| Attributes {
            verb: verb.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            name: name.to_owned(),
            ..Attributes::default()
        };
        let path = |path: &str| Attributes {
            verb: "get".to_owned(),
            path: path.to_owned(),
            ..Attributes::default()
        };
        for (rule, what, expected) in [
            (&rule, ask("get", "", "pods", "x"), true),
            (&rule, ask("list", "", "pods", ""), false),
            (&rule, ask("get", "batch", "pods", "x"), false),
            (&rule, ask("get", "", "pods/log", "x"), false),
            (&rule, ask("patch", "apps", "deployments/scale", "x"), true),
            (&rule, ask("patch", "apps", "deployments", "x"), false),
            (&one, ask("delete", "", "configmaps", "a"), true),
            (&one, ask("delete", "", "configmaps", "b"), false),
            (&one, ask("list", "", "configmaps", ""), false),
            (&paths, path("/healthz"), true),
            (&paths, path("/openapi/v3/api"), true),
            (&paths, path("/metrics"), false),
            (&paths, ask("get", "", "pods", "x"), false),
        ] {
            assert_eq!(allows(rule, &what), expected, "{what:?} by {rule}");
        }
    }

    #[test]
    fn a_refusal_names_who_wanted_what_and_where() {
        let what = Attributes {
            verb: "get".to_owned(),
            resource: "pods/log".to_owned(),
            namespace: "shop".to_owned(),
            name: "web-1".to_owned(),
            ..Attributes::default()
        };
        let words = "pods \"web-1\" is forbidden: User \"ada\" cannot get resource \"pods/log\" in API group \"\" in the namespace \"shop\"";
        assert_eq!(what.refusal("ada"), words);
    }
}
