//! Whatever selects pods selects some, and whatever names a port names one that they have.

use serde_json::{Value, json};

use super::{Everything, Workload, items, text};

pub(super) fn problems(all: &Everything<'_>, document: &Value) -> Vec<String> {
    match text(document, "/kind") {
        "Service" => service(all, document),
        "NetworkPolicy" => policy(all, document),
        "PodDisruptionBudget" => {
            let chosen = chosen(all, &document["spec"]["selector"]);
            if chosen.len() == 1 { vec![] } else { vec![format!("it is about {} workloads", chosen.len())] }
        }
        "Namespace" => namespace(all, document),
        "Secret" => vec!["a secret stands in the manifests".to_owned()],
        _ => vec![],
    }
}

/// The workloads whose pods a selector means.
fn chosen<'a>(all: &Everything<'a>, selector: &Value) -> Vec<Workload<'a>> {
    all.workloads().into_iter().filter(|workload| workload.selected(&selector["matchLabels"])).collect()
}

fn service(all: &Everything<'_>, document: &Value) -> Vec<String> {
    let selector = json!({ "matchLabels": document["spec"]["selector"] });
    let pods = chosen(all, &selector);
    let mut found = Vec::new();
    if pods.len() != 1 {
        found.push(format!("it leads to {} workloads", pods.len()));
    }
    for port in items(document, "/spec/ports") {
        let target = port.get("targetPort").unwrap_or_else(|| &port["port"]);
        if !pods.iter().all(|pod| pod.listens(target)) {
            found.push(format!("nobody listens at {target}"));
        }
    }
    found
}

/// Rules about pods of these manifests are compared with them; those of others (a namespace or an address is named, or nothing)
/// are not here to be looked at.
fn policy(all: &Everything<'_>, document: &Value) -> Vec<String> {
    let subject = &document["spec"]["podSelector"];
    let pods = chosen(all, subject);
    let mut found = Vec::new();
    if pods.is_empty() {
        found.push("it is about no pod".to_owned());
    }
    for rule in items(document, "/spec/ingress") {
        for port in items(rule, "/ports").iter().map(|port| &port["port"]) {
            if !pods.iter().all(|pod| pod.listens(port)) {
                found.push(format!("it lets somebody in at {port}, where nobody listens"));
            }
        }
    }
    for (direction, word) in [("ingress", "from"), ("egress", "to")] {
        for rule in items(document, &format!("/spec/{direction}")) {
            for peer in
                items(rule, &format!("/{word}")).iter().filter(|p| p.get("namespaceSelector").is_none())
            {
                let others = chosen(all, &peer["podSelector"]);
                if peer.get("podSelector").is_some() && others.is_empty() {
                    found.push(format!("{word} nobody: {peer}"));
                }
                let deaf = |port: &&Value| direction == "egress" && !others.iter().all(|o| o.listens(port));
                let ports = items(rule, "/ports").iter().map(|port| &port["port"]);
                found.extend(ports.filter(deaf).map(|port| format!("nobody listens at {port}")));
            }
        }
    }
    found
}

/// Whoever serves metrics and is closed to some is open to Prometheus.
pub(super) fn unseen(all: &Everything<'_>, workload: &Workload<'_>) -> Option<String> {
    let about = |policy: &&Value| {
        let selector = &policy["spec"]["podSelector"]["matchLabels"];
        let closes = items(policy, "/spec/policyTypes").iter().any(|kind| kind == "Ingress");
        closes && workload.selected(selector)
    };
    let policies: Vec<&Value> = all.of_kind("NetworkPolicy").filter(about).collect();
    let monitoring =
        json!({ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "monitoring" } } });
    let mut rules = policies.iter().flat_map(|policy| items(policy, "/spec/ingress"));
    let open = rules.any(|rule| {
        items(rule, "/from").contains(&monitoring)
            && items(rule, "/ports").iter().any(|port| workload.listens(&port["port"]))
    });
    let serves = workload.listens(&json!("health"));
    (serves && !policies.is_empty() && !open).then(|| "Prometheus does not reach its metrics".to_owned())
}

/// A namespace of our own starts with nothing allowed.
fn namespace(all: &Everything<'_>, document: &Value) -> Vec<String> {
    let name = text(document, "/metadata/name");
    let closed = all.of_kind("NetworkPolicy").any(|policy| {
        let spec = &policy["spec"];
        let all_pods = spec["podSelector"] == json!({});
        let nothing = spec.get("ingress").is_none() && spec.get("egress").is_none();
        let both = spec["policyTypes"] == json!(["Ingress", "Egress"]);
        text(policy, "/metadata/namespace") == name && all_pods && nothing && both
    });
    let restricted = text(document, "/metadata/labels/pod-security.kubernetes.io~1enforce") == "restricted";
    // Member clusters have other things in the namespace of their agent.
    let others = name != "bcs";
    let mut found = Vec::new();
    if !others && !closed {
        found.push("nothing denies what is not named".to_owned());
    }
    if !others && !restricted {
        found.push("pods in it may be more than restricted".to_owned());
    }
    found
}
