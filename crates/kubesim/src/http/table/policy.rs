//! The columns of what a namespace may use, of classes, and of the ways into the cluster.

use serde_json::{Value, json};

use super::{Column, list, workload::or};
use crate::{
    kind::Kind,
    object::{self, items, text},
    selector::Labels,
};

pub(super) fn columns(kind: &Kind) -> Option<&'static [Column]> {
    Some(match kind.id {
        "resourcequotas" => &[("Name", false), ("Request", false), ("Limit", false), ("Age", false)],
        "limitranges" => &[("Name", false), ("Created At", false)],
        "podtemplates" => &[("Name", false), ("Containers", false), ("Images", false), ("Pod Labels", false)],
        "ingresses.networking.k8s.io" => &[
            ("Name", false),
            ("Class", false),
            ("Hosts", false),
            ("Address", false),
            ("Ports", false),
            ("Age", false),
        ],
        "ingressclasses.networking.k8s.io" => {
            &[("Name", false), ("Controller", false), ("Parameters", false), ("Age", false)]
        }
        "networkpolicies.networking.k8s.io" => &[("Name", false), ("Pod-Selector", false), ("Age", false)],
        "priorityclasses.scheduling.k8s.io" => &[
            ("Name", false),
            ("Value", false),
            ("Global-Default", false),
            ("Age", false),
            ("PreemptionPolicy", false),
        ],
        "runtimeclasses.node.k8s.io" => &[("Name", false), ("Handler", false), ("Age", false)],
        "storageclasses.storage.k8s.io" => &[
            ("Name", false),
            ("Provisioner", false),
            ("ReclaimPolicy", false),
            ("VolumeBindingMode", false),
            ("AllowVolumeExpansion", false),
            ("Age", false),
        ],
        "persistentvolumes" => &[
            ("Name", false),
            ("Capacity", false),
            ("Access Modes", false),
            ("Reclaim Policy", false),
            ("Status", false),
            ("Claim", false),
            ("StorageClass", false),
            ("VolumeAttributesClass", false),
            ("Reason", false),
            ("Age", false),
            ("VolumeMode", true),
        ],
        _ => return None,
    })
}

pub(super) fn cells(kind: &Kind, object: &Value, name: &Value, age: &Value) -> Option<Vec<Value>> {
    let word = |pointer: &str, nothing: &str| or(text(object, pointer), nothing);
    let (name, age) = (name.clone(), age.clone());
    Some(match kind.id {
        "resourcequotas" => vec![name, json!(used(object, false)), json!(used(object, true)), age],
        "limitranges" => vec![name, word("/metadata/creationTimestamp", "")],
        "podtemplates" => {
            let containers = items(object, "/template/spec/containers");
            let all = |field: &str| containers.iter().map(|c| text(c, field)).collect::<Vec<_>>().join(",");
            let labels = Labels::from_map(object::labels(&object["template"])).to_string();
            vec![name, json!(all("/name")), json!(all("/image")), or(&labels, "<none>")]
        }
        "ingresses.networking.k8s.io" => ingress(object, name, age),
        "ingressclasses.networking.k8s.io" => {
            let parameters = match text(object, "/spec/parameters/name") {
                "" => "<none>".to_owned(),
                found => format!("{}/{found}", text(object, "/spec/parameters/kind")),
            };
            vec![name, word("/spec/controller", ""), json!(parameters), age]
        }
        "networkpolicies.networking.k8s.io" => {
            let selector = Labels::from_object(&object["spec"]["podSelector"]).to_string();
            vec![name, or(&selector, "<none>"), age]
        }
        "priorityclasses.scheduling.k8s.io" => {
            let everywhere = object["globalDefault"] == true;
            vec![name, object["value"].clone(), json!(everywhere), age, word("/preemptionPolicy", "")]
        }
        "runtimeclasses.node.k8s.io" => vec![name, word("/handler", ""), age],
        "storageclasses.storage.k8s.io" => {
            let grows = object["allowVolumeExpansion"] == true;
            let (reclaim, binding) = (word("/reclaimPolicy", ""), word("/volumeBindingMode", ""));
            vec![json!(class_name(object)), word("/provisioner", ""), reclaim, binding, json!(grows), age]
        }
        "persistentvolumes" => volume(object, name, age),
        _ => return None,
    })
}

/// What a quota counts, and of how much: limits, or everything else.
fn used(quota: &Value, limits: bool) -> String {
    let hard = quota["status"]["hard"].as_object().into_iter().flatten();
    let of = |name: &String| quota["status"]["used"][name].as_str().unwrap_or("0").to_owned();
    let mine = hard.filter(|(name, _)| name.starts_with("limits.") == limits);
    mine.map(|(name, hard)| format!("{name}: {}/{}", of(name), hard.as_str().unwrap_or("")))
        .collect::<Vec<_>>()
        .join(", ")
}

fn class_name(class: &Value) -> String {
    let name = object::name(class);
    match object::annotation(class, "storageclass.kubernetes.io/is-default-class") {
        Some("true") => format!("{name} (default)"),
        _ => name.to_owned(),
    }
}

fn ingress(object: &Value, name: Value, age: Value) -> Vec<Value> {
    let hosts = items(object, "/spec/rules").iter().map(|r| text(r, "/host")).filter(|h| !h.is_empty());
    let mut hosts = list(hosts.map(str::to_owned));
    if items(object, "/spec/rules").iter().all(|r| text(r, "/host").is_empty()) {
        hosts = "*".to_owned();
    }
    let address =
        |i: &Value| if text(i, "/ip").is_empty() { text(i, "/hostname") } else { text(i, "/ip") }.to_owned();
    let addresses: Vec<String> = items(object, "/status/loadBalancer/ingress").iter().map(address).collect();
    let ports = if items(object, "/spec/tls").is_empty() { "80" } else { "80, 443" };
    let class = or(text(object, "/spec/ingressClassName"), "<none>");
    vec![name, class, json!(hosts), json!(addresses.join(",")), json!(ports), age]
}

fn volume(object: &Value, name: Value, age: Value) -> Vec<Value> {
    let claim = &object["spec"]["claimRef"];
    let claim = if claim.is_object() {
        format!("{}/{}", text(claim, "/namespace"), text(claim, "/name"))
    } else {
        String::new()
    };
    vec![
        name,
        json!(text(object, "/spec/capacity/storage")),
        json!(super::resource::modes(items(object, "/spec/accessModes"))),
        json!(text(object, "/spec/persistentVolumeReclaimPolicy")),
        json!(if object::deleting(object) { "Terminating" } else { text(object, "/status/phase") }),
        json!(claim),
        json!(text(object, "/spec/storageClassName")),
        or(text(object, "/spec/volumeAttributesClassName"), "<unset>"),
        json!(text(object, "/status/reason")),
        age,
        json!(text(object, "/spec/volumeMode")),
    ]
}
