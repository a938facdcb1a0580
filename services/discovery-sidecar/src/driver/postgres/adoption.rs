//! Rows of other owners. One changes hands in the transaction that writes ours, so that whoever reads finds one of the two.

use std::collections::HashSet;

use sqlx::{AssertSqlSafe, Connection, FromRow, PgConnection, Row as _, postgres::PgRow};

use super::{Postgres, Session, VERSION, row::Found as Held, signed, unsigned, within};
use crate::domain::{Adoption, Change, Failure, Found, Outcome, Place, Whose, survey::plain};

/// A row, and whose it is.
struct Owned {
    owner: String,
    held: Held,
    /// The transaction that wrote it, whoever that was: what people write by hand does not count its versions.
    written: i64,
}

impl FromRow<'_, PgRow> for Owned {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let (owner, written) = (row.try_get("owner")?, row.try_get("written")?);
        Ok(Self { owner, held: Held::from_row(row)?, written })
    }
}

impl Owned {
    fn found(&self, us: &str) -> Found {
        let Self { owner, held, written } = self;
        let Held { id, row, .. } = held;
        let (place, whose) = match owner.as_str() {
            owner if owner == us => (Place::from(id.as_str()), Whose::Ours(held.item())),
            "" => (Place::from(format!("/{id}")), Whose::Nobody),
            owner => (Place::from(format!("{owner}/{id}")), Whose::Other(owner.to_owned())),
        };
        Found {
            place,
            name: plain(&row.name),
            also: None,
            address: row.address.parse().ok(),
            port: u16::try_from(row.port).ok().filter(|port| *port != 0),
            whose,
            version: unsigned(*written),
        }
    }
}

/// Owner and id of a row.
fn key(us: &str, found: &Found) -> (String, String) {
    if matches!(found.whose, Whose::Ours(_)) {
        return (us.to_owned(), found.place.to_string());
    }
    let owner = found.owner("").unwrap_or_default();
    let id = found.place.get(owner.len() + 1..).unwrap_or_default();
    (owner.to_owned(), id.to_owned())
}

impl Postgres {
    pub(super) async fn read_all(&self) -> Result<Vec<Found>, Failure> {
        let mut session = self.borrow().await?;
        let all = sqlx::query_as::<_, Owned>(self.statements.survey());
        let read = within("reading", all.fetch_all(&mut session.connection)).await;
        let rows = self.give_back(session, read).await?;
        Ok(rows.iter().map(|row| row.found(&self.owner)).collect())
    }

    pub(super) async fn take_over(&self, adoptions: &[Adoption]) -> Result<Vec<Outcome>, Failure> {
        let found: Vec<Found> = adoptions.iter().map(|adoption| adoption.found.clone()).collect();
        let put = |adoption: &Adoption| Change::Put {
            place: adoption.wanted.place.clone(),
            entry: adoption.wanted.entry.clone(),
            digest: adoption.wanted.digest,
            over: adoption.wanted.over,
        };
        let puts: Vec<Change> = adoptions.iter().map(put).collect();
        self.exchange(&found, &puts).await
    }

    pub(super) async fn take_out(&self, found: &[Found]) -> Result<Vec<Outcome>, Failure> {
        self.exchange(found, &[]).await
    }

    async fn exchange(&self, found: &[Found], puts: &[Change]) -> Result<Vec<Outcome>, Failure> {
        let mut session = self.borrow().await?;
        let exchanged = self.exchange_in(&mut session, found, puts).await;
        self.give_back(session, exchanged).await
    }

    async fn exchange_in(
        &self,
        session: &mut Session,
        found: &[Found],
        puts: &[Change],
    ) -> Result<Vec<Outcome>, Failure> {
        let (epoch, number) = (session.epoch, session.number);
        let mut txn = within("beginning", session.connection.begin()).await?;
        self.hold(&mut txn, epoch, number).await?;
        let outcomes = self.take(&mut txn, found).await?;
        if !outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done(_))) {
            within("ending", txn.rollback()).await?;
            return Ok(blamed(outcomes));
        }
        let outcomes = match puts {
            [] => outcomes,
            puts => self.change(&mut txn, puts).await?,
        };
        match outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done(_))) {
            true => within("committing", txn.commit()).await?,
            false => within("ending", txn.rollback()).await?,
        }
        Ok(outcomes)
    }

    /// Takes out what still is as it was read.
    async fn take(&self, txn: &mut PgConnection, found: &[Found]) -> Result<Vec<Outcome>, Failure> {
        let (owners, ids): (Vec<String>, Vec<String>) =
            found.iter().map(|found| key(&self.owner, found)).unzip();
        let versions: Vec<i64> = found.iter().map(|found| signed(found.version)).collect();
        let take = sqlx::query_as::<_, (String, String)>(self.statements.take())
            .bind(owners)
            .bind(ids)
            .bind(versions);
        let taken = within("taking rows out", take.fetch_all(&mut *txn)).await?;
        let taken: HashSet<(String, String)> = taken.into_iter().collect();
        let version = within("reading", sqlx::query_scalar::<_, i64>(VERSION).fetch_one(&mut *txn)).await?;
        let outcome = |found: &Found| match taken.contains(&key(&self.owner, found)) {
            true => Outcome::Done(unsigned(version)),
            false => Outcome::Foreign("the row is gone or was changed since it was read".to_owned()),
        };
        Ok(found.iter().map(outcome).collect())
    }

    /// The marks of an owner, or of an installation as a whole.
    pub(super) async fn take_marks(&self, owner: &str) -> Result<Vec<String>, Failure> {
        let mut session = self.borrow().await?;
        let taken = self.take_marks_in(&mut session, owner).await;
        self.give_back(session, taken).await
    }

    async fn take_marks_in(&self, session: &mut Session, owner: &str) -> Result<Vec<String>, Failure> {
        let (epoch, number) = (session.epoch, session.number);
        let mut txn = within("beginning", session.connection.begin()).await?;
        self.hold(&mut txn, epoch, number).await?;
        let owners = &self.statements.owners;
        let all = AssertSqlSafe(format!("SELECT owner FROM {owners}"));
        let all =
            within("reading the owners", sqlx::query_scalar::<_, String>(all).fetch_all(&mut *txn)).await?;
        let its =
            all.into_iter().filter(|its| bcs_schemas::adoption::is_of(its, owner) && *its != self.owner);
        let its: Vec<String> = its.collect();
        let gone = AssertSqlSafe(format!("DELETE FROM {owners} WHERE owner = ANY($1)"));
        within("taking the owners out", sqlx::query(gone).bind(&its).execute(&mut *txn)).await?;
        within("committing", txn.commit()).await?;
        Ok(its.into_iter().map(|its| format!("the row {its} of {owners}")).collect())
    }
}

/// Nothing was done: those that nothing is wrong with are tried again.
fn blamed(outcomes: Vec<Outcome>) -> Vec<Outcome> {
    let again = |outcome| if matches!(outcome, Outcome::Done(_)) { Outcome::Again } else { outcome };
    outcomes.into_iter().map(again).collect()
}
