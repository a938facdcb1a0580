//! Services with more pods than fit into one EndpointSlice.

use std::collections::BTreeSet;

use bcs_kubesim::Kubesim;
use serde_json::{Value, json};

use crate::{
    harness::{DEPLOYMENTS, Raw, change, create, deployment, eventually, list, until},
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

#[tokio::test(flavor = "multi_thread")]
async fn a_service_has_ports_of_the_nodes_as_long_as_its_type_asks_for_them() {
    let sim = sim_with("types", |config| config.http = false).await;
    let ports = json!([{"name": "a", "port": 80}, {"name": "b", "port": 81}]);
    create(&sim, SERVICES, &json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": ports}}))
        .await;
    let path = format!("{SERVICES}/s");
    let port = |service: &Value, at: usize| service["spec"]["ports"][at]["nodePort"].as_i64();
    let first = until(&sim, &path, |s| port(s, 1).is_some() && !s["spec"]["clusterIP"].is_null()).await;
    assert!(
        (30_000..32_768).contains(&port(&first, 0).expect("a port")) && port(&first, 0) != port(&first, 1)
    );
    let kept = change(&sim, &path, &json!({"spec": {"ports": [{"name": "a", "port": 80}]}})).await;
    assert_eq!(port(&kept, 0), port(&first, 0), "it stays though the client left it out");
    let named =
        change(&sim, &path, &json!({"spec": {"type": "ExternalName", "externalName": "x.example"}})).await;
    assert_eq!((&named["spec"]["clusterIP"], port(&named, 0)), (&Value::Null, None), "all is given back");
    change(&sim, &path, &json!({"spec": {"type": "ClusterIP", "externalName": null}})).await;
    until(&sim, &path, |s| s["spec"]["clusterIP"].as_str().is_some_and(|ip| ip.starts_with("10."))).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_somebody_writes_are_seen_in_slices_too() {
    let sim = sim_with("mirror", |config| config.http = false).await;
    let own = SLICES.replace("Dweb", "Dkubernetes");
    let own =
        eventually(|| async { list(&sim, &own).await.pop().ok_or_else(|| "no slice".to_owned()) }).await;
    let port = own.1["ports"][0]["port"].as_u64().expect("a port");
    assert!(sim.url().ends_with(&format!(":{port}")), "the API server itself");
    create(&sim, SERVICES, &json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}})).await;
    let endpoints = "/api/v1/namespaces/default/endpoints";
    let subsets = |ip: &str| json!([{"addresses": [{"ip": ip}], "ports": [{"port": 80}]}]);
    create(&sim, endpoints, &json!({"metadata": {"name": "web"}, "subsets": subsets("10.1.2.3")})).await;
    let shows = |wanted: &'static str| {
        let sim = &sim;
        eventually(move || async move {
            let found: Vec<String> = list(sim, SLICES)
                .await
                .iter()
                .map(|(_, s)| s["endpoints"][0]["addresses"][0].to_string())
                .collect();
            if found.concat() == wanted { Ok(()) } else { Err(format!("{found:?}")) }
        })
    };
    shows("\"10.1.2.3\"").await;
    change(&sim, &format!("{endpoints}/web"), &json!({"subsets": subsets("10.1.2.4")})).await;
    shows("\"10.1.2.4\"").await;
    Raw(&sim).send("DELETE", &format!("{endpoints}/web"), "application/json", "").await;
    shows("").await;
    sim.shutdown().await;
}
