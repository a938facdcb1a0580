//! A registry that is away.

use std::time::Duration;

use bcs_schemas::{bucket, observation::RegistrationState};

use crate::fixture::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_while_etcd_is_away_is_made_up_for_and_others_do_not_notice() {
    let (nats, mut etcd) = (Nats::start().await, Etcd::start().await);
    let directory = tempfile::tempdir().expect("a directory");
    let file = document("hosts", serde_json::json!({ "file": { "directory": directory.path() } }));
    let tasks = nats.sidecar(config(vec![etcd.registry("dns"), file])).await;
    for number in 1..=20 {
        nats.put(&endpoint(number)).await;
    }
    nats.wait_for("uid-20", 2, RegistrationState::Confirmed).await;
    let away = tokio::time::Instant::now();
    etcd.down();
    nats.put(&draining(1)).await;
    nats.put(&endpoint(21)).await;
    nats.wait_for("uid-21", 1, RegistrationState::Confirmed).await;
    nats.wait_for("uid-1", 1, RegistrationState::Drained).await;
    nats.wait_for("uid-21", 1, RegistrationState::Pending).await;
    nats.wait_for("uid-1", 1, RegistrationState::Draining).await;
    let status =
        nats.bus.bucket(bucket::REGISTRIES).await.expect("a bucket").get("sim-a.dns").await.expect("reads");
    let status = status.expect("a status").0;
    assert!(!status.reachable && status.reason.is_some(), "{status:?}");
    // Long enough for the backoff to reach its cap: the outage itself is what is tested, so it has to last.
    tokio::time::sleep_until(away + Duration::from_secs(11)).await;
    nats.beat(true).await;
    etcd.up().await;
    nats.wait_for("uid-21", 2, RegistrationState::Confirmed).await;
    nats.wait_for("uid-1", 2, RegistrationState::Drained).await;
    assert_eq!(etcd.keys("/skydns/").await.len(), 20);
    tasks.stop(LONG).await;
}

/// The registry, which would refuse the first one, cannot tell it. The bus does.
#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_learns_that_it_was_replaced_while_its_registry_is_away() {
    let (nats, mut etcd) = (Nats::start().await, Etcd::start().await);
    let first = nats.deps();
    let address = first.health.serve(&first.tasks, ([127, 0, 0, 1], 0).into()).await.expect("serves");
    bcs_discovery_sidecar::run(config(vec![etcd.registry("dns")]), first.clone()).await.expect("starts");
    nats.put(&endpoint(1)).await;
    nats.wait_for("uid-1", 1, RegistrationState::Confirmed).await;
    let before = nats.status("dns", |status| status.reachable).await.epoch;
    etcd.down();
    let second = nats.sidecar(config(vec![etcd.registry("dns")])).await;
    nats.status("dns", |status| status.epoch > before).await;
    // Both have something to say about it.
    nats.put(&endpoint(2)).await;
    wait_until(LONG, async || {
        let (_, body) = http(address, "/metrics").await;
        match body.lines().find(|line| line.starts_with("bcs_sidecar_leads{")) {
            Some(line) if line.ends_with(" 0.0") => Ok(()),
            other => Err(format!("it still keeps the registry: {other:?}")),
        }
    })
    .await;
    nats.wait_for("uid-2", 1, RegistrationState::Pending).await;
    etcd.up().await;
    nats.put(&draining(1)).await;
    nats.wait_for("uid-2", 1, RegistrationState::Confirmed).await;
    nats.wait_for("uid-1", 1, RegistrationState::Drained).await;
    assert!(first.tasks.stop(LONG).await && second.stop(LONG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_removes_is_put_back_within_seconds_and_counted() {
    let (nats, etcd) = (Nats::start().await, Etcd::start().await);
    let tasks = nats.sidecar(config(vec![etcd.registry("dns")])).await;
    nats.put(&endpoint(1)).await;
    nats.wait_for("uid-1", 1, RegistrationState::Confirmed).await;
    let (key, _) = etcd.keys("/skydns/").await.remove(0);
    etcd.client().await.delete(key.as_str(), None).await.expect("deletes");
    let begin = tokio::time::Instant::now();
    wait_until(LONG, async || match etcd.keys(&key).await.len() {
        1 => Ok(()),
        _ => Err("it is not back".to_owned()),
    })
    .await;
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    wait_until(LONG, async || {
        let statuses = nats.bus.bucket(bucket::REGISTRIES).await.expect("a bucket");
        match statuses.get("sim-a.dns").await.expect("reads") {
            Some((status, _)) if status.drift_repaired == 1 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    tasks.stop(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready_once_it_has_read_everything_and_tells_prometheus_how_it_stands() {
    let (nats, mut etcd) = (Nats::start().await, Etcd::start().await);
    etcd.down();
    nats.put(&endpoint(1)).await;
    let deps = nats.deps();
    let address = deps.health.serve(&deps.tasks, ([127, 0, 0, 1], 0).into()).await.expect("serves");
    bcs_discovery_sidecar::run(config(vec![etcd.registry("dns")]), deps.clone()).await.expect("starts");
    let ready = async |code: u16, words: &str| {
        wait_until(LONG, async || match http(address, "/readyz").await {
            (found, body) if found == code && body.contains(words) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    };
    ready(503, "registries: dns for sim-a: etcd: ").await;
    etcd.up().await;
    ready(200, "ready").await;
    nats.wait_for("uid-1", 1, RegistrationState::Confirmed).await;
    let shows = async |wanted: &[&str]| {
        wait_until(LONG, async || {
            let (_, body) = http(address, "/metrics").await;
            let found = |line: &&str| {
                let (name, value) = line.split_once(' ').expect("a name and a value");
                let line = format!("bcs_sidecar_{name}{{cluster=\"sim-a\",registry=\"dns\"}} {value}");
                body.lines().any(|l| l == line)
            };
            match wanted.iter().find(|line| !found(line)) {
                None => Ok(()),
                Some(missing) => Err(format!("{missing} is missing: {body}")),
            }
        })
        .await;
    };
    shows(&["leads 1.0", "reachable 1.0", "entries 1.0", "pending 0.0", "lag_seconds 0.0", "writes_total 1"])
        .await;
    // Somebody takes the place of an instance: it waits outside of the way of all others.
    let (key, _) = etcd.keys("/skydns/").await.remove(0);
    etcd.client().await.put(key.as_str(), r#"{"host":"1.2.3.4"}"#, None).await.expect("writes");
    shows(&["quarantined 1.0", "entries 0.0"]).await;
    etcd.client().await.delete(key.as_str(), None).await.expect("deletes");
    shows(&["quarantined 0.0", "entries 1.0", "writes_total 2", "drift_repaired_total 1"]).await;
    etcd.down();
    nats.put(&endpoint(2)).await;
    shows(&["reachable 0.0", "pending 1.0"]).await;
    let lag = async || {
        let (_, body) = http(address, "/metrics").await;
        let lag =
            body.lines().find_map(|line| line.strip_prefix("bcs_sidecar_lag_seconds{")).map(str::to_owned);
        let lag = lag
            .as_deref()
            .and_then(|line| line.split_once("} "))
            .and_then(|(_, lag)| lag.parse::<f64>().ok());
        lag.expect("a lag")
    };
    let before = lag().await;
    wait_until(LONG, async || match lag().await {
        later if later > before => Ok(()),
        later => Err(format!("{later} after {before}")),
    })
    .await;
    ready(200, "ready").await;
    assert!(deps.tasks.stop(LONG).await);
}
