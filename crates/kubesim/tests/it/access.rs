//! Who may do what: tokens, roles, impersonation, and the questions about them.

use serde_json::{Value, json};

use crate::{
    harness::{PODS, Raw, sim},
    kubectl::Kubectl,
};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

async fn account(raw: &Raw<'_>, name: &str) -> String {
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    raw.post(accounts, &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}))
        .await;
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let (code, issued) = raw.post(&format!("{accounts}/{name}/token"), &request).await;
    assert_eq!(code, 201, "{issued}");
    issued["status"]["token"].as_str().expect("a token").to_owned()
}

async fn allow(raw: &Raw<'_>, account: &str, rules: &Value) {
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": account}, "rules": rules});
    let (code, made) = raw.post(&format!("{RBAC}/namespaces/default/roles"), &role).await;
    assert_eq!(code, 201, "{made}");
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": account},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "default"}],
    });
    let (code, made) = raw.post(&format!("{RBAC}/namespaces/default/rolebindings"), &binding).await;
    assert_eq!(code, 201, "{made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_may_do_what_its_roles_say_and_nothing_else() {
    let sim = sim("accounts").await;
    let admin = Raw(&sim);
    let token = account(&admin, "reader").await;
    let reader = admin.by(&token);
    let (code, refused) = reader.get(PODS).await;
    let words = "pods is forbidden: User \"system:serviceaccount:default:reader\" cannot list resource \"pods\" in API group \"\" \
                 in the namespace \"default\"";
    assert_eq!(
        (code, refused["message"].as_str(), refused["reason"].as_str()),
        (403, Some(words), Some("Forbidden"))
    );
    allow(
        &admin,
        "reader",
        &json!([{"apiGroups": [""], "resources": ["pods", "configmaps"], "verbs": ["get", "list"]}]),
    )
    .await;
    assert_eq!(reader.get(PODS).await.0, 200);
    assert_eq!(reader.get("/api").await.0, 200, "everybody who is known may look what there is");
    for (method, path) in [
        ("GET", "/api/v1/pods".to_owned()),
        ("GET", format!("{PODS}?watch=true")),
        ("POST", PODS.to_owned()),
        ("GET", format!("{PODS}/x/log")),
        ("GET", "/api/v1/namespaces/default/secrets".to_owned()),
        ("DELETE", "/api/v1/namespaces/default".to_owned()),
        ("GET", "/sim/stats".to_owned()),
        ("POST", "/sim/faults".to_owned()),
    ] {
        assert_eq!(reader.send(method, &path, "application/json", "{}").await.0, 403, "{method} {path}");
    }
    // Taken away, it counts no more.
    admin
        .send("DELETE", &format!("{RBAC}/namespaces/default/rolebindings/reader"), "application/json", "")
        .await;
    assert_eq!(reader.get(PODS).await.0, 403);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_away_more_than_they_have() {
    let sim = sim("escalation").await;
    let admin = Raw(&sim);
    let token = account(&admin, "boss").await;
    let boss = admin.by(&token);
    let rbac = json!({"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["create", "update"]});
    let pods = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]});
    allow(&admin, "boss", &json!([rbac, pods])).await;
    let role = |name: &str, verb: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}],
        })
    };
    let roles = format!("{RBAC}/namespaces/default/roles");
    assert_eq!(boss.post(&roles, &role("own", "get")).await.0, 201);
    let (code, refused) = boss.post(&roles, &role("more", "delete")).await;
    assert!(code == 403 && refused.to_string().contains("not currently held"), "{refused}");
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "all"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "boss", "namespace": "default"}],
    });
    let (code, refused) = boss.post(&format!("{RBAC}/namespaces/default/rolebindings"), &binding).await;
    assert!(code == 403 && refused.to_string().contains("not currently held"), "{refused}");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_asks_what_it_may_do_in_its_own_name_and_in_that_of_others() {
    let sim = sim("can-i").await;
    let admin = Raw(&sim);
    account(&admin, "reader").await;
    allow(&admin, "reader", &json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}])).await;
    let kubectl = Kubectl::new(&sim);
    assert!(kubectl.ok(&["auth", "can-i", "delete", "nodes"]).await.starts_with("yes"));
    let reader = "--as=system:serviceaccount:default:reader";
    assert_eq!(kubectl.ok(&["auth", "can-i", "list", "pods", reader]).await.trim(), "yes");
    let (_, text) = kubectl.run(&["auth", "can-i", "delete", "pods", reader], "").await;
    assert!(text.contains("no"), "{text}");
    let text = kubectl.ok(&["auth", "can-i", "--list", reader]).await;
    assert!(text.contains("pods") && text.contains("[list]"), "{text}");
    let text = kubectl.ok(&["auth", "whoami"]).await;
    assert!(text.contains("kubernetes-admin") && text.contains("system:masters"), "{text}");
    let (success, text) = kubectl.run(&["get", "nodes", reader], "").await;
    assert!(!success && text.contains("Error from server (Forbidden): nodes is forbidden"), "{text}");
    let token = account(&admin, "other").await;
    let (code, _) = admin.by(&token).impersonates("ada").get(PODS).await;
    assert_eq!(code, 403, "not everybody may ask in the name of others");
    let review =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let (_, answer) = admin.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await;
    assert_eq!(answer["status"]["user"]["username"], "system:serviceaccount:default:other", "{answer}");
    sim.shutdown().await;
}
