//! How lists of the published types merge: by which keys, as a set, or not at all.

use serde_json::{Map, Value};

/// How server-side apply treats a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merge {
    Keys(&'static [&'static str]),
    Set,
    Atomic,
}

/// By the name of the field and, where that is not enough, by what its items look like.
pub(super) fn apply(field: &str, list: &[Value]) -> Merge {
    match field {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "imagePullSecrets"
        | "resourceClaims"
        | "env" => Merge::Keys(&["name"]),
        "ports" if all_have(list, "containerPort") => Merge::Keys(&["containerPort", "protocol"]),
        "ports" if all_have(list, "port") => Merge::Keys(&["port", "protocol"]),
        "volumeMounts" => Merge::Keys(&["mountPath"]),
        "volumeDevices" => Merge::Keys(&["devicePath"]),
        "conditions" => Merge::Keys(&["type"]),
        "ownerReferences" => Merge::Keys(&["uid"]),
        "hostAliases" | "podIPs" => Merge::Keys(&["ip"]),
        "topologySpreadConstraints" => Merge::Keys(&["topologyKey", "whenUnsatisfiable"]),
        "finalizers" => Merge::Set,
        _ => Merge::Atomic,
    }
}

/// Maps that are replaced as a whole.
pub(super) fn atomic_map(field: &str) -> bool {
    matches!(
        field,
        "selector"
            | "nodeSelector"
            | "matchLabels"
            | "fieldRef"
            | "resourceFieldRef"
            | "secretKeyRef"
            | "configMapKeyRef"
            | "labelSelector"
    )
}

/// The merge key of a strategic merge patch; `None` replaces the list.
pub(super) fn strategic(field: &str, list: &[Value], patch: &[Value]) -> Option<&'static str> {
    Some(match field {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "imagePullSecrets"
        | "env"
        | "secrets" => "name",
        "ports" => {
            let any = |key: &str| list.iter().chain(patch).any(|i| i.get(key).is_some());
            if any("containerPort") { "containerPort" } else { "port" }
        }
        "volumeMounts" => "mountPath",
        "volumeDevices" => "devicePath",
        "conditions" | "addresses" if list.iter().chain(patch).all(Value::is_object) => "type",
        "ownerReferences" => "uid",
        "hostAliases" | "podIPs" => "ip",
        "topologySpreadConstraints" => "topologyKey",
        _ => return None,
    })
}

fn all_have(list: &[Value], key: &str) -> bool {
    list.iter().all(|i| i.get(key).is_some())
}

/// What identifies an item of a keyed list; a port without a protocol is a TCP port.
pub(super) fn identity(keys: &[&str], item: &Value) -> Map<String, Value> {
    let mut map = Map::new();
    for key in keys {
        match item.get(*key) {
            Some(value) => {
                map.insert((*key).to_owned(), value.clone());
            }
            None if *key == "protocol" => {
                map.insert("protocol".to_owned(), Value::from("TCP"));
            }
            None => {}
        }
    }
    map
}
