//! Streams and buckets on one server, on three, and on a bus that grows.

use bcs_kit::{Bus, bus::BusConfig};
use bcs_schemas::{bucket, stream};
use bcs_testbus::Servers;

use crate::server::{Server, connect};

/// How many copies each stream and bucket has.
async fn copies(bus: &Bus) -> Vec<(String, usize)> {
    let buckets = bucket::ALL.map(|(name, _)| format!("KV_{name}"));
    let mut copies = Vec::new();
    for name in stream::all().into_iter().map(|spec| spec.name).chain(buckets) {
        let stream = bus.jetstream().get_stream(&name).await.expect("is there");
        copies.push((name, stream.cached_info().config.num_replicas));
    }
    copies
}

#[tokio::test]
async fn streams_and_buckets_that_had_one_copy_get_three_and_keep_them() {
    let server = Server::empty(Servers::Three);
    let small = BusConfig { replicas: 1, ..server.config() };
    let before = connect(&small, "before").await;
    before.provision_within(std::time::Duration::from_secs(60)).await.expect("streams and buckets");
    let leases = before.bucket(bucket::LEASES).await.expect("a bucket");
    leases.put_at("key", &"kept".to_owned()).await.expect("writes");
    assert!(copies(&before).await.iter().all(|(_, copies)| *copies == 1));

    let bus = server.bus("after").await;
    bus.provision().await.expect("more copies");
    let grown = copies(&bus).await;
    assert!(grown.iter().all(|(_, copies)| *copies == 3), "{grown:?}");
    assert_eq!(leases.get("key").await.expect("reads").map(|(value, _)| value).as_deref(), Some("kept"));
    // A process that still has the old settings takes nothing away.
    before.provision().await.expect("finds everything");
    assert_eq!(copies(&bus).await, grown);
}

#[tokio::test]
async fn services_that_start_at_once_all_find_what_one_of_them_made() {
    let server = Server::of(Servers::Three).await;
    let buses = [server.bus("one").await, server.bus("two").await, server.bus("three").await];
    for (name, _) in bucket::ALL {
        buses[0].jetstream().delete_key_value(name).await.expect("deletes");
    }
    let [one, two, three] = &buses;
    let (one, two, three) = tokio::join!(one.provision(), two.provision(), three.provision());
    for provisioned in [one, two, three] {
        provisioned.expect("finds or makes everything");
    }
    assert!(copies(&buses[0]).await.iter().all(|(_, copies)| *copies == 3));
}

#[tokio::test]
async fn three_copies_on_a_single_server_are_refused_with_what_to_do() {
    let server = Server::empty(Servers::One);
    let wide = BusConfig { replicas: 3, ..server.config() };
    let error = connect(&wide, "test").await.provision().await.expect_err("has one server only").to_string();
    assert!(error.contains("bus.replicas is 3, and the bus is a single server"), "{error}");
}
