//! How long it takes from an endpoint in KV to an entry that an independent client sees.

use std::{collections::BTreeMap, time::Duration};

use bcs_schemas::{bucket, observation::RegistrationState};
use etcd_client::{EventType, WatchOptions};
use tokio::time::Instant;

use crate::fixture::*;

async fn ours(rate: u64, count: u32) -> (Duration, Duration) {
    let (nats, etcd) = (Nats::start().await, Etcd::start().await);
    let tasks = nats.sidecar(config(vec![etcd.registry("dns")])).await;
    nats.put(&endpoint(0)).await;
    nats.wait_for("uid-0", 1, RegistrationState::Confirmed).await;
    let mut watch = etcd
        .client()
        .await
        .watch("/skydns/", Some(WatchOptions::new().with_prefix()))
        .await
        .expect("watches");
    let seen = async {
        let mut seen = BTreeMap::new();
        while seen.len() < count as usize {
            let message = watch.message().await.expect("a message").expect("a message");
            for kv in
                message.events().iter().filter(|e| e.event_type() == EventType::Put).filter_map(|e| e.kv())
            {
                let value: serde_json::Value = serde_json::from_slice(kv.value()).expect("JSON");
                seen.insert(value["uid"].as_str().unwrap_or_default().to_owned(), Instant::now());
            }
        }
        seen
    };
    let endpoints = nats.bus.bucket(bucket::ENDPOINTS).await.expect("a bucket");
    let write = async {
        let begin = Instant::now();
        let mut writes = Vec::new();
        for number in 1..=count {
            let due = begin + Duration::from_nanos(1_000_000_000 / rate) * number;
            let endpoints = &endpoints;
            writes.push(async move {
                tokio::time::sleep_until(due).await;
                let sent = Instant::now();
                endpoints.put(&endpoint(number)).await.expect("writes");
                (format!("uid-{number}"), sent)
            });
        }
        futures::future::join_all(writes).await
    };
    let (seen, sent) = tokio::time::timeout(Duration::from_secs(60), futures::future::join(seen, write))
        .await
        .expect("in time");
    let mut took: Vec<Duration> = sent.iter().map(|(uid, sent)| seen[uid].duration_since(*sent)).collect();
    took.sort();
    tasks.stop(LONG).await;
    (took[took.len() / 2], took[took.len() * 99 / 100])
}

/// The same number of writes at the same pace by a client that does nothing else.
async fn raw(rate: u64, count: u32) -> Duration {
    let etcd = Etcd::start().await;
    let (client, begin) = (etcd.client().await, Instant::now());
    let writes = (1..=count).map(|number| {
        let mut client = client.clone();
        async move {
            tokio::time::sleep_until(begin + Duration::from_nanos(1_000_000_000 / rate) * number).await;
            let sent = Instant::now();
            client.put(format!("/skydns/{number}"), vec![b'x'; 250], None).await.expect("writes");
            sent.elapsed()
        }
    });
    let mut took = futures::future::join_all(writes).await;
    took.sort();
    took[took.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_instances_are_visible_within_a_tenth_of_a_second() {
    for (rate, count) in [(50, 100), (1000, 3000)] {
        let (p50, p99) = ours(rate, count).await;
        println!("{rate}/s: p50 {p50:?}, p99 {p99:?}; raw client p50 {:?}", raw(rate, count).await);
        // The target is for an optimized build that has its machine for itself; this one mostly is not and has not.
        let most = Duration::from_millis(if cfg!(debug_assertions) { 1000 } else { 100 });
        assert!(p50 < most, "{rate}/s: p50 {p50:?}, p99 {p99:?}");
    }
}
