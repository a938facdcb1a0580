//! DaemonSets: a pod on every fitting node, updates, and nodes that come and go.

use std::collections::BTreeMap;

use bcs_kubesim::Kubesim;
use serde_json::{Value, json};

use crate::{
    harness::{PODS, Raw, change, create, deployment, eventually, list, ready, ready_pods, sim, until},
    kubectl::Kubectl,
};

const SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
const NODES: &str = "/api/v1/nodes";

fn agent() -> String {
    format!("{SETS}/agent")
}

fn set(more: &Value) -> Value {
    let mut set = deployment("agent", 1, "agent:1");
    set["kind"] = json!("DaemonSet");
    set["spec"].as_object_mut().expect("a spec").remove("replicas");
    for (field, value) in more.as_object().into_iter().flatten() {
        set["spec"][field] = value.clone();
    }
    set
}

fn image(tag: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": format!("agent:{tag}")}]}}}})
}

/// The nodes have exactly one pod each, ready and of these images.
async fn nodes_become(sim: &Kubesim, wanted: &[(&str, &str)]) {
    eventually(|| async {
        let pods = list(sim, PODS).await;
        let mut found: BTreeMap<&str, &str> = BTreeMap::new();
        for (_, pod) in &pods {
            let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or("");
            found.insert(pod["spec"]["nodeName"].as_str().unwrap_or(""), image);
        }
        let well = pods.iter().all(|(_, p)| ready(p) && p["metadata"]["deletionTimestamp"].is_null());
        let expected: BTreeMap<&str, &str> = wanted.iter().copied().collect();
        if well && pods.len() == wanted.len() && found == expected {
            Ok(())
        } else {
            Err(format!("{found:?}, {} pods, all well: {well}", pods.len()))
        }
    })
    .await;
}

fn node(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_has_one_pod_also_when_nodes_come_and_go() {
    let sim = sim("nodes").await;
    create(&sim, SETS, &set(&json!({}))).await;
    let (one, two, three) =
        (("nodes-node-1", "agent:1"), ("nodes-node-2", "agent:1"), ("nodes-node-3", "agent:1"));
    nodes_become(&sim, &[one, two, three]).await;
    create(&sim, NODES, &node("extra")).await;
    nodes_become(&sim, &[one, two, three, ("extra", "agent:1")]).await;
    Raw(&sim).send("DELETE", &format!("{NODES}/extra"), "application/json", "").await;
    nodes_become(&sim, &[one, two, three]).await;
    // A daemon is at home also on a cordoned node, but not where a taint keeps it away.
    change(&sim, &format!("{NODES}/nodes-node-1"), &json!({"spec": {"unschedulable": true}})).await;
    let pods = list(&sim, PODS).await;
    let on_first = pods.iter().find(|(_, p)| p["spec"]["nodeName"] == "nodes-node-1").expect("a pod");
    Raw(&sim).send("DELETE", &format!("{PODS}/{}", on_first.0), "application/json", "").await;
    eventually(|| async {
        let (code, _) = Raw(&sim).get(&format!("{PODS}/{}", on_first.0)).await;
        if code == 404 { Ok(()) } else { Err("the old pod is still there".to_owned()) }
    })
    .await;
    nodes_become(&sim, &[one, two, three]).await;
    let taint = json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoExecute"}]}});
    change(&sim, &format!("{NODES}/nodes-node-2"), &taint).await;
    nodes_become(&sim, &[one, three]).await;
    let status = until(&sim, &agent(), |s| s["status"]["desiredNumberScheduled"] == 2).await;
    assert_eq!(status["status"]["numberMisscheduled"], 0);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_nodes_that_the_selector_names_get_a_pod() {
    let sim = sim("chosen").await;
    let mut object = set(&json!({}));
    object["spec"]["template"]["spec"]["nodeSelector"] = json!({"disk": "ssd"});
    create(&sim, SETS, &object).await;
    until(&sim, &agent(), |s| s["status"]["desiredNumberScheduled"] == 0).await;
    let kubectl = Kubectl::new(&sim);
    kubectl.ok(&["label", "node", "chosen-node-2", "disk=ssd"]).await;
    nodes_become(&sim, &[("chosen-node-2", "agent:1")]).await;
    let text = kubectl.ok(&["get", "daemonsets"]).await;
    assert!(text.contains("NODE SELECTOR") && text.contains("disk=ssd"), "{text}");
    kubectl.ok(&["label", "node", "chosen-node-2", "disk-"]).await;
    nodes_become(&sim, &[]).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_rolls_daemons_out_and_back() {
    let sim = sim("daemons").await;
    let kubectl = Kubectl::new(&sim);
    let all = |image: &'static str| {
        [("daemons-node-1", image), ("daemons-node-2", image), ("daemons-node-3", image)]
    };
    create(&sim, SETS, &set(&json!({}))).await;
    nodes_become(&sim, &all("agent:1")).await;
    kubectl.ok(&["set", "image", "daemonset/agent", "main=agent:2"]).await;
    kubectl.ok(&["rollout", "status", "daemonset/agent", "--timeout=30s"]).await;
    nodes_become(&sim, &all("agent:2")).await;
    let text = kubectl.ok(&["rollout", "history", "daemonset/agent", "--revision=1"]).await;
    assert!(text.contains("agent:1"), "{text}");
    kubectl.ok(&["rollout", "undo", "daemonset/agent"]).await;
    kubectl.ok(&["rollout", "status", "daemonset/agent", "--timeout=30s"]).await;
    nodes_become(&sim, &all("agent:1")).await;
    kubectl.ok(&["rollout", "restart", "daemonset/agent"]).await;
    kubectl.ok(&["rollout", "status", "daemonset/agent", "--timeout=30s"]).await;
    let text = kubectl.ok(&["describe", "daemonset", "agent"]).await;
    assert!(text.contains("Desired Number of Nodes Scheduled: 3"), "{text}");
    kubectl.ok(&["drain", "daemons-node-1", "--ignore-daemonsets", "--timeout=30s"]).await;
    nodes_become(&sim, &all("agent:1")).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_surge_never_leaves_a_node_without_a_serving_pod() {
    let sim = sim("surge").await;
    let strategy = json!({"updateStrategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}});
    create(&sim, SETS, &set(&strategy)).await;
    let all =
        |image: &'static str| [("surge-node-1", image), ("surge-node-2", image), ("surge-node-3", image)];
    nodes_become(&sim, &all("agent:1")).await;
    change(&sim, &agent(), &image("2")).await;
    eventually(|| async {
        let pods = list(&sim, PODS).await;
        for index in 1..=3 {
            let here = |p: &Value| p["spec"]["nodeName"] == format!("surge-node-{index}") && ready(p);
            assert!(pods.iter().any(|(_, p)| here(p)), "node {index} serves no more");
        }
        let new = pods.iter().filter(|(_, p)| p["spec"]["containers"][0]["image"] == "agent:2").count();
        if new == 3 && pods.len() == 3 { Ok(()) } else { Err(format!("{new} of {} are new", pods.len())) }
    })
    .await;
    nodes_become(&sim, &all("agent:2")).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_ondelete_change_only_when_somebody_deletes_them() {
    let sim = sim("byhand").await;
    create(&sim, SETS, &set(&json!({"updateStrategy": {"type": "OnDelete"}}))).await;
    let (one, three) = (("byhand-node-1", "agent:1"), ("byhand-node-3", "agent:1"));
    nodes_become(&sim, &[one, ("byhand-node-2", "agent:1"), three]).await;
    change(&sim, &agent(), &image("2")).await;
    until(&sim, &agent(), |s| s["status"]["observedGeneration"] == 2).await;
    let pods = list(&sim, PODS).await;
    let second = pods.iter().find(|(_, p)| p["spec"]["nodeName"] == "byhand-node-2").expect("a pod");
    Raw(&sim).send("DELETE", &format!("{PODS}/{}", second.0), "application/json", "").await;
    nodes_become(&sim, &[one, ("byhand-node-2", "agent:2"), three]).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_ends_is_started_again() {
    let sim = sim("ending-daemon").await;
    create(&sim, SETS, &set(&json!({}))).await;
    let failed = json!({"status": {"phase": "Failed", "reason": "Evicted"}});
    for round in 1..=2 {
        // The second time, they come after a wait.
        for pod in ready_pods(&sim, 3).await {
            let name = pod["metadata"]["name"].as_str().expect("a name");
            change(&sim, &format!("{PODS}/{name}/status"), &failed).await;
        }
        eventually(|| async {
            let events = list(&sim, "/api/v1/namespaces/default/events").await;
            let told = events.iter().filter(|(_, e)| e["reason"] == "FailedDaemonPod").count();
            if told >= 3 * round { Ok(()) } else { Err(format!("{told} pods were taken away")) }
        })
        .await;
    }
    ready_pods(&sim, 3).await;
    sim.shutdown().await;
}
