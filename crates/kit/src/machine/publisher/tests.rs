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
    what_the_bus_forgot_though_it_had_acknowledged_it_is_published_again,
    a_stream_whose_events_are_too_old_to_be_there_is_gone_on_with,
    an_event_that_the_journal_does_not_know_is_no_place_to_go_on_from,
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
        let state = &stream.info().await.expect("answers").state;
        let (first, last) = (state.first_sequence.max(1), state.last_sequence);
        let mut ids = Vec::new();
        for seq in first..=last {
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
    let unheard = bench.publisher.send(&rows[3], 3).await.expect("is sent");
    assert_eq!(unheard.await.expect("arrives").sequence, 4);

    let repeat = bench.publisher.send(&rows[3], 3).await.expect("is sent").await;
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

/// As after a server that had not heard of everything was elected, or a copy of older data was put in place.
async fn what_the_bus_forgot_though_it_had_acknowledged_it_is_published_again(servers: Servers) {
    for kept in [0, 4] {
        let mut bench = Bench::start(servers).await;
        let rows = bench.rows.clone();
        bench.publisher.publish_all(&rows[..8]).await;
        let jetstream = bench.publisher.bus.jetstream().clone();
        let config = jetstream.get_stream(STREAM).await.expect("is there").cached_info().config.clone();
        jetstream.delete_stream(STREAM).await.expect("goes");
        jetstream.create_stream(config).await.expect("is new");
        for (behind, row) in (0..).zip(&rows[..kept]) {
            bench.publisher.send(row, behind).await.expect("is sent").await.expect("arrives");
        }
        bench.publisher.publish_all(&rows[8..]).await;
        assert_eq!(
            bench.publisher.published,
            u64::try_from(kept).expect("fits"),
            "what was known is not believed"
        );
        bench.publisher.catch_up().await;
        assert_eq!(bench.publisher.published, 10);
        assert_eq!(bench.on_the_bus().await, bench.ids());
    }
}

async fn a_stream_whose_events_are_too_old_to_be_there_is_gone_on_with(servers: Servers) {
    let mut bench = Bench::start(servers).await;
    let rows = bench.rows.clone();
    bench.publisher.publish_all(&rows[..7]).await;
    let stream = bench.publisher.bus.jetstream().get_stream(STREAM).await.expect("is there");
    stream.purge().await.expect("is emptied");
    bench.publisher.end = None;
    bench.publisher.catch_up().await;
    assert_eq!((bench.publisher.published, bench.publisher.end), (10, Some(10)));
    assert_eq!(bench.on_the_bus().await, bench.ids()[7..]);
}

/// As after a journal was restored from a copy, and went on from there.
async fn an_event_that_the_journal_does_not_know_is_no_place_to_go_on_from(servers: Servers) {
    let mut bench = Bench::start(servers).await;
    let rows = bench.rows.clone();
    bench.publisher.publish_all(&rows[..6]).await;
    for (behind, seq) in [(6, 7), (7, 8)] {
        let forgotten = Row { id: EventId::derived("forgotten", &seq.to_string()), ..row(seq) };
        bench.publisher.send(&forgotten, behind).await.expect("is sent").await.expect("arrives");
    }
    (bench.publisher.published, bench.publisher.end) = (5, None);
    bench.publisher.catch_up().await;
    assert_eq!(bench.publisher.published, 10);
    let on_the_bus = bench.on_the_bus().await;
    assert_eq!((&on_the_bus[..6], &on_the_bus[8..]), (&bench.ids()[..6], &bench.ids()[6..]));
}

async fn whoever_else_writes_into_the_stream_is_noticed_and_nothing_is_lost_or_twice(servers: Servers) {
    let mut bench = Bench::start(servers).await;
    let rows = bench.rows.clone();
    bench.publisher.publish_all(&rows[..3]).await;
    // A former leader is not told yet that it is none, and publishes what the journal has next.
    let former = bench.publisher.send(&rows[3], 3).await.expect("is sent");
    former.await.expect("arrives");
    // And somebody who has no business here.
    let foreign = jetstream::message::PublishMessage::build().message_id("foreign");
    let subject = "bcs.evt.deploy.local.demo.app.shop.scaled";
    let sent = bench.publisher.bus.jetstream().send_publish(subject, foreign).await.expect("is sent");
    assert_eq!(sent.await.expect("arrives").sequence, 5);

    let refused = bench.publisher.send(&rows[4], 4).await.expect("is sent").await;
    assert_eq!(refused.expect_err("is refused").kind(), PublishErrorKind::WrongLastSequence);
    bench.publisher.publish_all(&rows[..5]).await;
    bench.publisher.publish_all(&rows).await;
    let mut wanted = bench.ids();
    wanted.insert(4, "foreign".to_owned());
    assert_eq!(bench.on_the_bus().await, wanted);
}
