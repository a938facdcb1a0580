//! The defaults that the real server fills in and that clients and controllers read.

mod kept;
mod workload;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    custom,
    kind::{self, Kind},
    object::{self, default},
};

/// Numbers are allowed where quantities stand; the API always answers text.
pub(crate) fn normalise(object: &mut Value) {
    match object {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                if matches!(key.as_str(), "requests" | "limits" | "capacity" | "allocatable" | "hard") {
                    for quantity in value.as_object_mut().into_iter().flat_map(|m| m.values_mut()) {
                        if let Value::Number(number) = quantity {
                            *quantity = Value::String(number.to_string());
                        }
                    }
                }
                normalise(value);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(normalise),
        _ => {}
    }
}

pub(crate) fn apply(kind: &Kind, object: &mut Value) {
    if let Some(custom) = kind.custom() {
        return custom::fill(&custom.schema, object);
    }
    match kind.id {
        "customresourcedefinitions.apiextensions.k8s.io" => definition(object),
        "pods" => {
            pod_spec(&mut object["spec"]);
            default(object, &["spec", "serviceAccountName"], json!("default"));
            default(object, &["spec", "enableServiceLinks"], json!(true));
            tolerations(&mut object["spec"]);
        }
        "services" => service(object),
        "namespaces" => {
            let name = object::name(object).to_owned();
            object::set(object, &["metadata", "labels", "kubernetes.io/metadata.name"], json!(name));
            default(object, &["spec", "finalizers"], json!(["kubernetes"]));
        }
        "secrets" => secret(object),
        "limitranges" => limit_range(object),
        "persistentvolumes" => {
            default(object, &["spec", "persistentVolumeReclaimPolicy"], json!("Retain"));
            default(object, &["spec", "volumeMode"], json!("Filesystem"));
        }
        "storageclasses.storage.k8s.io" => {
            default(object, &["reclaimPolicy"], json!("Delete"));
            default(object, &["volumeBindingMode"], json!("Immediate"));
        }
        "priorityclasses.scheduling.k8s.io" => {
            default(object, &["preemptionPolicy"], json!("PreemptLowerPriority"));
        }
        "endpointslices.discovery.k8s.io" => default(object, &["addressType"], json!("IPv4")),
        _ if *kind == kind::MUTATING_WEBHOOKS || *kind == kind::VALIDATING_WEBHOOKS => webhooks(kind, object),
        _ => {
            workload::apply(kind, object);
            kept::apply(kind, object);
        }
    }
}

fn definition(object: &mut Value) {
    let kind = object::text(object, "/spec/names/kind").to_owned();
    default(object, &["spec", "names", "singular"], json!(kind.to_lowercase()));
    default(object, &["spec", "names", "listKind"], json!(format!("{kind}List")));
    default(object, &["spec", "conversion", "strategy"], json!("None"));
}

fn webhooks(kind: &Kind, object: &mut Value) {
    for hook in object["webhooks"].as_array_mut().into_iter().flatten() {
        for (field, value) in [
            ("failurePolicy", json!("Fail")),
            ("matchPolicy", json!("Equivalent")),
            ("namespaceSelector", json!({})),
            ("objectSelector", json!({})),
            ("timeoutSeconds", json!(10)),
        ] {
            default(hook, &[field], value);
        }
        if *kind == kind::MUTATING_WEBHOOKS {
            default(hook, &["reinvocationPolicy"], json!("Never"));
        }
        if hook["clientConfig"]["service"].is_object() {
            default(hook, &["clientConfig", "service", "port"], json!(443));
        }
        for rule in hook["rules"].as_array_mut().into_iter().flatten() {
            default(rule, &["scope"], json!("*"));
        }
    }
}

/// What a container gets is no more than it may have, and it asks for what it gets.
fn limit_range(object: &mut Value) {
    for limit in object["spec"]["limits"].as_array_mut().into_iter().flatten() {
        if limit["type"] != "Container" {
            continue;
        }
        for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
            for (name, value) in limit[from].as_object().cloned().into_iter().flatten() {
                default(limit, &[to, &name], value);
            }
        }
    }
}

fn secret(object: &mut Value) {
    default(object, &["type"], json!("Opaque"));
    let Some(Value::Object(plain)) = object.as_object_mut().and_then(|m| m.remove("stringData")) else {
        return;
    };
    for (key, value) in plain {
        object::set(object, &["data", &key], json!(STANDARD.encode(value.as_str().unwrap_or(""))));
    }
}

fn pod_spec(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    default(spec, &["restartPolicy"], json!("Always"));
    default(spec, &["terminationGracePeriodSeconds"], json!(30));
    default(spec, &["dnsPolicy"], json!("ClusterFirst"));
    default(spec, &["securityContext"], json!({}));
    default(spec, &["schedulerName"], json!("default-scheduler"));
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            container_defaults(container);
        }
    }
}

fn container_defaults(container: &mut Value) {
    if !container.is_object() {
        return;
    }
    let image = object::text(container, "/image");
    let latest = image.ends_with(":latest") || !image.rsplit('/').next().unwrap_or("").contains([':', '@']);
    default(container, &["imagePullPolicy"], json!(if latest { "Always" } else { "IfNotPresent" }));
    default(container, &["terminationMessagePath"], json!("/dev/termination-log"));
    default(container, &["terminationMessagePolicy"], json!("File"));
    default(container, &["resources"], json!({}));
    for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        default(port, &["protocol"], json!("TCP"));
    }
    for name in ["readinessProbe", "livenessProbe", "startupProbe"] {
        if container[name].is_object() {
            let probe = &mut container[name];
            for (field, value) in [
                ("timeoutSeconds", 1),
                ("periodSeconds", 10),
                ("successThreshold", 1),
                ("failureThreshold", 3),
            ] {
                default(probe, &[field], json!(value));
            }
            if probe["httpGet"].is_object() {
                default(probe, &["httpGet", "scheme"], json!("HTTP"));
                default(probe, &["httpGet", "path"], json!("/"));
            }
        }
    }
    // The requests default to the limits.
    if let Some(limits) = container["resources"]["limits"].as_object().cloned() {
        for (name, value) in limits {
            default(container, &["resources", "requests", &name], value);
        }
    }
}

fn service(object: &mut Value) {
    default(object, &["spec", "type"], json!("ClusterIP"));
    default(object, &["spec", "sessionAffinity"], json!("None"));
    if object["spec"]["type"] == "ExternalName" {
        return;
    }
    if object["spec"]["sessionAffinity"] == "ClientIP" {
        default(object, &["spec", "sessionAffinityConfig", "clientIP", "timeoutSeconds"], json!(10800));
    }
    default(object, &["spec", "internalTrafficPolicy"], json!("Cluster"));
    default(object, &["spec", "ipFamilies"], json!(["IPv4"]));
    default(object, &["spec", "ipFamilyPolicy"], json!("SingleStack"));
    for port in object["spec"].get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if port.is_object() {
            default(port, &["protocol"], json!("TCP"));
            let number = port["port"].clone();
            default(port, &["targetPort"], number);
        }
    }
    let external = matches!(object::text(object, "/spec/type"), "NodePort" | "LoadBalancer");
    if external {
        default(object, &["spec", "externalTrafficPolicy"], json!("Cluster"));
    }
}

/// Every pod bears a lost node for five minutes, unless it says something else about that.
fn tolerations(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let said = object::items(spec, "/tolerations").iter().any(|t| {
            matches!(object::text(t, "/effect"), "" | "NoExecute")
                && (t["key"] == key || object::text(t, "/key").is_empty())
        });
        if !said {
            let toleration =
                json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
            default(spec, &["tolerations"], json!([]));
            if let Some(list) = spec["tolerations"].as_array_mut() {
                list.push(toleration);
            }
        }
    }
}
