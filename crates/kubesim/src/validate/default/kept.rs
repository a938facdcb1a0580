//! The defaults of objects that are kept for others: drivers of volumes, levels of priority, admission policies.

use serde_json::{Value, json};

use crate::{
    kind::Kind,
    object::{default, items},
};

pub(super) fn apply(kind: &Kind, object: &mut Value) {
    match kind.id {
        "csidrivers.storage.k8s.io" => {
            for (field, value) in [
                ("attachRequired", json!(true)),
                ("fsGroupPolicy", json!("ReadWriteOnceWithFSType")),
                ("podInfoOnMount", json!(false)),
                ("requiresRepublish", json!(false)),
                ("seLinuxMount", json!(false)),
                ("storageCapacity", json!(false)),
                ("volumeLifecycleModes", json!(["Persistent"])),
            ] {
                default(object, &["spec", field], value);
            }
        }
        "flowschemas.flowcontrol.apiserver.k8s.io" => {
            default(object, &["spec", "matchingPrecedence"], json!(1000));
        }
        "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io" => level(object),
        "validatingadmissionpolicies.admissionregistration.k8s.io" => {
            default(object, &["spec", "failurePolicy"], json!("Fail"));
            matching(&mut object["spec"]["matchConstraints"]);
        }
        "validatingadmissionpolicybindings.admissionregistration.k8s.io" => {
            matching(&mut object["spec"]["matchResources"]);
        }
        _ => {}
    }
}

fn level(object: &mut Value) {
    let spec = &mut object["spec"];
    if spec["limited"].is_object() {
        default(spec, &["limited", "nominalConcurrencyShares"], json!(30));
        default(spec, &["limited", "lendablePercent"], json!(0));
        if spec["limited"]["limitResponse"]["queuing"].is_object() {
            for (field, value) in [("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)] {
                default(spec, &["limited", "limitResponse", "queuing", field], json!(value));
            }
        }
    } else if spec["type"] == "Exempt" {
        default(spec, &["exempt", "nominalConcurrencyShares"], json!(0));
        default(spec, &["exempt", "lendablePercent"], json!(0));
    }
}

/// Which requests a policy is about.
fn matching(resources: &mut Value) {
    if !resources.is_object() {
        return;
    }
    for (field, value) in [
        ("matchPolicy", json!("Equivalent")),
        ("namespaceSelector", json!({})),
        ("objectSelector", json!({})),
    ] {
        default(resources, &[field], value);
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        if items(resources, &format!("/{list}")).is_empty() {
            continue;
        }
        for rule in resources[list].as_array_mut().into_iter().flatten() {
            default(rule, &["scope"], json!("*"));
        }
    }
}
