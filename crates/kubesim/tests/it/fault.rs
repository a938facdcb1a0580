//! Faults: each does what it says, is told by `/sim/faults`, and is over when it is switched off.

use std::time::Duration;

use bcs_kubesim::{Crash, Kubesim};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{
    Api,
    api::{ListParams, PostParams, WatchParams},
};
use serde_json::{Value, json};

use crate::{
    harness::{
        Caller, DEPLOYMENTS, PODS, Raw, client, create, deployment, eventually, pod, ready, ready_pods, sim,
    },
    witness::{event, pod_that, sim_with},
};

const FAULTS: &str = "/sim/faults";
const HOUR: Duration = Duration::from_secs(3600);

async fn set(sim: &Kubesim, faults: &Value) -> Value {
    let (code, answer) = Raw(sim).post(FAULTS, faults).await;
    assert_eq!(code, 200, "{answer}");
    answer
}

/// A request that nobody answers.
async fn unanswered(sim: &Kubesim, path: &str) {
    let request = reqwest::Client::new().get(format!("{}{path}", sim.url())).bearer_auth(sim.token());
    let error = request.send().await.expect_err("no answer");
    assert!(error.status().is_none(), "{error}");
}

fn restarts(pod: &Value) -> i64 {
    pod["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap_or(-1)
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_partition_nobody_reaches_the_api_and_everything_inside_goes_on() {
    let sim = sim("partition").await;
    let api: Api<Pod> = Api::default_namespaced(client(&sim).await);
    let version = api.list(&ListParams::default()).await.expect("a list").metadata.resource_version;
    let version = version.expect("a version");
    let watch = format!("{}{PODS}?watch=1&resourceVersion={version}", sim.url());
    let watch = reqwest::Client::new().get(watch).bearer_auth(sim.token()).send().await;
    let mut watch = watch.expect("a watch");
    let slow = pod("slow", &json!({"sim.bcs/startup": "100ms"}));
    create(&sim, PODS, &slow).await;
    assert!(watch.chunk().await.expect("an event").is_some());
    let answer = set(&sim, &json!({"partition_ms": 3_600_000})).await;
    assert!(answer["partition_ms"].as_u64().is_some_and(|left| left > 3_000_000), "{answer}");
    // The watch breaks off; it does not end as it would if its time were over.
    loop {
        match tokio::time::timeout(Duration::from_secs(30), watch.chunk()).await.expect("in time") {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the watch ended in good order"),
            Err(_) => break,
        }
    }
    unanswered(&sim, "/readyz").await;
    unanswered(&sim, PODS).await;
    api.list(&ListParams::default()).await.expect_err("no answer");
    // The open connection of the administrator counts for nothing, either, once it is used for other things.
    eventually(|| async {
        let stats = sim.stats();
        if (stats.ready_pods, stats.open_watches) == (1, 0) { Ok(()) } else { Err(format!("{stats:?}")) }
    })
    .await;
    assert_eq!(Raw(&sim).get("/sim/stats").await.0, 200);
    let before = sim.stats().requests;
    unanswered(&sim, PODS).await;
    assert_eq!(sim.stats().requests, before, "what does not get through does not count");
    set(&sim, &json!({"partition_ms": 0})).await;
    assert!(ready(&Raw(&sim).get(&format!("{PODS}/slow")).await.1));
    let watch = api.watch(&WatchParams::default(), &version).await.expect("a watch");
    let first = watch.boxed().try_next().await.expect("an event");
    assert!(first.is_some(), "what was missed is read from the version on that was seen last");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_ends_by_itself_and_concerns_tls_too() {
    let sim = sim_with("cut", |config| config.tls = true).await;
    let client = client(&sim).await;
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    api.list(&ListParams::default()).await.expect("a list");
    sim.faults().partition(Duration::from_secs(2));
    api.list(&ListParams::default()).await.expect_err("no answer");
    eventually(|| async { api.list(&ListParams::default()).await.map_err(|e| e.to_string()) }).await;
    assert_eq!(sim.faults().current().partition_ms, 0);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_starts_wait_until_they_are_fast_again() {
    let sim = sim("slow").await;
    set(&sim, &json!({"slow_start_ms": 3_600_000})).await;
    create(&sim, PODS, &pod("a", &json!({}))).await;
    event(&sim, "a", "Pulled", "Successfully pulled image").await;
    let waiting = pod_that(&sim, "a", |p| p["status"]["containerStatuses"].is_array()).await;
    let state = &waiting["status"]["containerStatuses"][0]["state"];
    assert_eq!(state["waiting"]["reason"], "ContainerCreating", "{state}");
    set(&sim, &json!({"slow_start_ms": 0})).await;
    pod_that(&sim, "a", ready).await;
    // A restart is a start as well.
    sim.faults().set_slow_start(HOUR);
    sim.faults().crash(&Crash { app: Some("a".to_owned()), ..Crash::default() }).expect("crashes");
    pod_that(&sim, "a", |p| !ready(p) && p["status"]["containerStatuses"][0]["state"]["waiting"].is_object())
        .await;
    sim.faults().set_slow_start(Duration::ZERO);
    pod_that(&sim, "a", |p| ready(p) && restarts(p) == 1).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_fail_while_they_are_told_to_and_then_succeed() {
    let sim = sim("pulls").await;
    let backs_off =
        |p: &Value| p["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "ImagePullBackOff";
    set(&sim, &json!({"image_pull_errors": 1})).await;
    create(&sim, DEPLOYMENTS, &deployment("web", 1, "web:1")).await;
    let name = eventually(|| async {
        let (_, list) = Raw(&sim).get(PODS).await;
        list["items"][0]["metadata"]["name"].as_str().map(str::to_owned).ok_or_else(|| list.to_string())
    })
    .await;
    pod_that(&sim, &name, backs_off).await;
    event(&sim, &name, "Failed", "Error: ErrImagePull").await;
    event(&sim, &name, "BackOff", "Back-off pulling image \"web:1\"").await;
    set(&sim, &json!({"image_pull_errors": 0, "broken_images": ["web:2", "bad*"]})).await;
    pod_that(&sim, &name, ready).await;
    for (name, image) in [("b", "badly/made:1"), ("c", "web:3")] {
        let mut pod = pod(name, &json!({}));
        pod["spec"]["containers"][0]["image"] = json!(image);
        create(&sim, PODS, &pod).await;
    }
    pod_that(&sim, "b", backs_off).await;
    pod_that(&sim, "c", ready).await;
    set(&sim, &json!({"reset": true})).await;
    pod_that(&sim, "b", ready).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_crashes_once_and_its_containers_start_again() {
    let sim = sim("crash").await;
    for name in ["web", "db"] {
        create(&sim, DEPLOYMENTS, &deployment(name, 2, "i:1")).await;
    }
    let mut once = pod("once", &json!({}));
    once["spec"]["restartPolicy"] = json!("Never");
    create(&sim, PODS, &once).await;
    ready_pods(&sim, 5).await;
    let answer = set(&sim, &json!({"crash": {"app": "web", "exit_code": 42}})).await;
    assert_eq!(answer["crashed"].as_array().map(Vec::len), Some(2), "{answer}");
    let pods = eventually(|| async {
        let (_, list) = Raw(&sim).get(PODS).await;
        let all = list["items"].as_array().cloned().unwrap_or_default();
        let good =
            all.iter().all(|p| ready(p) && restarts(p) == i64::from(p["metadata"]["labels"]["app"] == "web"));
        if good { Ok(all) } else { Err(list.to_string()) }
    })
    .await;
    let web = pods.iter().find(|p| p["metadata"]["labels"]["app"] == "web").expect("is there");
    assert_eq!(web["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 42);
    // By its name, and for good.
    set(&sim, &json!({"crash": {"app": "once"}})).await;
    let failed = pod_that(&sim, "once", |p| p["status"]["phase"] == "Failed").await;
    assert_eq!(failed["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 1);
    // By its labels; and the second time is held back.
    let name = web["metadata"]["name"].as_str().expect("a name");
    set(&sim, &json!({"crash": {"selector": "app in (web)", "namespace": "default"}})).await;
    event(&sim, name, "BackOff", "Back-off restarting failed container").await;
    pod_that(&sim, name, |p| ready(p) && restarts(p) == 2).await;
    for (crash, words) in [
        (json!({"app": "nobody"}), "no pod with a running container is of the app \"nobody\""),
        (json!({"app": "web", "namespace": "kube-system"}), "in the namespace \"kube-system\""),
        (json!({"app": "once"}), "no pod with a running container"),
        (json!({"selector": "a b c"}), "crash.selector: expected a label selector"),
    ] {
        // What is refused changes nothing.
        let (code, status) = Raw(&sim).post(FAULTS, &json!({"crash": crash, "api_errors": 1.0})).await;
        let message = status["message"].as_str().unwrap_or("");
        assert!(code == 400 && message.contains(words), "{crash}: {code} {message}");
    }
    assert!(sim.faults().current().api_errors == 0.0);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_told_to_crash_is_killed() {
    let sim = sim_with("killed", |config| config.allow_processes = true).await;
    let mut real = pod("real", &json!({"sim.bcs/process": "true"}));
    real["spec"]["containers"][0] = json!({"name": "main", "image": "none", "command": ["sleep", "3600"]});
    create(&sim, PODS, &real).await;
    pod_that(&sim, "real", ready).await;
    set(&sim, &json!({"crash": {"app": "real"}})).await;
    let again = pod_that(&sim, "real", |p| ready(p) && restarts(p) == 1).await;
    assert_eq!(again["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 137);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_go_and_come_back_one_by_one() {
    let sim = sim("nodes").await;
    let [first, second] = ["nodes-node-1", "nodes-node-2"];
    let answer = set(&sim, &json!({"node_down": [first, second]})).await;
    assert_eq!(answer["nodes_down"], json!([first, second]));
    let ready_nodes = || async {
        let (_, list) = Raw(&sim).get("/api/v1/nodes").await;
        list["items"].as_array().into_iter().flatten().filter(|node| ready(node)).count()
    };
    let until = |count: usize| {
        eventually(move || async move {
            let found = ready_nodes().await;
            if found == count { Ok(()) } else { Err(format!("{found} are ready")) }
        })
    };
    until(1).await;
    set(&sim, &json!({"node_up": [first]})).await;
    until(2).await;
    let (code, status) = Raw(&sim).post(FAULTS, &json!({"node_down": ["x"]})).await;
    let message = status["message"].as_str().unwrap_or("");
    assert!(
        code == 400 && message.contains("node_down: there is no node \"x\"; there is nodes-node-1"),
        "{message}"
    );
    set(&sim, &json!({"nodes_down": []})).await;
    until(3).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_can_be_asked_for_and_is_taken_back_at_once() {
    let sim = sim_with("asked", |config| config.seed = 5).await;
    let nothing = json!({
        "api_errors": 0.0, "conflicts": 0.0, "latency_ms": 0, "partition_ms": 0, "slow_start_ms": 0,
        "image_pull_errors": 0.0, "broken_images": [], "nodes_down": [], "seed": 5,
    });
    assert_eq!(Raw(&sim).get(FAULTS).await, (200, nothing.clone()));
    let some = json!({
        "api_errors": 0.05, "conflicts": 0.1, "latency_ms": 1, "slow_start_ms": 1000, "image_pull_errors": 0.5,
        "broken_images": ["web:*"], "nodes_down": ["asked-node-2"], "partition_ms": 3_600_000, "seed": 7,
    });
    set(&sim, &some).await;
    let (_, mut found) = Raw(&sim).get(FAULTS).await;
    assert!(found["partition_ms"].as_u64().is_some_and(|left| left > 0));
    found["partition_ms"] = some["partition_ms"].clone();
    assert_eq!(found, some);
    let mut answer = set(&sim, &json!({"reset": true, "seed": 5})).await;
    assert_eq!(answer["crashed"].take(), json!([]));
    answer.as_object_mut().expect("an object").remove("crashed");
    assert_eq!(answer, nothing);
    // Only who may do everything may do this.
    let nobody: Caller = Raw(&sim).by("nobody's");
    assert_eq!(nobody.get(FAULTS).await.0, 401);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_seed_makes_the_same_errors() {
    let sim = sim("seed").await;
    let api: Api<ConfigMap> = Api::default_namespaced(client(&sim).await);
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "a"}})).expect("a config map");
    api.create(&PostParams::default(), &map).await.expect("created");
    let patch = "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}";
    let path = "/api/v1/namespaces/default/configmaps/a";
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        set(&sim, &json!({"api_errors": 0.3, "conflicts": 0.3, "seed": seed})).await;
        let mut codes = Vec::new();
        for _ in 0..20 {
            codes.push(Raw(&sim).send("PATCH", path, "application/merge-patch+json", patch).await.0);
        }
        runs.push(codes);
    }
    assert!([200, 409, 500].iter().all(|code| runs[0].contains(code)), "{runs:?}");
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
    sim.shutdown().await;
}
