//! What a journal can be asked about what was.

use bcs_client::{Client, Error};
use bcs_kit::{journal::Journal, machine::Live};
use bcs_schemas::{
    Name, Service,
    deploy::ScaleApp,
    query::{Answered, EventView, HistoryQuery, PastQuery},
    subject::Target,
};

use crate::{
    harness::{LONG, Running, Server, accepted, fresh, shop},
    ledger::Ledger,
};

async fn scale(client: &Client, target: Target, replicas: u32) -> bcs_schemas::outcome::Accepted {
    let command = client.command(target, ScaleApp { replicas, remove: Vec::new() }).actor("ada");
    accepted(command.send(LONG).await.expect("an outcome"))
}

async fn ask(client: &Client, query: HistoryQuery) -> Answered<Vec<EventView>> {
    client.events_of(Service::Deploy, &query).await.expect("an answer")
}

fn seqs(events: &[EventView]) -> Vec<u64> {
    events.iter().map(|event| event.seq).collect()
}

async fn past(client: &Client, name: &str, revision: u64) -> Result<Answered<Option<u32>>, Error> {
    let name = Name::new(name).expect("a name");
    let question = PastQuery { project: Name::new("demo").ok(), name, revision: Some(revision), time: None };
    client.query("bcs.qry.deploy.app.past", &question).await
}

#[tokio::test]
async fn the_history_of_an_object_names_who_decided_what_and_when_from_either_end() {
    let server = Server::start();
    let service = Running::start(&server).await;
    let client = server.client().await;
    let mut commands = Vec::new();
    for replicas in [3, 5, 8] {
        commands.push(scale(&client, shop(), replicas).await.command_id);
        scale(&client, fresh(), 1).await;
    }
    let about =
        HistoryQuery { object: Some(shop().to_string()), wait_for: Some(6), ..HistoryQuery::default() };
    let history = ask(&client, about.clone()).await;
    assert_eq!((seqs(&history.data), history.revision), (vec![1, 3, 5], 6));
    let first = &history.data[0];
    assert_eq!((first.actor.as_str(), first.type_name.as_str()), ("ada", "bcs.deploy.app.scaled.v1"));
    assert_eq!((first.command_id, first.correlation_id), (commands[0], commands[0]));
    assert_eq!(first.payload["replicas"], 3);

    let newest = HistoryQuery { newest_first: true, limit: Some(2), ..about.clone() };
    let page = ask(&client, newest.clone()).await;
    assert_eq!((seqs(&page.data), page.next.as_deref()), (vec![5, 3], Some("3")));
    let page = ask(&client, HistoryQuery { after: page.next, ..newest }).await;
    assert_eq!((seqs(&page.data), page.next), (vec![1], None));

    let of_command = HistoryQuery { id: Some(commands[1].0), ..HistoryQuery::default() };
    assert_eq!(seqs(&ask(&client, of_command).await.data), [3]);
    let of_event = HistoryQuery { id: Some(first.id.0), ..HistoryQuery::default() };
    assert_eq!(seqs(&ask(&client, of_event).await.data), [1]);
    let since = HistoryQuery { since: Some(client.clock().now()), limit: Some(1), ..HistoryQuery::default() };
    assert!(seqs(&ask(&client, since).await.data).len() <= 1);

    for (question, words) in [
        (HistoryQuery { object: Some("shop".to_owned()), ..HistoryQuery::default() }, "object"),
        (HistoryQuery { after: Some("x".to_owned()), limit: Some(1), ..HistoryQuery::default() }, "after"),
    ] {
        let refused = client.events_of(Service::Deploy, &question).await;
        assert!(matches!(&refused, Err(Error::Refused(why)) if why.message.contains(words)), "{refused:?}");
    }
    service.stop().await;
}

#[tokio::test]
async fn an_object_can_be_seen_as_it_was_at_a_position_or_an_instant() {
    let server = Server::start();
    let service = Running::start(&server).await;
    let client = server.client().await;
    for replicas in [3, 5] {
        scale(&client, shop(), replicas).await;
        scale(&client, fresh(), 1).await;
    }
    let mut seen = Vec::new();
    for revision in 0..=4 {
        let answer = past(&client, "shop", revision).await.expect("an answer");
        seen.push((answer.data, answer.revision));
    }
    assert_eq!(seen, [(None, 0), (Some(3), 1), (Some(3), 1), (Some(5), 3), (Some(5), 3)]);
    let ahead = past(&client, "shop", 99).await;
    assert!(matches!(&ahead, Err(Error::Refused(why)) if why.message.contains("ends at 4")), "{ahead:?}");

    let all = ask(&client, HistoryQuery::default()).await.data;
    let name = Name::new("shop").expect("a name");
    let mut question = PastQuery { project: Name::new("demo").ok(), name, revision: None, time: None };
    let neither = client.query::<_, Option<u32>>("bcs.qry.deploy.app.past", &question).await;
    assert!(matches!(&neither, Err(Error::Refused(why)) if why.message.contains("one of")), "{neither:?}");
    for (time, replicas) in [
        (all[0].time - jiff::SignedDuration::from_nanos(1), None),
        (all[0].time, Some(3)),
        (all[2].time - jiff::SignedDuration::from_nanos(1), Some(3)),
        (all[3].time, Some(5)),
    ] {
        question.time = Some(time);
        let found: Answered<Option<u32>> =
            client.query("bcs.qry.deploy.app.past", &question).await.expect("an answer");
        assert_eq!(found.data, replicas, "{time}");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_state_that_is_wiped_and_rebuilt_from_the_journal_is_the_same_byte_for_byte() {
    let server = Server::start();
    let service = Running::start(&server).await;
    let client = server.client().await;
    for n in 0..60 {
        let target = if n % 3 == 0 { shop() } else { fresh() };
        scale(&client, target, n).await;
    }
    let live = service.machine.live().text().expect("a text");
    let mut read = Live::<Ledger>::default();
    for event in ask(&client, HistoryQuery::default()).await.data {
        read.follow(&event).expect("follows");
    }
    assert_eq!(read.text().expect("a text"), live, "read over the bus and folded elsewhere");
    let replayed = service.machine.replay(u64::MAX).await.expect("folds");
    assert_eq!(replayed.text().expect("a text"), live, "folded from the first event");
    service.stop().await;

    // A stop leaves a snapshot behind; the next start uses it, and the one after that finds none.
    let service = Running::start(&server).await;
    assert_eq!(service.machine.live().text().expect("a text"), live, "begun with a snapshot");
    service.stop().await;
    let journal = Journal::open(&server.journal(), Service::Deploy).await.expect("opens");
    let nothing = bcs_kit::journal::Snapshot { seq: 0, payload: Vec::new() };
    journal.keep_snapshot(u32::MAX, &nothing).await.expect("is wiped");
    journal.close().await;
    let service = Running::start(&server).await;
    assert_eq!(service.machine.live().text().expect("a text"), live, "rebuilt");
    service.stop().await;
}
