//! Streams that were saved and loaded are the same, with whoever reads them where he was.

use async_nats::jetstream::consumer::{AckPolicy, pull};
use bcs_kit::bus::backup::irreplaceable;
use bcs_testbus::Servers;
use futures::StreamExt;

use crate::server::Server;

#[tokio::test]
async fn a_stream_that_is_saved_and_loaded_is_the_same_and_its_readers_go_on_where_they_were() {
    let (server, fresh) = (Server::of(Servers::One).await, Server::empty(Servers::One));
    let (bus, other) = (server.bus("old").await, fresh.bus("new").await);
    for number in 0..500 {
        let payload = format!("{number} {}", "x".repeat(2_000));
        let subject = format!("bcs.evt.deploy.local.demo.app.a{number}.scaled");
        let ack = bus.jetstream().publish(subject, payload.into()).await.expect("is sent");
        ack.await.expect("is kept");
    }
    let stream = bus.jetstream().get_stream("EVT_DEPLOY").await.expect("is there");
    let config = pull::Config {
        durable_name: Some("reader".to_owned()),
        ack_policy: AckPolicy::Explicit,
        ..Default::default()
    };
    let reader = stream.create_consumer(config).await.expect("reads");
    // No more than these: whatever else it had been handed would be unsettled.
    let mut messages = reader.fetch().max_messages(7).messages().await.expect("reads");
    while let Some(message) = messages.next().await {
        message.expect("comes").double_ack().await.expect("is settled");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("saved");
    let about = bus.save_stream("EVT_DEPLOY", &file).await.expect("saves").expect("exists");
    assert!(std::fs::metadata(&file).expect("is there").len() > 1_000);
    assert_eq!(other.save_stream("EVT_DEPLOY", &file.with_extension("none")).await.expect("asks"), None);
    other.load_stream("EVT_DEPLOY", &about, &file).await.expect("loads");
    let mut loaded = other.jetstream().get_stream("EVT_DEPLOY").await.expect("is there");
    let state = loaded.info().await.expect("is there").state.clone();
    assert_eq!((state.messages, state.first_sequence, state.last_sequence), (500, 1, 500));
    let last = loaded.get_raw_message(500).await.expect("is there");
    assert!(last.payload.starts_with(b"499 x") && last.subject.contains("a499"));
    let lag = other.lag("EVT_DEPLOY", "reader").await.expect("asks").expect("is there");
    assert_eq!((lag.pending, lag.unsettled), (493, 0), "{lag:?}");
    let again = other.load_stream("EVT_DEPLOY", &about, &file).await.expect_err("is there already");
    assert!(bcs_kit::telemetry::chain(&again).contains("already in use"), "{again:?}");
    assert!(irreplaceable().contains(&"KV_leases".to_owned()));
}
