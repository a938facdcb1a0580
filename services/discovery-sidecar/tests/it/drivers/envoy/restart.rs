//! The whole sidecar, ended and started again under an Envoy that must not notice.

use std::time::Duration;

use bcs_discovery_sidecar::domain::Change;
use bcs_schemas::{
    bucket,
    observation::{RegistrationState, RegistryStatus},
};

use super::server::Envoy;
use crate::{
    contract::{Hand, Site},
    fixture::*,
};

/// Looks as often as it can until `work` is over; how few hosts there ever were.
async fn fewest(envoy: &Envoy, work: impl Future<Output = ()>) -> usize {
    let mut fewest = envoy.hosts("web.shop").await.len();
    let watch = async {
        loop {
            fewest = fewest.min(envoy.hosts("web.shop").await.len());
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    };
    tokio::select! {
        () = watch => (),
        () = work => (),
    }
    fewest
}

/// A sidecar as a process of its own.
fn sidecar(nats: &Nats, envoy: &Envoy) -> Process {
    let settings = format!(
        "cluster = \"sim-a\"\nowner = \"eu1\"\nbus.url = \"{}\"\n\n[[registries]]\napiVersion = \"bcs/v1\"\nkind = \"Registry\"\n\
         metadata.name = \"edge\"\nspec.driver.envoy = {{ listen = \"127.0.0.1:{}\", forgetAfter = \"1s\" }}\n",
        nats.url, envoy.listen
    );
    let file = envoy.directory.path().join("sidecar.toml");
    std::fs::write(&file, settings).expect("writes");
    let arguments = ["--config".to_owned(), file.display().to_string()];
    start(env!("CARGO_BIN_EXE_bcs-discovery-sidecar"), "the sidecar", &arguments)
}

async fn has(envoy: &Envoy, count: usize) {
    wait_until(LONG, async || match envoy.hosts("web.shop").await.len() {
        found if found == count => Ok(()),
        found => Err(format!("{found} of {count} hosts")),
    })
    .await;
}

#[tokio::test]
async fn what_was_confirmed_before_is_served_on_and_nothing_is_said_before_the_first_batch() {
    let envoy = Envoy::start().await;
    let hand = Hand::of(&envoy);
    hand.fence(1).await;
    let puts: Vec<_> = (1..=300).map(|number| hand.put(endpoint(number), None)).collect();
    hand.done(&puts).await;
    has(&envoy, 300).await;
    hand.driver.stand_down();
    let now = bcs_kit::Clock::system().now();
    let said = |number: u32| {
        let endpoint = endpoint(number);
        let made = serde_json::json!({
            "cluster": "sim-a", "project": "shop", "app": "web", "instance": endpoint.instance, "uid": endpoint.uid,
            "registry": "dns", "address": format!("{}:8080", endpoint.addresses[0]), "state": "confirmed",
            "since": now, "observed_at": now,
        });
        serde_json::from_value(made).expect("a registration")
    };
    let next = Hand::of(&envoy);
    next.driver.recall(&(1..=300).map(said).collect::<Vec<_>>());
    let goes_on = async {
        next.fence(2).await;
        // Time enough for the Envoy to come back and ask.
        tokio::time::sleep(Duration::from_secs(1)).await;
        next.done(&[next.put(endpoint(301), None)]).await;
        has(&envoy, 301).await;
    };
    assert_eq!(fewest(&envoy, goes_on).await, 300);
    let items = next.items().await;
    assert_eq!((items.len(), items.iter().filter(|item| item.digest == 0).count()), (301, 300));
    let again: Vec<_> = (1..=300).map(|number| next.put(endpoint(number), Some(0))).collect();
    assert_eq!(fewest(&envoy, next.done(&again)).await, 301);
    next.done(&[Change::Remove { place: items[0].place.clone(), version: 0 }]).await;
    has(&envoy, 300).await;
}

/// The story of a cluster that says of itself, again and again, that what is known of it is complete.
async fn while_it_beats(nats: &Nats, story: impl Future<Output = ()>) {
    let beats = async {
        loop {
            nats.beat(true).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        () = beats => (),
        () = story => (),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_host_disappears_while_the_sidecar_is_killed_or_ended_and_started_again() {
    let (nats, envoy) = (Nats::start().await, Envoy::start().await);
    for some in (1..=300).collect::<Vec<_>>().chunks(100) {
        futures::future::join_all(some.iter().map(async |number| nats.put(&endpoint(*number)).await)).await;
    }
    let story = async {
        let mut process = sidecar(&nats, &envoy);
        has(&envoy, 300).await;
        nats.wait_for("uid-300", 1, RegistrationState::Confirmed).await;
        for (round, signal) in (1..).zip(["-KILL", "-TERM", "-KILL"]) {
            let count = 300 + round;
            let restart = async {
                let pid = process.id().to_string();
                assert!(start("kill", "procps", &[signal.to_owned(), pid]).wait().success());
                process.wait();
                process = sidecar(&nats, &envoy);
                // That it serves again is seen by what is new.
                nats.put(&endpoint(count)).await;
                let uid = format!("uid-{count}");
                nats.wait_for(&uid, 1, RegistrationState::Confirmed).await;
                has(&envoy, count as usize).await;
            };
            assert_eq!(fewest(&envoy, restart).await, count as usize - 1, "after {signal}");
        }
        nats.put(&draining(1)).await;
        nats.wait_for("uid-1", 1, RegistrationState::Drained).await;
        assert_eq!(envoy.hosts("web.shop").await.len(), 302);
    };
    while_it_beats(&nats, story).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_starts_while_its_cluster_is_not_known_as_a_whole_says_nothing_yet() {
    let (nats, envoy) = (Nats::start().await, Envoy::start().await);
    nats.put(&endpoint(1)).await;
    let first = sidecar(&nats, &envoy);
    while_it_beats(&nats, has(&envoy, 1)).await;
    nats.wait_for("uid-1", 1, RegistrationState::Confirmed).await;
    drop(first);
    // The bus lost what was said before.
    let registrations = nats.bus.bucket(bucket::REGISTRATIONS).await.expect("a bucket");
    registrations.delete("sim-a.shop.web.web-1.edge").await.expect("deletes");
    nats.beat(false).await;
    nats.put(&endpoint(2)).await;
    let _next = sidecar(&nats, &envoy);
    let waits = |status: &RegistryStatus| {
        status.reason.as_deref() == Some("waits until the cluster is known as a whole")
    };
    nats.status("edge", waits).await;
    assert_eq!(envoy.hosts("web.shop").await.len(), 1);
    while_it_beats(&nats, has(&envoy, 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_leaves_while_no_sidecar_runs_is_out_when_the_envoys_heard_of_it() {
    let (nats, envoy) = (Nats::start().await, Envoy::start().await);
    nats.put(&endpoint(1)).await;
    nats.put(&endpoint(2)).await;
    let story = async {
        let first = sidecar(&nats, &envoy);
        nats.wait_for("uid-1", 1, RegistrationState::Confirmed).await;
        nats.wait_for("uid-2", 1, RegistrationState::Confirmed).await;
        drop(first);
        nats.put(&draining(1)).await;
        let _next = sidecar(&nats, &envoy);
        let told = async {
            nats.wait_for("uid-1", 1, RegistrationState::Drained).await;
        };
        assert_eq!(fewest(&envoy, told).await, 1, "it was out before that was said");
        assert_eq!(envoy.hosts("web.shop").await.len(), 1);
    };
    while_it_beats(&nats, story).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_is_replaced_serves_no_more_and_its_envoys_go_to_the_next() {
    let nats = Nats::start().await;
    let ports = [free_port(), free_port()];
    let mut envoy = Envoy::new("edge-1", ports[0]);
    envoy.other = Some(ports[1]);
    envoy.up().await;
    nats.put(&endpoint(1)).await;
    let registry = |port: u16| {
        let spec = serde_json::json!({ "driver": { "envoy": { "listen": format!("127.0.0.1:{port}"), "forgetAfter": "1s" } } });
        let registry = serde_json::json!({ "apiVersion": "bcs/v1", "kind": "Registry", "metadata": { "name": "edge" }, "spec": spec });
        config(vec![serde_json::from_value(registry).expect("a registry")])
    };
    let story = async {
        let old = nats.sidecar(registry(ports[0])).await;
        nats.wait_for("uid-1", 1, RegistrationState::Confirmed).await;
        let new = nats.sidecar(registry(ports[1])).await;
        let replaced = async {
            wait_until(LONG, async || {
                let open = tokio::net::TcpStream::connect(("127.0.0.1", ports[0])).await;
                if open.is_err() { Ok(()) } else { Err("the old one still listens".to_owned()) }
            })
            .await;
            nats.put(&endpoint(2)).await;
            nats.wait_for("uid-2", 1, RegistrationState::Confirmed).await;
            nats.wait_for("uid-1", 1, RegistrationState::Confirmed).await;
        };
        assert_eq!(fewest(&envoy, replaced).await, 1);
        has(&envoy, 2).await;
        new.stop(LONG).await;
        old.stop(LONG).await;
    };
    while_it_beats(&nats, story).await;
}
