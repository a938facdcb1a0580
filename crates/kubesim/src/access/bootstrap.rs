//! The roles that every cluster has from its first moment.

use serde_json::{Value, json};

use crate::kind::{self, Kind};

const EVERY: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const READ: [&str; 3] = ["get", "list", "watch"];

pub(crate) fn objects() -> Vec<(&'static Kind, Value)> {
    let reviews = json!([{
        "apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], "verbs": ["create"],
    }, {"apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"]}]);
    let paths = json!([{"nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*",
        "/readyz", "/version", "/version/"], "verbs": ["get"]}]);
    let all = json!([
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ]);
    let (own, works, sees) = (rules(&OWNED, &EVERY), rules(&WORKED_WITH, &EVERY), rules(&WORKED_WITH, &READ));
    let mut objects: Vec<(&'static Kind, Value)> = [
        ("cluster-admin", all),
        ("admin", [own, works.clone()].concat().into()),
        ("edit", works.into()),
        ("view", visible(sees).into()),
        ("system:basic-user", reviews),
        ("system:discovery", paths),
    ]
    .into_iter()
    .map(|(name, rules)| (&kind::CLUSTER_ROLES, named("ClusterRole", name, &json!({"rules": rules}))))
    .collect();
    for (name, group) in [
        ("cluster-admin", super::MASTERS),
        ("system:basic-user", super::AUTHENTICATED),
        ("system:discovery", super::AUTHENTICATED),
    ] {
        let binding = json!({
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
        });
        objects.push((&kind::CLUSTER_ROLE_BINDINGS, named("ClusterRoleBinding", name, &binding)));
    }
    objects
}

fn named(kind: &str, name: &str, content: &Value) -> Value {
    let mut object = content.clone();
    object["apiVersion"] = json!("rbac.authorization.k8s.io/v1");
    object["kind"] = json!(kind);
    object["metadata"] = json!({"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}});
    object
}

/// What only the owner of a namespace changes.
const OWNED: [(&str, &[&str]); 1] = [("rbac.authorization.k8s.io", &["roles", "rolebindings"])];

/// What those who work in a namespace use.
const WORKED_WITH: [(&str, &[&str]); 9] = [
    (
        "",
        &[
            "configmaps",
            "endpoints",
            "events",
            "limitranges",
            "persistentvolumeclaims",
            "pods",
            "pods/attach",
            "pods/eviction",
            "pods/exec",
            "pods/log",
            "pods/portforward",
            "pods/status",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "replicationcontrollers/status",
            "resourcequotas",
            "resourcequotas/status",
            "secrets",
            "serviceaccounts",
            "services",
            "services/status",
        ],
    ),
    (
        "apps",
        &[
            "controllerrevisions",
            "daemonsets",
            "deployments",
            "deployments/scale",
            "deployments/status",
            "replicasets",
            "replicasets/scale",
            "replicasets/status",
            "statefulsets",
            "statefulsets/scale",
            "statefulsets/status",
        ],
    ),
    ("autoscaling", &["horizontalpodautoscalers"]),
    ("batch", &["cronjobs", "cronjobs/status", "jobs", "jobs/status"]),
    ("policy", &["poddisruptionbudgets", "poddisruptionbudgets/status"]),
    ("coordination.k8s.io", &["leases"]),
    ("discovery.k8s.io", &["endpointslices"]),
    ("events.k8s.io", &["events"]),
    ("networking.k8s.io", &["ingresses", "ingresses/status", "networkpolicies"]),
];

fn rules(resources: &[(&str, &[&str])], verbs: &[&str]) -> Vec<Value> {
    resources
        .iter()
        .map(|(group, names)| json!({"apiGroups": [group], "resources": names, "verbs": verbs}))
        .collect()
}

/// Who only looks does not see secrets, nor acts through pods.
fn visible(mut rules: Vec<Value>) -> Vec<Value> {
    for rule in &mut rules {
        if let Some(names) = rule["resources"].as_array_mut() {
            let acts = ["secrets", "pods/attach", "pods/exec", "pods/eviction", "pods/portforward"];
            names.retain(|name| !acts.iter().any(|n| name == n));
        }
    }
    rules
}
