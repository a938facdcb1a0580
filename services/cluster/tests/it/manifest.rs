//! The manifests below `k8s/`: a cluster takes them, programs understand what stands in them, and they give no right too many.

use std::{net::SocketAddr, path::Path};

use bcs_cluster::{Injection, remote::Arguments};
use clap::Parser as _;
use serde_json::{Value, json};

use crate::{hall::Hall, kubectl};

/// What users are given, in the order in which it is applied.
pub(crate) const MANIFESTS: [(&str, &str); 6] = [
    ("agent/rbac.yaml", include_str!("../../../../k8s/agent/rbac.yaml")),
    ("injector/rbac.yaml", include_str!("../../../../k8s/injector/rbac.yaml")),
    ("injector/webhook.yaml", include_str!("../../../../k8s/injector/webhook.yaml")),
    ("injector/agent.yaml", include_str!("../../../../k8s/injector/agent.yaml")),
    ("sidecar/per-cluster.yaml", include_str!("../../../../k8s/sidecar/per-cluster.yaml")),
    ("sidecar/beside.yaml", include_str!("../../../../k8s/sidecar/beside.yaml")),
];
/// What lets the Service lead to an address outside of the cluster.
pub(crate) fn slice(address: SocketAddr) -> String {
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": "by-hand", "namespace": "bcs-system", "labels": { "kubernetes.io/service-name": "bcs-agent" },
        },
        "endpoints": [{ "addresses": [address.ip().to_string()], "conditions": { "ready": true } }],
        "ports": [{ "name": "injection", "port": address.port(), "protocol": "TCP" }],
    });
    slice.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifests_are_taken_as_they_are() {
    let hall = Hall::open().await;
    for (file, text) in MANIFESTS {
        let said = kubectl::apply(&hall.admin, text).await;
        assert!(
            said.contains("serverside-applied") && !said.to_lowercase().contains("warning"),
            "{file}: {said}"
        );
    }
    // Once more, over what is there.
    for (file, text) in MANIFESTS {
        let said = kubectl::apply(&hall.admin, text).await;
        assert!(!said.to_lowercase().contains("warning"), "{file}: {said}");
    }
    hall.close().await;
}

/// A document of a manifest.
fn document(text: &str, kind: &str) -> Value {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).expect("YAML");
    all.into_iter().find(|document| document["kind"] == kind).expect(kind)
}

#[test]
fn the_agent_of_the_manifest_is_started_in_a_way_that_it_understands() {
    let text = MANIFESTS[3].1;
    let container = &document(text, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    let words =
        [&container["command"], &container["args"]].map(|list| list.as_array().cloned().unwrap_or_default());
    let words: Vec<String> = words.concat().iter().filter_map(|w| w.as_str().map(str::to_owned)).collect();
    assert_eq!(words[..2], ["bcs-cluster", "agent"]);
    let arguments = Arguments::try_parse_from(&words[1..]).expect("is understood");
    assert_eq!(arguments.injection.as_deref(), Some(Path::new("/etc/bcs/injection.toml")));
    let dir = tempfile::tempdir().expect("a directory");
    let files = &document(text, "ConfigMap")["data"];
    let file = dir.path().join("injection.toml");
    std::fs::write(&file, files["injection.toml"].as_str().expect("text")).expect("writes");
    let settings = Injection::load(&file).expect("is understood");
    assert_eq!(settings.listen.port(), 9443, "as the Service has it");
    let kubeconfig: Value =
        serde_saphyr::from_str(files["kubeconfig"].as_str().expect("text")).expect("YAML");
    assert_eq!(kubeconfig["current-context"], "here");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_may_do_nothing_else_with_secrets_and_webhooks() {
    let hall = Hall::open().await;
    for (verb, what, expected) in [
        ("get", "secrets/bcs-injector-tls", true),
        ("update", "secrets/bcs-injector-tls", true),
        ("create", "secrets", true),
        ("delete", "secrets/bcs-injector-tls", false),
        ("get", "secrets/bcs-agent", false),
        ("update", "secrets/bcs-agent", false),
        ("list", "secrets", false),
        ("patch", "mutatingwebhookconfigurations/bcs-sidecar-injector", true),
        ("get", "mutatingwebhookconfigurations/bcs-sidecar-injector", true),
        ("delete", "mutatingwebhookconfigurations/bcs-sidecar-injector", false),
        ("patch", "mutatingwebhookconfigurations/of-others", false),
        ("create", "mutatingwebhookconfigurations", false),
    ] {
        assert_eq!(hall.may(verb, what, "bcs-system").await, expected, "{verb} {what}");
    }
    assert!(!hall.may("create", "secrets", "shop").await, "only in its own namespace");
    hall.close().await;
}
