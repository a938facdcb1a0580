//! What the server itself adds to new objects, or has against them: the priority of a pod by its class, the class of a claim, whether a
//! runtime is known. Limits and quotas are neighbours of this.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Attributes, limit_range};
use crate::{
    clock,
    kind::{self, Kind},
    object::{self, Key, int, text},
    status::Status,
    store::Store,
};

const DEFAULT_STORAGE: &str = "storageclass.kubernetes.io/is-default-class";

/// Before webhooks see the object.
pub(super) fn adapt(store: &Store, kind: &Kind, value: &mut Value) -> Result<(), Status> {
    match kind.id {
        "pods" => {
            limit_range::fill(&limits(store, value), value);
            priority(store, value)?;
            account(store, value)?;
            runtime(store, value)
        }
        "persistentvolumeclaims" if value["spec"]["storageClassName"].is_null() => {
            let classes = store.list(&kind::STORAGE_CLASSES, "").objects;
            let class = classes.iter().find(|c| object::annotation(c, DEFAULT_STORAGE) == Some("true"));
            if let Some(class) = class {
                object::set(value, &["spec", "storageClassName"], json!(object::name(class)));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A request for a certificate says who made it, whatever it said before.
pub(super) fn who_asks(what: &Attributes<'_>, value: &mut Value) {
    if *what.kind == kind::SIGNING_REQUESTS {
        let who = what.who;
        for (field, found) in
            [("username", json!(who.name)), ("uid", json!(who.uid)), ("groups", json!(who.groups))]
        {
            object::set(value, &["spec", field], found);
        }
        object::unset(value, &["spec", "extra"]);
    }
}

/// After them.
pub(super) fn check(store: &Store, kind: &Kind, value: &Value) -> Result<(), Status> {
    match kind.id {
        "pods" | "persistentvolumeclaims" => limit_range::check(&limits(store, value), kind, value),
        _ => Ok(()),
    }
}

fn limits(store: &Store, value: &Value) -> Vec<Arc<Value>> {
    if store.count(&kind::LIMIT_RANGES) == 0 {
        return Vec::new();
    }
    store.list(&kind::LIMIT_RANGES, object::namespace(value)).objects
}

fn priority(store: &Store, pod: &mut Value) -> Result<(), Status> {
    let refuse = |why: &str| Err(Status::forbidden(&kind::PODS, object::name(pod), why));
    let named = text(pod, "/spec/priorityClassName");
    let class = if named.is_empty() {
        let classes = store.list(&kind::PRIORITY_CLASSES, "").objects;
        classes.into_iter().filter(|c| c["globalDefault"] == true).min_by_key(|c| int(c, "/value"))
    } else {
        match store.get(&kind::PRIORITY_CLASSES, &Key::new("", named)) {
            None => return refuse(&format!("no PriorityClass with name {named} was found")),
            found => found,
        }
    };
    let value = class.as_deref().and_then(|class| int(class, "/value")).unwrap_or(0);
    if let Some(given) = int(pod, "/spec/priority").filter(|given| *given != value) {
        return refuse(&format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller \
             computed {value} from the given PriorityClass name"
        ));
    }
    object::set(pod, &["spec", "priority"], json!(value));
    let preempts = class.as_deref().map(|class| text(class, "/preemptionPolicy")).filter(|p| !p.is_empty());
    object::default(pod, &["spec", "preemptionPolicy"], json!(preempts.unwrap_or("PreemptLowerPriority")));
    if let Some(class) = class {
        object::default(pod, &["spec", "priorityClassName"], json!(object::name(&class)));
    }
    Ok(())
}

/// The account that a pod asks for by name. Everyone has the one of the namespace, which may come a moment later than that.
fn account(store: &Store, pod: &Value) -> Result<(), Status> {
    let (namespace, named) = (object::namespace(pod), text(pod, "/spec/serviceAccountName"));
    let known = || store.get(&kind::SERVICE_ACCOUNTS, &Key::new(namespace, named)).is_some();
    if named.is_empty() || named == "default" || known() {
        return Ok(());
    }
    let why =
        format!("error looking up service account {namespace}/{named}: serviceaccount {named:?} not found");
    Err(Status::forbidden(&kind::PODS, object::name(pod), &why))
}

fn runtime(store: &Store, pod: &mut Value) -> Result<(), Status> {
    let named = text(pod, "/spec/runtimeClassName");
    if named.is_empty() {
        return Ok(());
    }
    let Some(class) = store.get(&kind::RUNTIME_CLASSES, &Key::new("", named)) else {
        let why = format!("pod rejected: RuntimeClass {named:?} not found");
        return Err(Status::forbidden(&kind::PODS, object::name(pod), &why));
    };
    if let Some(overhead) = class.pointer("/overhead/podFixed") {
        object::set(pod, &["spec", "overhead"], overhead.clone());
    }
    Ok(())
}

/// The classes that every cluster has from its first moment.
pub(crate) fn objects() -> Vec<(&'static Kind, Value)> {
    let priority = |name: &str, value: i64| {
        json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value,
            "preemptionPolicy": "PreemptLowerPriority",
            "description": "Used for system critical pods.",
        })
    };
    let storage = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "kubesim.bcs/nothing",
        "metadata": {"name": "standard", "annotations": {DEFAULT_STORAGE: "true"}},
        "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate",
    });
    let runtime = json!({
        "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "process"}, "handler": "process",
    });
    // Where the addresses of services come from.
    let addresses = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": ["10.96.0.0/12"]},
        "status": {"conditions": [{
            "type": "Ready", "status": "True", "reason": "", "message": "Kubernetes Service CIDR is ready",
            "lastTransitionTime": clock::stamp(),
        }]},
    });
    vec![
        (&kind::SERVICE_CIDRS, addresses),
        (&kind::PRIORITY_CLASSES, priority("system-cluster-critical", 2_000_000_000)),
        (&kind::PRIORITY_CLASSES, priority("system-node-critical", 2_000_001_000)),
        (&kind::STORAGE_CLASSES, storage),
        (&kind::RUNTIME_CLASSES, runtime),
    ]
}
