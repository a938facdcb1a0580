//! Rollouts of deployments, as their spec and kubectl steer them.

use bcs_kubesim::Kubesim;
use serde_json::{Value, json};

use crate::{
    harness::{
        DEPLOYMENTS, PODS, REPLICA_SETS, change, condition, create, deployment, eventually, list, ready_pods,
        sim, until,
    },
    kubectl::Kubectl,
};

fn image(tag: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": format!("web:{tag}")}]}}}})
}

fn web() -> String {
    format!("{DEPLOYMENTS}/web")
}

/// The number of pods wanted of each ReplicaSet that has any, the largest first.
async fn sizes(sim: &Kubesim) -> Vec<i64> {
    let mut found: Vec<i64> =
        list(sim, REPLICA_SETS).await.iter().filter_map(|(_, s)| s["spec"]["replicas"].as_i64()).collect();
    found.retain(|n| *n > 0);
    found.sort_by_key(|n| -n);
    found
}

async fn sizes_become(sim: &Kubesim, wanted: &[i64]) {
    eventually(|| async {
        let found = sizes(sim).await;
        if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

fn rolled_out(object: &Value, replicas: i64) -> bool {
    object["status"]["observedGeneration"] == object["metadata"]["generation"]
        && ["replicas", "updatedReplicas", "availableReplicas"]
            .iter()
            .all(|f| object["status"][*f] == replicas)
}

#[tokio::test(flavor = "multi_thread")]
async fn recreate_starts_new_pods_only_after_the_last_old_one_has_gone() {
    let sim = sim("recreate").await;
    let mut object = deployment("web", 3, "web:1");
    object["spec"]["strategy"] = json!({"type": "Recreate"});
    object["spec"]["template"]["metadata"]["annotations"]["sim.bcs/shutdown"] = json!("200ms");
    create(&sim, DEPLOYMENTS, &object).await;
    ready_pods(&sim, 3).await;
    change(&sim, &web(), &image("2")).await;
    eventually(|| async {
        let pods = list(&sim, PODS).await;
        let of = |tag: &str| {
            pods.iter().filter(|(_, p)| p["spec"]["containers"][0]["image"] == format!("web:{tag}")).count()
        };
        assert!(of("1") == 0 || of("2") == 0, "{} old and {} new pods at once", of("1"), of("2"));
        if of("2") == 3 { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    until(&sim, &web(), |d| rolled_out(d, 3)).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_number_in_the_middle_of_a_rollout_is_shared_by_old_and_new() {
    let sim = sim("proportional").await;
    let mut object = deployment("web", 10, "web:1");
    object["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}});
    create(&sim, DEPLOYMENTS, &object).await;
    until(&sim, &web(), |d| rolled_out(d, 10)).await;
    change(&sim, &web(), &image("missing")).await;
    sizes_become(&sim, &[8, 5]).await;
    change(&sim, &web(), &json!({"spec": {"replicas": 15}})).await;
    sizes_become(&sim, &[11, 7]).await;
    // Back to the image that works: the new set goes, the old one serves alone.
    change(&sim, &web(), &image("1")).await;
    until(&sim, &web(), |d| rolled_out(d, 15)).await;
    sizes_become(&sim, &[15]).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_does_not_get_on_exceeds_its_deadline_and_can_be_undone() {
    let sim = sim("deadline").await;
    let kubectl = Kubectl::new(&sim);
    let mut object = deployment("web", 2, "web:1");
    object["spec"]["progressDeadlineSeconds"] = json!(1);
    create(&sim, DEPLOYMENTS, &object).await;
    until(&sim, &web(), |d| rolled_out(d, 2)).await;
    change(&sim, &web(), &image("missing")).await;
    let (success, text) = kubectl.run(&["rollout", "status", "deployment/web", "--timeout=30s"], "").await;
    assert!(!success && text.contains("exceeded its progress deadline"), "{text}");
    let stuck = until(&sim, &web(), |d| condition(d, "Progressing")["status"] == "False").await;
    assert_eq!(condition(&stuck, "Available")["status"], "True");
    // The way back gets all the time that a busy machine may need.
    change(&sim, &web(), &json!({"spec": {"progressDeadlineSeconds": 600}})).await;
    kubectl.ok(&["rollout", "undo", "deployment/web"]).await;
    kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=30s"]).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_available_only_after_their_minimum_time() {
    let sim = sim("minimum").await;
    let mut object = deployment("web", 1, "web:1");
    object["spec"]["minReadySeconds"] = json!(2);
    create(&sim, DEPLOYMENTS, &object).await;
    let seen = until(&sim, &web(), |d| d["status"]["availableReplicas"] == 1).await;
    let time = |c: &Value| c["lastTransitionTime"].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
    let pods = ready_pods(&sim, 1).await;
    let (ready, available) = (time(condition(&pods[0], "Ready")), time(condition(&seen, "Available")));
    let passed = available.expect("a time").duration_since(ready.expect("a time"));
    assert!(passed.as_secs() >= 2, "{passed}");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_shows_history_and_goes_back_to_any_revision_of_it() {
    let sim = sim("history").await;
    let kubectl = Kubectl::new(&sim);
    let mut object = deployment("web", 1, "web:1");
    object["spec"]["revisionHistoryLimit"] = json!(2);
    create(&sim, DEPLOYMENTS, &object).await;
    for tag in ["1", "2", "3"] {
        kubectl.ok(&["set", "image", "deployment/web", &format!("main=web:{tag}")]).await;
        let cause = format!("kubernetes.io/change-cause=version {tag}");
        kubectl.ok(&["annotate", "--overwrite", "deployment/web", &cause]).await;
        kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=30s"]).await;
        // The cause belongs to the set of this moment, so it must have arrived there before the next change.
        let wanted = format!("version {tag}");
        eventually(|| async {
            let text = kubectl.ok(&["rollout", "history", "deployment/web"]).await;
            if text.contains(&wanted) { Ok(()) } else { Err(text) }
        })
        .await;
    }
    let text = kubectl.ok(&["rollout", "history", "deployment/web", "--revision=2"]).await;
    assert!(text.contains("web:2") && text.contains("version 2"), "{text}");
    kubectl.ok(&["rollout", "undo", "deployment/web", "--to-revision=1"]).await;
    kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=30s"]).await;
    let seen = until(&sim, &web(), |d| rolled_out(d, 1)).await;
    assert_eq!(seen["spec"]["template"]["spec"]["containers"][0]["image"], "web:1");
    assert_eq!(seen["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "4");
    assert_eq!(seen["metadata"]["annotations"]["kubernetes.io/change-cause"], "version 1");
    kubectl.ok(&["set", "image", "deployment/web", "main=web:4"]).await;
    kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=30s"]).await;
    // One set serves and two are remembered.
    eventually(|| async {
        let found = list(&sim, REPLICA_SETS).await.len();
        if found == 3 { Ok(()) } else { Err(format!("{found} sets")) }
    })
    .await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_pauses_resumes_and_restarts() {
    let sim = sim("pause").await;
    let kubectl = Kubectl::new(&sim);
    create(&sim, DEPLOYMENTS, &deployment("web", 2, "web:1")).await;
    kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=30s"]).await;
    kubectl.ok(&["rollout", "pause", "deployment/web"]).await;
    until(&sim, &web(), |d| condition(d, "Progressing")["reason"] == "DeploymentPaused").await;
    kubectl.ok(&["set", "image", "deployment/web", "main=web:2"]).await;
    kubectl.ok(&["scale", "deployment/web", "--replicas=3"]).await;
    let seen = until(&sim, &web(), |d| {
        d["status"]["observedGeneration"] == d["metadata"]["generation"]
            && d["status"]["availableReplicas"] == 3
    })
    .await;
    assert_eq!(seen["status"].get("updatedReplicas"), None);
    assert_eq!(list(&sim, REPLICA_SETS).await.len(), 1);
    kubectl.ok(&["rollout", "resume", "deployment/web"]).await;
    kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=30s"]).await;
    let before: Vec<String> = list(&sim, PODS).await.into_iter().map(|(name, _)| name).collect();
    kubectl.ok(&["rollout", "restart", "deployment/web"]).await;
    kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=30s"]).await;
    let pods = ready_pods(&sim, 3).await;
    let new = |p: &Value| !before.iter().any(|b| p["metadata"]["name"] == b.as_str());
    assert!(pods.iter().all(|p| new(p) && p["spec"]["containers"][0]["image"] == "web:2"));
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_somebody_else_has_is_counted_as_a_collision() {
    let sim = sim("collision").await;
    create(&sim, DEPLOYMENTS, &deployment("web", 1, "web:1")).await;
    until(&sim, &web(), |d| rolled_out(d, 1)).await;
    let (name, _) = list(&sim, REPLICA_SETS).await.remove(0);
    Kubectl::new(&sim).ok(&["delete", "deployment", "web", "--cascade=foreground"]).await;
    let mut other = deployment("other", 0, "web:1");
    other["kind"] = json!("ReplicaSet");
    other["metadata"]["name"] = json!(name);
    create(&sim, REPLICA_SETS, &other).await;
    create(&sim, DEPLOYMENTS, &deployment("web", 1, "web:1")).await;
    let seen = until(&sim, &web(), |d| rolled_out(d, 1)).await;
    assert_eq!(seen["status"]["collisionCount"], 1);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sets_without_an_owner_are_adopted_with_their_pods() {
    let sim = sim("adopt").await;
    create(&sim, DEPLOYMENTS, &deployment("web", 2, "web:1")).await;
    until(&sim, &web(), |d| rolled_out(d, 2)).await;
    let before: Vec<String> = list(&sim, PODS).await.into_iter().map(|(name, _)| name).collect();
    Kubectl::new(&sim).ok(&["delete", "deployment", "web", "--cascade=orphan"]).await;
    let made = create(&sim, DEPLOYMENTS, &deployment("web", 2, "web:1")).await;
    until(&sim, &web(), |d| rolled_out(d, 2)).await;
    let sets = list(&sim, REPLICA_SETS).await;
    assert_eq!(sets.len(), 1);
    assert_eq!(sets[0].1["metadata"]["ownerReferences"][0]["uid"], made["metadata"]["uid"]);
    let after: Vec<String> = list(&sim, PODS).await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(before, after);
    sim.shutdown().await;
}
