mod crash;

use super::*;
use crate::{
    Clock,
    journal::test_database::{Database, on_both},
};

/// A journal, and the right to append to it.
struct Writer {
    journal: Journal,
    term: Term,
}

impl std::ops::Deref for Writer {
    type Target = Journal;

    fn deref(&self) -> &Journal {
        &self.journal
    }
}

impl Writer {
    async fn of(url: &str) -> Self {
        let journal = Journal::open(url, Service::Deploy).await.expect("opens");
        let term = journal.take_over().await.expect("takes it over");
        Self { journal, term }
    }

    async fn append(&self, rows: &[Row], outcomes: &[OutcomeRow]) -> Result<(), Error> {
        self.journal.append(self.term, rows, outcomes).await
    }
}

async fn journal(database: &Database) -> Writer {
    Writer::of(database.url()).await
}

on_both!(
    what_was_appended_is_read_back_in_order_after_a_restart,
    a_writer_whose_term_is_over_is_fenced_and_leaves_no_trace,
    what_is_there_is_not_written_again,
    nobody_takes_over_in_the_middle_of_an_append,
    a_command_id_has_one_outcome,
    attempts_are_counted_across_restarts,
    the_watermark_never_moves_back,
    a_snapshot_of_another_version_is_not_used,
    old_outcomes_are_forgotten_and_young_ones_kept,
    old_attempts_are_forgotten_and_young_ones_kept,
    reads_go_on_while_an_append_is_open,
    what_the_data_is_to_blame_for_is_told_from_trouble_of_the_database,
);

fn row(seq: u64) -> Row {
    Row {
        seq,
        id: bcs_schemas::EventId::derived(&seq.to_string(), "test"),
        target: "demo/app/shop".to_owned(),
        type_name: "bcs.deploy.app.scaled.v1".to_owned(),
        at: Timestamp::UNIX_EPOCH,
        actor: "ada".to_owned(),
        command: CommandId::derived(&seq.to_string(), "command"),
        correlation: CommandId::derived(&seq.to_string(), "command"),
        traceparent: seq.is_multiple_of(2).then(|| "00-1-2-01".to_owned()),
        payload: Bytes::from(vec![u8::try_from(seq % 256).expect("small"); 3]),
    }
}

fn outcome(seq: u64) -> OutcomeRow {
    OutcomeRow {
        command: CommandId::derived(&seq.to_string(), "command"),
        at: Timestamp::UNIX_EPOCH,
        payload: Bytes::from_static(b"done"),
    }
}

async fn what_was_appended_is_read_back_in_order_after_a_restart(database: Database) {
    let rows: Vec<Row> = (1..=150).map(row).collect();
    {
        let journal = journal(&database).await;
        journal.append(&rows, &[outcome(1)]).await.expect("appends");
        journal.close().await;
    }
    let journal = journal(&database).await;
    assert_eq!(journal.last_seq().await.expect("reads"), 150);
    assert_eq!(journal.read(0, 1000).await.expect("reads"), rows);
    assert_eq!(journal.read(148, 1).await.expect("reads"), rows[148..149]);
    let known = journal.outcomes(&[outcome(1).command, outcome(2).command]).await.expect("reads");
    assert_eq!(known.len(), 1);
    assert_eq!(known[&outcome(1).command].as_ref(), b"done");
}

async fn a_writer_whose_term_is_over_is_fenced_and_leaves_no_trace(database: Database) {
    let first = journal(&database).await;
    first.append(&[row(1), row(2)], &[outcome(1)]).await.expect("appends");
    let second = journal(&database).await;
    // Whether it would fit or not, and also when it is only an outcome.
    for (rows, outcomes) in
        [(vec![row(3)], vec![outcome(3)]), (vec![row(2)], vec![]), (vec![], vec![outcome(3)])]
    {
        let late = first.append(&rows, &outcomes).await;
        assert!(late.as_ref().is_err_and(|error| !error.is_transient()), "{late:?}");
        assert!(matches!(late, Err(Error::Fenced)), "{late:?}");
    }
    assert_eq!(second.last_seq().await.expect("reads"), 2);
    assert!(second.outcomes(&[outcome(3).command]).await.expect("reads").is_empty());
    second.append(&[row(3)], &[outcome(3)]).await.expect("appends");
}

async fn what_is_there_is_not_written_again(database: Database) {
    let journal = journal(&database).await;
    journal.append(&[row(1), row(2)], &[outcome(1)]).await.expect("appends");
    let again = journal.append(&[row(2), row(3)], &[outcome(3)]).await;
    assert!(matches!(again, Err(Error::Taken)), "{again:?}");
    assert_eq!(journal.last_seq().await.expect("reads"), 2);
    assert!(journal.outcomes(&[outcome(3).command]).await.expect("reads").is_empty());
}

async fn nobody_takes_over_in_the_middle_of_an_append(database: Database) {
    let first = journal(&database).await;
    let mut open = first.writer.begin().await.expect("begins");
    assert!(first.lasts(&mut open, first.term).await.expect("asks"));
    first.insert(&mut open, &[row(1)], &[outcome(1)]).await.expect("inserts");
    let commit = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        open.commit().await.expect("commits");
    };
    // Whoever takes over waits, and then knows all that is there.
    let (second, ()) = tokio::join!(journal(&database), commit);
    assert_eq!(second.read(0, 10).await.expect("reads"), [row(1)]);
    assert!(matches!(first.append(&[row(2)], &[]).await, Err(Error::Fenced)));
}

async fn a_command_id_has_one_outcome(database: Database) {
    let journal = journal(&database).await;
    journal.append(&[], &[outcome(7)]).await.expect("appends");
    assert!(matches!(journal.append(&[row(1)], &[outcome(7)]).await, Err(Error::Taken)));
    assert_eq!(journal.last_seq().await.expect("reads"), 0);
}

/// The limit belongs to the connection, and is at least what the file has already.
async fn room(journal: &Journal, pages: u32) {
    let limit = format!("PRAGMA max_page_count = {pages}");
    sqlx::query(AssertSqlSafe(limit)).execute(&journal.writer).await.expect("is set");
}

#[tokio::test]
async fn what_is_appended_after_the_disk_was_full_is_on_the_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", folder.path().join("full.db").display());
    let journal = Writer::of(&url).await;
    journal.append(&[row(1)], &[]).await.expect("appends");
    let large = |seq| Row { payload: Bytes::from(vec![7; 100_000]), ..row(seq) };
    // Of one row, SQLite gives up the transaction; of several, only the statement.
    for rows in [vec![large(2)], vec![large(2), large(3)], vec![large(2)], vec![large(2), large(3)]] {
        room(&journal, 1).await;
        let full = journal.append(&rows, &[]).await;
        assert!(full.as_ref().is_err_and(Error::is_transient), "{full:?}");
    }
    room(&journal, 1_000_000).await;
    journal.append(&[row(2)], &[outcome(2)]).await.expect("there is room again");
    let other = Journal::open(&url, Service::Deploy).await.expect("opens");
    assert_eq!(other.read(0, 10).await.expect("reads"), [row(1), row(2)]);
    assert_eq!(other.outcomes(&[outcome(2).command]).await.expect("reads").len(), 1);
}

async fn attempts_are_counted_across_restarts(database: Database) {
    let command = outcome(1).command;
    for attempt in 1..4 {
        let journal = journal(&database).await;
        assert_eq!(journal.attempt(command).await.expect("notes"), attempt);
        journal.close().await;
    }
}

async fn the_watermark_never_moves_back(database: Database) {
    let journal = journal(&database).await;
    for seq in [3, 9, 5] {
        journal.set_published(seq).await.expect("notes");
    }
    assert_eq!(journal.published().await.expect("reads"), 9);
}

async fn a_snapshot_of_another_version_is_not_used(database: Database) {
    let journal = journal(&database).await;
    let snapshot = Snapshot { seq: 4, payload: vec![1, 2, 3] };
    journal.keep_snapshot(1, &snapshot).await.expect("keeps");
    assert_eq!(journal.snapshot(1).await.expect("reads"), Some(snapshot));
    assert_eq!(journal.snapshot(2).await.expect("reads"), None);
}

async fn old_outcomes_are_forgotten_and_young_ones_kept(database: Database) {
    let journal = journal(&database).await;
    let young = OutcomeRow { at: Clock::system().now(), ..outcome(2) };
    journal.append(&[], &[outcome(1), young]).await.expect("appends");
    let month = jiff::SignedDuration::from_hours(30 * 24);
    assert_eq!(journal.forget_outcomes(Clock::system().now() - month).await.expect("forgets"), 1);
}

async fn old_attempts_are_forgotten_and_young_ones_kept(database: Database) {
    let journal = journal(&database).await;
    let command = outcome(1).command;
    journal.attempt(command).await.expect("notes");
    let now = Clock::system().now();
    let hour = jiff::SignedDuration::from_hours(1);
    journal.forget_outcomes(now - hour).await.expect("forgets");
    assert_eq!(journal.attempt(command).await.expect("notes"), 2, "it was young");
    journal.forget_outcomes(now + hour).await.expect("forgets");
    assert_eq!(journal.attempt(command).await.expect("notes"), 1, "it was old");
}

async fn reads_go_on_while_an_append_is_open(database: Database) {
    let (other, writer) = (journal(&database).await, journal(&database).await);
    let snapshot = Snapshot { seq: 2, payload: vec![7] };
    writer.append(&[row(1), row(2)], &[outcome(1)]).await.expect("appends");
    writer.keep_snapshot(1, &snapshot).await.expect("keeps");
    writer.set_published(1).await.expect("notes");
    let rows: Vec<Row> = (3..=2000).map(row).collect();
    let mut open = writer.writer.begin().await.expect("begins");
    writer.insert(&mut open, &rows, &[outcome(3)]).await.expect("inserts");
    // Whoever waited for the append would wait in vain: it ends after the reads.
    for journal in [&writer, &other] {
        assert_eq!(journal.last_seq().await.expect("reads"), 2);
        assert_eq!(journal.read(0, 10).await.expect("reads"), [row(1), row(2)]);
        let known = journal.outcomes(&[outcome(1).command, outcome(3).command]).await.expect("reads");
        assert_eq!(known.len(), 1);
        assert_eq!(journal.snapshot(1).await.expect("reads").as_ref(), Some(&snapshot));
        assert_eq!(journal.published().await.expect("reads"), 1);
    }
    open.commit().await.expect("commits");
    assert_eq!(other.last_seq().await.expect("reads"), 2000);
}

#[tokio::test]
async fn a_url_of_another_kind_is_refused_with_what_was_expected() {
    let error =
        Journal::open("mysql://user:secret@host/db", Service::Deploy).await.expect_err("refused").to_string();
    assert!(error.contains("expected sqlite:") && !error.contains("secret"), "{error}");
}

async fn what_the_data_is_to_blame_for_is_told_from_trouble_of_the_database(database: Database) {
    let journal = journal(&database).await;
    let refused = |sql: &'static str| {
        let writer = journal.writer.clone();
        async move { failed("a test")(sqlx::query(sql).execute(&writer).await.expect_err(sql)) }
    };
    let nothing =
        refused("INSERT INTO outcomes (command_id, decided_at, payload) VALUES ('1', NULL, '')").await;
    assert!(!nothing.is_transient(), "{nothing:?}");
    let missing = refused("INSERT INTO elsewhere VALUES (1)").await;
    assert!(missing.is_transient(), "{missing:?}");
    assert!(Error::Taken.is_transient());
    journal.close().await;
    let gone = journal.append(&[row(1)], &[]).await.expect_err("it is closed");
    assert!(gone.is_transient(), "{gone:?}");
}

proptest::proptest! {
    #[test]
    fn chunks_lose_nothing(length in 0usize..400) {
        let all: Vec<usize> = (0..length).collect();
        let again: Vec<usize> = chunks(&all).flatten().copied().collect();
        proptest::prop_assert_eq!(again, all);
    }
}

/// With time that passes as soon as everybody waits: a pool tries again for ten seconds.
#[tokio::test(start_paused = true)]
async fn a_database_that_is_not_there_is_said_with_what_is_in_the_way() {
    let error = Journal::open("postgres://nobody@127.0.0.1:1/none", Service::Deploy)
        .await
        .expect_err("nobody listens");
    let words = crate::telemetry::chain(&error);
    assert!(words.starts_with("opening the journal failed") && words.contains("refused"), "{words}");
}
