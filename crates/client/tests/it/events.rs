//! Following what happens, and looking at what is observed.

use bcs_client::{Events, Position};
use bcs_kit::Clock;
use bcs_schemas::{
    Name, Service,
    bucket::{CLUSTERS, LEASES},
    deploy::ScaleApp,
    observation::ClusterHealth,
};

use crate::harness::{LONG, Running, Server, accepted, shop, until};

async fn scale(client: &bcs_client::Client, replicas: std::ops::Range<u32>) {
    for replicas in replicas {
        let message = ScaleApp { replicas, ..ScaleApp::default() };
        accepted(client.command(shop(), message).send(LONG).await.expect("an outcome"));
    }
}

async fn past(mut events: Events) -> Vec<u64> {
    let mut seen = Vec::new();
    while let Some(event) = tokio::time::timeout(LONG, events.next_past()).await.expect("ends") {
        seen.push(event.payload["replicas"].as_u64().expect("a number"));
    }
    seen
}

#[tokio::test]
async fn events_are_read_from_any_position_and_then_followed() {
    let server = Server::start();
    let service = Running::start(&server).await;
    let client = server.client().await;
    scale(&client, 0..3).await;
    // An outcome is there before its events are on the bus.
    until(|| async {
        let status = client.service_status(Service::Deploy).await.map_err(|e| e.to_string())?.data;
        if status.unpublished == 0 { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    let between = Clock::system().now();
    scale(&client, 3..5).await;
    until(|| async {
        let seen = past(client.events(&[], Position::All).await.map_err(|e| e.to_string())?).await;
        if seen == [0, 1, 2, 3, 4] { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    let deploy = [Service::Deploy];
    let of = |from| client.events(&deploy, from);
    assert_eq!(past(of(Position::After(3)).await.expect("opens")).await, [3, 4]);
    assert_eq!(past(of(Position::Since(between)).await.expect("opens")).await, [3, 4]);
    assert!(past(of(Position::New).await.expect("opens")).await.is_empty());
    assert!(past(client.events(&[Service::Cluster], Position::All).await.expect("opens")).await.is_empty());
    let mut following = client.events(&[], Position::New).await.expect("opens");
    scale(&client, 7..8).await;
    let event = tokio::time::timeout(LONG, following.next()).await.expect("comes").expect("an event");
    assert_eq!((event.headers.seq, event.stream_seq), (6, 6));
    assert_eq!(event.subject.to_string(), "bcs.evt.deploy.local.demo.app.shop.scaled");
    assert_eq!(event.payload["replicas"], 7);
    service.stop().await;
}

#[tokio::test]
async fn observations_are_listed_and_mirrored() {
    let server = Server::start();
    let client = server.client().await;
    client.bus().provision_within(LONG).await.expect("buckets");
    let health = |name: &str, nodes| ClusterHealth {
        cluster: Name::new(name).expect("is a name"),
        reachable: true,
        reason: None,
        synced: true,
        version: None,
        nodes,
        nodes_ready: nodes,
        capacity: Default::default(),
        observed_at: Clock::system().now(),
    };
    let store = client.bus().bucket(CLUSTERS).await.expect("opens");
    assert!(client.observed(CLUSTERS, ">").await.expect("lists").is_empty());
    store.put(&health("sim-a", 3)).await.expect("writes");
    let view = client.watch(CLUSTERS, ">").await.expect("watches");
    store.put(&health("sim-b", 5)).await.expect("writes");
    until(|| async {
        let seen = view.snapshot();
        if seen.len() == 2 && view.is_synced() { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    assert_eq!(client.observed(CLUSTERS, "sim-b").await.expect("lists").len(), 1);
}

#[tokio::test]
async fn a_deletion_leaves_a_mark_that_ends_also_in_a_bucket_of_an_older_version() {
    let server = Server::start();
    let bus = server.bus("test").await;
    let old = async_nats::jetstream::kv::Config { bucket: LEASES.name.to_owned(), ..Default::default() };
    until(|| async {
        let made = bus.jetstream().create_key_value(old.clone()).await;
        made.map(drop).map_err(|error| format!("no bucket is made: {error}"))
    })
    .await;
    bus.provision().await.expect("streams and buckets");
    let leases = bus.bucket(LEASES).await.expect("opens");
    // Copies of a bucket that gets more of them choose a leader first.
    until(|| async {
        let written = leases.put_at("a", &"x".to_owned()).await;
        written.map(drop).map_err(|error| format!("nothing is written: {error}"))
    })
    .await;
    leases.delete("a").await.expect("deletes");
    assert!(leases.list(">").await.expect("lists").is_empty());
    let stream = bus.jetstream().get_stream("KV_leases").await.expect("a stream");
    let mark = stream.get_last_raw_message_by_subject("$KV.leases.a").await.expect("a mark");
    assert_eq!(mark.headers.get("Nats-TTL").map(|v| v.as_str()), Some("3600"));
}
