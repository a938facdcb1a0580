//! The doors to an object (itself, its status, its approval, …): each lets a part of what a client wants through.

use serde_json::Value;

use super::target::Target;
use crate::{
    controller::service,
    kind::{self, Kind},
    object, validate,
};

/// The part of the wanted state that this door lets through.
pub(super) fn through(target: &Target, current: &Value, mut value: Value) -> Value {
    let kind = target.kind;
    match target.subresource.as_str() {
        "status" => value = with_status(kind, current, value, &["status"]),
        "approval" => value = with_status(kind, current, value, &["status", "conditions"]),
        "ephemeralcontainers" => {
            value = with_part(current, value, &["spec", "ephemeralContainers"]);
            validate::apply_defaults(kind, &mut value);
        }
        "finalize" => {}
        _ => {
            match current.get("status") {
                Some(status) if kind.status => value["status"] = status.clone(),
                _ => {}
            }
            if *kind == kind::NAMESPACES {
                value["spec"] = current["spec"].clone();
            }
            validate::apply_defaults(kind, &mut value);
            keep_assigned(kind, current, &mut value);
        }
    }
    value
}

/// The object as it was, but for one part.
fn with_part(current: &Value, mut given: Value, path: &[&str]) -> Value {
    let part = path.iter().fold(&mut given, |place, name| &mut place[*name]).take();
    let managed = given["metadata"]["managedFields"].take();
    let mut value = current.clone();
    match part {
        Value::Null => object::unset(&mut value, path),
        part => object::set(&mut value, path, part),
    }
    if managed.is_array() {
        value["metadata"]["managedFields"] = managed;
    }
    value
}

/// The object as it was, but for its status, and for what its metadata say, unless that is a custom resource or what defines one.
fn with_status(kind: &Kind, current: &Value, given: Value, path: &[&str]) -> Value {
    let metadata = given["metadata"].clone();
    let mut value = with_part(current, given, path);
    if kind.custom().is_some() || *kind == kind::CUSTOM_RESOURCE_DEFINITIONS {
        return value;
    }
    for field in ["annotations", "finalizers", "labels", "ownerReferences"] {
        match metadata.get(field) {
            // Nobody gives away a pod by this door.
            _ if *kind == kind::PODS && field == "ownerReferences" => {}
            None => object::unset(&mut value, &["metadata", field]),
            Some(given) => object::set(&mut value, &["metadata", field], given.clone()),
        }
    }
    value
}

/// What the server assigned stays when a client leaves it out.
fn keep_assigned(kind: &Kind, current: &Value, value: &mut Value) {
    if *kind != kind::SERVICES {
        return;
    }
    keep_ports(current, value);
    if value["spec"]["type"] == "ExternalName" {
        for field in ["clusterIP", "clusterIPs"] {
            object::unset(value, &["spec", field]);
        }
    } else {
        for field in ["clusterIP", "clusterIPs"] {
            let old = current["spec"][field].clone();
            if !old.is_null() {
                object::default(value, &["spec", field], old);
            }
        }
    }
}

/// The ports of the nodes are those of the same ports as before, as long as the service is to be reached there.
fn keep_ports(current: &Value, value: &mut Value) {
    let external = service::external(value);
    for port in value["spec"].get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let same = |old: &&Value| old["port"] == port["port"] && old["protocol"] == port["protocol"];
        let before =
            object::items(current, "/spec/ports").iter().find(same).map(|old| old["nodePort"].clone());
        match before {
            _ if !external => object::unset(port, &["nodePort"]),
            Some(before) if !before.is_null() => object::default(port, &["nodePort"], before),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn door(kind: &'static Kind, subresource: &str) -> Target {
        let (namespace, name, subresource) = (String::new(), "a".to_owned(), subresource.to_owned());
        Target { kind, shown: kind, namespace, name, subresource }
    }

    #[test]
    fn the_door_of_the_status_lets_the_status_through_and_what_metadata_say() {
        let current =
            json!({"metadata": {"name": "a", "ownerReferences": [1]}, "spec": {"x": 1}, "status": {"y": 1}});
        let wanted = json!({
            "metadata": {"name": "a", "labels": {"l": "m"}, "ownerReferences": []}, "spec": {"x": 2}, "status": {"y": 2},
        });
        for (kind, metadata) in [
            (&kind::JOBS, json!({"name": "a", "labels": {"l": "m"}, "ownerReferences": []})),
            (&kind::PODS, json!({"name": "a", "labels": {"l": "m"}, "ownerReferences": [1]})),
            (&kind::CUSTOM_RESOURCE_DEFINITIONS, json!({"name": "a", "ownerReferences": [1]})),
        ] {
            let found = through(&door(kind, "status"), &current, wanted.clone());
            let expected = json!({"metadata": metadata, "spec": {"x": 1}, "status": {"y": 2}});
            assert_eq!(found, expected, "{}", kind.id);
        }
    }

    #[test]
    fn what_was_assigned_to_a_service_stays_until_its_type_asks_for_it_no_more() {
        let ports =
            |node: Value| json!([{"port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": node}]);
        let of = |kind: &str, ports: Value| json!({"metadata": {"name": "a"}, "spec": {"type": kind, "ports": ports}});
        let mut current = of("NodePort", ports(json!(30_080)));
        current["spec"]["clusterIP"] = json!("10.96.0.9");
        for (kind, address, port) in [
            ("NodePort", json!("10.96.0.9"), json!(30_080)),
            ("ClusterIP", json!("10.96.0.9"), Value::Null),
            ("ExternalName", Value::Null, Value::Null),
        ] {
            let found = through(&door(&kind::SERVICES, ""), &current, of(kind, ports(Value::Null)));
            let spec = &found["spec"];
            assert_eq!((&spec["clusterIP"], &spec["ports"][0]["nodePort"]), (&address, &port), "{kind}");
        }
    }
}
