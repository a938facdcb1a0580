//! The life of pods: they start, answer HTTP on their own address, fail as told, and end.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{DEPLOYMENTS, PODS, Raw, deployment, eventually, pod, ready, ready_pods, sim};

async fn ask(pod: &Value, path: &str) -> reqwest::Result<reqwest::Response> {
    let ip = pod["status"]["podIP"].as_str().expect("an address");
    reqwest::get(format!("http://{ip}:8080{path}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_deployment_answer_on_their_own_addresses() {
    let sim = sim("answer").await;
    let (code, _) = Raw(&sim).post(DEPLOYMENTS, &deployment("web", 3, "web:1.2")).await;
    assert_eq!(code, 201);
    let pods = ready_pods(&sim, 3).await;
    let mut seen = BTreeSet::new();
    for pod in &pods {
        let body: Value = ask(pod, "/a/b").await.expect("an answer").json().await.expect("JSON");
        assert_eq!(body["pod"], pod["metadata"]["name"]);
        assert_eq!(body["node"], pod["spec"]["nodeName"]);
        assert_eq!(
            [&body["app"], &body["version"], &body["cluster"], &body["path"]],
            ["web", "1.2", "answer", "/a/b"]
        );
        assert!(ask(pod, "/healthz").await.expect("an answer").status().is_success());
        seen.insert(pod["status"]["podIP"].to_string());
    }
    assert_eq!(seen.len(), 3);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_pod_stops_answering_and_goes() {
    let sim = sim("ending").await;
    Raw(&sim).post(PODS, &pod("a", &json!({"sim.bcs/shutdown": "200ms"}))).await;
    let running = ready_pods(&sim, 1).await.remove(0);
    let (code, answer) = Raw(&sim).send("DELETE", &format!("{PODS}/a"), "application/json", "").await;
    assert_eq!(code, 200);
    assert!(answer["metadata"]["deletionTimestamp"].is_string(), "{answer}");
    eventually(|| async {
        let (_, now) = Raw(&sim).get(&format!("{PODS}/a")).await;
        if ready(&now) { Err("still ready".to_owned()) } else { Ok(()) }
    })
    .await;
    eventually(|| async {
        let (code, _) = Raw(&sim).get(&format!("{PODS}/a")).await;
        if code == 404 { Ok(()) } else { Err(format!("still there: {code}")) }
    })
    .await;
    eventually(|| async {
        if ask(&running, "/").await.is_err() { Ok(()) } else { Err("still answers".to_owned()) }
    })
    .await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_fail_as_their_annotations_say() {
    let sim = sim("failing").await;
    Raw(&sim).post(PODS, &pod("never", &json!({"sim.bcs/never-ready": "true"}))).await;
    Raw(&sim).post(PODS, &pod("image", &json!({"sim.bcs/image-pull-error": "true"}))).await;
    Raw(&sim).post(PODS, &pod("crash", &json!({"sim.bcs/crash-after": "30ms"}))).await;
    let mut done = pod("done", &json!({"sim.bcs/complete-after": "30ms"}));
    done["spec"]["restartPolicy"] = json!("OnFailure");
    Raw(&sim).post(PODS, &done).await;
    for (name, pointer, expected) in [
        ("never", "/status/phase", json!("Running")),
        ("image", "/status/containerStatuses/0/state/waiting/reason", json!("ImagePullBackOff")),
        ("crash", "/status/containerStatuses/0/restartCount", json!(2)),
        ("done", "/status/phase", json!("Succeeded")),
    ] {
        eventually(|| {
            let (path, sim, expected) = (format!("{PODS}/{name}"), &sim, &expected);
            async move {
                let (_, pod) = Raw(sim).get(&path).await;
                if pod.pointer(pointer) == Some(expected) { Ok(()) } else { Err(pod["status"].to_string()) }
            }
        })
        .await;
    }
    let (_, never) = Raw(&sim).get(&format!("{PODS}/never")).await;
    assert!(!ready(&never));
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_readiness_gate_holds_a_pod_until_it_opens() {
    let sim = sim("gates").await;
    let mut gated = pod("a", &json!({}));
    gated["spec"]["readinessGates"] = json!([{"conditionType": "bcs/registered"}]);
    Raw(&sim).post(PODS, &gated).await;
    let path = format!("{PODS}/a");
    eventually(|| async {
        let (_, pod) = Raw(&sim).get(&path).await;
        let reason =
            pod["status"]["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == "Ready");
        if reason.is_some_and(|c| c["reason"] == "ReadinessGatesNotReady") {
            Ok(())
        } else {
            Err(pod.to_string())
        }
    })
    .await;
    let patch = json!({"status": {"conditions": [{"type": "bcs/registered", "status": "True"}]}});
    let media = "application/strategic-merge-patch+json";
    let (code, _) = Raw(&sim).send("PATCH", &format!("{path}/status"), media, &patch.to_string()).await;
    assert_eq!(code, 200);
    ready_pods(&sim, 1).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_brings_everything_back_as_it_was() {
    let dir = tempfile::tempdir().expect("directory");
    let config = bcs_kubesim::Config {
        name: "again".to_owned(),
        data_dir: Some(dir.path().to_owned()),
        ..Default::default()
    };
    let first = bcs_kubesim::start(config.clone()).await.expect("first start");
    Raw(&first).post(PODS, &pod("a", &json!({}))).await;
    let before = ready_pods(&first, 1).await.remove(0);
    let kubeconfig = first.kubeconfig();
    first.shutdown().await;
    let second = bcs_kubesim::start(config).await.expect("second start");
    assert_eq!(second.kubeconfig(), kubeconfig);
    let after = ready_pods(&second, 1).await.remove(0);
    for pointer in ["/metadata/uid", "/status/podIP", "/metadata/resourceVersion"] {
        assert_eq!(before.pointer(pointer), after.pointer(pointer), "{pointer}");
    }
    eventually(|| async { ask(&after, "/").await.map(|_| ()).map_err(|e| e.to_string()) }).await;
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_lost_node_are_unready_until_it_returns() {
    let sim = sim("lost").await;
    Raw(&sim).post(PODS, &pod("a", &json!({}))).await;
    let node = ready_pods(&sim, 1).await[0]["spec"]["nodeName"].as_str().expect("a node").to_owned();
    sim.faults().node_down(&node);
    eventually(|| async {
        let (_, pod) = Raw(&sim).get(&format!("{PODS}/a")).await;
        if ready(&pod) { Err("still ready".to_owned()) } else { Ok(()) }
    })
    .await;
    let (_, lost) = Raw(&sim).get(&format!("/api/v1/nodes/{node}")).await;
    assert!(!ready(&lost));
    sim.faults().node_up(&node);
    let pods = ready_pods(&sim, 1).await;
    eventually(|| async { ask(&pods[0], "/").await.map(|_| ()).map_err(|e| e.to_string()) }).await;
    sim.shutdown().await;
}
