//! Envoys that come over TLS, with a certificate or without the right one.

use std::path::Path;

use bcs_discovery_sidecar::domain::{Failure, Outcome};

use super::server::Envoy;
use crate::{contract::Hand, fixture::*, secrets::authority};

fn settings(directory: &Path) -> serde_json::Value {
    let file = |name: &str| serde_json::json!({ "file": directory.join(name) });
    serde_json::json!({ "tls": {
        "certificate": file("good-server.pem"), "key": file("good-server.key"), "clientCa": file("good-ca.pem"),
    } })
}

/// How an Envoy calls that has the client certificate of one of the authorities, and trusts the good one.
fn transport(directory: &Path, called: &str) -> serde_json::Value {
    let file = |name: String| serde_json::json!({ "filename": directory.join(name) });
    let tls = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
    serde_json::json!({ "name": "tls", "typed_config": {
        "@type": format!("type.googleapis.com/{tls}"),
        "common_tls_context": {
            "tls_certificates": [{
                "certificate_chain": file(format!("{called}-client.pem")), "private_key": file(format!("{called}-client.key")),
            }],
            "validation_context": { "trusted_ca": file("good-ca.pem".to_owned()) },
        },
    } })
}

#[tokio::test]
async fn an_envoy_with_a_good_certificate_is_served_over_tls_and_one_with_another_is_not() {
    let directory = tempfile::tempdir().expect("a directory");
    authority(directory.path(), "good");
    authority(directory.path(), "other");
    let port = free_port();
    let start = async |node: &str, called: &str| {
        let transport = Some(transport(directory.path(), called));
        let mut envoy = Envoy { transport, ..Envoy::new(node, port) };
        envoy.up().await;
        envoy
    };
    let bad = start("edge-bad", "other").await;
    let hand = Hand::with(bad.spec_with(settings(directory.path())));
    hand.fence(1).await;
    let put = [hand.put(endpoint(1), None)];
    for _ in 0..10 {
        let outcomes = hand.driver.apply(&put).await.expect("is answered");
        assert_eq!(outcomes, [Outcome::Waits("no Envoy asks for the cluster web.shop".into())]);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let good = start("edge-good", "good").await;
    hand.done(&put).await;
    assert_eq!((good.hosts("web.shop").await.len(), bad.hosts("web.shop").await.len()), (1, 0));
    // Renewed by another authority: who connects from here on is measured by that one.
    for file in ["server.pem", "server.key", "ca.pem"] {
        let at = |called: &str| directory.path().join(format!("{called}-{file}"));
        std::fs::copy(at("other"), at("good")).expect("copies");
    }
    let late = start("edge-late", "other").await;
    wait_until(LONG, async || match late.hosts("web.shop").await.len() {
        1 => Ok(()),
        count => Err(format!("{count} hosts")),
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_the_files_is_said_without_what_they_hold() {
    let directory = tempfile::tempdir().expect("a directory");
    authority(directory.path(), "good");
    let file = |name: &str| directory.path().join(name);
    let key = std::fs::read_to_string(file("good-server.key")).expect("reads");
    std::fs::write(file("garbage"), format!("garbage {}", key.replace('-', "_"))).expect("writes");
    let envoy = Envoy::new("edge-1", free_port());
    for (field, name, words) in [
        ("certificate", "nowhere", "driver.envoy.tls.certificate: "),
        ("certificate", "garbage", "holds no certificate in PEM"),
        ("key", "garbage", "driver.envoy.tls.key: holds no private key in PEM"),
        ("key", "good-client.key", "driver.envoy.tls: "),
        ("clientCa", "garbage", "driver.envoy.tls.clientCa: holds no certificate in PEM"),
    ] {
        let mut wrong = settings(directory.path());
        wrong["tls"][field]["file"] = file(name).display().to_string().into();
        let failed = Hand::with(envoy.spec_with(wrong)).driver.fence(1).await;
        let Err(Failure::Unavailable(said)) = failed else { panic!("{field}: {failed:?}") };
        assert!(said.contains(words), "{said}");
        assert!(!said.contains(key.lines().nth(1).expect("a line")), "{said}");
    }
}
