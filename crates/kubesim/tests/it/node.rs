//! Nodes: their kinds, their leases, and what becomes of their pods when they are lost or deleted.

use std::time::Duration;

use bcs_kubesim::{Kubesim, NodeProfile};
use serde_json::{Value, json};

use crate::{
    harness::{PODS, Raw, eventually, pod, ready, sim},
    witness::{event, gone, pod_that, sim_with},
};

const NODES: &str = "/api/v1/nodes";

async fn node_that(sim: &Kubesim, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let wanted = &wanted;
    eventually(|| async move {
        let (_, node) = Raw(sim).get(&format!("{NODES}/{name}")).await;
        if wanted(&node) { Ok(node) } else { Err(node.to_string()) }
    })
    .await
}

fn taints(node: &Value) -> Vec<String> {
    let all = node["spec"]["taints"].as_array().into_iter().flatten();
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    all.map(|t| format!("{}:{}", text(&t["key"]), text(&t["effect"]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_renew_their_leases_until_they_are_lost() {
    let sim = sim_with("leases", |config| config.node_lease = Duration::from_millis(50)).await;
    let path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/leases-node-1";
    let renewed = |after: String| {
        let sim = &sim;
        eventually(move || {
            let after = after.clone();
            async move {
                let (_, lease) = Raw(sim).get(path).await;
                let at = lease["spec"]["renewTime"].as_str().unwrap_or("").to_owned();
                if at > after { Ok(at) } else { Err(lease.to_string()) }
            }
        })
    };
    let first = renewed(String::new()).await;
    renewed(first).await;
    sim.faults().node_down("leases-node-1");
    node_that(&sim, "leases-node-1", |n| !ready(n)).await;
    sim.faults().node_up("leases-node-1");
    let now = renewed(String::new()).await;
    renewed(now).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_node_is_tainted_and_its_pods_go_when_their_patience_ends() {
    let sim = sim("patience").await;
    let mut hasty = pod("hasty", &json!({}));
    hasty["spec"]["tolerations"] = json!([
        {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0}]);
    hasty["spec"]["nodeName"] = json!("patience-node-1");
    let mut patient = pod("patient", &json!({}));
    patient["spec"]["nodeName"] = json!("patience-node-1");
    for pod in [&hasty, &patient] {
        Raw(&sim).post(PODS, pod).await;
    }
    pod_that(&sim, "hasty", ready).await;
    let seen = pod_that(&sim, "patient", ready).await;
    let defaults = seen["spec"]["tolerations"].as_array().expect("tolerations");
    assert_eq!(defaults.len(), 2);
    assert!(defaults.iter().all(|t| t["tolerationSeconds"] == 300));
    sim.faults().node_down("patience-node-1");
    let both = ["node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"];
    node_that(&sim, "patience-node-1", |n| taints(n) == both).await;
    let leaving = pod_that(&sim, "hasty", |p| p["metadata"]["deletionTimestamp"].is_string()).await;
    let reason = leaving["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|c| c["type"] == "DisruptionTarget");
    assert_eq!(reason.expect("a reason")["reason"], "DeletionByTaintManager");
    event(&sim, "hasty", "TaintManagerEviction", "Marking for deletion Pod default/hasty").await;
    let staying = pod_that(&sim, "patient", |p| !ready(p)).await;
    assert!(staying["metadata"]["deletionTimestamp"].is_null());
    sim.faults().node_up("patience-node-1");
    gone(&sim, "hasty").await;
    pod_that(&sim, "patient", ready).await;
    node_that(&sim, "patience-node-1", |n| ready(n) && taints(n).is_empty()).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_silent_for_less_than_the_grace_is_not_lost() {
    let sim = sim_with("grace", |config| config.node_grace = Duration::from_secs(3600)).await;
    Raw(&sim).post(PODS, &pod("a", &json!({}))).await;
    let running = pod_that(&sim, "a", ready).await;
    let node = running["spec"]["nodeName"].as_str().expect("a node");
    sim.faults().node_down(node);
    let url = format!("http://{}:8080/", running["status"]["podIP"].as_str().expect("an address"));
    eventually(|| async {
        if reqwest::get(&url).await.is_err() { Ok(()) } else { Err("it still answers".to_owned()) }
    })
    .await;
    node_that(&sim, node, ready).await;
    pod_that(&sim, "a", ready).await;
    sim.faults().node_up(node);
    eventually(|| async { reqwest::get(&url).await.map(|_| ()).map_err(|e| e.to_string()) }).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pods_of_a_deleted_node_are_removed() {
    let sim = sim("deleted").await;
    let mut bound = pod("a", &json!({"sim.bcs/shutdown": "1h"}));
    bound["spec"]["nodeName"] = json!("deleted-node-2");
    Raw(&sim).post(PODS, &bound).await;
    pod_that(&sim, "a", ready).await;
    let mut nowhere = pod("nowhere", &json!({}));
    nowhere["spec"]["nodeName"] = json!("no-such-node");
    Raw(&sim).post(PODS, &nowhere).await;
    let (code, _) =
        Raw(&sim).send("DELETE", &format!("{NODES}/deleted-node-2"), "application/json", "").await;
    assert_eq!(code, 200);
    gone(&sim, "a").await;
    gone(&sim, "nowhere").await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_other_kinds_take_only_the_pods_that_ask_for_them() {
    let sim = sim_with("kinds", |config| {
        config.nodes = 1;
        config.node_profiles = vec![NodeProfile {
            count: 2,
            cpu: "4".to_owned(),
            zone: Some("west".to_owned()),
            os: "windows".to_owned(),
            arch: "arm64".to_owned(),
            labels: [("team".to_owned(), "x".to_owned())].into(),
            taints: vec!["os=windows:NoSchedule".to_owned()],
            ..NodeProfile::default()
        }];
    })
    .await;
    let windows = node_that(&sim, "kinds-node-3", |n| n["metadata"].is_object()).await;
    assert_eq!(windows["metadata"]["labels"]["topology.kubernetes.io/zone"], "west");
    assert_eq!(windows["status"]["nodeInfo"]["operatingSystem"], "windows");
    assert_eq!(windows["status"]["capacity"]["cpu"], "4");
    let mut asking = pod("asking", &json!({}));
    asking["spec"]["nodeSelector"] = json!({"kubernetes.io/os": "windows", "team": "x"});
    asking["spec"]["tolerations"] = json!([{"key": "os", "operator": "Exists"}]);
    Raw(&sim).post(PODS, &asking).await;
    Raw(&sim).post(PODS, &pod("plain", &json!({}))).await;
    let asking = pod_that(&sim, "asking", ready).await;
    assert_ne!(asking["spec"]["nodeName"], "kinds-node-1");
    assert_eq!(pod_that(&sim, "plain", ready).await["spec"]["nodeName"], "kinds-node-1");
    sim.shutdown().await;
}
