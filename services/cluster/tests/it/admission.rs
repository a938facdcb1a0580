//! What is refused at the door, in words that let the sender mend it.

use std::fs;

use bcs_schemas::{
    cluster::{CordonNode, Health, RemoveCluster, UncordonNode},
    outcome::{Outcome, RejectionCode},
};

use crate::site::{Site, import, rejected, until};

#[tokio::test]
async fn a_kubeconfig_that_is_no_good_is_refused_with_its_field() {
    let site = Site::open().await;
    let good = fs::read_to_string(site.kubeconfig()).expect("reads");
    let cases = [
        ("missing", None, RejectionCode::Invalid, "does not exist"),
        ("garbage", Some("clusters: hush-hush".to_owned()), RejectionCode::Invalid, "is no kubeconfig"),
        (
            "nowhere",
            Some(good.replace(&site.sim.url()[7..], "127.0.0.1:9")),
            RejectionCode::Unreachable,
            "does not answer",
        ),
        (
            "refused",
            Some(good.replace(site.sim.token(), "hush-hush")),
            RejectionCode::Invalid,
            "is refused by",
        ),
    ];
    for (file, text, code, words) in cases {
        let path = site.dir.path().join(file);
        if let Some(text) = text {
            fs::write(&path, text).expect("writes");
        }
        let rejected = rejected(site.import("sim-a", &path).await);
        assert_eq!(
            (rejected.code, rejected.fields[0].field.as_str()),
            (code, "spec.kubeconfig"),
            "{rejected:?}"
        );
        assert!(rejected.message.contains(words), "{rejected:?}");
        assert!(!rejected.message.contains("hush-hush"), "a secret is quoted: {rejected:?}");
    }
    assert_eq!(site.cluster("sim-a").await, None);
    site.close().await;
}

#[tokio::test]
async fn an_import_repeated_is_accepted_without_events() {
    let site = Site::open().await;
    site.with_cluster("sim-a").await;
    match site.import("sim-a", &site.kubeconfig()).await {
        Outcome::Accepted(accepted) => assert_eq!(accepted.events, []),
        Outcome::Rejected(rejected) => panic!("{rejected:?}"),
    }
    let unknown = rejected(site.send("sim-b", RemoveCluster {}).await);
    assert_eq!(unknown.code, RejectionCode::NotFound);
    assert!(unknown.message.contains("sim-a"), "{unknown:?}");
    site.close().await;
}

#[tokio::test]
async fn a_node_is_closed_and_opened_and_an_unknown_one_refused() {
    let site = Site::open().await;
    site.with_cluster("sim-a").await;
    let nodes = site.view(bcs_schemas::bucket::NODES).await;
    let node =
        until(&nodes, |all| all.first().map(|n| n.name.clone()).ok_or_else(|| "no nodes".to_owned())).await;
    let closed = |wanted: bool| {
        let node = node.clone();
        move |all: Vec<bcs_schemas::observation::Node>| match all.iter().find(|n| n.name == node) {
            Some(found) if found.cordoned == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        }
    };
    let outcome = site.send("sim-a", CordonNode { node: node.clone() }).await;
    assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
    until(&nodes, closed(true)).await;
    site.send("sim-a", UncordonNode { node: node.clone() }).await;
    until(&nodes, closed(false)).await;
    let unknown = rejected(site.send("sim-a", CordonNode { node: "nowhere".to_owned() }).await);
    assert_eq!(unknown.code, RejectionCode::NotFound);
    assert!(unknown.message.contains(&node), "{unknown:?}");
    site.close().await;
}

#[tokio::test]
async fn a_cluster_that_stops_answering_fails_and_recovers() {
    let site = Site::open().await;
    site.with_cluster("sim-a").await;
    site.sim.faults().set_api_errors(1.0);
    let failed = site.health("sim-a", Health::Failed).await;
    assert!(failed.reason.as_deref().is_some_and(|r| r.contains("probes failed")), "{failed:?}");
    assert_eq!(failed.nodes, 3, "what was observed is kept");
    site.sim.faults().reset();
    site.health("sim-a", Health::Healthy).await;
    // A cluster that is removed and comes back begins anew.
    site.send("sim-a", RemoveCluster {}).await;
    assert_eq!(site.cluster("sim-a").await, None);
    site.send("sim-a", import(&site.kubeconfig(), "direct")).await;
    site.health("sim-a", Health::Healthy).await;
    site.close().await;
}
