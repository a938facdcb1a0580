//! A publisher whose acknowledgement was lost, and one who is not alone. A single server and a cluster answer a repeat that
//! says where it belongs differently: the former compares the position first and refuses it (10071), the latter the
//! message id, and says that it has it.

use async_nats::jetstream::context::PublishErrorKind;
use bcs_schemas::{CommandId, EventId, Service, envelope::header};
use bcs_testbus::{Servers, TestBus};
use bytes::Bytes;
use jiff::Timestamp;

use super::*;

bcs_testbus::on_one_and_three!(
    an_event_whose_acknowledgement_was_lost_is_on_the_bus_once,
    a_publisher_that_begins_behind_what_is_there_repeats_nothing,
    whoever_else_writes_into_the_stream_is_noticed_and_nothing_is_lost_or_twice,
);

const STREAM: &str = Service::Deploy.event_stream();

fn row(seq: u64) -> Row {
    Row {
        seq,
        id: EventId::derived(&seq.to_string(), "test"),
        target: "demo/app/shop".to_owned(),
        type_name: "bcs.deploy.app.scaled.v1".to_owned(),
        at: Timestamp::UNIX_EPOCH,
        actor: "ada".to_owned(),
        command: CommandId::derived(&seq.to_string(), "command"),
        correlation: CommandId::derived(&seq.to_string(), "command"),
        traceparent: None,
        payload: Bytes::from_static(b"\x80"),
    }
}

/// A bus, and a publisher of a journal with some events.
struct Bench {
    publisher: Publisher,
    rows: Vec<Row>,
    _nats: TestBus,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn start(servers: Servers) -> Self {
        let nats = TestBus::start(servers);
        let bus = Bus::to_test(&nats).await;
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("journal.db").display());
        let journal = Journal::open(&url, Service::Deploy).await.expect("opens");
        let rows: Vec<Row> = (1..=10).map(row).collect();
        let term = journal.take_over().await.expect("takes it over");
        journal.append(term, &rows, &[]).await.expect("appends");
        let stats = Arc::new(Stats::default());
        let publisher = Publisher { journal, bus, stats, stream: STREAM, published: 0, noted: 0, end: None };
        Self { publisher, rows, _nats: nats, _folder: folder }
    }

    /// The ids of what is on the bus, in order.
    async fn on_the_bus(&self) -> Vec<String> {
        let mut stream = self.publisher.bus.jetstream().get_stream(STREAM).await.expect("is there");
        let last = stream.info().await.expect("answers").state.last_sequence;
        let mut ids = Vec::new();
        for seq in 1..=last {
            let message = stream.get_raw_message(seq).await.expect("is there");
            ids.push(message.headers.get(header::MESSAGE_ID).expect("has an id").to_string());
        }
        ids
    }

    fn ids(&self) -> Vec<String> {
        self.rows.iter().map(|row| row.id.to_string()).collect()
    }
}

async fn an_event_whose_acknowledgement_was_lost_is_on_the_bus_once(servers: Servers) {
    let mut bench = Bench::start(servers).await;
    let rows = bench.rows.clone();
    bench.publisher.publish_all(&rows[..3]).await;
    assert_eq!(bench.publisher.end, Some(3));
    // It arrives, and nobody hears of that.
    let unheard = bench.publisher.send(&rows[3], Some(3)).await.expect("is sent");
    assert_eq!(unheard.await.expect("arrives").sequence, 4);

    let repeat = bench.publisher.send(&rows[3], Some(3)).await.expect("is sent").await;
    match servers {
        Servers::One => {
            assert_eq!(repeat.expect_err("is refused").kind(), PublishErrorKind::WrongLastSequence);
        }
        Servers::Three => assert!(repeat.expect("is known").duplicate),
    }
    bench.publisher.publish_all(&rows).await;
    assert_eq!(bench.publisher.published, 10);
    assert_eq!(bench.on_the_bus().await, bench.ids());
}

/// As after a kill: the watermark is older than what was published.
async fn a_publisher_that_begins_behind_what_is_there_repeats_nothing(servers: Servers) {
    let mut bench = Bench::start(servers).await;
    let rows = bench.rows.clone();
    bench.publisher.publish_all(&rows[..7]).await;
    (bench.publisher.published, bench.publisher.end) = (2, None);
    bench.publisher.catch_up().await;
    assert_eq!(bench.publisher.published, 10);
    assert_eq!(bench.on_the_bus().await, bench.ids());
}

async fn whoever_else_writes_into_the_stream_is_noticed_and_nothing_is_lost_or_twice(servers: Servers) {
    let mut bench = Bench::start(servers).await;
    let rows = bench.rows.clone();
    bench.publisher.publish_all(&rows[..3]).await;
    // A former leader is not told yet that it is none, and publishes what the journal has next.
    let former = bench.publisher.send(&rows[3], None).await.expect("is sent");
    former.await.expect("arrives");
    // And somebody who has no business here.
    let foreign = jetstream::message::PublishMessage::build().message_id("foreign");
    let subject = "bcs.evt.deploy.local.demo.app.shop.scaled";
    let sent = bench.publisher.bus.jetstream().send_publish(subject, foreign).await.expect("is sent");
    assert_eq!(sent.await.expect("arrives").sequence, 5);

    let refused = bench.publisher.send(&rows[4], Some(4)).await.expect("is sent").await;
    assert_eq!(refused.expect_err("is refused").kind(), PublishErrorKind::WrongLastSequence);
    bench.publisher.publish_all(&rows[..5]).await;
    bench.publisher.publish_all(&rows).await;
    let mut wanted = bench.ids();
    wanted.insert(4, "foreign".to_owned());
    assert_eq!(bench.on_the_bus().await, wanted);
}
