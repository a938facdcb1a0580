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

    /// What every new connection is told first. WAL with full synchronisation: a commit has reached the disk.
    pub(super) fn on_connect(self, service: &str) -> Vec<String> {
        match self {
            Self::Sqlite => {
                ["journal_mode = WAL", "synchronous = FULL", "busy_timeout = 5000", "cache_size = -8192"]
                    .map(|setting| format!("PRAGMA {setting}"))
                    .into()
            }
            Self::Postgres => vec![
                format!("CREATE SCHEMA IF NOT EXISTS bcs_{service}"),
                format!("SET search_path TO bcs_{service}"),
            ],
        }
    }
}

/// Migration N brings a database from version N to N + 1. Never change one that was released; add another.
fn migrations(dialect: Dialect) -> Vec<Vec<String>> {
    let bytes = dialect.bytes();
    vec![vec![
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
    ]]
}

/// Brings the database to the newest version.
pub(super) async fn migrate(connection: &mut AnyConnection, dialect: Dialect) -> Result<(), Error> {
    let failed = |source| Error::Database { what: "migrating the journal", source };
    let mut transaction = connection.begin().await.map_err(failed)?;
    if dialect == Dialect::Postgres {
        // Two services of one kind may start at once on an empty database.
        sqlx::query("SELECT pg_advisory_xact_lock(4242)").execute(&mut *transaction).await.map_err(failed)?;
    }
    let create = "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)";
    sqlx::query(create).execute(&mut *transaction).await.map_err(failed)?;
    let row = sqlx::query("SELECT COALESCE(MAX(version), 0) FROM schema_version");
    let found: i64 = row.fetch_one(&mut *transaction).await.and_then(|r| r.try_get(0)).map_err(failed)?;
    let steps = migrations(dialect);
    let known = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(Error::Newer { found, known });
    }
    let done = usize::try_from(found).unwrap_or_default();
    for (version, step) in (found + 1..).zip(steps.into_iter().skip(done)) {
        for statement in step {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await.map_err(failed)?;
        }
        let note = sqlx::query("INSERT INTO schema_version (version) VALUES ($1)").bind(version);
        note.execute(&mut *transaction).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}
