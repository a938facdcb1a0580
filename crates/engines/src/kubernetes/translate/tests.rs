use bcs_schemas::observation::{Capacity, Endpoint, EndpointPhase};
use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-03-01T12:00:00Z";

fn seen<K: serde::de::DeserializeOwned, T>(value: Value, see: fn(&K, Sight<'_>) -> Option<T>) -> Option<T> {
    let object: K = serde_json::from_value(value).expect("is such an object");
    let cluster = Name::new("sim-a").expect("is a name");
    see(&object, Sight { cluster: &cluster, now: NOW.parse().expect("is an instant") })
}

fn meta(name: &str) -> Value {
    json!({
        "name": name, "namespace": "demo", "uid": "u1", "creationTimestamp": "2026-03-01T10:00:00Z",
        "labels": { label::PROJECT: "demo", label::APP: "shop", label::REVISION: "5f3a" },
        "annotations": { label::GENERATION: "4" },
        "ownerReferences": [
            { "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop-5f3a", "uid": "s1", "controller": true },
        ],
    })
}

fn pod(status: Value) -> Value {
    json!({
        "metadata": meta("shop-5f3a-x1"),
        "spec": { "nodeName": "n1", "containers": [{ "name": "main", "ports": [
            { "name": "http", "containerPort": 8080 },
            { "containerPort": 53, "protocol": "UDP" },
            { "containerPort": 9, "protocol": "SCTP" },
        ] }] },
        "status": status,
    })
}

fn endpoint(value: Value) -> Endpoint {
    seen(value, super::pod::endpoint).expect("is ours")
}

fn ready(status: &str) -> Value {
    json!({ "phase": "Running", "podIP": "10.0.0.1", "podIPs": [{ "ip": "10.0.0.1" }, { "ip": "fd00::1" }],
        "conditions": [{ "type": "Ready", "status": status, "lastTransitionTime": "2026-03-01T11:00:00Z" }] })
}

#[test]
fn a_pod_says_in_which_registries_it_belongs_and_in_none_when_that_is_damaged() {
    let with = |text: Option<&str>| {
        let mut pod = pod(ready("True"));
        pod["metadata"]["labels"]["tier"] = "front".into();
        if let Some(text) = text {
            pod["metadata"]["annotations"][label::REGISTER] = text.into();
        }
        let endpoint = endpoint(pod);
        assert_eq!(
            endpoint.labels,
            bcs_schemas::resource::Labels::from([("tier".to_owned(), "front".to_owned())])
        );
        endpoint.register.map(|list| serde_json::to_value(list).expect("is JSON"))
    };
    let lb = r#"[{"registry":"lb","port":"http","weight":7}]"#;
    assert_eq!(with(Some(lb)), Some(json!([{ "registry": "lb", "port": "http", "weight": 7 }])));
    assert_eq!(with(Some("[]")), Some(json!([])));
    assert_eq!(with(Some("lb")), Some(json!([])));
    assert_eq!(with(None), None);
}

#[test]
fn a_pod_that_only_waits_for_the_registries_is_ready_for_them() {
    for (containers, other, ours, phase, registered) in [
        ("True", "True", "False", EndpointPhase::Ready, false),
        ("True", "True", "True", EndpointPhase::Ready, true),
        ("False", "True", "False", EndpointPhase::Starting, false),
        ("True", "False", "False", EndpointPhase::Starting, false),
    ] {
        let mut pod = pod(ready("False"));
        pod["spec"]["readinessGates"] =
            json!([{ "conditionType": label::REGISTERED }, { "conditionType": "example/other" }]);
        let conditions =
            [("ContainersReady", containers), ("example/other", other), (label::REGISTERED, ours)];
        let list = pod["status"]["conditions"].as_array_mut().expect("a list");
        list.extend(conditions.map(|(kind, status)| json!({ "type": kind, "status": status })));
        let found = endpoint(pod);
        assert_eq!((found.phase, found.registered), (phase, Some(registered)), "{conditions:?}");
    }
    let mut other = pod(ready("False"));
    other["spec"]["readinessGates"] = json!([{ "conditionType": "example/other" }]);
    let found = endpoint(other);
    assert_eq!((found.phase, found.registered), (EndpointPhase::Starting, None), "that gate is none of ours");
}

#[test]
fn a_ready_pod_is_a_ready_endpoint() {
    let found = endpoint(pod(ready("True")));
    assert_eq!((found.phase, found.reason.as_deref(), found.generation), (EndpointPhase::Ready, None, 4));
    assert_eq!(found.since.to_string(), "2026-03-01T11:00:00Z");
    assert_eq!(found.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.1", "fd00::1"]);
    let ports: Vec<_> = found.ports.iter().map(|p| (p.name.as_str(), p.port)).collect();
    assert_eq!(ports, [("http", 8080), ("port-53", 53)]);
    assert_eq!(
        (found.weight, found.node.as_deref(), found.observed_at.to_string()),
        (100, Some("n1"), NOW.to_owned())
    );
}

#[test]
fn ports_of_a_sidecar_that_was_put_in_are_none_of_the_application() {
    let mut pod = pod(ready("True"));
    let sidecar =
        json!({ "name": label::SIDECAR, "ports": [{ "name": "bcs-sidecar", "containerPort": 8190 }] });
    pod["spec"]["containers"].as_array_mut().expect("a list").insert(0, sidecar);
    let ports: Vec<u16> = endpoint(pod).ports.iter().map(|port| port.port).collect();
    assert_eq!(ports, [8080, 53]);
}

#[test]
fn on_its_way_out_beats_ready() {
    let mut drained = pod(ready("True"));
    drained["metadata"]["annotations"][label::DRAINING] = json!("2026-03-01T11:30:00Z");
    let mut deleted = pod(ready("True"));
    deleted["metadata"]["deletionTimestamp"] = json!("2026-03-01T11:45:30Z");
    deleted["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    let mut both = drained.clone();
    both["metadata"]["deletionTimestamp"] = json!("2026-03-01T11:45:30Z");
    let mut damaged = pod(ready("True"));
    damaged["metadata"]["annotations"][label::DRAINING] = json!("yes");
    for (value, since, stopping) in [
        (drained, "2026-03-01T11:30:00Z", false),
        (deleted, "2026-03-01T11:45:00Z", true),
        (both, "2026-03-01T11:30:00Z", true),
        (damaged, "2026-03-01T11:00:00Z", false),
    ] {
        let found = endpoint(value);
        assert_eq!(found.stopping, stopping);
        assert_eq!((found.phase, found.since.to_string()), (EndpointPhase::Draining, since.to_owned()));
        assert!(found.reason.is_some());
    }
}

#[test]
fn a_pod_that_is_not_ready_says_why() {
    let waiting = |reason: &str, message: Option<&str>| {
        json!({ "phase": "Pending", "containerStatuses": [{ "name": "main", "image": "", "imageID": "", "ready": false,
            "restartCount": 0, "state": { "waiting": { "reason": reason, "message": message } } }] })
    };
    let unscheduled = json!({ "phase": "Pending", "conditions": [
        { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes fit" }] });
    let unready = json!({ "phase": "Running", "conditions": [
        { "type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "probe fails" }] });
    for (status, words) in [
        (waiting("ImagePullBackOff", Some("no such tag")), "ImagePullBackOff: no such tag"),
        (waiting("CrashLoopBackOff", None), "CrashLoopBackOff"),
        (waiting("ContainerCreating", None), "is starting"),
        (unscheduled, "no node takes it: 0/3 nodes fit"),
        (unready, "probe fails"),
        (json!({}), "is starting"),
    ] {
        let found = endpoint(pod(status));
        assert_eq!((found.phase, found.reason.as_deref()), (EndpointPhase::Starting, Some(words)));
    }
}

#[test]
fn a_pod_that_ended_is_gone() {
    let mut failed =
        pod(json!({ "phase": "Failed", "reason": "Evicted", "message": "node was low on memory" }));
    failed["metadata"]["annotations"][label::DRAINING] = json!("2026-03-01T11:30:00Z");
    let found = endpoint(failed);
    assert_eq!(
        (found.phase, found.reason.as_deref()),
        (EndpointPhase::Gone, Some("failed: node was low on memory"))
    );
}

#[test]
fn what_is_none_of_ours_is_not_seen() {
    let mut other = pod(ready("True"));
    other["metadata"]["labels"] = json!({ "app": "x" });
    let mut forged = pod(ready("True"));
    forged["metadata"]["labels"][label::APP] = json!("Not A Name");
    let mut elsewhere = pod(ready("True"));
    elsewhere["metadata"]["namespace"] = json!("evil");
    let mut orphan = pod(ready("True"));
    orphan["metadata"]["ownerReferences"][0]["controller"] = json!(false);
    let mut of_a_job = pod(ready("True"));
    of_a_job["metadata"]["ownerReferences"][0]["kind"] = json!("Job");
    for value in [other, forged, elsewhere, orphan, of_a_job] {
        assert_eq!(seen(value, super::pod::endpoint), None);
    }
    let mut set = json!({ "metadata": meta("shop-5f3a"), "spec": { "selector": {} } });
    set["metadata"]["namespace"] = json!("evil");
    assert_eq!(seen(set, super::workload::workload), None);
}

#[test]
fn a_replica_set_is_a_workload() {
    let set = json!({
        "metadata": meta("shop-5f3a"),
        "spec": { "replicas": 3, "selector": {} },
        "status": { "replicas": 2, "readyReplicas": 1, "conditions": [
            { "type": "ReplicaFailure", "status": "True", "message": "exceeded quota" }] },
    });
    let found = seen(set, super::workload::workload).expect("is ours");
    assert_eq!((found.replicas, found.ready, found.generation), (3, 1, 4));
    assert_eq!(found.reason.as_deref(), Some("exceeded quota"));
}

#[test]
fn a_node_tells_what_instances_can_use() {
    let node = |ready: &str| {
        json!({
            "metadata": { "name": "n1.example.org", "labels": { "topology.kubernetes.io/zone": "a" } },
            "spec": { "unschedulable": true },
            "status": {
                "capacity": { "cpu": "8", "memory": "16Gi", "pods": "110" },
                "allocatable": { "cpu": "7500m", "memory": "15Gi" },
                "conditions": [{ "type": "Ready", "status": ready, "message": "kubelet is posting" }],
                "nodeInfo": { "kubeletVersion": "v1.36.0", "operatingSystem": "linux", "architecture": "arm64",
                    "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "",
                    "machineID": "", "osImage": "", "systemUUID": "" },
            },
        })
    };
    let good = seen(node("True"), super::node::node).expect("is a node");
    let capacity = Capacity { cpu_millis: 7500, memory_bytes: 15 << 30, instances: 110 };
    assert_eq!((good.ready, good.cordoned, good.capacity, good.reason), (true, true, capacity, None));
    assert_eq!(good.zone.as_deref(), Some("a"));
    assert_eq!((good.version.as_str(), good.os.as_str(), good.arch.as_str()), ("v1.36.0", "linux", "arm64"));
    let silent = seen(node("Unknown"), super::node::node).expect("is a node");
    assert_eq!((silent.ready, silent.reason.as_deref()), (false, Some("kubelet is posting")));
}
