use bcs_schemas::{CommandId, EventId, Service};
use futures::future::join_all;

use super::*;
use crate::journal::{
    Journal, Row, Snapshot,
    test_database::{Database, on_both},
};

on_both!(
    many_that_start_at_once_on_an_empty_database_make_one_journal,
    a_journal_of_an_older_program_is_brought_forward_with_what_it_holds,
    a_database_of_a_newer_program_is_refused_and_left_alone,
);

/// A connection as the journal of `deploy` makes it.
async fn connection(database: &Database) -> (AnyConnection, Dialect) {
    sqlx::any::install_default_drivers();
    let dialect = Dialect::of(database.url()).expect("a known one");
    let url = match dialect {
        Dialect::Sqlite => format!("{}?mode=rwc", database.url()),
        Dialect::Postgres => database.url().to_owned(),
    };
    let mut connection = AnyConnection::connect(&url).await.expect("connects");
    for setting in dialect.on_connect("deploy") {
        sqlx::query(AssertSqlSafe(setting)).execute(&mut connection).await.expect("is set");
    }
    (connection, dialect)
}

async fn versions(database: &Database) -> Vec<i64> {
    let (mut connection, _) = connection(database).await;
    let query = sqlx::query_scalar("SELECT version FROM schema_version ORDER BY version");
    query.fetch_all(&mut connection).await.expect("reads")
}

async fn many_that_start_at_once_on_an_empty_database_make_one_journal(database: Database) {
    let opened = join_all((0..6).map(|_| Journal::open(database.url(), Service::Deploy))).await;
    for journal in opened {
        journal.expect("opens").close().await;
    }
    assert_eq!(versions(&database).await, [1, 2, 3]);
}

async fn a_journal_of_an_older_program_is_brought_forward_with_what_it_holds(database: Database) {
    let (mut old, dialect) = connection(&database).await;
    let first = migrations(dialect).into_iter().take(1).collect();
    apply(&mut old, dialect, "deploy", first).await.expect("migrates");
    let (command, event) = (CommandId::derived("1", "command"), EventId::derived("1", "event"));
    let (id, payload) = (command.to_string(), vec![0x80_u8]);
    let written = [
        sqlx::query("INSERT INTO attempts (command_id, attempts) VALUES ($1, 2)").bind(id.clone()),
        sqlx::query("INSERT INTO watermarks (shard, published) VALUES (0, 36)"),
        sqlx::query("INSERT INTO outcomes (command_id, decided_at, payload) VALUES ($1, '2026-11-22T10:00:00Z', $2)")
            .bind(id.clone())
            .bind(payload.clone()),
        sqlx::query("INSERT INTO snapshots (shard, seq, version, payload) VALUES (0, 1, 7, $1)").bind(payload.clone()),
        sqlx::query(
            "INSERT INTO events (shard, seq, id, target, kind, decided_at, actor, command_id, correlation_id, traceparent, payload)
             VALUES (0, 1, $1, 'demo/app/a', 'bcs.deploy.app.deleted.v1', '2026-11-22T10:00:00Z', 'ada', $2, $2, '', $3)",
        )
        .bind(event.to_string())
        .bind(id)
        .bind(payload.clone()),
    ];
    for query in written {
        query.execute(&mut old).await.expect("writes");
    }
    old.close().await.expect("closes");
    let journal = Journal::open(database.url(), Service::Deploy).await.expect("opens");
    assert_eq!(journal.attempt(command).await.expect("notes"), 3);
    assert_eq!(journal.published().await.expect("reads"), 36);
    let outcomes = journal.outcomes(&[command]).await.expect("reads");
    assert_eq!(outcomes.get(&command), Some(&payload.clone().into()));
    let snapshot = journal.snapshot(7).await.expect("reads");
    assert_eq!(snapshot, Some(Snapshot { seq: 1, payload: payload.clone() }));
    let at = "2026-11-22T10:00:00Z".parse().expect("an instant");
    let row = Row {
        seq: 1,
        id: event,
        target: "demo/app/a".to_owned(),
        type_name: "bcs.deploy.app.deleted.v1".to_owned(),
        at,
        actor: "ada".to_owned(),
        command,
        correlation: command,
        traceparent: None,
        payload: payload.into(),
    };
    assert_eq!(journal.read(0, 10).await.expect("reads"), [row]);
    assert_eq!(versions(&database).await, [1, 2, 3]);
}

async fn a_database_of_a_newer_program_is_refused_and_left_alone(database: Database) {
    Journal::open(database.url(), Service::Deploy).await.expect("opens").close().await;
    let (mut newer, _) = connection(&database).await;
    let query = sqlx::query("INSERT INTO schema_version (version) VALUES (99)");
    query.execute(&mut newer).await.expect("writes");
    newer.close().await.expect("closes");
    let error = Journal::open(database.url(), Service::Deploy).await.expect_err("is refused");
    assert!(matches!(error, Error::Newer { found: 99, known: 3 }), "{error:?}");
    let words = error.to_string();
    assert!(words.contains("version 99") && words.contains("up to 3"), "{words}");
    assert_eq!(versions(&database).await, [1, 2, 3, 99]);
}
