//! Services with more pods than fit into one EndpointSlice.

use std::collections::BTreeSet;

use bcs_kubesim::Kubesim;
use serde_json::{Value, json};

use crate::{
    harness::{DEPLOYMENTS, Raw, change, create, deployment, eventually, list},
    witness::sim_with,
};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io/service-name%3Dweb";

/// Waits until the slices have together so many ready addresses, each once, and returns how many each has.
async fn spread(sim: &Kubesim, wanted: usize) -> Vec<usize> {
    eventually(|| async {
        let slices = list(sim, SLICES).await;
        let ready = |slice: &Value| -> Vec<String> {
            let endpoints = slice["endpoints"].as_array().into_iter().flatten();
            let ready = endpoints.filter(|e| e["conditions"]["ready"] == true);
            ready.filter_map(|e| e["addresses"][0].as_str().map(str::to_owned)).collect()
        };
        let all: Vec<Vec<String>> = slices.iter().map(|(_, slice)| ready(slice)).collect();
        let total = all.iter().map(Vec::len).sum::<usize>();
        let different = all.iter().flatten().collect::<BTreeSet<_>>().len();
        let entries =
            slices.iter().map(|(_, s)| s["endpoints"].as_array().map_or(0, Vec::len)).sum::<usize>();
        if !all.is_empty() && (total, different, entries) == (wanted, wanted, wanted) {
            Ok(all.iter().map(Vec::len).collect())
        } else {
            Err(format!("{total} ready, {different} different, {entries} in all"))
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_many_pods_has_several_slices() {
    let sim = sim_with("slices", |config| config.http = false).await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    create(&sim, SERVICES, &service).await;
    assert_eq!(spread(&sim, 0).await, [0]);
    create(&sim, DEPLOYMENTS, &deployment("web", 130, "i:1")).await;
    let counts = spread(&sim, 130).await;
    assert!(counts.len() == 2 && counts.contains(&100), "{counts:?}");
    change(&sim, &format!("{DEPLOYMENTS}/web"), &json!({"spec": {"replicas": 3}})).await;
    assert!(spread(&sim, 3).await.len() <= 2);
    let (code, _) = Raw(&sim).send("DELETE", &format!("{SERVICES}/web"), "application/json", "").await;
    assert_eq!(code, 200);
    eventually(|| async {
        let left = list(&sim, SLICES).await;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    sim.shutdown().await;
}
