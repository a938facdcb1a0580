//! Objects that are kept for others, and how they change: every kind in the same way.

use bcs_kubesim::Kubesim;
use serde_json::{Value, json};

use crate::{
    harness::{PODS, Raw, change, condition, create, list, pod, ready, sim, until},
    kubectl::Kubectl,
};

const STORAGE: &str = "/apis/storage.k8s.io/v1";
const NETWORKING: &str = "/apis/networking.k8s.io/v1";
const FLOW: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";

/// Create, read, change by every door, list by label, and delete all.
async fn goes_through_its_life(sim: &Kubesim, path: &str, object: &Value, status: Option<Value>) {
    let mut object = object.clone();
    object["metadata"]["labels"] = json!({"kept": "yes"});
    let name = create(sim, path, &object).await["metadata"]["name"].as_str().expect("a name").to_owned();
    let one = format!("{path}/{name}");
    let changed = change(sim, &one, &json!({"metadata": {"annotations": {"a": "b"}}})).await;
    assert_eq!(changed["metadata"]["annotations"]["a"], "b", "{path}");
    if let Some(status) = status {
        let patch = json!({"metadata": {"annotations": {"by": "status"}}, "status": status});
        let changed = change(sim, &format!("{one}/status"), &patch).await;
        assert_eq!(
            (&changed["status"], &changed["metadata"]["annotations"]["by"]),
            (&status, &json!("status")),
            "{path}"
        );
    }
    let mut whole = Raw(sim).get(&one).await.1;
    whole["metadata"]["labels"]["more"] = json!("x");
    assert_eq!(Raw(sim).send("PUT", &one, "application/json", &whole.to_string()).await.0, 200, "{path}");
    let chosen = format!("{path}?labelSelector=kept%3Dyes");
    assert_eq!(list(sim, &chosen).await.len(), 1, "{path}");
    assert_eq!(Raw(sim).send("DELETE", &chosen, "application/json", "").await.0, 200, "{path}");
    assert_eq!(Raw(sim).get(&one).await.0, 404, "{path}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_kept_is_made_changed_by_every_door_listed_and_deleted() {
    let sim = sim("kept").await;
    let condition = json!({"conditions": [{
        "type": "Tried", "status": "True", "reason": "x", "message": "y", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]});
    let named = |name: &str, more: Value| {
        let mut object = more;
        object["metadata"] = json!({"name": name});
        object
    };
    let namespaced = format!("{STORAGE}/namespaces/default/csistoragecapacities");
    for (path, object, status) in [
        (format!("{STORAGE}/csidrivers"), named("d.example", json!({"spec": {}})), None),
        (format!("{STORAGE}/csinodes"), named("n", json!({"spec": {"drivers": []}})), None),
        (namespaced, named("c", json!({"storageClassName": "x", "capacity": "1Gi"})), None),
        (
            format!("{STORAGE}/volumeattachments"),
            named(
                "v",
                json!({"spec": {"attacher": "a", "nodeName": "n", "source": {"persistentVolumeName": "p"}}}),
            ),
            Some(json!({"attached": true})),
        ),
        (
            format!("{STORAGE}/volumeattributesclasses"),
            named("g", json!({"driverName": "d", "parameters": {"a": "b"}})),
            None,
        ),
        (
            format!("{NETWORKING}/servicecidrs"),
            named("s", json!({"spec": {"cidrs": ["10.9.0.0/24"]}})),
            Some(condition.clone()),
        ),
        (
            format!("{NETWORKING}/ipaddresses"),
            named(
                "10.9.0.1",
                json!({"spec": {"parentRef": {"resource": "services", "namespace": "a", "name": "b"}}}),
            ),
            None,
        ),
        (
            format!("{FLOW}/flowschemas"),
            named("f", json!({"spec": {"priorityLevelConfiguration": {"name": "p"}}})),
            Some(condition.clone()),
        ),
        (
            format!("{FLOW}/prioritylevelconfigurations"),
            named(
                "p",
                json!({"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}}),
            ),
            Some(condition.clone()),
        ),
    ] {
        goes_through_its_life(&sim, &path, &object, status).await;
    }
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_a_certificate_says_who_asks_and_is_approved_by_its_own_door() {
    let sim = sim("csr").await;
    let key = rcgen_request();
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let object = json!({"metadata": {"name": "me"}, "spec": {
        "request": key, "signerName": "example.com/own", "usages": ["client auth"], "username": "somebody else",
    }});
    let made = create(&sim, path, &object).await;
    assert_eq!(made["spec"]["username"], "kubernetes-admin");
    let me = format!("{path}/me");
    let approval = json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "x"}], "certificate": "eA=="}});
    let approved = change(&sim, &format!("{me}/approval"), &approval).await;
    assert_eq!(approved["status"]["conditions"][0]["type"], "Approved");
    assert_eq!(approved["status"]["certificate"], Value::Null, "approval does not sign");
    let other = json!({"spec": {"signerName": "example.com/other"}}).to_string();
    let (code, refused) = Raw(&sim).send("PATCH", &me, "application/merge-patch+json", &other).await;
    assert_eq!(code, 422, "{refused}");
    let role = json!({"metadata": {"name": "approver"}, "rules": [
        {"apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests/approval"], "verbs": ["patch"]},
    ]});
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    create(&sim, &format!("{rbac}/clusterroles"), &role).await;
    let subject = json!([{"kind": "User", "name": "ann", "apiGroup": "rbac.authorization.k8s.io"}]);
    let of_role = json!({"kind": "ClusterRole", "name": "approver", "apiGroup": "rbac.authorization.k8s.io"});
    let binding = json!({"metadata": {"name": "approver"}, "roleRef": of_role, "subjects": subject});
    create(&sim, &format!("{rbac}/clusterrolebindings"), &binding).await;
    let ann = || Raw(&sim).by(sim.token()).impersonates("ann");
    let approve = || async {
        ann()
            .send("PATCH", &format!("{me}/approval"), "application/merge-patch+json", &approval.to_string())
            .await
    };
    let (code, refused) = approve().await;
    assert_eq!(code, 403);
    let why = "user not permitted to approve requests with signerName \"example.com/own\"";
    assert!(refused["message"].as_str().is_some_and(|m| m.contains(why)), "{refused}");
    let rule = json!({"rules": [role["rules"][0], {"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "resourceNames": ["example.com/*"], "verbs": ["approve"]}]});
    change(&sim, &format!("{rbac}/clusterroles/approver"), &rule).await;
    assert_eq!(approve().await.0, 200);
    sim.shutdown().await;
}

/// As PEM, in base64.
fn rcgen_request() -> String {
    use base64::Engine as _;
    let key = rcgen::KeyPair::generate().expect("a key");
    let request = rcgen::CertificateParams::new(["me".to_owned()]).and_then(|p| p.serialize_request(&key));
    base64::engine::general_purpose::STANDARD.encode(request.and_then(|r| r.pem()).expect("a request"))
}

const CONTROLLERS: &str = "/api/v1/namespaces/default/replicationcontrollers";

#[tokio::test(flavor = "multi_thread")]
async fn a_replication_controller_keeps_its_pods_as_kubectl_asks_and_leaves_them_when_nobody_says_otherwise()
{
    let sim = sim("replication").await;
    let kubectl = Kubectl::new(&sim);
    let template = json!({"metadata": {"labels": {"app": "old"}}, "spec": {"containers": [{"name": "c", "image": "web:1"}]}});
    create(&sim, PODS, &pod("stray", &json!({}))).await;
    change(&sim, &format!("{PODS}/stray"), &json!({"metadata": {"labels": {"app": "old"}}})).await;
    let made = create(
        &sim,
        CONTROLLERS,
        &json!({"metadata": {"name": "old"}, "spec": {"replicas": 2, "template": template}}),
    )
    .await;
    assert_eq!(made["spec"]["selector"], json!({"app": "old"}), "from the labels of the template");
    let old = format!("{CONTROLLERS}/old");
    until(&sim, &old, |rc| rc["status"]["readyReplicas"] == 2).await;
    let stray = until(&sim, &format!("{PODS}/stray"), ready).await;
    assert_eq!(stray["metadata"]["ownerReferences"][0]["kind"], "ReplicationController");
    assert!(kubectl.ok(&["get", "rc", "old"]).await.contains("DESIRED"));
    let told = kubectl.ok(&["describe", "rc", "old"]).await;
    assert!(told.contains("2 current / 2 desired"), "{told}");
    kubectl.ok(&["scale", "rc", "old", "--replicas=3"]).await;
    until(&sim, &old, |rc| rc["status"]["availableReplicas"] == 3).await;
    assert_eq!(Raw(&sim).get(&format!("{old}/scale")).await.1["status"]["selector"], "app=old");
    change(&sim, &format!("{PODS}/stray"), &json!({"metadata": {"labels": {"app": "new"}}})).await;
    until(&sim, &format!("{PODS}/stray"), |pod| pod["metadata"]["ownerReferences"] == json!([])).await;
    until(&sim, &old, |rc| rc["status"]["readyReplicas"] == 3).await;
    assert_eq!(Raw(&sim).send("DELETE", &old, "application/json", "").await.0, 200);
    until(&sim, &old, |rc| rc["code"] == 404).await;
    let left = list(&sim, &format!("{PODS}?labelSelector=app%3Dold")).await;
    assert_eq!(
        left.iter()
            .map(|(_, pod)| &pod["metadata"]["ownerReferences"])
            .filter(|o| o.as_array().is_none_or(Vec::is_empty))
            .count(),
        3
    );
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_is_only_tried_deletes_nothing() {
    let sim = sim("dry").await;
    let kubectl = Kubectl::new(&sim);
    create(&sim, PODS, &pod("stays", &json!({}))).await;
    until(&sim, &format!("{PODS}/stays"), ready).await;
    kubectl.ok(&["delete", "pod", "stays", "--dry-run=server"]).await;
    kubectl.ok(&["delete", "pods", "--all", "--dry-run=server"]).await;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "stays"}, "deleteOptions": {"dryRun": ["All"]}});
    let (code, _) = Raw(&sim).post(&format!("{PODS}/stays/eviction"), &eviction).await;
    assert_eq!(code, 201);
    for wrong in ["dryRun=Some", "propagationPolicy=Sideways"] {
        let path = format!("{PODS}/stays?{wrong}");
        let (code, refused) = Raw(&sim).send("DELETE", &path, "application/json", "").await;
        assert_eq!((code, &refused["reason"]), (422, &json!("Invalid")), "{wrong}");
    }
    let left = Raw(&sim).get(&format!("{PODS}/stays")).await.1;
    assert_eq!(left["metadata"]["deletionTimestamp"], Value::Null);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "stays"}});
    change(&sim, &format!("{PODS}/stays"), &json!({"metadata": {"finalizers": ["x.example/y"]}})).await;
    create(&sim, &format!("{PODS}/stays/eviction"), &eviction).await;
    let going =
        until(&sim, &format!("{PODS}/stays"), |pod| !pod["metadata"]["deletionTimestamp"].is_null()).await;
    assert_eq!(condition(&going, "DisruptionTarget")["reason"], "EvictionByEvictionAPI");
    sim.shutdown().await;
}
