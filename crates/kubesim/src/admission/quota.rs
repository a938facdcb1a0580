//! ResourceQuotas: how much of what a namespace may have. What an object takes is charged when it comes, and counted anew when
//! something went.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::{
    controller::{
        pod,
        request::{Amounts, of_pod, read},
    },
    kind::{self, Kind},
    object::{self, Key, items, text},
    quantity,
    status::Status,
    store::Store,
};

/// Who charges or counts holds it: nothing comes between a look at what is used and what follows.
#[derive(Default)]
pub(super) struct Turn(Mutex<()>);

impl Turn {
    pub(super) fn take(&self) -> MutexGuard<'_, ()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Charges a new object to the quotas of its namespace, or refuses it.
pub(super) fn charge(store: &Store, kind: &Kind, value: &Value) -> Result<(), Status> {
    for (key, counted) in bill(store, kind, value)? {
        store.update(&kind::QUOTAS, &key, |seen| {
            let mut value = seen.clone();
            let used = read(&seen["status"]["used"]);
            for (name, more) in &counted {
                let total = used.get(name).unwrap_or(&0) + more;
                object::set(&mut value, &["status", "used", name], json!(quantity::text(name, total)));
            }
            Ok(Some(value))
        })?;
    }
    Ok(())
}

/// What a new object would be charged to each quota, or why it is refused.
pub(super) fn bill(store: &Store, kind: &Kind, value: &Value) -> Result<Vec<(Key, Amounts)>, Status> {
    if store.count(&kind::QUOTAS) == 0 || !kind.namespaced {
        return Ok(Vec::new());
    }
    let quotas = store.list(&kind::QUOTAS, object::namespace(value)).objects;
    let concerned: Vec<_> = quotas.iter().filter(|quota| in_scope(quota, kind, value)).collect();
    let takes = amounts(kind, value);
    let refuse = |why: &str| Err(Status::forbidden(kind, object::name(value), why));
    let mut changes = Vec::new();
    for quota in concerned {
        let missing = unspecified(quota, kind, value);
        if !missing.is_empty() {
            return refuse(&format!(
                "failed quota: {}: must specify {}",
                object::name(quota),
                missing.join("; ")
            ));
        }
        let hard = limits(quota);
        let used = read(&quota["status"]["used"]);
        let counted: Amounts =
            takes.iter().filter(|(name, _)| hard.contains_key(*name)).map(|(n, a)| (n.clone(), *a)).collect();
        let after = |name: &String, more: &i128| used.get(name).unwrap_or(&0) + more;
        let over: Vec<&String> = counted
            .iter()
            .filter(|(n, more)| **more > 0 && after(n, more) > hard[*n])
            .map(|(n, _)| n)
            .collect();
        if !over.is_empty() {
            let list = |of: &dyn Fn(&String) -> i128| {
                over.iter().map(|n| format!("{n}={}", quantity::text(n, of(n)))).collect::<Vec<_>>().join(",")
            };
            return refuse(&format!(
                "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                object::name(quota),
                list(&|n| counted[n]),
                list(&|n| used.get(n).copied().unwrap_or(0)),
                list(&|n| hard[n])
            ));
        }
        if !counted.is_empty() {
            changes.push((Key::of(quota), counted));
        }
    }
    Ok(changes)
}

/// Counts anew what the quotas of a namespace are about.
pub(super) fn count_all(store: &Store, namespace: &str) -> Result<(), Status> {
    if store.count(&kind::QUOTAS) == 0 {
        return Ok(());
    }
    store.list(&kind::QUOTAS, namespace).objects.iter().try_for_each(|quota| count(store, &Key::of(quota)))
}

/// Writes into a quota what its namespace has now.
pub(super) fn count(store: &Store, key: &Key) -> Result<(), Status> {
    let counted = store.update(&kind::QUOTAS, key, |seen| {
        let hard = limits(seen);
        let mut used: Amounts = hard.keys().map(|name| (name.clone(), 0)).collect();
        for kind in store.kinds().stored().into_iter().filter(|kind| kind.namespaced) {
            if !counts(kind, &hard) {
                continue;
            }
            for one in store.list(kind, &key.namespace).objects.iter().filter(|o| in_scope(seen, kind, o)) {
                for (name, amount) in amounts(kind, one) {
                    if let Some(used) = used.get_mut(&name) {
                        *used += amount;
                    }
                }
            }
        }
        let shown = |amounts: &Amounts| -> Value {
            amounts
                .iter()
                .map(|(name, amount)| (name.clone(), json!(quantity::text(name, *amount))))
                .collect()
        };
        let mut value = seen.clone();
        value["status"] = json!({"hard": seen["spec"]["hard"], "used": shown(&used)});
        Ok((value != *seen).then_some(value))
    });
    match counted {
        Err(status) if status.code != 404 => Err(status),
        _ => Ok(()),
    }
}

/// Whether a quota says anything about objects of a kind.
pub(super) fn concerns(quota: &Value, kind: &Kind) -> bool {
    counts(kind, &limits(quota))
}

fn counts(kind: &Kind, hard: &Amounts) -> bool {
    match kind.id {
        "pods" => true,
        _ => hard.keys().any(|name| named(kind, name)),
    }
}

fn named(kind: &Kind, name: &str) -> bool {
    name.strip_prefix("count/") == Some(kind.id)
        || match kind.id {
            "services" => name == "services" || name.starts_with("services."),
            "persistentvolumeclaims" => {
                matches!(name, "persistentvolumeclaims" | "requests.storage")
                    || name.contains(".storageclass.")
            }
            "configmaps" | "replicationcontrollers" | "resourcequotas" | "secrets" => name == kind.id,
            _ => false,
        }
}

fn limits(quota: &Value) -> Amounts {
    read(&quota["spec"]["hard"])
}

/// What an object takes.
fn amounts(kind: &Kind, value: &Value) -> Amounts {
    const ONE: i128 = 1000;
    let mut found = Amounts::from([(format!("count/{}", kind.id), ONE)]);
    match kind.id {
        "pods" => {
            // A pod that is over takes nothing any more.
            if pod::ended(value) {
                return found;
            }
            found.insert("pods".to_owned(), ONE);
            for (of, prefix) in [("requests", "requests."), ("limits", "limits.")] {
                for (name, amount) in of_pod(value, of) {
                    if of == "requests" && matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
                        found.insert(name.clone(), amount);
                    }
                    found.insert(format!("{prefix}{name}"), amount);
                }
            }
        }
        "services" => {
            found.insert("services".to_owned(), ONE);
            let ports = i128::try_from(items(value, "/spec/ports").len()).unwrap_or(0) * ONE;
            match text(value, "/spec/type") {
                "NodePort" => drop(found.insert("services.nodeports".to_owned(), ports)),
                "LoadBalancer" => {
                    found.insert("services.loadbalancers".to_owned(), ONE);
                    found.insert("services.nodeports".to_owned(), ports);
                }
                _ => {}
            }
        }
        "persistentvolumeclaims" => {
            found.insert("persistentvolumeclaims".to_owned(), ONE);
            let storage = quantity::milli(text(value, "/spec/resources/requests/storage")).unwrap_or(0);
            found.insert("requests.storage".to_owned(), storage);
            let class = text(value, "/spec/storageClassName");
            let of_class = |name: &str| format!("{class}.storageclass.storage.k8s.io/{name}");
            found.insert(of_class("requests.storage"), storage);
            found.insert(of_class("persistentvolumeclaims"), ONE);
        }
        "configmaps" | "replicationcontrollers" | "resourcequotas" | "secrets" => {
            found.insert(kind.id.to_owned(), ONE);
        }
        _ => {}
    }
    found
}

/// What every container must say because the quota counts it.
fn unspecified(quota: &Value, kind: &Kind, value: &Value) -> Vec<String> {
    if kind.id != "pods" {
        return Vec::new();
    }
    let mut missing = Vec::new();
    for name in limits(quota).keys() {
        let (of, resource) = match name.split_once('.') {
            Some((of @ ("requests" | "limits"), resource)) => (of, resource),
            None if matches!(name.as_str(), "cpu" | "memory") => ("requests", name.as_str()),
            _ => continue,
        };
        if !matches!(resource, "cpu" | "memory") {
            continue;
        }
        let without: Vec<&str> = items(value, "/spec/containers")
            .iter()
            .filter(|c| c["resources"][of][resource].is_null())
            .map(|c| text(c, "/name"))
            .collect();
        if !without.is_empty() {
            missing.push(format!("{name} for: {}", without.join(",")));
        }
    }
    missing
}

fn in_scope(quota: &Value, kind: &Kind, value: &Value) -> bool {
    let plain =
        items(&quota["spec"], "/scopes").iter().filter_map(Value::as_str).map(|s| (s, "Exists", &[][..]));
    let selected = items(quota, "/spec/scopeSelector/matchExpressions").iter();
    let selected = selected.map(|e| (text(e, "/scopeName"), text(e, "/operator"), items(e, "/values")));
    let scopes: Vec<(&str, &str, &[Value])> = plain.chain(selected).collect();
    if scopes.is_empty() {
        return true;
    }
    kind.id == "pods" && scopes.iter().all(|(scope, operator, values)| pod_in(value, scope, operator, values))
}

fn pod_in(pod: &Value, scope: &str, operator: &str, values: &[Value]) -> bool {
    let best_effort = super::qos(&pod["spec"]) == "BestEffort";
    let terminating = !pod["spec"]["activeDeadlineSeconds"].is_null();
    match scope {
        "BestEffort" => best_effort,
        "NotBestEffort" => !best_effort,
        "Terminating" => terminating,
        "NotTerminating" => !terminating,
        "PriorityClass" => {
            let class = &pod["spec"]["priorityClassName"];
            match operator {
                "In" => values.contains(class),
                "NotIn" => !values.contains(class),
                "DoesNotExist" => class.is_null(),
                _ => !class.is_null(),
            }
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Value {
        json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {
            "initContainers": [
                {"name": "setup", "resources": {"requests": {"cpu": "2", "memory": "10Mi"}}},
                {"name": "proxy", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}},
            ],
            "containers": [
                {"name": "a", "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "1"}}},
                {"name": "b", "resources": {"requests": {"cpu": "500m"}}},
            ],
        }})
    }

    #[test]
    fn a_pod_takes_the_sum_of_its_containers_or_its_largest_start() {
        let found = amounts(&kind::PODS, &pod());
        let named = |name: &str| found.get(name).map(|amount| quantity::text(name, *amount));
        for (name, expected) in [
            ("pods", Some("1")),
            ("count/pods", Some("1")),
            ("requests.cpu", Some("2")),
            ("cpu", Some("2")),
            ("requests.memory", Some("1Gi")),
            ("limits.cpu", Some("1")),
            ("limits.memory", None),
        ] {
            assert_eq!(named(name).as_deref(), expected, "{name}");
        }
        let mut over = pod();
        over["status"]["phase"] = json!("Succeeded");
        assert_eq!(amounts(&kind::PODS, &over).keys().collect::<Vec<_>>(), ["count/pods"]);
    }

    #[test]
    fn a_quota_concerns_only_pods_in_its_scope() {
        let in_scope_of = |spec: Value| in_scope(&json!({"spec": spec}), &kind::PODS, &pod());
        assert!(in_scope_of(json!({})));
        assert!(in_scope_of(json!({"scopes": ["NotBestEffort", "NotTerminating"]})));
        assert!(!in_scope_of(json!({"scopes": ["BestEffort"]})));
        let class = |operator: &str, values: Value| {
            let expression = json!({"scopeName": "PriorityClass", "operator": operator, "values": values});
            in_scope_of(json!({"scopeSelector": {"matchExpressions": [expression]}}))
        };
        assert!(
            !class("In", json!(["high"])) && class("NotIn", json!(["high"])) && !class("Exists", json!([]))
        );
        let scoped = json!({"spec": {"scopes": ["NotTerminating"]}});
        assert!(!in_scope(&scoped, &kind::SERVICES, &json!({})), "scopes are of pods only");
    }

    #[test]
    fn containers_must_say_what_a_quota_counts() {
        let quota = json!({"spec": {"hard": {"requests.cpu": "1", "limits.memory": "1Gi", "pods": "3"}}});
        assert_eq!(unspecified(&quota, &kind::PODS, &pod()), ["limits.memory for: a,b"]);
    }
}
