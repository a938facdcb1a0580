//! Webhooks between requests and the store, over TLS, as sidecar injectors and policies are.

use bcs_kubesim::Kubesim;
use serde_json::{Value, json};

use crate::{
    harness::{DEPLOYMENTS, PODS, Raw, change, create, deployment, eventually, pod, ready_pods, sim, until},
    kubectl::Kubectl,
    webhook::{Webhook, patched, refused},
};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

async fn register(sim: &Kubesim, kind: &str, name: &str, hooks: &Value) {
    let object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "webhooks": hooks,
    });
    create(sim, &format!("{GROUP}/{}s", kind.to_lowercase()), &object).await;
}

async fn mutating(sim: &Kubesim, name: &str, hooks: &Value) {
    register(sim, "MutatingWebhookConfiguration", name, hooks).await;
}

async fn validating(sim: &Kubesim, name: &str, hooks: &Value) {
    register(sim, "ValidatingWebhookConfiguration", name, hooks).await;
}

fn on(operations: &[&str], resources: &[&str]) -> Value {
    json!([{"operations": operations, "apiGroups": ["*"], "apiVersions": ["*"], "resources": resources}])
}

fn inject(_: &Value) -> Value {
    patched(&json!([
        {"op": "add", "path": "/spec/containers/-", "value": {"name": "sidecar", "image": "sidecar:1"}},
        {"op": "add", "path": "/metadata/labels/injected", "value": "yes"},
    ]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_is_injected_into_pods_that_controllers_make_where_their_namespace_asks_for_it() {
    let sim = sim("inject").await;
    let hook = Webhook::start(inject).await;
    let selector = json!({"namespaceSelector": {"matchLabels": {"inject": "enabled"}}});
    mutating(&sim, "injector", &json!([hook.entry("inject", &on(&["CREATE"], &["pods"]), &selector)])).await;
    create(&sim, PODS, &pod("before", &json!({}))).await;
    assert_eq!(hook.asked().len(), 0, "the namespace did not ask for it");
    let labels = json!({"metadata": {"labels": {"inject": "enabled"}}});
    change(&sim, "/api/v1/namespaces/default", &labels).await;
    Raw(&sim).send("DELETE", &format!("{PODS}/before"), "application/json", "").await;
    create(&sim, DEPLOYMENTS, &deployment("web", 2, "web:1")).await;
    for pod in ready_pods(&sim, 2).await {
        let containers = pod["spec"]["containers"].as_array().expect("containers");
        let names: Vec<&str> = containers.iter().filter_map(|c| c["name"].as_str()).collect();
        assert_eq!(names, ["main", "sidecar"]);
        assert_eq!(containers[1]["imagePullPolicy"], "IfNotPresent", "defaults are filled in afterwards");
        assert_eq!(pod["metadata"]["labels"]["injected"], "yes");
        assert_eq!(pod["status"]["containerStatuses"].as_array().map(Vec::len), Some(2));
    }
    let asked = hook.asked();
    assert_eq!(asked.len(), 2);
    let first = &asked[0];
    assert_eq!(first["userInfo"]["username"], "system:serviceaccount:kube-system:replicaset-controller");
    assert_eq!((&first["operation"], &first["namespace"]), (&json!("CREATE"), &json!("default")));
    assert_eq!((first["object"]["metadata"]["name"].as_str(), first["name"].as_str()), (None, None));
    assert!(first["object"]["metadata"]["generateName"].as_str().is_some_and(|n| n.starts_with("web-")));
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_webhook_refuses_does_not_happen_and_the_client_reads_why() {
    let sim = sim("refuse").await;
    let hook = Webhook::start(|request| {
        let object = if request["object"].is_null() { &request["oldObject"] } else { &request["object"] };
        match (request["operation"].as_str(), request["subResource"].as_str()) {
            (Some("DELETE"), _) if object["metadata"]["labels"]["keep"] == "yes" => {
                refused("it is to be kept")
            }
            (Some("UPDATE"), Some("scale")) if object["spec"]["replicas"] == 9 => {
                refused("nine are too many")
            }
            (Some("CONNECT"), _) => refused("no commands here"),
            (Some("UPDATE"), None) if object["data"]["a"] == "bad" => refused("bad data"),
            (Some("CREATE"), None) if object["data"]["a"] == "bad" => refused("bad data"),
            _ => json!({"allowed": true, "warnings": ["you are being watched"]}),
        }
    })
    .await;
    let rules = on(&["*"], &["configmaps", "deployments/scale", "pods/exec"]);
    validating(&sim, "policy", &json!([hook.entry("policy", &rules, &json!({}))])).await;
    let kubectl = Kubectl::new(&sim);
    let text = kubectl.ok(&["create", "configmap", "good", "--from-literal=a=1"]).await;
    assert!(text.contains("created"), "{text}");
    let denied = "admission webhook \"policy.judge.example\" denied the request:";
    for (arguments, why) in [
        (&["create", "configmap", "bad", "--from-literal=a=bad"][..], "bad data"),
        (&["patch", "configmap", "good", "-p", r#"{"data":{"a":"bad"}}"#], "bad data"),
        (&["create", "configmap", "bad", "--from-literal=a=bad", "--dry-run=server"], "bad data"),
    ] {
        let (success, text) = kubectl.run(arguments, "").await;
        assert!(!success && text.contains(denied) && text.contains(why), "{arguments:?}: {text}");
    }
    let (success, text) = kubectl.run(&["label", "configmap", "good", "keep=yes"], "").await;
    assert!(success && text.contains("you are being watched"), "{text}");
    let (success, text) = kubectl.run(&["delete", "configmap", "good"], "").await;
    assert!(!success && text.contains("it is to be kept"), "{text}");
    let (success, text) = kubectl.run(&["delete", "configmap", "--all"], "").await;
    assert!(!success && text.contains("it is to be kept"), "{text}");
    create(&sim, DEPLOYMENTS, &deployment("web", 1, "web:1")).await;
    let (success, text) = kubectl.run(&["scale", "deployment", "web", "--replicas=9"], "").await;
    assert!(!success && text.contains("nine are too many"), "{text}");
    kubectl.ok(&["scale", "deployment", "web", "--replicas=2"]).await;
    let dry: Vec<Value> = hook.asked().into_iter().filter(|r| r["dryRun"] == true).collect();
    assert_eq!(dry.len(), 1, "a dry run is asked about as one");
    let scale = hook.asked().into_iter().find(|r| r["subResource"] == "scale").expect("asked");
    assert_eq!(scale["kind"], json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}));
    // Nor does anybody get into a pod past it.
    let pods = ready_pods(&sim, 2).await;
    let name = pods[0]["metadata"]["name"].as_str().unwrap_or("");
    let (success, text) =
        Kubectl::new(&sim).without_websockets().run(&["exec", name, "--", "hostname"], "").await;
    assert!(!success && text.contains("no commands here"), "{text}");
    let exec = hook.asked().into_iter().find(|r| r["operation"] == "CONNECT").expect("asked");
    assert_eq!((&exec["object"]["command"], &exec["subResource"]), (&json!(["hostname"]), &json!("exec")));
    // What was refused left no trace.
    let (_, kept) = Raw(&sim).get("/api/v1/namespaces/default/configmaps/good").await;
    assert_eq!(kept["data"]["a"], "1");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_away_stops_only_what_it_must_not_miss() {
    let sim = sim("away").await;
    let hook = Webhook::start(|_| json!({"allowed": true})).await;
    let rules = on(&["CREATE"], &["configmaps"]);
    let gone = hook.entry("gone", &rules, &json!({"timeoutSeconds": 1}));
    let made = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    let path = "/api/v1/namespaces/default/configmaps";
    validating(&sim, "strict", &json!([gone])).await;
    create(&sim, path, &made("while-it-is-there")).await;
    drop(hook);
    let refusal = eventually(|| async {
        match Raw(&sim).post(path, &made("x")).await {
            (500, body) => Ok(body),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let why = refusal["message"].as_str().unwrap_or("");
    let expected = "Internal error occurred: failed calling webhook \"gone.judge.example\": failed to call webhook: Post \"https://";
    assert!(why.starts_with(expected) && why.contains("?timeout=1s"), "{why}");
    // The way out is never barred.
    let strict = format!("{GROUP}/validatingwebhookconfigurations/strict");
    change(&sim, &strict, &json!({"webhooks": [merged(&gone, &json!({"failurePolicy": "Ignore"}))]})).await;
    create(&sim, path, &made("y")).await;
    // Nobody is believed whom the given authority did not sign.
    let (true_one, other) = (
        Webhook::start(|_| json!({"allowed": true})).await,
        Webhook::start(|_| json!({"allowed": true})).await,
    );
    let mut imposter = true_one.entry("imposter", &rules, &json!({}));
    imposter["clientConfig"]["caBundle"] = json!(other.authority());
    change(&sim, &strict, &json!({"webhooks": [imposter]})).await;
    let (code, body) = Raw(&sim).post(path, &made("z")).await;
    let why = body["message"].as_str().unwrap_or("");
    assert!(code == 500 && why.contains("certificate"), "{code} {why}");
    assert_eq!(true_one.asked().len(), 0);
    sim.shutdown().await;
}

fn merged(object: &Value, more: &Value) -> Value {
    let mut object = object.clone();
    for (field, value) in more.as_object().into_iter().flatten() {
        object[field] = value.clone();
    }
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_change_one_after_the_other_and_who_wants_to_see_the_end_is_asked_again() {
    let sim = sim("chain").await;
    let count = |request: &Value| {
        let containers = request["object"]["spec"]["containers"].as_array().map_or(0, Vec::len);
        patched(
            &json!([{"op": "add", "path": "/metadata/annotations/count", "value": containers.to_string()}]),
        )
    };
    let (counter, injector) = (Webhook::start(count).await, Webhook::start(inject).await);
    let rules = on(&["CREATE"], &["pods"]);
    let again = json!({"reinvocationPolicy": "IfNeeded"});
    mutating(&sim, "a-counter", &json!([counter.entry("count", &rules, &again)])).await;
    mutating(&sim, "b-injector", &json!([injector.entry("inject", &rules, &json!({}))])).await;
    let made = create(&sim, PODS, &pod("web", &json!({"x": "y"}))).await;
    assert_eq!(made["metadata"]["annotations"]["count"], "2", "{made}");
    assert_eq!((counter.asked().len(), injector.asked().len()), (2, 1));
    // What a webhook makes of it must be as right as what anybody else writes.
    let spoil = |_: &Value| {
        patched(&json!([{"op": "replace", "path": "/spec/containers/0/name", "value": "Not A Name"}]))
    };
    let spoiler = Webhook::start(spoil).await;
    mutating(&sim, "c-spoiler", &json!([spoiler.entry("spoil", &rules, &json!({}))])).await;
    let (code, body) = Raw(&sim).post(PODS, &pod("other", &json!({"x": "y"}))).await;
    assert_eq!((code, &body["reason"]), (422, &json!("Invalid")), "{body}");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_may_live_behind_a_service_of_the_cluster() {
    let sim = sim("service").await;
    // The pod stands for the program: the test listens on its address, with a port of its own.
    create(&sim, PODS, &pod("judge", &json!({}))).await;
    let judge = until(&sim, &format!("{PODS}/judge"), crate::harness::ready).await;
    let address = judge["status"]["podIP"].as_str().expect("an address").to_owned();
    let hook = Webhook::start_on(&format!("{address}:8443"), |_| refused("not today")).await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "judge"},
        "spec": {"selector": {"app": "judge"}, "ports": [{"port": 443, "targetPort": 8443}]},
    });
    create(&sim, "/api/v1/namespaces/default/services", &service).await;
    let mut entry = hook.entry("inside", &on(&["CREATE"], &["secrets"]), &json!({}));
    entry["clientConfig"] = json!({
        "service": {"name": "judge", "namespace": "default", "path": "/judge"}, "caBundle": hook.authority(),
    });
    validating(&sim, "inside", &json!([entry])).await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    eventually(|| async {
        match Raw(&sim).post("/api/v1/namespaces/default/secrets", &secret).await {
            (403, body) if body["message"].as_str().is_some_and(|m| m.ends_with("not today")) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_work_is_refused_by_its_fields() {
    let kubectl_sim = sim("fields").await;
    let kubectl = Kubectl::new(&kubectl_sim);
    let manifest = r"
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: wrong}
webhooks:
- name: short
  clientConfig: {url: 'http://127.0.0.1/x'}
";
    let (success, text) = kubectl.run(&["apply", "-f", "-"], manifest).await;
    assert!(!success, "{text}");
    for field in ["webhooks[0].name", "webhooks[0].sideEffects", "webhooks[0].clientConfig.url"] {
        assert!(text.contains(field), "{field}: {text}");
    }
    let text = kubectl.ok(&["api-resources", "--api-group=admissionregistration.k8s.io"]).await;
    assert!(text.contains("mutatingwebhookconfigurations"), "{text}");
    let text = kubectl.ok(&["explain", "validatingwebhookconfiguration.webhooks.failurePolicy"]).await;
    assert!(text.contains("unrecognized errors from the admission endpoint"), "{text}");
    kubectl_sim.shutdown().await;
}
