//! The rules that make an object invalid (422): names, labels, selectors, ports, immutable fields.

mod container;
mod ephemeral;
mod fixed;
mod gate;
mod kept;
mod placement;
mod workload;

use serde_json::Value;

pub(crate) use self::ephemeral::check as check_ephemeral;
use crate::{
    admission, custom,
    kind::{self, Kind},
    object::{self, items, text},
    status::{Cause, Status},
};

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
                         and must start and end with an alphanumeric character";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
                     start and end with an alphanumeric character";

pub(crate) fn check(kind: &Kind, value: &Value) -> Result<(), Status> {
    let mut causes = Vec::new();
    metadata(kind, value, &mut causes);
    if let Some(custom) = kind.custom() {
        causes.extend(custom::check_object(custom, value));
    }
    match kind.id {
        "customresourcedefinitions.apiextensions.k8s.io" => causes.extend(custom::check(value)),
        "pods" => {
            pod_spec(&value["spec"], "spec", &mut causes);
            container::mounts(&value["spec"], "spec", &mut causes);
            gate::check(value, &mut causes);
        }
        "services" => service(value, &mut causes),
        _ if *kind == kind::MUTATING_WEBHOOKS || *kind == kind::VALIDATING_WEBHOOKS => {
            causes.extend(admission::check(value));
        }
        _ if *kind == kind::POLICIES => causes.extend(admission::check_policy(value)),
        _ if *kind == kind::POLICY_BINDINGS => causes.extend(admission::check_binding(value)),
        _ => {
            workload::check(kind, value, &mut causes);
            kept::check(kind, value, &mut causes);
        }
    }
    answer(kind, value, &causes)
}

/// Rules about an object that is not there yet.
pub(crate) fn check_new(kind: &Kind, value: &Value) -> Result<(), Status> {
    check(kind, value)?;
    let mut causes = Vec::new();
    if *kind == kind::PODS && !items(value, "/spec/ephemeralContainers").is_empty() {
        causes.push(Cause::forbidden("spec.ephemeralContainers", "cannot be set on create"));
    }
    answer(kind, value, &causes)
}

/// Rules about a change, not about a state.
pub(crate) fn check_update(kind: &Kind, old: &Value, new: &Value) -> Result<(), Status> {
    let mut causes = Vec::new();
    workload::check_update(kind, old, new, &mut causes);
    fixed::check_update(kind, old, new, &mut causes);
    if let Some(custom) = kind.custom() {
        causes.extend(custom::check_change(custom, new, Some(old)));
    }
    if *kind == kind::PODS {
        gate::check_update(old, new, &mut causes);
        deadline(old, new, &mut causes);
    }
    let mut fixed = |pointer: &str, field: &str| {
        if old.pointer(pointer) != new.pointer(pointer) {
            let value = new.pointer(pointer).map(Value::to_string).unwrap_or_default();
            causes.push(Cause::invalid(field, &value, "field is immutable"));
        }
    };
    match kind.id {
        "services" if both_have_addresses(old, new) => fixed("/spec/clusterIP", "spec.clusterIP"),
        "pods" if pod_core(old, old) != pod_core(old, new) => causes.push(Cause::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,\
                      `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions \
                      to existing tolerations),`spec.terminationGracePeriodSeconds`",
        )),
        _ => {}
    }
    answer(kind, new, &causes)
}

/// A service that becomes a mere name gives its address back.
fn both_have_addresses(old: &Value, new: &Value) -> bool {
    !text(old, "/spec/clusterIP").is_empty() && text(new, "/spec/type") != "ExternalName"
}

/// The time that a pod has left only ever gets shorter.
fn deadline(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let of = |pod: &Value| object::int(pod, "/spec/activeDeadlineSeconds");
    let Some(before) = of(old) else { return };
    let field = "spec.activeDeadlineSeconds";
    match of(new) {
        None => causes.push(Cause::forbidden(field, "must not update from a positive integer to nil value")),
        Some(now) if now > before => {
            let why = format!("must be less than or equal to previous value {before}");
            causes.push(Cause::invalid(field, &now.to_string(), &why));
        }
        Some(_) => {}
    }
}

fn answer(kind: &Kind, value: &Value, causes: &[Cause]) -> Result<(), Status> {
    if causes.is_empty() { Ok(()) } else { Err(Status::invalid(kind, object::name(value), causes)) }
}

/// The part of a pod that never changes, seen from what it was.
fn pod_core(old: &Value, pod: &Value) -> Value {
    let mut spec = pod["spec"].clone();
    gate::leave_out(old, &mut spec);
    for field in ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"] {
        object::unset(&mut spec, &[field]);
    }
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            object::unset(container, &["image"]);
        }
    }
    spec
}

pub(crate) fn dns_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty()
        && name.len() <= 63
        && name.chars().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(|part| !part.is_empty() && dns_label_long(part))
}

fn dns_label_long(part: &str) -> bool {
    part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !part.starts_with('-')
        && !part.ends_with('-')
}

fn qualified(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(p, n)| (Some(p), n));
    prefix.is_none_or(|p| !p.is_empty() && subdomain(p)) && !name.is_empty() && label_value(name)
}

fn label_value(value: &str) -> bool {
    let edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    value.len() <= 63
        && value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && edge(value.chars().next())
        && edge(value.chars().last())
}

fn metadata(kind: &Kind, value: &Value, causes: &mut Vec<Cause>) {
    let name = object::name(value);
    if name.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
    } else if *kind == kind::NAMESPACES || *kind == kind::SERVICES {
        if !dns_label(name) {
            causes.push(Cause::invalid("metadata.name", name, LABEL));
        }
    } else if !subdomain(name) {
        causes.push(Cause::invalid("metadata.name", name, SUBDOMAIN));
    }
    labels(object::labels(value), "metadata.labels", causes);
}

fn labels(map: Option<&serde_json::Map<String, Value>>, field: &str, causes: &mut Vec<Cause>) {
    for (key, value) in map.into_iter().flatten() {
        if !qualified(key) {
            causes.push(Cause::invalid(
                field,
                key,
                "name part must consist of alphanumeric characters, '-', '_' or '.'",
            ));
        }
        let value = value.as_str().unwrap_or("");
        if !label_value(value) {
            let why = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.'";
            causes.push(Cause::invalid(field, value, why));
        }
    }
}

fn pod_spec(spec: &Value, field: &str, causes: &mut Vec<Cause>) {
    placement::check(spec, field, causes);
    if field != "spec" && !items(spec, "/ephemeralContainers").is_empty() {
        let why = "ephemeral containers not allowed in pod template";
        causes.push(Cause::forbidden(&format!("{field}.ephemeralContainers"), why));
    }
    container::check(spec, field, causes);
    kept::sysctls(spec, field, causes);
}

fn one_of(value: &Value, place: &str, name: &str, supported: &[&str], causes: &mut Vec<Cause>) {
    let found = text(value, &format!("/{name}"));
    if !found.is_empty() && !supported.contains(&found) {
        causes.push(Cause::unsupported(&format!("{place}.{name}"), found, supported));
    }
}

fn port_number(port: &Value, field: &str, causes: &mut Vec<Cause>) {
    if !port.as_i64().is_some_and(|n| (1..=65535).contains(&n)) {
        causes.push(Cause::invalid(field, &port.to_string(), "must be between 1 and 65535, inclusive"));
    }
}

fn service(value: &Value, causes: &mut Vec<Cause>) {
    let ports = items(value, "/spec/ports");
    let headless = text(value, "/spec/clusterIP") == "None";
    if ports.is_empty() && !headless && text(value, "/spec/type") != "ExternalName" {
        causes.push(Cause::required("spec.ports", ""));
    }
    one_of(
        &value["spec"],
        "spec",
        "type",
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
        causes,
    );
    one_of(&value["spec"], "spec", "sessionAffinity", &["ClientIP", "None"], causes);
    for (at, port) in ports.iter().enumerate() {
        let field = format!("spec.ports[{at}]");
        port_number(&port["port"], &format!("{field}.port"), causes);
        one_of(port, &field, "protocol", &["SCTP", "TCP", "UDP"], causes);
        let same = |other: &Value| other["port"] == port["port"] && other["protocol"] == port["protocol"];
        if ports.iter().take(at).any(same) {
            causes.push(Cause::duplicate(&field, &port["port"].to_string()));
        }
        if ports.len() > 1 && text(port, "/name").is_empty() {
            causes.push(Cause::required(&format!("spec.ports[{at}].name"), ""));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn replica_set() -> Value {
        json!({"metadata": {"name": "a"}, "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "a"}},
               "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
    }

    #[test]
    fn broken_objects_are_refused_with_the_field() {
        let cases: [(&str, Value, &str); 7] = [
            ("/metadata/name", json!("A_b"), "metadata.name"),
            ("/spec/replicas", json!(-1), "spec.replicas"),
            ("/spec/selector", json!({}), "spec.selector"),
            ("/spec/template/metadata/labels/app", json!("other"), "spec.template.metadata.labels"),
            ("/spec/template/spec/containers/0/name", json!(""), "spec.template.spec.containers[0].name"),
            ("/spec/template/spec/containers/0/image", json!(""), "spec.template.spec.containers[0].image"),
            ("/spec/template/spec/containers", json!([]), "spec.template.spec.containers"),
        ];
        check(&kind::REPLICA_SETS, &replica_set()).expect("valid");
        for (pointer, value, field) in cases {
            let mut object = replica_set();
            *object.pointer_mut(pointer).expect(pointer) = value;
            let error = check(&kind::REPLICA_SETS, &object).expect_err(pointer);
            assert_eq!(error.code, 422);
            assert!(error.message.contains(field), "{}", error.message);
        }
    }

    #[test]
    fn selectors_never_change() {
        let mut new = replica_set();
        new["spec"]["selector"]["matchLabels"]["app"] = json!("b");
        assert!(check_update(&kind::REPLICA_SETS, &replica_set(), &new).is_err());
    }
}
