//! Looks behind the live state: what was decided, and how an object was at some moment.

use bcs_schemas::{codec, codec::ContentType, query::EventView, subject::Target};
use jiff::Timestamp;

use super::{Error, Fact, Live, Machine, StateMachine, fold};
use crate::journal::{Row, Selection};

/// Rows read at a time.
const PAGE: u32 = 1_000;

/// A moment in the history of a service. What was decided at it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A position of the journal.
    Revision(u64),
    /// An instant. Clocks may go back: what was decided behind a later decision is left out.
    Time(Timestamp),
}

impl Moment {
    fn includes(self, row: &Row) -> bool {
        match self {
            Self::Revision(seq) => row.seq <= seq,
            Self::Time(at) => row.at <= at,
        }
    }
}

impl<S: StateMachine> Machine<S> {
    /// Decisions of the journal that fit.
    pub async fn events(&self, selection: &Selection) -> Result<Vec<EventView>, Error> {
        self.journal.select(selection).await?.iter().map(view).collect()
    }

    /// The state at a moment, as far as it is about one object. Only the events about that object are read, however long
    /// the journal is, so all other objects are missing.
    pub async fn past(&self, target: &Target, moment: Moment) -> Result<Live<S>, Error> {
        let mut live = Live::default();
        let target = Some(target.to_string());
        loop {
            let selection = Selection {
                target: target.clone(),
                after: Some(live.seq),
                limit: PAGE,
                ..Selection::default()
            };
            let rows = self.journal.select(&selection).await?;
            for row in &rows {
                if !moment.includes(row) {
                    return Ok(live);
                }
                live.apply_alone(row)?;
            }
            if rows.len() < PAGE as usize {
                return Ok(live);
            }
        }
    }
}

impl<S: StateMachine> Live<S> {
    /// Takes in the next decision of a journal that somebody else reads. Positions must come without gaps.
    pub fn follow(&mut self, event: &EventView) -> Result<(), Error> {
        self.follows(event.seq)?;
        let damaged = |problem: String| Error::Replay { seq: event.seq, problem };
        let target: Target =
            event.object.parse().map_err(|e| damaged(format!("object {:?}: {e}", event.object)))?;
        let payload = serde_json::to_vec(&event.payload).map_err(|e| damaged(e.to_string()))?;
        let decided = fold::decided(event.seq, &event.type_name, ContentType::Json, &payload)?;
        self.take_in(&Fact { seq: event.seq, at: event.time, target: &target, event: &decided });
        Ok(())
    }

    /// The state as one text, the same byte for byte whenever the state is the same.
    pub fn text(&self) -> Result<String, serde_json::Error> {
        // Its maps have no order of their own; those of a JSON value are sorted.
        let value = serde_json::to_value(self)?;
        serde_json::to_string_pretty(&value).map(|text| text + "\n")
    }
}

/// A row as it is shown to others.
fn view(row: &Row) -> Result<EventView, Error> {
    let payload = codec::to_json(ContentType::MessagePack, &row.payload);
    Ok(EventView {
        seq: row.seq,
        id: row.id,
        object: row.target.clone(),
        type_name: row.type_name.clone(),
        time: row.at,
        actor: row.actor.clone(),
        command_id: row.command,
        correlation_id: row.correlation,
        traceparent: row.traceparent.clone(),
        payload: payload.map_err(|e| Error::Replay { seq: row.seq, problem: e.to_string() })?,
    })
}
