//! Tables of a journal and how they came to be. Migrations run forward only; a database that is newer than the program
//! is refused.

use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row as _};

use super::Error;

/// Where two databases write the same thing in different words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    pub(super) fn of(url: &str) -> Result<Self, Error> {
        match url.split(':').next() {
            Some("sqlite") => Ok(Self::Sqlite),
            Some("postgres" | "postgresql") => Ok(Self::Postgres),
            _ => Err(Error::Url(url.split('@').next_back().unwrap_or_default().to_owned())),
        }
    }

    const fn bytes(self) -> &'static str {
        match self {
            Self::Sqlite => "BLOB",
            Self::Postgres => "BYTEA",
        }
    }

    /// What every new connection is told first: a commit has reached the disk, nobody waits for ever for a lock, and a
    /// writer that froze in the middle of an append is not waited for either.
    pub(super) fn on_connect(self, service: &str) -> Vec<String> {
        match self {
            Self::Sqlite => {
                ["busy_timeout = 5000", "journal_mode = WAL", "synchronous = FULL", "cache_size = -8192"]
                    .map(|setting| format!("PRAGMA {setting}"))
                    .into()
            }
            Self::Postgres => vec![
                format!("SET search_path TO {}", schema_of(service)),
                "SET lock_timeout TO '5s'".to_owned(),
                "SET idle_in_transaction_session_timeout TO '2s'".to_owned(),
                // A stricter setting than "on" waits for standbys as well: it is left alone.
                "SELECT set_config('synchronous_commit', 'on', false)
                 WHERE current_setting('synchronous_commit') = 'off'"
                    .to_owned(),
            ],
        }
    }

    /// Begins a transaction of which there is one at a time, so that several may start at once on an empty database.
    const fn begin_alone(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN",
        }
    }
}

/// Services share a PostgreSQL database, each with a schema of its own.
fn schema_of(service: &str) -> String {
    format!("bcs_{service}")
}

/// Migration N brings a database from version N to N + 1. Never change one that was released; add another.
fn migrations(dialect: Dialect) -> Vec<Vec<String>> {
    vec![tables(dialect.bytes()), what_the_tidy_needs(), terms()]
}

/// What there was in the beginning.
fn tables(bytes: &str) -> Vec<String> {
    vec![
        format!(
            "CREATE TABLE events (
                shard BIGINT NOT NULL,
                seq BIGINT NOT NULL,
                id TEXT NOT NULL,
                target TEXT NOT NULL,
                kind TEXT NOT NULL,
                decided_at TEXT NOT NULL,
                actor TEXT NOT NULL,
                command_id TEXT NOT NULL,
                correlation_id TEXT NOT NULL,
                traceparent TEXT NOT NULL,
                payload {bytes} NOT NULL,
                PRIMARY KEY (shard, seq)
            )"
        ),
        "CREATE INDEX events_target ON events (shard, target, seq)".to_owned(),
        format!(
            "CREATE TABLE outcomes (
                command_id TEXT NOT NULL PRIMARY KEY,
                decided_at TEXT NOT NULL,
                payload {bytes} NOT NULL
            )"
        ),
        format!(
            "CREATE TABLE snapshots (
                shard BIGINT NOT NULL,
                seq BIGINT NOT NULL,
                version BIGINT NOT NULL,
                payload {bytes} NOT NULL,
                PRIMARY KEY (shard, seq)
            )"
        ),
        // Written only for commands that came back again and again: see `Journal::attempt`.
        "CREATE TABLE attempts (command_id TEXT NOT NULL PRIMARY KEY, attempts BIGINT NOT NULL)".to_owned(),
        "CREATE TABLE watermarks (shard BIGINT NOT NULL PRIMARY KEY, published BIGINT NOT NULL)".to_owned(),
    ]
}

/// Old outcomes are found without looking at all, and attempts have an age. Those from before count as very old.
fn what_the_tidy_needs() -> Vec<String> {
    vec![
        "CREATE INDEX outcomes_decided_at ON outcomes (decided_at)".to_owned(),
        "ALTER TABLE attempts ADD COLUMN noted_at TEXT NOT NULL DEFAULT ''".to_owned(),
    ]
}

/// Who may append.
fn terms() -> Vec<String> {
    vec!["CREATE TABLE terms (shard BIGINT NOT NULL PRIMARY KEY, term BIGINT NOT NULL)".to_owned()]
}

/// Brings the database of `service` to the newest version.
pub(super) async fn migrate(
    connection: &mut AnyConnection,
    dialect: Dialect,
    service: &str,
) -> Result<(), Error> {
    apply(connection, dialect, service, migrations(dialect)).await
}

/// Runs those of all known migrations that the database has not seen, all of them or none.
async fn apply(
    connection: &mut AnyConnection,
    dialect: Dialect,
    service: &str,
    migrations: Vec<Vec<String>>,
) -> Result<(), Error> {
    let failed = |source| Error::Database { what: "migrating the journal", source };
    let mut transaction = connection.begin_with(dialect.begin_alone()).await.map_err(failed)?;
    let mut before = vec!["CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)".to_owned()];
    if dialect == Dialect::Postgres {
        let schema = schema_of(service);
        // A large migration of another process takes as long as it takes.
        let alone = ["SET LOCAL lock_timeout TO 0", "SELECT pg_advisory_xact_lock(4242)"].map(str::to_owned);
        before.splice(..0, alone.into_iter().chain([format!("CREATE SCHEMA IF NOT EXISTS {schema}")]));
    }
    for statement in before {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await.map_err(failed)?;
    }
    let row = sqlx::query("SELECT COALESCE(MAX(version), 0) FROM schema_version");
    let found: i64 = row.fetch_one(&mut *transaction).await.and_then(|r| r.try_get(0)).map_err(failed)?;
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(Error::Newer { found, known });
    }
    let done = usize::try_from(found).unwrap_or_default();
    for (version, migration) in (found + 1..).zip(migrations.into_iter().skip(done)) {
        for statement in migration {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await.map_err(failed)?;
        }
        let note = sqlx::query("INSERT INTO schema_version (version) VALUES ($1)").bind(version);
        note.execute(&mut *transaction).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}

#[cfg(test)]
mod tests;
