//! Corners of the protocol: authentication, errors, apply, deletion, subresources, faults.

use serde_json::{Value, json};

use crate::harness::{DEPLOYMENTS, PODS, Raw, deployment, eventually, pod, ready_pods, sim};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";

#[tokio::test(flavor = "multi_thread")]
async fn requests_need_the_token() {
    let sim = sim("auth").await;
    for token in [None, Some("wrong")] {
        let request = reqwest::Client::new().get(format!("{}{PODS}", sim.url()));
        let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status().as_u16(), 401);
        let body: Value = serde_json::from_str(&response.text().await.expect("a body")).expect("a status");
        assert_eq!((&body["kind"], &body["reason"]), (&json!("Status"), &json!("Unauthorized")));
    }
    assert!(reqwest::get(format!("{}/readyz", sim.url())).await.expect("an answer").status().is_success());
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_get_the_right_status() {
    let sim = sim("errors").await;
    let api = Raw(&sim);
    let map = |more: Value| {
        let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
        map.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        map.to_string()
    };
    let big = map(json!({"data": {"x": "y".repeat(4 << 20)}}));
    let strict = format!("{MAPS}?fieldValidation=Strict");
    let broken = deployment("web", 1, "").to_string();
    let wrong_type = deployment("web", 1, "i").to_string().replace("\"replicas\":1", "\"replicas\":\"x\"");
    let nowhere = "/api/v1/namespaces/nowhere/configmaps";
    for (what, method, path, media, body, code, text) in [
        ("not found", "GET", "/api/v1/namespaces/default/pods/x", JSON, "", 404, "pods \"x\" not found"),
        ("no such resource", "GET", "/api/v1/things", JSON, "", 404, "could not find the requested resource"),
        (
            "missing namespace",
            "POST",
            nowhere,
            JSON,
            &map(json!({})),
            404,
            "namespaces \"nowhere\" not found",
        ),
        ("wrong kind", "POST", MAPS, JSON, &map(json!({"kind": "Secret"})), 400, "does not match"),
        ("no JSON", "POST", MAPS, JSON, "{", 400, "json"),
        ("no protobuf", "POST", MAPS, "application/vnd.kubernetes.protobuf", "k8s", 400, "protobuf"),
        ("something else", "POST", MAPS, "application/cbor", "k8s", 415, "media types"),
        ("too large", "POST", MAPS, JSON, &big, 413, "too large"),
        ("bad name", "POST", MAPS, JSON, &map(json!({"metadata": {"name": "A_"}})), 422, "metadata.name"),
        ("unknown field", "POST", &strict, JSON, &map(json!({"dta": {}})), 400, "unknown field \"dta\""),
        ("no image", "POST", DEPLOYMENTS, JSON, &broken, 422, "containers[0].image"),
        ("wrong type", "POST", DEPLOYMENTS, JSON, &wrong_type, 400, "spec.replicas"),
        (
            "wrong method",
            "POST",
            "/api/v1/namespaces/default/pods/x",
            JSON,
            "{}",
            405,
            "does not allow this method",
        ),
    ] {
        let (found, status) = api.send(method, path, media, body).await;
        assert_eq!(found, code, "{what}: {status}");
        assert_eq!(status["kind"], "Status", "{what}");
        assert!(status["message"].as_str().is_some_and(|m| m.contains(text)), "{what}: {status}");
    }
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_creates_conflicts_and_forces() {
    let sim = sim("apply").await;
    let apply = |manager: &str, force: bool, data: &str| {
        let path = format!("{MAPS}/a?fieldManager={manager}&force={force}");
        let yaml = format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  x: {data:?}\n");
        let sim = &sim;
        async move { Raw(sim).send("PATCH", &path, "application/apply-patch+yaml", &yaml).await }
    };
    assert_eq!(apply("one", false, "1").await.0, 201);
    let (code, first) = apply("one", false, "2").await;
    assert_eq!(code, 200);
    let (_, second) = apply("one", false, "2").await;
    assert_eq!(first["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"]);
    let (code, status) = apply("two", false, "3").await;
    assert_eq!((code, &status["details"]["causes"][0]["field"]), (409, &json!(".data.x")));
    let (code, object) = apply("two", true, "3").await;
    assert_eq!((code, &object["data"]["x"]), (200, &json!("3")));
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_an_owner_takes_or_leaves_its_dependents() {
    let sim = sim("garbage").await;
    let api = Raw(&sim);
    for (name, policy) in [("bg", "Background"), ("fg", "Foreground"), ("or", "Orphan")] {
        api.post(DEPLOYMENTS, &deployment(name, 1, "i:1")).await;
        ready_pods(&sim, 1).await;
        let path = format!("{DEPLOYMENTS}/{name}?propagationPolicy={policy}");
        assert_eq!(api.send("DELETE", &path, JSON, "").await.0, 200);
        let left = if policy == "Orphan" { 1 } else { 0 };
        eventually(|| async {
            let (code, _) = api.get(&format!("{DEPLOYMENTS}/{name}")).await;
            let (_, sets) = api.get("/apis/apps/v1/replicasets").await;
            let count = sets["items"].as_array().map_or(0, Vec::len);
            if code == 404 && count == left { Ok(()) } else { Err(format!("{policy}: {code}, {count} sets")) }
        })
        .await;
        ready_pods(&sim, left).await;
    }
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_ends_with_everything_in_it() {
    let sim = sim("namespace").await;
    let api = Raw(&sim);
    api.post(
        "/api/v1/namespaces",
        &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}),
    )
    .await;
    let (code, _) = api.post("/apis/apps/v1/namespaces/team/deployments", &deployment("web", 2, "i:1")).await;
    assert_eq!(code, 201);
    api.send("DELETE", "/api/v1/namespaces/team", JSON, "").await;
    eventually(|| async {
        let (code, body) = api.get("/api/v1/namespaces/team").await;
        if code == 404 { Ok(()) } else { Err(body.to_string()) }
    })
    .await;
    let (_, pods) = api.get("/api/v1/pods").await;
    assert_eq!(pods["items"], json!([]));
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evictions_respect_the_budget() {
    let sim = sim("evict").await;
    let api = Raw(&sim);
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}},
    });
    api.post("/apis/policy/v1/namespaces/default/poddisruptionbudgets", &budget).await;
    api.post(PODS, &pod("a", &json!({}))).await;
    ready_pods(&sim, 1).await;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}});
    assert_eq!(api.post(&format!("{PODS}/a/eviction"), &eviction).await.0, 429);
    api.send("DELETE", "/apis/policy/v1/namespaces/default/poddisruptionbudgets/b", JSON, "").await;
    assert_eq!(api.post(&format!("{PODS}/a/eviction"), &eviction).await.0, 201);
    ready_pods(&sim, 0).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_switched_over_http() {
    let sim = sim("faults").await;
    let api = Raw(&sim);
    assert_eq!(api.post("/sim/faults", &json!({"api_errors": 1.0})).await.0, 200);
    let (code, status) = api.get(PODS).await;
    assert_eq!((code, &status["kind"]), (500, &json!("Status")));
    api.post("/sim/faults", &json!({"api_errors": 0.0, "conflicts": 1.0})).await;
    let patch = "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}";
    let (code, _) =
        api.send("PATCH", "/api/v1/namespaces/default", "application/merge-patch+json", patch).await;
    assert_eq!(code, 409);
    sim.faults().reset();
    assert_eq!(api.get("/sim/stats").await.1["objects"]["nodes"], 3);
    assert_eq!(api.post("/sim/faults", &json!({"unknown": 1})).await.0, 400);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_get_an_address_and_slices() {
    let sim = sim("service").await;
    let api = Raw(&sim);
    api.post(DEPLOYMENTS, &deployment("web", 2, "i:1")).await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    assert_eq!(api.post("/api/v1/namespaces/default/services", &service).await.0, 201);
    let ready = |slice: &Value| {
        let list = slice["endpoints"].as_array().cloned().unwrap_or_default();
        list.iter().filter(|e| e["conditions"]["ready"] == true).count()
    };
    eventually(|| async {
        let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io/service-name%3Dweb";
        let (_, list) = api.get(path).await;
        let slice = &list["items"][0];
        if ready(slice) == 2 && slice["ports"][0]["port"] == 8080 { Ok(()) } else { Err(list.to_string()) }
    })
    .await;
    let (_, service) = api.get("/api/v1/namespaces/default/services/web").await;
    assert!(service["spec"]["clusterIP"].as_str().is_some_and(|ip| ip.starts_with("10.")), "{service}");
    sim.shutdown().await;
}
