//! The whole sidecar: endpoints in KV come in, entries in etcd and in a file and registrations in KV come out.

use bcs_discovery_sidecar::{Config, OnStop};
use bcs_schemas::{
    bucket::{self, Keyed},
    observation::{Endpoint, EndpointPhase, Registration, RegistrationState},
    resource::registry::Rate,
};

use crate::fixture::*;

#[tokio::test(flavor = "multi_thread")]
async fn ready_instances_are_in_every_registry_and_draining_ones_in_none() {
    let (nats, etcd) = (Nats::start().await, Etcd::start().await);
    let directory = tempfile::tempdir().expect("a directory");
    let file = document("hosts", serde_json::json!({ "file": { "directory": directory.path() } }));
    nats.put(&endpoint(1)).await;
    nats.put(&Endpoint { phase: EndpointPhase::Starting, ..endpoint(2) }).await;
    let tasks = nats.sidecar(Config { cluster: None, ..config(vec![etcd.registry("dns"), file]) }).await;
    nats.wait_for("uid-1", 2, RegistrationState::Confirmed).await;
    nats.put(&endpoint(2)).await;
    nats.wait_for("uid-2", 2, RegistrationState::Confirmed).await;
    let hosts = || std::fs::read_to_string(directory.path().join("sim-a.hosts")).expect("hosts");
    assert_eq!(etcd.keys("/skydns/local/bcs/shop/web/").await.len(), 2);
    assert_eq!(
        hosts().lines().skip(1).collect::<Vec<_>>(),
        ["10.0.0.1\tweb.shop.bcs.local", "10.0.0.2\tweb.shop.bcs.local"]
    );

    nats.put(&draining(1)).await;
    nats.wait_for("uid-1", 2, RegistrationState::Drained).await;
    assert_eq!(etcd.keys("/skydns/").await.len(), 1);
    assert!(!hosts().contains("10.0.0.1\t"));
    nats.put(&draining(3)).await;
    nats.wait_for("uid-3", 2, RegistrationState::Drained).await;
    // Deleted without a drain before: that is a fact too.
    for endpoint in [endpoint(1), endpoint(2), endpoint(3)] {
        nats.delete(&endpoint).await;
    }
    wait_until(LONG, async || match nats.registrations().await {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    })
    .await;
    assert_eq!((etcd.keys("/skydns/").await.len(), hosts().lines().count()), (0, 1));
    let statuses =
        nats.bus.bucket(bucket::REGISTRIES).await.expect("a bucket").list(">").await.expect("lists");
    assert_eq!(statuses.keys().collect::<Vec<_>>(), ["sim-a.dns", "sim-a.hosts"]);
    assert!(statuses.values().all(|s| s.reachable && s.epoch > 0));
    assert!(tasks.stop(LONG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sidecar_takes_over_and_the_first_comes_back_when_it_is_silent() {
    let (nats, etcd) = (Nats::start().await, Etcd::start().await);
    let config = || Config {
        takeover_after: "1s".parse().expect("a duration"),
        beat_every: "200ms".parse().expect("a duration"),
        ..config(vec![etcd.registry("dns")])
    };
    let first = nats.sidecar(config()).await;
    nats.put(&endpoint(1)).await;
    nats.wait_for("uid-1", 1, RegistrationState::Confirmed).await;
    let before = etcd.keys("/bcs/epoch/").await[0].1.parse::<u64>().expect("an epoch");
    let second = nats.sidecar(config()).await;
    wait_until(LONG, async || {
        let now = etcd.keys("/bcs/epoch/").await[0].1.parse::<u64>().expect("an epoch");
        if now > before { Ok(()) } else { Err(format!("epoch is still {now}")) }
    })
    .await;
    nats.put(&endpoint(2)).await;
    nats.wait_for("uid-2", 1, RegistrationState::Confirmed).await;
    assert!(second.stop(LONG).await);
    nats.put(&endpoint(3)).await;
    nats.put(&draining(1)).await;
    nats.wait_for("uid-3", 1, RegistrationState::Confirmed).await;
    nats.wait_for("uid-1", 1, RegistrationState::Drained).await;
    assert_eq!(etcd.keys("/skydns/").await.len(), 2);
    first.stop(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_writes_over_a_registration_is_said_again_at_once() {
    let (nats, etcd) = (Nats::start().await, Etcd::start().await);
    let tasks = nats.sidecar(config(vec![etcd.registry("dns")])).await;
    nats.put(&endpoint(1)).await;
    nats.wait_for("uid-1", 1, RegistrationState::Confirmed).await;
    let ours = nats.registrations().await.remove(0);
    let bucket = nats.bus.bucket(bucket::REGISTRATIONS).await.expect("a bucket");
    // As by a sidecar that was replaced and does not know it.
    for state in [RegistrationState::Pending, RegistrationState::Drained] {
        let old = Registration { state, reason: Some("etcd does not answer".to_owned()), ..ours.clone() };
        bucket.put(&old).await.expect("writes");
        nats.wait_for("uid-1", 1, RegistrationState::Confirmed).await;
    }
    bucket.delete(&ours.key()).await.expect("deletes");
    nats.wait_for("uid-1", 1, RegistrationState::Confirmed).await;
    // What is said about another registry is another sidecar's business.
    let others = Registration { registry: name("hosts"), state: RegistrationState::Pending, ..ours };
    bucket.put(&others).await.expect("writes");
    nats.put(&draining(1)).await;
    wait_until(LONG, async || {
        let found = nats.registrations().await;
        let state = |registry| found.iter().find(|r| r.registry == name(registry)).map(|r| r.state);
        match (state("dns"), state("hosts")) {
            (Some(RegistrationState::Drained), Some(RegistrationState::Pending)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(tasks.stop(LONG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_a_sidecar_keeps_no_more_is_forgotten_and_those_of_others_are_not() {
    let nats = Nats::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = |called: &str| {
        document(called, serde_json::json!({ "file": { "directory": directory.path().join(called) } }))
    };
    let named = |called: &str, registries: &[&str]| Config {
        name: Some(name(called)),
        takeover_after: "1s".parse().expect("a duration"),
        beat_every: "200ms".parse().expect("a duration"),
        ..config(registries.iter().map(|registry| file(registry)).collect())
    };
    nats.put(&endpoint(1)).await;
    let first = nats.sidecar(named("first", &["kept", "former"])).await;
    let other = nats.sidecar(named("other", &["silent"])).await;
    let living = nats.sidecar(named("first", &["living"])).await;
    nats.wait_for("uid-1", 4, RegistrationState::Confirmed).await;
    assert!(first.stop(LONG).await && other.stop(LONG).await);

    let first = nats.sidecar(named("first", &["kept"])).await;
    wait_until(LONG, async || {
        let known =
            nats.bus.bucket(bucket::REGISTRIES).await.expect("a bucket").list(">").await.expect("lists");
        match known.keys().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["sim-a.kept", "sim-a.living", "sim-a.silent"] => Ok(()),
            keys => Err(format!("{keys:?}")),
        }
    })
    .await;
    let said = nats.registrations().await;
    assert_eq!(said.iter().map(|r| r.registry.as_str()).collect::<Vec<_>>(), ["kept", "living", "silent"]);
    assert!(first.stop(LONG).await && living.stop(LONG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_stay_when_it_stops_unless_it_is_told_to_take_them_along() {
    let (nats, etcd) = (Nats::start().await, Etcd::start().await);
    nats.put(&endpoint(1)).await;
    let keeping = nats.sidecar(config(vec![etcd.registry("dns")])).await;
    nats.wait_for("uid-1", 1, RegistrationState::Confirmed).await;
    assert!(keeping.stop(LONG).await);
    let kept = etcd.keys("/skydns/").await;
    assert_eq!(kept.len(), 1);
    let draining =
        nats.sidecar(Config { on_stop: OnStop::Drain, ..config(vec![etcd.registry("dns")]) }).await;
    nats.put(&endpoint(2)).await;
    nats.wait_for("uid-2", 1, RegistrationState::Confirmed).await;
    assert!(etcd.keys("/skydns/").await.contains(&kept[0]), "it was found and not written again");
    assert!(draining.stop(LONG).await);
    assert_eq!(etcd.keys("/skydns/").await.len(), 0);
    assert_eq!(nats.registrations().await, [], "nobody counts on what is not there");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_platform_does_not_empty_a_registry() {
    let etcd = Etcd::start().await;
    {
        let nats = Nats::start().await;
        let tasks = nats.sidecar(config(vec![etcd.registry("dns")])).await;
        for number in 1..=15 {
            nats.put(&endpoint(number)).await;
        }
        nats.wait_for("uid-15", 1, RegistrationState::Confirmed).await;
        tasks.stop(LONG).await;
    }
    // Another bus, which knows nothing, not even its own past: it is another installation until somebody says that the
    // former one is gone.
    let nats = Nats::start().await;
    let tasks = nats.sidecar(config(vec![etcd.registry("dns")])).await;
    let key = "/bcs/installation/eu1";
    let refused = nats.status("dns", |s| s.reason.as_deref().is_some_and(|r| r.contains(key))).await;
    assert!(!refused.reachable);
    etcd.client().await.delete(key, None).await.expect("deletes");
    let held = |reason: &str| reason.contains("15 of 15 entries have no endpoint");
    let status = wait_until(LONG, async || {
        nats.beat(true).await;
        let statuses =
            nats.bus.bucket(bucket::REGISTRIES).await.expect("a bucket").list(">").await.expect("lists");
        match statuses.into_values().next() {
            Some(status) if status.reachable && status.reason.as_deref().is_some_and(held) => Ok(status),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(status.epoch > 0);
    assert_eq!(etcd.keys("/skydns/").await.len(), 15);
    tasks.stop(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_installation_of_the_same_name_is_refused_and_writes_nothing() {
    let (etcd, first, second) = (Etcd::start().await, Nats::start().await, Nats::start().await);
    let tasks = first.sidecar(config(vec![etcd.registry("dns")])).await;
    first.put(&endpoint(1)).await;
    first.wait_for("uid-1", 1, RegistrationState::Confirmed).await;
    let before = etcd.keys("/").await;

    second.put(&endpoint(2)).await;
    let refused = second.sidecar(config(vec![etcd.registry("dns")])).await;
    let status = second.status("dns", |status| status.reason.is_some()).await;
    let reason = status.reason.unwrap_or_default();
    assert!(!status.reachable && reason.contains("the owner eu1 is another installation"), "{reason}");
    second.wait_for("uid-2", 1, RegistrationState::Pending).await;
    assert_eq!(etcd.keys("/").await, before, "it wrote nothing");
    first.put(&endpoint(3)).await;
    first.wait_for("uid-3", 1, RegistrationState::Confirmed).await;
    assert!(refused.stop(LONG).await);

    // Under a name of its own it is welcome.
    let other = Config { owner: Some(name("eu2")), ..config(vec![etcd.registry("dns")]) };
    let welcome = second.sidecar(other).await;
    second.wait_for("uid-2", 1, RegistrationState::Confirmed).await;
    assert_eq!(etcd.keys("/skydns/").await.len(), 3);
    // And the first one is itself again after a restart.
    assert!(tasks.stop(LONG).await);
    let tasks = first.sidecar(config(vec![etcd.registry("dns")])).await;
    first.put(&endpoint(4)).await;
    first.wait_for("uid-4", 1, RegistrationState::Confirmed).await;
    assert!(tasks.stop(LONG).await && welcome.stop(LONG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_entry_and_a_poisonous_one_fail_alone() {
    let (nats, etcd) = (Nats::start().await, Etcd::start_with(&["--max-request-bytes=20000"]).await);
    let tasks = nats.sidecar(config(vec![etcd.registry("dns")])).await;
    nats.put(&endpoint(1)).await;
    nats.wait_for("uid-1", 1, RegistrationState::Confirmed).await;
    // Somebody takes our place over.
    let (key, _) = etcd.keys("/skydns/").await.remove(0);
    etcd.client().await.put(key.as_str(), r#"{"host":"1.2.3.4"}"#, None).await.expect("writes");
    nats.wait_for("uid-1", 1, RegistrationState::Failed).await;
    let big = Endpoint { uid: "x".repeat(30_000), ..endpoint(2) };
    nats.put(&big).await;
    for number in 3..40 {
        nats.put(&endpoint(number)).await;
    }
    nats.wait_for("uid-39", 1, RegistrationState::Confirmed).await;
    nats.wait_for(&big.uid, 1, RegistrationState::Failed).await;
    let failed: Vec<_> =
        nats.registrations().await.into_iter().filter(|r| r.state == RegistrationState::Failed).collect();
    assert_eq!(failed.len(), 2);
    assert!(failed.iter().all(|r| r.retry_at.is_some()));
    let reasons: Vec<_> = failed.iter().filter_map(|r| r.reason.clone()).collect();
    assert!(
        reasons.iter().any(|r| r.contains(&key)) && reasons.iter().any(|r| r.contains("too large")),
        "{reasons:?}"
    );
    assert_eq!(etcd.keys(&key).await[0].1, r#"{"host":"1.2.3.4"}"#);
    // The other one goes away, and ours comes back.
    etcd.client().await.delete(key.as_str(), None).await.expect("deletes");
    nats.wait_for("uid-1", 1, RegistrationState::Confirmed).await;
    tasks.stop(LONG).await;
}

#[tokio::test]
async fn a_registry_is_asked_for_no_more_changes_than_its_rate_allows() {
    let (nats, directory) = (Nats::start().await, tempfile::tempdir().expect("a directory"));
    let mut file = document("file", serde_json::json!({ "file": { "directory": directory.path() } }));
    file.spec.rate = Some(Rate { changes_per_second: 10, burst: Some(5), account: None });
    for number in 1..=25 {
        nats.put(&endpoint(number)).await;
    }
    let began = tokio::time::Instant::now();
    let tasks = nats.sidecar(config(vec![file])).await;
    for number in 1..=25 {
        nats.wait_for(&format!("uid-{number}"), 1, RegistrationState::Confirmed).await;
    }
    // Five at once, twenty at ten per second: no sooner, however fast the machine is.
    assert!(began.elapsed() >= std::time::Duration::from_secs(2), "{:?}", began.elapsed());
    tasks.stop(LONG).await;
}
