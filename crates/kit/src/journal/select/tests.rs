use bcs_schemas::{CommandId, EventId, Service};
use bytes::Bytes;

use super::*;
use crate::journal::test_database::{Database, on_both};

on_both!(what_is_selected_comes_in_the_order_that_was_asked_for);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("an instant")
}

/// Two objects by turns, three events a command, two events a second.
fn row(seq: u64) -> Row {
    let command = CommandId::derived(&(seq / 3).to_string(), "command");
    let half = jiff::SignedDuration::from_millis(if seq.is_multiple_of(2) { 500 } else { 0 });
    Row {
        seq,
        id: EventId::derived(&seq.to_string(), "test"),
        target: format!("demo/app/{}", if seq.is_multiple_of(2) { "even" } else { "odd" }),
        type_name: "bcs.deploy.app.scaled.v1".to_owned(),
        at: at(i64::try_from(seq / 2).expect("small")) + half,
        actor: "ada".to_owned(),
        command,
        correlation: command,
        traceparent: None,
        payload: Bytes::from_static(b"x"),
    }
}

async fn what_is_selected_comes_in_the_order_that_was_asked_for(database: Database) {
    let journal = Journal::open(database.url(), Service::Deploy).await.expect("opens");
    let rows: Vec<Row> = (1..=12).map(row).collect();
    let term = journal.take_over().await.expect("takes it over");
    journal.append(term, &rows, &[]).await.expect("appends");
    let all = Selection { limit: 100, ..Selection::default() };
    let odd = Selection { target: Some("demo/app/odd".to_owned()), ..all.clone() };
    for (selection, expected) in [
        (all.clone(), (1..=12).collect::<Vec<u64>>()),
        (Selection { after: Some(3), limit: 4, ..all.clone() }, vec![4, 5, 6, 7]),
        (Selection { newest_first: true, limit: 2, ..all.clone() }, vec![12, 11]),
        (odd.clone(), vec![1, 3, 5, 7, 9, 11]),
        (Selection { newest_first: true, after: Some(7), limit: 2, ..odd.clone() }, vec![5, 3]),
        (Selection { id: Some(row(7).command.0), ..all.clone() }, vec![6, 7, 8]),
        (Selection { id: Some(row(7).id.0), ..all.clone() }, vec![7]),
        (Selection { id: Some(row(7).command.0), ..odd.clone() }, vec![7]),
        // A second is taken as a whole.
        (Selection { since: Some(row(10).at), ..all.clone() }, vec![10, 11, 12]),
        (Selection { since: Some(row(11).at), ..all.clone() }, vec![10, 11, 12]),
        (Selection { since: Some(at(100)), ..all.clone() }, vec![]),
        (Selection { target: Some("demo/app/other' OR 'a' = 'a".to_owned()), ..all.clone() }, vec![]),
    ] {
        let found = journal.select(&selection).await.expect("reads");
        assert_eq!(found.iter().map(|row| row.seq).collect::<Vec<_>>(), expected, "{selection:?}");
        assert!(found.iter().all(|found| *found == row(found.seq)), "{selection:?}");
    }
}
