//! The rules of ephemeral containers: they are added to a pod that runs, and stay as they are.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{LABEL, answer, dns_label};
use crate::{
    kind,
    object::{items, text},
    status::{Cause, Status},
};

const FIELD: &str = "spec.ephemeralContainers";

/// What they cannot have, since nobody waits for them, asks them or counts on them.
const FORBIDDEN: [&str; 8] = [
    "lifecycle",
    "livenessProbe",
    "ports",
    "readinessProbe",
    "resizePolicy",
    "resources",
    "restartPolicy",
    "startupProbe",
];

/// Rules about a change of the ephemeral containers of a pod.
pub(crate) fn check(old: &Value, new: &Value) -> Result<(), Status> {
    let mut causes = Vec::new();
    let (before, after) = (items(old, "/spec/ephemeralContainers"), items(new, "/spec/ephemeralContainers"));
    for container in before {
        let name = text(container, "/name");
        let why = match after.iter().find(|c| text(c, "/name") == name) {
            None => "removed",
            Some(same) if same != container => "changed",
            Some(_) => continue,
        };
        let why = format!("existing ephemeral containers {name:?} may not be {why}\n");
        causes.push(Cause::forbidden(FIELD, &why));
    }
    let named = |list: &str| items(new, list).iter().map(|c| text(c, "/name"));
    let targets: BTreeSet<&str> = named("/spec/containers").collect();
    let mut names: BTreeSet<&str> = targets.iter().copied().chain(named("/spec/initContainers")).collect();
    for (at, container) in after.iter().enumerate() {
        one(container, &format!("{FIELD}[{at}]"), &targets, &mut causes);
        let name = text(container, "/name");
        if !names.insert(name) {
            causes.push(Cause::duplicate(&format!("{FIELD}[{at}].name"), name));
        }
    }
    answer(&kind::PODS, new, &causes)
}

fn one(container: &Value, field: &str, targets: &BTreeSet<&str>, causes: &mut Vec<Cause>) {
    let (name, target) = (text(container, "/name"), text(container, "/targetContainerName"));
    if name.is_empty() {
        causes.push(Cause::required(&format!("{field}.name"), ""));
    } else if !dns_label(name) {
        causes.push(Cause::invalid(&format!("{field}.name"), name, LABEL));
    }
    if text(container, "/image").is_empty() {
        causes.push(Cause::required(&format!("{field}.image"), ""));
    }
    if !target.is_empty() && !targets.contains(target) {
        let message = format!("Not found: {target:?}");
        let field = format!("{field}.targetContainerName");
        causes.push(Cause { reason: "FieldValueNotFound", field, message });
    }
    let empty = |value: &Value| {
        value.is_null()
            || value.as_object().is_some_and(|map| map.is_empty())
            || value.as_array().is_some_and(Vec::is_empty)
    };
    for name in FORBIDDEN.iter().filter(|name| !empty(&container[**name])) {
        let why = "cannot be set for an Ephemeral Container";
        causes.push(Cause::forbidden(&format!("{field}.{name}"), why));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ephemeral_containers_are_only_added_and_need_nothing() {
        let pod = |list: Value| json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "main"}], "ephemeralContainers": list}});
        let debugger = json!({"name": "debugger", "image": "i", "resources": {}});
        let with = |field: &str, value: Value| {
            let mut container = debugger.clone();
            container["name"] = json!("other");
            container[field] = value;
            pod(json!([debugger, container]))
        };
        let old = pod(json!([debugger]));
        let changed = json!({"name": "debugger", "image": "j"});
        for (new, field) in [
            (with("targetContainerName", json!("main")), None),
            (pod(json!([])), Some("may not be removed")),
            (pod(json!([changed])), Some("may not be changed")),
            (with("name", json!("debugger")), Some("ephemeralContainers[1].name: Duplicate value")),
            (with("name", json!("main")), Some("ephemeralContainers[1].name: Duplicate value")),
            (with("image", json!("")), Some("ephemeralContainers[1].image: Required value")),
            (with("targetContainerName", json!("x")), Some("targetContainerName: Not found: \"x\"")),
            (
                with("ports", json!([{"containerPort": 1}])),
                Some("ports: Forbidden: cannot be set for an Ephemeral Container"),
            ),
            (with("livenessProbe", json!({"exec": {}})), Some("livenessProbe: Forbidden")),
        ] {
            let found = check(&old, &new).err().map(|status| status.message);
            let fits = match (&found, field) {
                (Some(message), Some(part)) => message.contains(part),
                (found, part) => found.is_none() && part.is_none(),
            };
            assert!(fits, "{field:?}: {found:?}");
        }
    }
}
