//! The containers of a pod, each with a life of its own.

use serde_json::{Value, json};

use crate::{
    harness::{PODS, Raw, pod, ready, sim},
    witness::{event, events, pod_that},
};

/// A pod with an init container, a sidecar and two apps.
fn crowded(annotations: &Value) -> Value {
    let mut pod = pod("crowd", annotations);
    pod["spec"]["initContainers"] = json!([
        {"name": "setup", "image": "setup:1"},
        {"name": "proxy", "image": "proxy:1", "restartPolicy": "Always", "ports": [{"containerPort": 8081}]},
    ]);
    pod["spec"]["containers"]
        .as_array_mut()
        .expect("a list")
        .push(json!({"name": "second", "image": "web:2"}));
    pod
}

#[tokio::test(flavor = "multi_thread")]
async fn init_containers_come_first_and_every_container_is_reported() {
    let sim = sim("crowd").await;
    let annotations = json!({"sim.bcs/setup.complete-after": "200ms", "sim.bcs/second.image-pull": "100ms"});
    Raw(&sim).post(PODS, &crowded(&annotations)).await;
    let waiting =
        pod_that(&sim, "crowd", |p| p["status"]["initContainerStatuses"][0]["state"]["running"].is_object())
            .await;
    assert_eq!(waiting["status"]["phase"], "Pending");
    assert_eq!(waiting["status"]["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
    let running = pod_that(&sim, "crowd", ready).await;
    assert_eq!(running["status"]["initContainerStatuses"][0]["state"]["terminated"]["reason"], "Completed");
    assert_eq!(running["status"]["initContainerStatuses"][1]["ready"], true);
    let ip = running["status"]["podIP"].as_str().expect("an address");
    for (port, version) in [(8080, "1"), (8081, "1")] {
        let answer = reqwest::get(format!("http://{ip}:{port}/")).await.expect("an answer");
        assert_eq!(answer.json::<Value>().await.expect("JSON")["version"], version);
    }
    let words: Vec<String> = events(&sim, "crowd").await.into_iter().map(|(reason, _)| reason).collect();
    assert_eq!(words[..5], ["Scheduled", "Pulling", "Pulled", "Created", "Started"], "{words:?}");
    assert_eq!(words.iter().filter(|w| *w == "Started").count(), 4, "{words:?}");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_container_crashes_and_its_neighbours_go_on() {
    let sim = sim("neighbours").await;
    let annotations = json!({"sim.bcs/second.crash-after": "50ms", "sim.bcs/second.exit-code": "42"});
    Raw(&sim).post(PODS, &crowded(&annotations)).await;
    let looping = pod_that(&sim, "crowd", |p| {
        p["status"]["containerStatuses"][1]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    })
    .await;
    let statuses = &looping["status"]["containerStatuses"];
    assert_eq!(statuses[1]["lastState"]["terminated"]["exitCode"], 42);
    assert_eq!((&statuses[0]["ready"], &statuses[0]["restartCount"]), (&json!(true), &json!(0)));
    assert!(!ready(&looping));
    event(&sim, "crowd", "BackOff", "Back-off restarting failed container second in pod crowd_default(")
        .await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_pulled_is_reported_until_another_one_is_given() {
    let sim = sim("pull").await;
    let mut broken = pod("a", &json!({}));
    broken["spec"]["containers"][0]["image"] = json!("web:missing");
    Raw(&sim).post(PODS, &broken).await;
    pod_that(&sim, "a", |p| {
        p["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "ImagePullBackOff"
    })
    .await;
    for (reason, part) in [
        ("Pulling", "Pulling image \"web:missing\""),
        ("Failed", "Failed to pull image \"web:missing\""),
        ("Failed", "Error: ErrImagePull"),
        ("BackOff", "Back-off pulling image \"web:missing\""),
        ("Failed", "Error: ImagePullBackOff"),
    ] {
        event(&sim, "a", reason, part).await;
    }
    let patch = json!({"spec": {"containers": [{"name": "main", "image": "web:2"}]}});
    let media = "application/strategic-merge-patch+json";
    Raw(&sim).send("PATCH", &format!("{PODS}/a"), media, &patch.to_string()).await;
    pod_that(&sim, "a", ready).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_says_what_it_uses() {
    let sim = sim("usage").await;
    Raw(&sim).post(PODS, &pod("a", &json!({"sim.bcs/cpu": "250m", "sim.bcs/main.memory": "64Mi"}))).await;
    pod_that(&sim, "a", ready).await;
    let found = sim.usage("default", "a");
    assert_eq!(found.len(), 1);
    let main = &found[0];
    assert_eq!((main.container.as_str(), main.cpu_milli, main.memory_bytes), ("main", 250, 64 << 20));
    assert!(sim.usage("default", "nobody").is_empty());
    sim.shutdown().await;
}
