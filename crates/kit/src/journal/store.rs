//! The journal on a database: append, read, outcomes, snapshots, the mark of what is on the bus.

use std::{collections::HashMap, fmt::Write, str::FromStr, time::Duration};

use bcs_schemas::{CommandId, Service};
use bytes::Bytes;
use jiff::Timestamp;
use sqlx::{
    Any, AnyConnection, AnyPool, AssertSqlSafe, Connection, Executor, Row as _,
    any::{AnyPoolOptions, AnyRow},
    pool::PoolConnection,
};

use super::{Error, OutcomeRow, Row, Snapshot, schema, schema::Dialect};
use crate::Clock;

/// A statement inserts this many rows or fewer: few texts are prepared, and few round trips made.
const CHUNKS: [usize; 6] = [64, 16, 4, 3, 2, 1];

pub(super) const EVENT_COLUMNS: &str =
    "shard, seq, id, target, kind, decided_at, actor, command_id, correlation_id, traceparent, payload";

/// The right to append, until somebody else takes the journal over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term(u64);

/// The journal of one shard of a service.
#[derive(Clone, Debug)]
pub struct Journal {
    /// One connection: there is one writer.
    writer: AnyPool,
    /// Reads go past the writer.
    readers: AnyPool,
    shard: u32,
    #[cfg(test)]
    pub(crate) trouble: super::trouble::Trouble,
}

impl Journal {
    /// Opens the journal of `service` at `url` (`sqlite:<path>`, `postgres://…`) and makes what is missing.
    pub async fn open(url: &str, service: Service) -> Result<Self, Error> {
        sqlx::any::install_default_drivers();
        let dialect = Dialect::of(url)?;
        if dialect == Dialect::Sqlite {
            make_directory(url)?;
        }
        let url = match dialect {
            Dialect::Sqlite if !url.contains('?') => format!("{url}?mode=rwc"),
            _ => url.to_owned(),
        };
        let writer = pool(&url, dialect, service, 1).await?;
        let mut connection =
            writer.acquire().await.map_err(|source| Error::Database { what: "opening", source })?;
        schema::migrate(&mut connection, dialect, service.as_str()).await?;
        drop(connection);
        let readers = pool(&url, dialect, service, 4).await?;
        Ok(Self {
            writer,
            readers,
            shard: 0,
            #[cfg(test)]
            trouble: Default::default(),
        })
    }

    /// Which shard this is.
    pub const fn shard(&self) -> u32 {
        self.shard
    }

    /// Connections that wait for no writer.
    pub(super) const fn readers(&self) -> &AnyPool {
        &self.readers
    }

    /// Position of the last event; 0 when there is none.
    pub async fn last_seq(&self) -> Result<u64, Error> {
        let query = sqlx::query("SELECT COALESCE(MAX(seq), 0) FROM events WHERE shard = $1");
        let row = query.bind(i64::from(self.shard)).fetch_one(&self.readers).await;
        row.and_then(|r| r.try_get::<i64, _>(0)).map(unsigned).map_err(failed("reading the last position"))
    }

    /// Begins a term: whoever appended before is refused from now on. What is read afterwards is everything that there is.
    pub async fn take_over(&self) -> Result<Term, Error> {
        let sql = "INSERT INTO terms (shard, term) VALUES ($1, 1) ON CONFLICT (shard)
                   DO UPDATE SET term = terms.term + 1 RETURNING term";
        let row = sqlx::query(sql).bind(i64::from(self.shard)).fetch_one(&self.writer).await;
        let term = row.and_then(|r| r.try_get::<i64, _>(0)).map(unsigned);
        term.map(Term).map_err(failed("taking the journal over"))
    }

    /// Appends events and outcomes, both or neither, and returns when they have reached the disk.
    pub async fn append(&self, term: Term, rows: &[Row], outcomes: &[OutcomeRow]) -> Result<(), Error> {
        match self.try_append(term, rows, outcomes).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::Fenced),
            Err(error) if is_duplicate(&error) => Err(Error::Taken),
            Err(error) => Err(failed("appending to the journal")(error)),
        }
    }

    /// Whether the term still lasts, and so everything was written.
    async fn try_append(
        &self,
        term: Term,
        rows: &[Row],
        outcomes: &[OutcomeRow],
    ) -> Result<bool, sqlx::Error> {
        let mut connection = self.writer.acquire().await?;
        let append = async {
            #[cfg(test)]
            self.trouble.append.pass()?;
            let mut transaction = connection.begin().await?;
            if !self.lasts(&mut transaction, term).await? {
                transaction.rollback().await?;
                return Ok(false);
            }
            self.insert(&mut transaction, rows, outcomes).await?;
            #[cfg(test)]
            self.trouble.append.pass()?;
            transaction.commit().await?;
            #[cfg(test)]
            self.trouble.append.pass()?;
            Ok(true)
        };
        let result = append.await;
        settle(connection, result)
    }

    /// Whether nobody took the journal over. Written rather than read, so that nobody does before the transaction ends.
    async fn lasts(&self, transaction: &mut AnyConnection, term: Term) -> Result<bool, sqlx::Error> {
        let query = sqlx::query("UPDATE terms SET term = term WHERE shard = $1 AND term = $2");
        let query = query.bind(i64::from(self.shard)).bind(signed(term.0));
        Ok(query.execute(transaction).await?.rows_affected() == 1)
    }

    async fn insert(
        &self,
        transaction: &mut AnyConnection,
        rows: &[Row],
        outcomes: &[OutcomeRow],
    ) -> Result<(), sqlx::Error> {
        for chunk in chunks(rows) {
            #[cfg(test)]
            self.trouble.append.pass()?;
            let sql = insert(&format!("INSERT INTO events ({EVENT_COLUMNS}) VALUES "), 11, chunk.len());
            let query = chunk.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, row| {
                query
                    .bind(i64::from(self.shard))
                    .bind(signed(row.seq))
                    .bind(row.id.to_string())
                    .bind(row.target.clone())
                    .bind(row.type_name.clone())
                    .bind(row.at.to_string())
                    .bind(row.actor.clone())
                    .bind(row.command.to_string())
                    .bind(row.correlation.to_string())
                    .bind(row.traceparent.clone().unwrap_or_default())
                    .bind(row.payload.to_vec())
            });
            query.execute(&mut *transaction).await?;
        }
        for chunk in chunks(outcomes) {
            #[cfg(test)]
            self.trouble.append.pass()?;
            let sql =
                insert("INSERT INTO outcomes (command_id, decided_at, payload) VALUES ", 3, chunk.len());
            let query = chunk.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, row| {
                query.bind(row.command.to_string()).bind(row.at.to_string()).bind(row.payload.to_vec())
            });
            query.execute(&mut *transaction).await?;
        }
        Ok(())
    }

    /// Events behind position `after`, in order, at most `limit`.
    pub async fn read(&self, after: u64, limit: u32) -> Result<Vec<Row>, Error> {
        let sql =
            format!("SELECT {EVENT_COLUMNS} FROM events WHERE shard = $1 AND seq > $2 ORDER BY seq LIMIT $3");
        let query = sqlx::query(AssertSqlSafe(sql)).bind(i64::from(self.shard)).bind(signed(after));
        let rows = query.bind(i64::from(limit)).fetch_all(&self.readers).await;
        rows.map_err(failed("reading the journal"))?.iter().map(event).collect()
    }

    /// The outcomes that are known of these commands.
    pub async fn outcomes(&self, commands: &[CommandId]) -> Result<HashMap<CommandId, Bytes>, Error> {
        let mut found = HashMap::new();
        for chunk in chunks(commands) {
            let places: Vec<String> = (1..=chunk.len()).map(|n| format!("${n}")).collect();
            let list = places.join(", ");
            let sql = format!("SELECT command_id, payload FROM outcomes WHERE command_id IN ({list})");
            let query = chunk.iter().fold(sqlx::query(AssertSqlSafe(sql)), |q, id| q.bind(id.to_string()));
            for row in query.fetch_all(&self.readers).await.map_err(failed("reading outcomes"))? {
                let id: String = row.try_get(0).map_err(failed("reading outcomes"))?;
                let payload: Vec<u8> = row.try_get(1).map_err(failed("reading outcomes"))?;
                if let Ok(id) = id.parse() {
                    found.insert(id, payload.into());
                }
            }
        }
        Ok(found)
    }

    /// Notes that a command is about to be tried, before it is; how often that was noted. A command that takes the whole
    /// process down with it is told by this from one that only waited for a database.
    pub async fn attempt(&self, command: CommandId) -> Result<u64, Error> {
        let sql = "INSERT INTO attempts (command_id, attempts, noted_at) VALUES ($1, 1, $2) ON CONFLICT (command_id)
                   DO UPDATE SET attempts = attempts.attempts + 1, noted_at = excluded.noted_at RETURNING attempts";
        let query = sqlx::query(sql).bind(command.to_string()).bind(Clock::system().now().to_string());
        let row = query.fetch_one(&self.writer).await;
        row.and_then(|r| r.try_get::<i64, _>(0)).map(unsigned).map_err(failed("noting an attempt"))
    }

    /// Forgets outcomes older than `before`, and attempts that were noted before; how many outcomes.
    pub async fn forget_outcomes(&self, before: Timestamp) -> Result<u64, Error> {
        let mut connection = self.writer.acquire().await.map_err(failed("forgetting outcomes"))?;
        let forget = async {
            let mut transaction = connection.begin().await?;
            let outcomes = sqlx::query("DELETE FROM outcomes WHERE decided_at < $1").bind(before.to_string());
            let forgotten = outcomes.execute(&mut *transaction).await?.rows_affected();
            let attempts = sqlx::query("DELETE FROM attempts WHERE noted_at < $1").bind(before.to_string());
            attempts.execute(&mut *transaction).await?;
            transaction.commit().await.map(|()| forgotten)
        };
        let result = forget.await;
        settle(connection, result).map_err(failed("forgetting outcomes"))
    }

    /// Up to which position events are known to be on the bus.
    pub async fn published(&self) -> Result<u64, Error> {
        let query = sqlx::query("SELECT COALESCE(MAX(published), 0) FROM watermarks WHERE shard = $1");
        let row = query.bind(i64::from(self.shard)).fetch_one(&self.readers).await;
        row.and_then(|r| r.try_get::<i64, _>(0)).map(unsigned).map_err(failed("reading the watermark"))
    }

    /// Notes up to which position events are on the bus. It never moves back.
    pub async fn set_published(&self, seq: u64) -> Result<(), Error> {
        let sql = "INSERT INTO watermarks (shard, published) VALUES ($1, $2) ON CONFLICT (shard)
                   DO UPDATE SET published = excluded.published WHERE excluded.published > watermarks.published";
        let query = sqlx::query(sql).bind(i64::from(self.shard)).bind(signed(seq));
        query.execute(&self.writer).await.map(drop).map_err(failed("noting the watermark"))
    }

    /// The newest snapshot that was made by the same version of the state.
    pub async fn snapshot(&self, version: u32) -> Result<Option<Snapshot>, Error> {
        let sql =
            "SELECT seq, payload FROM snapshots WHERE shard = $1 AND version = $2 ORDER BY seq DESC LIMIT 1";
        let query = sqlx::query(sql).bind(i64::from(self.shard)).bind(i64::from(version));
        let row = query.fetch_optional(&self.readers).await.map_err(failed("reading the snapshot"))?;
        let read = |row: AnyRow| Ok(Snapshot { seq: unsigned(row.try_get(0)?), payload: row.try_get(1)? });
        row.map(read).transpose().map_err(failed("reading the snapshot"))
    }

    /// Keeps a snapshot, and only this one.
    pub async fn keep_snapshot(&self, version: u32, snapshot: &Snapshot) -> Result<(), Error> {
        let mut connection = self.writer.acquire().await.map_err(failed("keeping a snapshot"))?;
        let keep = async {
            let mut transaction = connection.begin().await?;
            let forget = sqlx::query("DELETE FROM snapshots WHERE shard = $1").bind(i64::from(self.shard));
            forget.execute(&mut *transaction).await?;
            let insert = "INSERT INTO snapshots (shard, seq, version, payload) VALUES ($1, $2, $3, $4)";
            let query = sqlx::query(insert).bind(i64::from(self.shard)).bind(signed(snapshot.seq));
            let query = query.bind(i64::from(version)).bind(snapshot.payload.clone());
            query.execute(&mut *transaction).await?;
            transaction.commit().await
        };
        let result = keep.await;
        settle(connection, result).map_err(failed("keeping a snapshot"))
    }

    /// Closes the connections; what was appended stays.
    pub async fn close(&self) {
        self.writer.close().await;
        self.readers.close().await;
    }
}

async fn pool(url: &str, dialect: Dialect, service: Service, connections: u32) -> Result<AnyPool, Error> {
    let settings = dialect.on_connect(service.as_str());
    let options = AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(10))
        // A question to the server before each use finds connections that a database has dropped; a file drops none.
        .test_before_acquire(dialect == Dialect::Postgres)
        .after_connect(move |connection, _| {
            let settings = settings.clone();
            Box::pin(async move {
                for setting in settings {
                    connection.execute(AssertSqlSafe(setting)).await?;
                }
                Ok(())
            })
        });
    let failed = |source| Error::Database { what: "opening the journal", source };
    match options.connect(url).await {
        // A pool tries again for as long as it may, and does not tell what was in the way.
        Err(late @ sqlx::Error::PoolTimedOut) => Err(failed(reason(url).await.unwrap_or(late))),
        opened => opened.map_err(failed),
    }
}

/// Why no connection can be made, if that is so.
async fn reason(url: &str) -> Option<sqlx::Error> {
    let attempt = AnyConnection::connect(url);
    tokio::time::timeout(Duration::from_secs(2), attempt).await.ok()?.err()
}

/// A connection whose transaction failed is not used again. SQLite ends some by itself (a full disk), the driver counts
/// them as open, and what it begins next is a savepoint: inside of one that was left open, whose commit keeps nothing.
fn settle<T>(connection: PoolConnection<Any>, result: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
    if result.is_err() {
        drop(connection.detach());
    }
    result
}

/// A journal in a directory that does not exist yet is a first start.
fn make_directory(url: &str) -> Result<(), Error> {
    let path =
        url.trim_start_matches("sqlite:").trim_start_matches("//").split('?').next().unwrap_or_default();
    match std::path::Path::new(path).parent() {
        Some(directory) if !directory.as_os_str().is_empty() => std::fs::create_dir_all(directory)
            .map_err(|e| Error::Database { what: "making the directory of the journal", source: e.into() }),
        _ => Ok(()),
    }
}

pub(super) fn failed(what: &'static str) -> impl Fn(sqlx::Error) -> Error {
    move |source| Error::Database { what, source }
}

fn is_duplicate(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// Cuts a slice into pieces of the few sizes that statements are prepared for.
fn chunks<T>(mut rest: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = *CHUNKS.iter().find(|size| **size <= rest.len())?;
        let (piece, tail) = rest.split_at(size);
        rest = tail;
        Some(piece)
    })
}

/// `head ($1, $2), ($3, $4)`: numbered places, which both databases read.
fn insert(head: &str, columns: usize, rows: usize) -> String {
    let mut sql = head.to_owned();
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ", (" });
        for column in 1..=columns {
            let comma = if column == 1 { "" } else { ", " };
            // Writing to a string cannot fail.
            let _ = write!(sql, "{comma}${}", row * columns + column);
        }
        sql.push(')');
    }
    sql
}

pub(super) fn event(row: &AnyRow) -> Result<Row, Error> {
    let seq: i64 = row.try_get(1).map_err(failed("reading the journal"))?;
    let text = |column: usize| row.try_get::<String, _>(column).map_err(failed("reading the journal"));
    fn parsed<T: FromStr>(seq: i64, column: &str, text: &str) -> Result<T, Error> {
        text.parse().map_err(|_| Error::Damaged { seq, problem: format!("{column} is {text:?}") })
    }
    let payload: Vec<u8> = row.try_get(10).map_err(failed("reading the journal"))?;
    Ok(Row {
        seq: unsigned(seq),
        id: parsed(seq, "id", &text(2)?)?,
        target: text(3)?,
        type_name: text(4)?,
        at: parsed(seq, "decided_at", &text(5)?)?,
        actor: text(6)?,
        command: parsed(seq, "command_id", &text(7)?)?,
        correlation: parsed(seq, "correlation_id", &text(8)?)?,
        traceparent: Some(text(9)?).filter(|t| !t.is_empty()),
        payload: payload.into(),
    })
}

/// Positions are counted up from one: they fit both ways.
pub(super) fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

fn unsigned(seq: i64) -> u64 {
    u64::try_from(seq).unwrap_or_default()
}

#[cfg(test)]
mod tests;
