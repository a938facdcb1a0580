//! The statements, with the names of the tables in them; those are checked when the settings are.

use sqlx::AssertSqlSafe;

/// Statements on the table and on the one beside it, which says whose an owner is and which sidecar writes for it.
pub(super) struct Statements {
    pub(super) table: String,
    pub(super) owners: String,
}

const COLUMNS: &str = "id, name, host(address) AS address, port, weight, ttl, node, endpoint, uid, version";

impl Statements {
    pub(super) fn new(table: &str) -> Self {
        Self { table: table.to_owned(), owners: format!("{table}_owners") }
    }

    /// Both tables, if they are missing.
    pub(super) fn create(&self) -> [AssertSqlSafe<String>; 2] {
        let Self { table, owners } = self;
        [
            format!(
                "CREATE TABLE IF NOT EXISTS {table} (owner text NOT NULL, id text NOT NULL, name text NOT NULL, \
                 address inet NOT NULL, port integer NOT NULL, weight integer NOT NULL, ttl integer NOT NULL, \
                 node text NOT NULL, endpoint text NOT NULL, uid text NOT NULL, version bigint NOT NULL, \
                 changed_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (owner, id))"
            ),
            format!(
                "CREATE TABLE IF NOT EXISTS {owners} (owner text PRIMARY KEY, installation text NOT NULL, \
                 epoch bigint NOT NULL, session bigint NOT NULL)"
            ),
        ]
        .map(AssertSqlSafe)
    }

    /// `$1` owner, `$2` installation, `$3` epoch, `$4` session; no row when somebody else has it.
    pub(super) fn raise(&self) -> AssertSqlSafe<String> {
        let owners = &self.owners;
        AssertSqlSafe(format!(
            "INSERT INTO {owners} AS o (owner, installation, epoch, session) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (owner) DO UPDATE SET epoch = excluded.epoch, session = excluded.session \
             WHERE o.installation = excluded.installation AND o.epoch <= excluded.epoch RETURNING o.epoch"
        ))
    }

    /// Whose `$1` is.
    pub(super) fn holder(&self) -> AssertSqlSafe<String> {
        AssertSqlSafe(format!("SELECT installation, epoch, session FROM {} WHERE owner = $1", self.owners))
    }

    /// The same, and nobody changes it before the end of the transaction.
    pub(super) fn hold(&self) -> AssertSqlSafe<String> {
        AssertSqlSafe(format!("{} FOR SHARE", self.holder().0))
    }

    /// Every row of `$1`.
    pub(super) fn list(&self) -> AssertSqlSafe<String> {
        AssertSqlSafe(format!("SELECT {COLUMNS} FROM {} WHERE owner = $1", self.table))
    }

    /// Every row, whoever wrote it.
    pub(super) fn survey(&self) -> AssertSqlSafe<String> {
        AssertSqlSafe(format!("SELECT owner, xmin::text::bigint AS written, {COLUMNS} FROM {}", self.table))
    }

    /// Rows go, by owner, id and the transaction that wrote them: `$1` to `$3`.
    pub(super) fn take(&self) -> AssertSqlSafe<String> {
        let table = &self.table;
        AssertSqlSafe(format!(
            "DELETE FROM {table} AS t USING unnest($1::text[], $2::text[], $3::bigint[]) AS u (owner, id, written) \
             WHERE t.owner = u.owner AND t.id = u.id AND t.xmin::text::bigint = u.written RETURNING t.owner, t.id"
        ))
    }

    /// The rows of `$1` with an id among `$2`.
    pub(super) fn look(&self) -> AssertSqlSafe<String> {
        AssertSqlSafe(format!("{} AND id = ANY($2) FOR UPDATE", self.list().0))
    }

    /// Rows of `$1` from columns `$2` to `$10`; every one gets the number of the transaction for its version.
    pub(super) fn put(&self) -> AssertSqlSafe<String> {
        let table = &self.table;
        AssertSqlSafe(format!(
            "INSERT INTO {table} (owner, id, name, address, port, weight, ttl, node, endpoint, uid, version) \
             SELECT $1, id, name, address::inet, port, weight, ttl, node, endpoint, uid, pg_current_xact_id()::text::bigint \
             FROM unnest($2::text[], $3::text[], $4::text[], $5::int[], $6::int[], $7::int[], $8::text[], $9::text[], $10::text[]) \
             AS u (id, name, address, port, weight, ttl, node, endpoint, uid) \
             ON CONFLICT (owner, id) DO UPDATE SET name = excluded.name, address = excluded.address, port = excluded.port, \
             weight = excluded.weight, ttl = excluded.ttl, node = excluded.node, endpoint = excluded.endpoint, \
             uid = excluded.uid, version = excluded.version, changed_at = now()"
        ))
    }

    /// The rows of `$1` with an id among `$2` go.
    pub(super) fn remove(&self) -> AssertSqlSafe<String> {
        AssertSqlSafe(format!("DELETE FROM {} WHERE owner = $1 AND id = ANY($2)", self.table))
    }
}

/// The version that rows of this transaction get.
pub(super) const VERSION: &str = "SELECT pg_current_xact_id()::text::bigint";
