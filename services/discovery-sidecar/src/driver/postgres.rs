//! A table of PostgreSQL: a row per instance, such as a configuration database or an allow-list that others read. The owner
//! is part of every key, so rows of others are never even looked at. Every write is one transaction that holds the
//! epoch of its owner, checks what is there, and changes all or nothing.

mod adoption;
mod connect;
mod row;
mod statements;

use std::collections::HashMap;

use bcs_schemas::{Name, resource::registry::PostgresDriver};
use futures::future::BoxFuture;
use sqlx::{Connection, PgConnection, postgres::PgArguments, query::Query};
use tokio::sync::Mutex;

use self::{
    connect::within,
    row::{Found as Held, Row, Rows},
    statements::{Statements, VERSION},
};
use super::{Able, Capabilities, Driver, Fence, Listing, Owner, OwnerSlot};
use crate::domain::{Adoption, Change, Entry, Failure, Found, Layout, Outcome, Place};

const BATCH: usize = 500;

/// The driver.
pub struct Postgres {
    settings: PostgresDriver,
    statements: Statements,
    owner: String,
    platform: Name,
    installation: String,
    /// Taken out for the length of a call: one that breaks off leaves none behind, and with it goes its transaction.
    session: Mutex<Option<Session>>,
}

struct Session {
    connection: PgConnection,
    epoch: u64,
    /// A number of its own for every fencing, so that our own earlier calls cannot come late.
    number: i64,
}

impl Postgres {
    /// Connects only when it is fenced.
    pub fn new(settings: PostgresDriver, owner: &Owner) -> Self {
        Self {
            statements: Statements::new(&settings.table),
            settings,
            owner: owner.to_string(),
            platform: owner.platform.clone(),
            installation: owner.installation.clone(),
            session: Mutex::new(None),
        }
    }

    async fn raise(&self, epoch: u64) -> Result<Session, Failure> {
        let mut connection = connect::connect(&self.settings).await?;
        self.create(&mut connection).await?;
        let number = i64::from_ne_bytes(rand::random::<[u8; 8]>());
        let raise = sqlx::query_scalar::<_, i64>(self.statements.raise())
            .bind(&self.owner)
            .bind(&self.installation)
            .bind(signed(epoch))
            .bind(number);
        if within("raising the epoch", raise.fetch_optional(&mut connection)).await?.is_some() {
            return Ok(Session { connection, epoch, number });
        }
        let holder = sqlx::query_as::<_, (String, i64, i64)>(self.statements.holder()).bind(&self.owner);
        let (other, held, _) = within("reading the epoch", holder.fetch_one(&mut connection)).await?;
        if other != self.installation {
            let mark = format!("its row in {}", self.statements.owners);
            let words = super::taken("postgres", &self.platform, &self.installation, &other, &mark);
            return Err(Failure::Unavailable(words));
        }
        Err(Failure::Fenced(unsigned(held)))
    }

    /// Only where something is missing: to make tables needs a right that the role should not have later on.
    async fn create(&self, connection: &mut PgConnection) -> Result<(), Failure> {
        let there = sqlx::query_scalar::<_, bool>(
            "SELECT to_regclass($1) IS NOT NULL AND to_regclass($2) IS NOT NULL",
        )
        .bind(&self.statements.table)
        .bind(&self.statements.owners);
        if within("looking for the tables", there.fetch_one(&mut *connection)).await? {
            return Ok(());
        }
        for statement in self.statements.create() {
            within("making the tables", sqlx::query(statement).execute(&mut *connection)).await?;
        }
        Ok(())
    }

    /// The connection, for the length of one call.
    async fn borrow(&self) -> Result<Session, Failure> {
        let session = self.session.lock().await.take();
        session.ok_or_else(|| Failure::Unavailable("postgres: not connected".to_owned()))
    }

    /// Gives it back, if it can be used after this answer.
    async fn give_back<T>(&self, session: Session, answer: Result<T, Failure>) -> Result<T, Failure> {
        if matches!(answer, Ok(_) | Err(Failure::Rejected(_))) {
            *self.session.lock().await = Some(session);
        }
        answer
    }

    async fn read(&self, session: &mut Session) -> Result<Listing, Failure> {
        let list = sqlx::query_as::<_, Held>(self.statements.list()).bind(&self.owner);
        let found = within("reading", list.fetch_all(&mut session.connection)).await?;
        Ok(Listing { items: found.iter().map(Held::item).collect(), at: 0 })
    }

    async fn write(&self, session: &mut Session, changes: &[Change]) -> Result<Vec<Outcome>, Failure> {
        let (epoch, number) = (session.epoch, session.number);
        let mut txn = within("beginning", session.connection.begin()).await?;
        self.hold(&mut txn, epoch, number).await?;
        match self.change(&mut txn, changes).await {
            // Constraints that are checked last are checked here.
            Ok(outcomes) if outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done(_))) => {
                within("committing", txn.commit()).await.map(|()| outcomes)
            }
            // At once: what it locks would keep others waiting.
            other => within("ending", txn.rollback()).await.and(other),
        }
    }

    /// The epoch stays as it is until the transaction ends, and it is ours.
    async fn hold(&self, txn: &mut PgConnection, epoch: u64, number: i64) -> Result<(), Failure> {
        let hold = sqlx::query_as::<_, (String, i64, i64)>(self.statements.hold()).bind(&self.owner);
        let held = within("reading the epoch", hold.fetch_optional(txn)).await?;
        match held.map_or((0, 0), |(_, held, by)| (unsigned(held), by)) {
            held if held == (epoch, number) => Ok(()),
            (held, _) if held > epoch => Err(Failure::Fenced(held)),
            _ => Err(Failure::Unavailable("postgres: the epoch was changed by somebody".to_owned())),
        }
    }

    async fn change(&self, txn: &mut PgConnection, changes: &[Change]) -> Result<Vec<Outcome>, Failure> {
        let places: Vec<&str> = changes.iter().map(|change| &**change.place()).collect();
        let look = sqlx::query_as::<_, Held>(self.statements.look()).bind(&self.owner).bind(&places);
        let found = within("reading", look.fetch_all(&mut *txn)).await?;
        if let Some(outcomes) = refused(changes, &found) {
            return Ok(outcomes);
        }
        let version = within("reading", sqlx::query_scalar::<_, i64>(VERSION).fetch_one(&mut *txn)).await?;
        if let Some(put) = self.put(changes) {
            within("writing", put.execute(&mut *txn)).await?;
        }
        let gone = changes.iter().filter(|change| matches!(change, Change::Remove { .. }));
        let gone: Vec<&str> = gone.map(|change| &**change.place()).collect();
        if !gone.is_empty() {
            let remove = sqlx::query(self.statements.remove()).bind(&self.owner).bind(gone);
            within("writing", remove.execute(&mut *txn)).await?;
        }
        Ok(changes.iter().map(|_| Outcome::Done(unsigned(version))).collect())
    }

    fn put(&self, changes: &[Change]) -> Option<Query<'_, sqlx::Postgres, PgArguments>> {
        let rows = changes.iter().filter_map(|change| match change {
            Change::Put { place, entry, .. } => Some((place.to_string(), Row::of(entry))),
            Change::Remove { .. } => None,
        });
        let (ids, rows): (Vec<String>, Vec<Row>) = rows.unzip();
        let texts = |of: fn(&Row) -> &String| rows.iter().map(of).cloned().collect::<Vec<_>>();
        let numbers = |of: fn(&Row) -> i32| rows.iter().map(of).collect::<Vec<_>>();
        (!ids.is_empty()).then(|| {
            sqlx::query(self.statements.put())
                .bind(&self.owner)
                .bind(ids)
                .bind(texts(|row| &row.name))
                .bind(texts(|row| &row.address))
                .bind(numbers(|row| row.port))
                .bind(numbers(|row| row.weight))
                .bind(numbers(|row| row.ttl))
                .bind(texts(|row| &row.node))
                .bind(texts(|row| &row.endpoint))
                .bind(texts(|row| &row.uid))
        })
    }
}

/// What was found instead of what was expected, if it was; then nothing is written.
fn refused(changes: &[Change], found: &[Held]) -> Option<Vec<Outcome>> {
    let found: HashMap<&str, &Held> = found.iter().map(|row| (row.id.as_str(), row)).collect();
    let outcomes: Vec<Outcome> = changes
        .iter()
        .map(|change| {
            let expected = change.expects();
            let there = found.get(&**change.place()).map(|row| row.item());
            match there {
                there if there.as_ref().map(|item| item.version) == expected => Outcome::Again,
                there => Outcome::Differs(there),
            }
        })
        .collect();
    outcomes.iter().any(|outcome| *outcome != Outcome::Again).then_some(outcomes)
}

fn signed(epoch: u64) -> i64 {
    i64::try_from(epoch).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

impl Layout for Postgres {
    fn place(&self, entry: &Entry) -> Place {
        Rows.place(entry)
    }

    fn digest(&self, entry: &Entry) -> u64 {
        Rows.digest(entry)
    }
}

impl Driver for Postgres {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: "postgres",
            batch: BATCH,
            at_once: 1,
            atomic: true,
            compare_and_set: true,
            owner: OwnerSlot::Entry,
            fence: Fence::InWrite,
            expires: false,
            drain_state: false,
            weight: true,
            metadata: false,
            list: true,
            watch: false,
            shows: Able::Yes,
            adopts: Able::Yes,
            purges: Able::Yes,
        }
    }

    fn fence(&self, epoch: u64) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let session = self.raise(epoch).await?;
            *self.session.lock().await = Some(session);
            Ok(())
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, Failure>> {
        Box::pin(async move {
            let mut session = self.borrow().await?;
            let answer = self.read(&mut session).await;
            self.give_back(session, answer).await
        })
    }

    fn apply<'a>(&'a self, changes: &'a [Change]) -> BoxFuture<'a, Result<Vec<Outcome>, Failure>> {
        Box::pin(async move {
            let mut session = self.borrow().await?;
            let answer = self.write(&mut session, changes).await;
            self.give_back(session, answer).await
        })
    }

    fn survey(&self) -> BoxFuture<'_, Result<Vec<Found>, Failure>> {
        Box::pin(self.read_all())
    }

    fn adopt<'a>(&'a self, adoptions: &'a [Adoption]) -> BoxFuture<'a, Result<Vec<Outcome>, Failure>> {
        Box::pin(self.take_over(adoptions))
    }

    fn evict<'a>(&'a self, found: &'a [Found]) -> BoxFuture<'a, Result<Vec<Outcome>, Failure>> {
        Box::pin(self.take_out(found))
    }

    fn forget<'a>(&'a self, owner: &'a str) -> BoxFuture<'a, Result<Vec<String>, Failure>> {
        Box::pin(self.take_marks(owner))
    }
}
