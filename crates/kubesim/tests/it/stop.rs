//! Pods that are told to stop: hooks, grace, order, force.

use serde_json::{Value, json};

use crate::{
    harness::{PODS, Raw, eventually, pod, ready, sim},
    witness::{event, gone, pod_that},
};

async fn delete(sim: &bcs_kubesim::Kubesim, name: &str, grace: i64) {
    let body = json!({"gracePeriodSeconds": grace}).to_string();
    let (code, _) = Raw(sim).send("DELETE", &format!("{PODS}/{name}"), "application/json", &body).await;
    assert_eq!(code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_stops_is_withdrawn_first_and_serves_on() {
    let sim = sim("withdraw").await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "a"}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    Raw(&sim).post("/api/v1/namespaces/default/services", &service).await;
    Raw(&sim).post(PODS, &pod("a", &json!({"sim.bcs/shutdown": "1h"}))).await;
    let running = pod_that(&sim, "a", ready).await;
    delete(&sim, "a", 3600).await;
    let stopping = pod_that(&sim, "a", |p| p["metadata"]["deletionGracePeriodSeconds"] == 3600).await;
    assert!(ready(&stopping), "it can still answer");
    let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/web-kubesim";
    let conditions = eventually(|| async {
        let (_, slice) = Raw(&sim).get(path).await;
        let found = slice["endpoints"][0]["conditions"].clone();
        if found["terminating"] == true { Ok(found) } else { Err(slice.to_string()) }
    })
    .await;
    assert_eq!(conditions, json!({"ready": false, "serving": true, "terminating": true}));
    let ip = running["status"]["podIP"].as_str().expect("an address");
    assert!(reqwest::get(format!("http://{ip}:8080/")).await.expect("an answer").status().is_success());
    event(&sim, "a", "Killing", "Stopping container main").await;
    delete(&sim, "a", 0).await;
    gone(&sim, "a").await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grace_that_is_cut_short_is_short() {
    let sim = sim("short").await;
    Raw(&sim).post(PODS, &pod("a", &json!({"sim.bcs/shutdown": "1h"}))).await;
    pod_that(&sim, "a", ready).await;
    delete(&sim, "a", 3600).await;
    delete(&sim, "a", 1).await;
    gone(&sim, "a").await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_run_before_the_stop_and_their_failure_is_told() {
    let sim = sim("hooks").await;
    let mut sleepy = pod("sleepy", &json!({}));
    sleepy["spec"]["containers"][0]["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 3600}}});
    let mut asking = pod("asking", &json!({}));
    asking["spec"]["containers"][0]["lifecycle"] =
        json!({"preStop": {"httpGet": {"port": 9, "path": "/bye"}}});
    for pod in [&sleepy, &asking] {
        Raw(&sim).post(PODS, pod).await;
    }
    pod_that(&sim, "sleepy", ready).await;
    pod_that(&sim, "asking", ready).await;
    delete(&sim, "sleepy", 3600).await;
    delete(&sim, "asking", 3600).await;
    event(&sim, "asking", "FailedPreStopHook", "PreStopHook failed: Get").await;
    gone(&sim, "asking").await;
    event(&sim, "sleepy", "Killing", "Stopping container main").await;
    let (code, sleeping) = Raw(&sim).get(&format!("{PODS}/sleepy")).await;
    assert_eq!((code, ready(&sleeping)), (200, true), "{sleeping}");
    delete(&sim, "sleepy", 0).await;
    gone(&sim, "sleepy").await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_whose_first_hook_fails_starts_again() {
    let sim = sim("begin").await;
    let mut failing = pod("failing", &json!({}));
    failing["spec"]["containers"][0]["lifecycle"] = json!({"postStart": {"httpGet": {"port": 9}}});
    let mut good = pod("good", &json!({}));
    good["spec"]["containers"][0]["lifecycle"] = json!({"postStart": {"httpGet": {"port": 8080}}});
    for pod in [&failing, &good] {
        Raw(&sim).post(PODS, pod).await;
    }
    event(&sim, "failing", "FailedPostStartHook", "PostStartHook failed: Get").await;
    let again = |p: &Value| p["status"]["containerStatuses"][0]["restartCount"].as_i64() > Some(0);
    pod_that(&sim, "failing", again).await;
    assert!(!again(&pod_that(&sim, "good", ready).await));
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_stops_after_the_others() {
    let sim = sim("sidecar").await;
    let mut job = pod("job", &json!({"sim.bcs/proxy.shutdown": "1h", "sim.bcs/shutdown": "100ms"}));
    job["spec"]["initContainers"] = json!([{"name": "proxy", "image": "proxy:1", "restartPolicy": "Always"}]);
    Raw(&sim).post(PODS, &job).await;
    pod_that(&sim, "job", ready).await;
    delete(&sim, "job", 3600).await;
    let ended = |p: &Value| p["status"]["containerStatuses"][0]["state"]["terminated"].is_object();
    let half = pod_that(&sim, "job", ended).await;
    assert!(half["status"]["initContainerStatuses"][0]["state"]["running"].is_object(), "{half}");
    event(&sim, "job", "Killing", "Stopping container proxy").await;
    delete(&sim, "job", 0).await;
    gone(&sim, "job").await;
    sim.shutdown().await;
}
