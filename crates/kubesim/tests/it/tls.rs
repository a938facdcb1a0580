//! An API that speaks TLS and knows its clients by their certificates.

use bcs_kubesim::{Config, Kubesim};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use tokio::net::TcpStream;

use crate::{harness::client, kubectl::Kubectl};

async fn sim(name: &str) -> Kubesim {
    let config = Config { name: name.to_owned(), tls: true, ..Config::default() };
    bcs_kubesim::start(config).await.expect("a simulator")
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_trust_the_authority_and_are_known_by_their_certificates() {
    let sim = sim("secure").await;
    // Whoever says nothing holds up nobody.
    let address = sim.url().trim_start_matches("https://").to_owned();
    let _silent = TcpStream::connect(&address).await.expect("connects");
    let namespaces: Api<Namespace> = Api::all(client(&sim).await);
    assert!(namespaces.get("default").await.is_ok());
    let kubectl = Kubectl::new(&sim);
    kubectl.ok(&["create", "namespace", "team"]).await;
    let ada = sim.client_certificate("ada", Some("developers")).expect("speaks TLS").expect("is signed");
    let (certificate, key) = (kubectl.path("ada.pem"), kubectl.path("ada-key.pem"));
    std::fs::write(&certificate, ada.certificate).expect("written");
    std::fs::write(&key, ada.key).expect("written");
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    kubectl
        .ok(&["config", "set-credentials", "ada", "--client-certificate", &certificate, "--client-key", &key])
        .await;
    let text = kubectl.ok(&["--user=ada", "auth", "whoami"]).await;
    assert!(
        text.contains("ada") && text.contains("developers") && text.contains("system:authenticated"),
        "{text}"
    );
    let (success, text) = kubectl.run(&["--user=ada", "-n", "team", "get", "pods"], "").await;
    assert!(!success && text.contains("User \"ada\" cannot list resource \"pods\""), "{text}");
    kubectl
        .ok(&[
            "-n",
            "team",
            "create",
            "rolebinding",
            "developers",
            "--clusterrole=view",
            "--group=developers",
        ])
        .await;
    kubectl.ok(&["--user=ada", "-n", "team", "get", "pods"]).await;
    let (success, text) = kubectl.run(&["--user=ada", "-n", "team", "get", "secrets"], "").await;
    assert!(!success && text.contains("forbidden"), "{text}");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_answered_without_tls_and_nobody_is_trusted_whom_another_authority_vouches_for() {
    let (sim, other) = (sim("one").await, sim("other").await);
    let plain = reqwest::get(sim.url().replace("https:", "http:")).await;
    assert!(plain.is_err(), "{plain:?}");
    let kubectl = Kubectl::new(&sim);
    let theirs =
        other.client_certificate("kubernetes-admin", Some("system:masters")).expect("TLS").expect("signed");
    let (certificate, key) = (kubectl.path("theirs.pem"), kubectl.path("theirs-key.pem"));
    std::fs::write(&certificate, theirs.certificate).expect("written");
    std::fs::write(&key, theirs.key).expect("written");
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    kubectl
        .ok(&["config", "set-credentials", "x", "--client-certificate", &certificate, "--client-key", &key])
        .await;
    let (success, text) = kubectl.run(&["--user=x", "get", "nodes"], "").await;
    assert!(!success && text.contains("certificate"), "{text}");
    // Nor does a client trust a server whose authority it does not know.
    kubectl.ok(&["config", "set-cluster", "one", "--server", &other.url()]).await;
    let (success, text) = kubectl.run(&["get", "nodes"], "").await;
    assert!(!success && text.contains("unknown authority"), "{text}");
    sim.shutdown().await;
    other.shutdown().await;
}
