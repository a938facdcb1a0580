//! State is a fold of the journal: from the newest usable snapshot, or from the first event.

use std::sync::Arc;

use bcs_schemas::{MessageSet, TypeName, codec, codec::ContentType, subject::Target};

use super::{Error, Fact, Live, StateMachine};
use crate::journal::{Journal, Row, Snapshot};

/// Rows read at a time.
const PAGE: u32 = 5_000;
/// A cold start that folded more events than this leaves a snapshot behind.
const SNAPSHOT_AFTER: u64 = 10_000;

impl<S: StateMachine> Live<S> {
    /// Takes in one decision that is in the journal.
    pub(crate) fn apply(&mut self, row: &Row) -> Result<(), Error> {
        self.follows(row.seq)?;
        self.apply_alone(row)
    }

    /// Whether position `seq` is the next one.
    pub(super) fn follows(&self, seq: u64) -> Result<(), Error> {
        if seq == self.seq + 1 {
            return Ok(());
        }
        Err(Error::Replay { seq, problem: format!("position {seq} follows {}", self.seq) })
    }

    /// The same where the decisions before it are left out, because they are about other objects.
    pub(super) fn apply_alone(&mut self, row: &Row) -> Result<(), Error> {
        let damaged = |problem: String| Error::Replay { seq: row.seq, problem };
        let target: Target =
            row.target.parse().map_err(|e| damaged(format!("target {:?}: {e}", row.target)))?;
        let event = decided(row.seq, &row.type_name, ContentType::MessagePack, &row.payload)?;
        self.take_in(&Fact { seq: row.seq, at: row.at, target: &target, event: &event });
        Ok(())
    }

    /// Takes in one decision.
    pub(crate) fn take_in(&mut self, fact: &Fact<'_, S::Event>) {
        self.state.evolve(fact);
        self.seq = fact.seq;
        self.revisions.insert(fact.target.to_string(), fact.seq);
    }
}

/// What was decided; what a former version of its type says is read as what it means today. An event of a type that is not
/// known is never skipped: whatever follows it would be folded onto another state.
pub(super) fn decided<E: MessageSet>(
    seq: u64,
    type_name: &str,
    form: ContentType,
    payload: &[u8],
) -> Result<E, Error> {
    let damaged = |problem: String| Error::Replay { seq, problem };
    let type_name: TypeName = type_name.parse().map_err(damaged)?;
    if !E::reads(&type_name) {
        return Err(Error::Unknown { seq, type_name });
    }
    let TypeName { kind, verb, version, .. } = &type_name;
    E::decode(kind, verb, *version, form, payload).map_err(|e| damaged(e.to_string()))
}

/// The state as of the end of the journal.
pub(crate) async fn load<S: StateMachine>(journal: &Journal) -> Result<Live<S>, Error> {
    let mut live = match journal.snapshot(S::SNAPSHOT_VERSION).await? {
        Some(snapshot) => from_snapshot(&snapshot),
        None => Live::default(),
    };
    let start = live.seq;
    catch_up(journal, &mut live).await?;
    if live.seq - start > SNAPSHOT_AFTER {
        keep(journal, &live).await?;
    }
    Ok(live)
}

/// Folds what was appended behind `live`.
pub(crate) async fn catch_up<S: StateMachine>(journal: &Journal, live: &mut Live<S>) -> Result<(), Error> {
    loop {
        let rows = journal.read(live.seq, PAGE).await?;
        for row in &rows {
            live.apply(row)?;
        }
        if rows.len() < PAGE as usize {
            return Ok(());
        }
    }
}

/// A snapshot is only a cache: one that cannot be read costs time and nothing else.
fn from_snapshot<S: StateMachine>(snapshot: &Snapshot) -> Live<S> {
    match codec::decode::<Live<S>>(&snapshot.payload) {
        Ok(live) if live.seq == snapshot.seq => live,
        Ok(_) => Live::default(),
        Err(error) => {
            tracing::warn!(%error, "snapshot is not understood, folding the whole journal");
            Live::default()
        }
    }
}

/// Leaves a snapshot for the next start.
pub(crate) async fn keep<S: StateMachine>(journal: &Journal, live: &Live<S>) -> Result<(), Error> {
    match codec::encode(live) {
        Ok(payload) => {
            let snapshot = Snapshot { seq: live.seq, payload: payload.to_vec() };
            journal.keep_snapshot(S::SNAPSHOT_VERSION, &snapshot).await?;
        }
        Err(error) => tracing::warn!(%error, "state cannot be kept as a snapshot"),
    }
    Ok(())
}

/// The state as of position `until`, for time travel and for checking the live state against its journal.
pub(crate) async fn replay<S: StateMachine>(journal: &Journal, until: u64) -> Result<Arc<Live<S>>, Error> {
    let mut live = Live::default();
    while live.seq < until {
        let rows = journal.read(live.seq, PAGE).await?;
        if rows.is_empty() {
            break;
        }
        for row in rows.iter().take_while(|row| row.seq <= until) {
            live.apply(row)?;
        }
    }
    Ok(Arc::new(live))
}
