//! Fields that never change once an object is there.

use serde_json::Value;

use crate::{kind::Kind, object, status::Cause};

/// By kind, the places that stay as they were.
const FIXED: [(&str, &[&str]); 16] = [
    ("certificatesigningrequests.certificates.k8s.io", &["spec"]),
    ("clusterrolebindings.rbac.authorization.k8s.io", &["roleRef"]),
    ("controllerrevisions.apps", &["data"]),
    ("csidrivers.storage.k8s.io", &["spec.attachRequired", "spec.volumeLifecycleModes"]),
    ("csistoragecapacities.storage.k8s.io", &["nodeTopology", "storageClassName"]),
    ("endpointslices.discovery.k8s.io", &["addressType"]),
    ("ingressclasses.networking.k8s.io", &["spec.controller"]),
    ("ipaddresses.networking.k8s.io", &["spec.parentRef"]),
    ("priorityclasses.scheduling.k8s.io", &["preemptionPolicy", "value"]),
    ("rolebindings.rbac.authorization.k8s.io", &["roleRef"]),
    ("runtimeclasses.node.k8s.io", &["handler"]),
    ("secrets", &["type"]),
    ("servicecidrs.networking.k8s.io", &["spec.cidrs"]),
    ("storageclasses.storage.k8s.io", &["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"]),
    ("volumeattachments.storage.k8s.io", &["spec"]),
    ("volumeattributesclasses.storage.k8s.io", &["driverName", "parameters"]),
];

/// What of a claim may still change: how much it asks for, and what the binder fills in.
const CLAIMED: [&[&str]; 4] =
    [&["resources", "requests"], &["volumeName"], &["storageClassName"], &["volumeAttributesClassName"]];

pub(super) fn check_update(kind: &Kind, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let fixed = FIXED.iter().find(|(id, _)| *id == kind.id).map_or(&[][..], |(_, fields)| fields);
    for field in fixed {
        let pointer = format!("/{}", field.replace('.', "/"));
        let found = new.pointer(&pointer).unwrap_or(&Value::Null);
        if old.pointer(&pointer).unwrap_or(&Value::Null) != found {
            causes.push(Cause::invalid(field, &found.to_string(), "field is immutable"));
        }
    }
    match kind.id {
        "configmaps" | "secrets" if old["immutable"] == true => sealed(old, new, causes),
        "persistentvolumeclaims" => claim(old, new, causes),
        _ => {}
    }
}

/// What says that it is immutable stays so, with all that it holds.
fn sealed(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    for field in ["immutable", "data", "binaryData"] {
        if old[field] != new[field] {
            causes.push(Cause::forbidden(field, "field is immutable when `immutable` is set"));
        }
    }
}

fn claim(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let core = |claim: &Value| {
        let mut spec = claim["spec"].clone();
        CLAIMED.iter().for_each(|field| object::unset(&mut spec, field));
        spec
    };
    let moved = |field: &str| !old["spec"][field].is_null() && old["spec"][field] != new["spec"][field];
    if core(old) != core(new) || moved("volumeName") || moved("storageClassName") {
        let why = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        causes.push(Cause::forbidden("spec", why));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::check_update, *};
    use crate::{kind, patch};

    #[test]
    fn what_never_changes_is_refused_by_its_field() {
        let of = |more: Value| patch::merge(&json!({"metadata": {"name": "a"}}), &more);
        let claim = json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
        for (kind, old, change, refused) in [
            (&kind::PRIORITY_CLASSES, json!({"value": 1}), json!({"value": 2}), Some("value")),
            (&kind::PRIORITY_CLASSES, json!({"value": 1}), json!({"description": "x"}), None),
            (&kind::RUNTIME_CLASSES, json!({"handler": "a"}), json!({"handler": "b"}), Some("handler")),
            (&kind::CONTROLLER_REVISIONS, json!({"data": {}}), json!({"data": {"a": 1}}), Some("data")),
            (&kind::CONFIG_MAPS, json!({"data": {"a": "1"}}), json!({"data": {"a": "2"}}), None),
            (&kind::CONFIG_MAPS, json!({"data": {"a": "1"}}), json!({"immutable": true}), None),
            (
                &kind::CONFIG_MAPS,
                json!({"immutable": true, "data": {"a": "1"}}),
                json!({"data": {"a": "2"}}),
                Some("data"),
            ),
            (&kind::SECRETS, json!({"immutable": true}), json!({"immutable": null}), Some("immutable")),
            (&kind::SECRETS, json!({"immutable": true}), json!({"metadata": {"labels": {"a": "b"}}}), None),
            (&kind::VOLUME_CLAIMS, claim.clone(), json!({"spec": {"accessModes": []}}), Some("spec")),
            (&kind::VOLUME_CLAIMS, claim.clone(), json!({"spec": {"volumeName": "v"}}), None),
            (
                &kind::VOLUME_CLAIMS,
                claim,
                json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}}),
                None,
            ),
        ] {
            let old = of(old);
            let answer = check_update(kind, &old, &patch::merge(&old, &change));
            match refused {
                None => assert!(answer.is_ok(), "{} {change}: {answer:?}", kind.id),
                Some(field) => {
                    let status = answer.expect_err(field);
                    let found = &status.details.as_ref().expect("details")["causes"][0]["field"];
                    assert_eq!((status.code, found), (422, &json!(field)), "{} {change}", kind.id);
                }
            }
        }
    }
}
