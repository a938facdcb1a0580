//! The rules of the containers of a pod, of their ports and of what is mounted into them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{LABEL, dns_label, one_of, port_number};
use crate::{
    object::{items, text},
    quantity,
    status::Cause,
};

pub(super) fn check(spec: &Value, field: &str, causes: &mut Vec<Cause>) {
    one_of(spec, field, "restartPolicy", &["Always", "Never", "OnFailure"], causes);
    one_of(spec, field, "dnsPolicy", &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"], causes);
    if items(spec, "/containers").is_empty() {
        causes.push(Cause::required(&format!("{field}.containers"), ""));
    }
    unique(items(spec, "/volumes"), &format!("{field}.volumes"), causes);
    unique(items(spec, "/containers"), &format!("{field}.containers"), causes);
    for list in ["initContainers", "containers"] {
        for (at, container) in items(spec, &format!("/{list}")).iter().enumerate() {
            one(container, &format!("{field}.{list}[{at}]"), causes);
        }
    }
}

fn unique(list: &[Value], field: &str, causes: &mut Vec<Cause>) {
    let mut names = BTreeSet::new();
    for (at, one) in list.iter().enumerate() {
        let name = text(one, "/name");
        if !names.insert(name) {
            causes.push(Cause::duplicate(&format!("{field}[{at}].name"), name));
        }
    }
}

fn one(container: &Value, field: &str, causes: &mut Vec<Cause>) {
    let name = text(container, "/name");
    if name.is_empty() {
        causes.push(Cause::required(&format!("{field}.name"), ""));
    } else if !dns_label(name) {
        causes.push(Cause::invalid(&format!("{field}.name"), name, LABEL));
    }
    if text(container, "/image").is_empty() {
        causes.push(Cause::required(&format!("{field}.image"), ""));
    }
    one_of(container, field, "imagePullPolicy", &["Always", "IfNotPresent", "Never"], causes);
    one_of(container, field, "terminationMessagePolicy", &["FallbackToLogsOnError", "File"], causes);
    for (at, port) in items(container, "/ports").iter().enumerate() {
        let field = format!("{field}.ports[{at}]");
        port_number(&port["containerPort"], &format!("{field}.containerPort"), causes);
        one_of(port, &field, "protocol", &["SCTP", "TCP", "UDP"], causes);
    }
    quantities(&container["resources"], &format!("{field}.resources"), causes);
}

fn quantities(resources: &Value, field: &str, causes: &mut Vec<Cause>) {
    for list in ["requests", "limits"] {
        for (name, value) in resources[list].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or("");
            let amount = quantity::milli(value).filter(|amount| *amount >= 0);
            let most = resources["limits"][name].as_str().and_then(quantity::milli);
            if amount.is_none() {
                let why = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
                causes.push(Cause::invalid(&format!("{field}.{list}.{name}"), value, why));
            } else if most.is_some() && amount > most {
                let why = format!(
                    "must be less than or equal to {name} limit of {}",
                    text(&resources["limits"], &format!("/{name}"))
                );
                causes.push(Cause::invalid(&format!("{field}.requests"), value, &why));
            }
        }
    }
}

/// Only volumes that are there are mounted. Those of a StatefulSet come of its claims, too.
pub(super) fn mounts(spec: &Value, field: &str, causes: &mut Vec<Cause>) {
    let known: BTreeSet<&str> = items(spec, "/volumes").iter().map(|volume| text(volume, "/name")).collect();
    for list in ["initContainers", "containers"] {
        for (at, container) in items(spec, &format!("/{list}")).iter().enumerate() {
            for (mount, found) in items(container, "/volumeMounts").iter().enumerate() {
                let name = text(found, "/name");
                if !known.contains(name) {
                    let field = format!("{field}.{list}[{at}].volumeMounts[{mount}].name");
                    let message = format!("Not found: {name:?}");
                    causes.push(Cause { reason: "FieldValueNotFound", field, message });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::check, *};
    use crate::{kind, patch};

    #[test]
    fn pods_are_refused_by_the_field_that_is_wrong() {
        let pod = json!({"metadata": {"name": "a"}, "spec": {
            "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
        }});
        let with = |more: Value| {
            let mut container = pod["spec"]["containers"][0].clone();
            container = patch::merge(&container, &more);
            json!({"spec": {"containers": [container]}})
        };
        for (change, field) in [
            (json!({}), None),
            (json!({"spec": {"restartPolicy": "Maybe"}}), Some("spec.restartPolicy")),
            (json!({"spec": {"volumes": []}}), Some("spec.containers[0].volumeMounts[0].name")),
            (json!({"spec": {"volumes": [{"name": "v"}, {"name": "v"}]}}), Some("spec.volumes[1].name")),
            (with(json!({"imagePullPolicy": "Sometimes"})), Some("spec.containers[0].imagePullPolicy")),
            (
                with(json!({"ports": [{"containerPort": 80, "protocol": "X"}]})),
                Some("spec.containers[0].ports[0].protocol"),
            ),
            (with(json!({"resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1000m"}}})), None),
            (
                with(json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}})),
                Some("spec.containers[0].resources.requests"),
            ),
            (
                json!({"spec": {"securityContext": {"sysctls": [{"name": "kernel.shmmax"}, {"name": "foo-"}]}}}),
                Some("spec.securityContext.sysctls[1].name"),
            ),
        ] {
            let answer = check(&kind::PODS, &patch::merge(&pod, &change));
            let found = answer.err().and_then(|status| status.details);
            let found = found.map(|details| details["causes"][0]["field"].clone());
            assert_eq!(found, field.map(Value::from), "{change}");
        }
    }
}
