//! Probes are really sent, to the address of the pod.

use serde_json::{Value, json};

use crate::{
    harness::{PODS, Raw, pod, ready, sim},
    witness::{event, pod_that},
};

fn probed(name: &str, annotations: &Value, probes: &Value) -> Value {
    let mut pod = pod(name, annotations);
    for (kind, probe) in probes.as_object().expect("probes") {
        pod["spec"]["containers"][0][kind] = probe.clone();
    }
    pod
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_is_what_the_probe_says() {
    let sim = sim("probe-ready").await;
    let good = json!({"readinessProbe": {"httpGet": {"port": 8080, "path": "/healthz"}, "periodSeconds": 1}});
    let closed = json!({"readinessProbe": {"tcpSocket": {"port": 9}, "periodSeconds": 1}});
    let failing = json!({"readinessProbe": {"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": 1}});
    let told = json!({"sim.bcs/ready-after": "10ms"});
    Raw(&sim).post(PODS, &probed("good", &json!({}), &good)).await;
    Raw(&sim).post(PODS, &probed("closed", &json!({}), &closed)).await;
    Raw(&sim).post(PODS, &probed("failing", &json!({"sim.bcs/error-rate": "1"}), &failing)).await;
    Raw(&sim).post(PODS, &probed("told", &told, &closed)).await;
    pod_that(&sim, "good", ready).await;
    pod_that(&sim, "told", ready).await;
    event(&sim, "closed", "Unhealthy", "Readiness probe failed: dial tcp").await;
    event(&sim, "failing", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 500")
        .await;
    for name in ["closed", "failing"] {
        let pod = pod_that(&sim, name, |p| p["status"]["phase"] == "Running").await;
        assert!(!ready(&pod));
        assert_eq!(pod["status"]["containerStatuses"][0]["started"], true);
    }
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_fails_its_liveness_probe_starts_again() {
    let sim = sim("probe-live").await;
    let probes =
        json!({"livenessProbe": {"tcpSocket": {"port": 9}, "periodSeconds": 1, "failureThreshold": 1}});
    Raw(&sim).post(PODS, &probed("a", &json!({}), &probes)).await;
    pod_that(&sim, "a", |p| p["status"]["containerStatuses"][0]["restartCount"].as_i64() > Some(0)).await;
    event(&sim, "a", "Unhealthy", "Liveness probe failed: dial tcp").await;
    event(&sim, "a", "Killing", "Container main failed liveness probe, will be restarted").await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_startup_probe_that_never_passes_holds_the_container_back() {
    let sim = sim("probe-start").await;
    let probe = json!({"tcpSocket": {"port": 9}, "periodSeconds": 1, "failureThreshold": 1});
    Raw(&sim).post(PODS, &probed("a", &json!({}), &json!({"startupProbe": probe}))).await;
    event(&sim, "a", "Killing", "Container main failed startup probe, will be restarted").await;
    let seen = pod_that(&sim, "a", |p| p["status"]["phase"] == "Running").await;
    assert_eq!(seen["status"]["containerStatuses"][0]["started"], false);
    assert!(!ready(&seen));
    sim.shutdown().await;
}
