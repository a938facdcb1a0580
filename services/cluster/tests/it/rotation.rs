//! A kubeconfig that is replaced while its agent lives.

use std::{
    net::TcpListener,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bcs_kit::Tasks;
use bcs_kubesim::Kubesim;
use bcs_schemas::{
    bucket::{CLUSTERS, ENDPOINTS},
    cluster::Health,
    step::StepResult,
};

use crate::{
    agent::{ready, scale_up},
    site::{LONG, Site, until},
};

async fn cluster(data: &Path, token: &str) -> Kubesim {
    let (data_dir, token) = (Some(data.to_owned()), Some(token.to_owned()));
    let config = bcs_kubesim::Config { data_dir, token, ..bcs_kubesim::Config::default() };
    bcs_kubesim::start(config).await.expect("a simulator")
}

#[tokio::test]
async fn a_cluster_with_a_new_address_and_a_new_token_is_found_by_its_new_kubeconfig() {
    let site = Site::open().await;
    let (file, data) = (site.dir.path().join("moving"), site.dir.path().join("cluster"));
    let before = cluster(&data, "one").await;
    before.write_kubeconfig(&file).expect("a kubeconfig");
    site.import("sim-m", &file).await;
    site.health("sim-m", Health::Healthy).await;
    let endpoints = site.view(ENDPOINTS).await;
    assert_eq!(site.step("sim-m", 1, scale_up(2)).await, StepResult::Done);
    let two = until(&endpoints, ready(2)).await;
    let mut changes = endpoints.changes();

    let address = before.url().trim_start_matches("http://").to_owned();
    before.shutdown().await;
    // Where the cluster was, something takes connections and never answers.
    let _silent = TcpListener::bind(&address).expect("the address is free");
    let after = cluster(&data, "two").await;
    assert_ne!(after.url(), format!("http://{address}"));
    after.write_kubeconfig(&file).expect("a kubeconfig");

    let deadline = tokio::time::Instant::now() + LONG;
    while site.step("sim-m", 1, scale_up(3)).await != StepResult::Done {
        assert!(tokio::time::Instant::now() < deadline, "the new kubeconfig is not used");
    }
    let three = until(&endpoints, ready(3)).await;
    assert!(two.iter().all(|old| three.iter().any(|now| now.uid == old.uid)), "{three:?}");
    while let Some(Some(change)) = futures::FutureExt::now_or_never(changes.next()) {
        assert!(change.value.is_some(), "{} was removed though it was there all the time", change.key);
    }
    site.close().await;
    after.shutdown().await;
}

#[tokio::test]
async fn a_kubeconfig_that_changes_is_used_though_the_one_before_still_works() {
    let site = Site::open().await;
    site.with_cluster("sim-a").await;
    let beats = site.view(CLUSTERS).await;
    until(&beats, |all| if all.iter().all(|h| h.synced) { Ok(()) } else { Err(format!("{all:?}")) }).await;
    let mut changes = beats.changes();

    let helpers = Tasks::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let elsewhere = listener.local_addr().expect("an address").to_string();
    let (passed, address) = (Arc::new(AtomicUsize::new(0)), site.sim.url()[7..].to_owned());
    let (count, to, stopping) = (passed.clone(), address.clone(), helpers.stopping());
    let pass = async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((mut from, _)) = listener.accept().await {
            count.fetch_add(1, Relaxed);
            let mut to = tokio::net::TcpStream::connect(&to).await.expect("connects");
            connections.spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
        }
    };
    helpers.spawn("proxy", async move {
        tokio::select! { () = stopping.cancelled() => (), () = pass => () }
    });
    let text = std::fs::read_to_string(site.kubeconfig()).expect("reads");
    std::fs::write(site.kubeconfig(), text.replace(&address, &elsewhere)).expect("writes");

    // Three watches and a probe go another way, and at no moment was anything unseen.
    while passed.load(Relaxed) < 2 {
        let beat =
            tokio::time::timeout(LONG, changes.next()).await.expect("goes the new way").expect("lives");
        let beat = beat.value.expect("nobody removes it");
        assert!(beat.synced && beat.reachable, "{beat:?}");
    }
    site.close().await;
    assert!(helpers.stop(LONG).await);
}
