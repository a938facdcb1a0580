//! StatefulSets: names that stay, order, storage, updates and the way back.

use bcs_kubesim::Kubesim;
use serde_json::{Value, json};

use crate::{
    harness::{PODS, Raw, change, create, deployment, eventually, list, ready, sim, until},
    kubectl::Kubectl,
};

const SETS: &str = "/apis/apps/v1/namespaces/default/statefulsets";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";

fn db() -> String {
    format!("{SETS}/db")
}

fn pod(name: &str) -> String {
    format!("{PODS}/{name}")
}

fn set(replicas: u32, more: &Value) -> Value {
    let mut set = deployment("db", replicas, "db:1");
    set["kind"] = json!("StatefulSet");
    set["spec"]["serviceName"] = json!("db");
    for (field, value) in more.as_object().into_iter().flatten() {
        set["spec"][field] = value.clone();
    }
    set
}

fn image(tag: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": format!("db:{tag}")}]}}}})
}

fn image_of(pod: &Value) -> &str {
    pod["spec"]["containers"][0]["image"].as_str().unwrap_or("")
}

/// All pods of the set are ready and have these images, from the lowest ordinal on.
async fn images_become(sim: &Kubesim, wanted: &[&str]) {
    eventually(|| async {
        let pods = list(sim, PODS).await;
        let found: Vec<String> = pods.iter().map(|(_, p)| image_of(p).to_owned()).collect();
        let well = pods.iter().all(|(_, p)| ready(p) && p["metadata"]["deletionTimestamp"].is_null());
        if well && found == wanted { Ok(()) } else { Err(format!("{found:?}, all well: {well}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_start_in_order_and_go_from_the_top() {
    let sim = sim("order").await;
    create(&sim, SETS, &set(3, &json!({}))).await;
    eventually(|| async {
        let pods = list(&sim, PODS).await;
        // Every pod but the last is ready: nobody starts before those in front of it.
        for (name, pod) in pods.iter().rev().skip(1) {
            assert!(ready(pod), "{name} is not ready, but there are {}", pods.len());
        }
        if pods.len() == 3 && ready(&pods[2].1) { Ok(()) } else { Err(format!("{} pods", pods.len())) }
    })
    .await;
    let last = until(&sim, &pod("db-2"), ready).await;
    assert_eq!(last["metadata"]["labels"]["apps.kubernetes.io/pod-index"], "2");
    assert_eq!(last["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"], "db-2");
    assert_eq!([&last["spec"]["hostname"], &last["spec"]["subdomain"]], ["db-2", "db"]);
    change(&sim, &db(), &json!({"spec": {"replicas": 1}})).await;
    eventually(|| async {
        let names: Vec<String> = list(&sim, PODS).await.into_iter().map(|(name, _)| name).collect();
        assert!(names.iter().zip(["db-0", "db-1", "db-2"]).all(|(n, e)| n == e), "{names:?}");
        if names.len() == 1 { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_pod_returns_under_its_name_with_its_storage() {
    let sim = sim("storage").await;
    let storage = json!({"volumeClaimTemplates": [{
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }]});
    create(&sim, SETS, &set(2, &storage)).await;
    let before = until(&sim, &pod("db-1"), ready).await;
    let claim = until(&sim, &format!("{CLAIMS}/data-db-1"), |c| c["status"]["phase"] == "Bound").await;
    assert_eq!(before["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"], "data-db-1");
    Raw(&sim).send("DELETE", &pod("db-1"), "application/json", "").await;
    let uid = &before["metadata"]["uid"];
    until(&sim, &pod("db-1"), |p| ready(p) && p["metadata"]["uid"] != *uid).await;
    let after = until(&sim, &format!("{CLAIMS}/data-db-1"), |c| c["status"]["phase"] == "Bound").await;
    assert_eq!(claim["metadata"]["uid"], after["metadata"]["uid"]);
    let text = Kubectl::new(&sim).ok(&["get", "pvc,sts", "-o", "wide"]).await;
    assert!(text.contains("data-db-1") && text.contains("1Gi") && text.contains("2/2"), "{text}");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_goes_with_its_pod_or_its_set_when_told_so() {
    let sim = sim("retention").await;
    let more = json!({
        "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete", "whenDeleted": "Retain"},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}],
    });
    create(&sim, SETS, &set(2, &more)).await;
    until(&sim, &pod("db-1"), ready).await;
    let claims = |wanted: &'static [&'static str]| {
        let sim = &sim;
        eventually(move || async move {
            let found: Vec<String> = list(sim, CLAIMS).await.into_iter().map(|(name, _)| name).collect();
            if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
        })
    };
    claims(&["data-db-0", "data-db-1"]).await;
    change(&sim, &db(), &json!({"spec": {"replicas": 1}})).await;
    claims(&["data-db-0"]).await;
    let policy = json!({"whenScaled": "Delete", "whenDeleted": "Delete"});
    change(&sim, &db(), &json!({"spec": {"persistentVolumeClaimRetentionPolicy": policy}})).await;
    until(&sim, &format!("{CLAIMS}/data-db-0"), |c| c["metadata"]["ownerReferences"][0]["name"] == "db")
        .await;
    Raw(&sim).send("DELETE", &db(), "application/json", "").await;
    claims(&[]).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_stops_at_its_partition_and_goes_on_when_that_moves() {
    let sim = sim("partition").await;
    let kubectl = Kubectl::new(&sim);
    let strategy = json!({"updateStrategy": {"rollingUpdate": {"partition": 2}}});
    create(&sim, SETS, &set(3, &strategy)).await;
    images_become(&sim, &["db:1", "db:1", "db:1"]).await;
    change(&sim, &db(), &image("2")).await;
    images_become(&sim, &["db:1", "db:1", "db:2"]).await;
    let text = kubectl.ok(&["rollout", "status", "statefulset/db", "--timeout=30s"]).await;
    assert!(text.contains("partitioned roll out complete: 1 new pods have been updated"), "{text}");
    // A pod below the partition returns as it was.
    let before = until(&sim, &pod("db-0"), ready).await;
    Raw(&sim).send("DELETE", &pod("db-0"), "application/json", "").await;
    until(&sim, &pod("db-0"), |p| ready(p) && p["metadata"]["uid"] != before["metadata"]["uid"]).await;
    images_become(&sim, &["db:1", "db:1", "db:2"]).await;
    change(&sim, &db(), &json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}})).await;
    images_become(&sim, &["db:2", "db:2", "db:2"]).await;
    let done = until(&sim, &db(), |s| s["status"]["currentRevision"] == s["status"]["updateRevision"]).await;
    assert_eq!(done["status"]["currentReplicas"], 3);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_rolls_a_set_out_and_back() {
    let sim = sim("undo").await;
    let kubectl = Kubectl::new(&sim);
    create(&sim, SETS, &set(2, &json!({"podManagementPolicy": "Parallel"}))).await;
    kubectl.ok(&["rollout", "status", "statefulset/db", "--timeout=30s"]).await;
    kubectl.ok(&["set", "image", "statefulset/db", "main=db:2"]).await;
    kubectl.ok(&["rollout", "status", "statefulset/db", "--timeout=30s"]).await;
    images_become(&sim, &["db:2", "db:2"]).await;
    let text = kubectl.ok(&["rollout", "history", "statefulset/db", "--revision=1"]).await;
    assert!(text.contains("db:1"), "{text}");
    kubectl.ok(&["rollout", "undo", "statefulset/db"]).await;
    kubectl.ok(&["rollout", "status", "statefulset/db", "--timeout=30s"]).await;
    images_become(&sim, &["db:1", "db:1"]).await;
    let text = kubectl.ok(&["rollout", "history", "statefulset/db"]).await;
    assert!(text.contains('3') && !text.contains("\n1 "), "{text}");
    let text = kubectl.ok(&["get", "controllerrevisions"]).await;
    assert!(text.contains("statefulset.apps/db"), "{text}");
    kubectl.ok(&["rollout", "restart", "statefulset/db"]).await;
    kubectl.ok(&["rollout", "status", "statefulset/db", "--timeout=30s"]).await;
    kubectl.ok(&["scale", "statefulset/db", "--replicas=3"]).await;
    images_become(&sim, &["db:1", "db:1", "db:1"]).await;
    let text = kubectl.ok(&["describe", "statefulset", "db"]).await;
    assert!(text.contains("3 Running"), "{text}");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_an_ondelete_set_change_only_when_somebody_deletes_them() {
    let sim = sim("ondelete").await;
    create(&sim, SETS, &set(2, &json!({"updateStrategy": {"type": "OnDelete"}}))).await;
    images_become(&sim, &["db:1", "db:1"]).await;
    change(&sim, &db(), &image("2")).await;
    until(&sim, &db(), |s| s["status"]["observedGeneration"] == 2).await;
    let before = until(&sim, &pod("db-0"), ready).await;
    assert_eq!(image_of(&before), "db:1");
    Raw(&sim).send("DELETE", &pod("db-0"), "application/json", "").await;
    images_become(&sim, &["db:2", "db:1"]).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_set_is_made_of_cannot_be_changed() {
    let sim = sim("fixed").await;
    create(&sim, SETS, &set(0, &json!({}))).await;
    let patch = json!({"spec": {"serviceName": "other"}}).to_string();
    let (code, answer) = Raw(&sim).send("PATCH", &db(), "application/merge-patch+json", &patch).await;
    assert_eq!(code, 422);
    assert!(
        answer["message"].as_str().is_some_and(|m| m.contains("updates to statefulset spec")),
        "{answer}"
    );
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_made_anew_takes_over_pods_and_revisions() {
    let sim = sim("anew").await;
    create(&sim, SETS, &set(2, &json!({}))).await;
    images_become(&sim, &["db:1", "db:1"]).await;
    let before = list(&sim, PODS).await;
    Kubectl::new(&sim).ok(&["delete", "statefulset", "db", "--cascade=orphan", "--timeout=30s"]).await;
    let made = create(&sim, SETS, &set(2, &json!({}))).await;
    until(&sim, &db(), |s| s["status"]["updatedReplicas"] == 2 && s["status"]["readyReplicas"] == 2).await;
    let after = list(&sim, PODS).await;
    for ((_, before), (_, after)) in before.iter().zip(&after) {
        assert_eq!(before["metadata"]["uid"], after["metadata"]["uid"]);
        assert_eq!(after["metadata"]["ownerReferences"][0]["uid"], made["metadata"]["uid"]);
    }
    let revisions = list(&sim, "/apis/apps/v1/namespaces/default/controllerrevisions").await;
    assert_eq!(revisions.len(), 1);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_find_the_pods_of_a_headless_service_by_name() {
    let sim = sim("headless").await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "db"},
        "spec": {"clusterIP": "None", "selector": {"app": "db"}, "ports": [{"port": 8080}]},
    });
    create(&sim, "/api/v1/namespaces/default/services", &service).await;
    create(&sim, SETS, &set(2, &json!({}))).await;
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    eventually(|| async {
        let slices = list(&sim, slices).await;
        let endpoints =
            slices.iter().flat_map(|(_, s)| s["endpoints"].as_array().cloned().unwrap_or_default());
        let mut names: Vec<String> =
            endpoints.filter_map(|e| e["hostname"].as_str().map(str::to_owned)).collect();
        names.sort();
        if names == ["db-0", "db-1"] { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_goes_on_where_it_was_after_a_restart_of_the_cluster() {
    let dir = tempfile::tempdir().expect("directory");
    let config = bcs_kubesim::Config {
        name: "resumed".to_owned(),
        data_dir: Some(dir.path().to_owned()),
        ..Default::default()
    };
    let first = bcs_kubesim::start(config.clone()).await.expect("first start");
    create(&first, SETS, &set(2, &json!({"updateStrategy": {"rollingUpdate": {"partition": 1}}}))).await;
    images_become(&first, &["db:1", "db:1"]).await;
    change(&first, &db(), &image("2")).await;
    images_become(&first, &["db:1", "db:2"]).await;
    let before = until(&first, &db(), |s| s["status"]["updatedReplicas"] == 1).await;
    first.shutdown().await;
    let second = bcs_kubesim::start(config).await.expect("second start");
    change(&second, &db(), &json!({"spec": {"replicas": 3}})).await;
    images_become(&second, &["db:1", "db:2", "db:2"]).await;
    let after = until(&second, &db(), |s| s["status"]["updatedReplicas"] == 2).await;
    assert_eq!(before["status"]["currentRevision"], after["status"]["currentRevision"]);
    second.shutdown().await;
}
