//! Questions about what was: the decisions of the journal, and objects as they were.

use std::{sync::Arc, time::Duration};

use bcs_schemas::{
    MessageSet,
    query::{Answer, Answered, HistoryQuery, PastQuery},
    subject::Target,
};
use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Page, Reads, at_revision, refused};
use crate::{
    journal::Selection,
    machine::{Live, Machine, Moment, StateMachine},
    telemetry,
};

/// Questions that read the journal at once. Connections must be left for those who decide.
const AT_ONCE: usize = 2;
/// How long one may wait for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(10);
/// Rows read at a time.
const ROWS: u32 = 200;

/// Who may read the journal.
#[derive(Clone)]
pub(super) struct Turns(Arc<Semaphore>);

impl Turns {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }

    async fn take(&self) -> Result<SemaphorePermit<'_>, String> {
        let turn = tokio::time::timeout(TURN_WITHIN, self.0.acquire()).await;
        turn.ok().and_then(Result::ok).ok_or_else(|| "too many look into the journal: ask again".to_owned())
    }
}

impl<S: StateMachine> Reads<S> {
    /// Serves `bcs.qry.<service>.event.list`.
    pub(super) fn serve_events(&mut self) {
        let (machine, clock) = (self.machine.clone(), self.clock.clone());
        let (turns, waiting) = (self.turns.clone(), self.waiting.clone());
        self.endpoint("event", "list", move |query: HistoryQuery| {
            let (machine, clock) = (machine.clone(), clock.clone());
            let (turns, waiting) = (turns.clone(), waiting.clone());
            async move {
                let answered = async {
                    let revision = at_revision(&machine, query.wait_for, &waiting).await?.seq;
                    let _turn = turns.take().await?;
                    let (data, next) = page(&machine, &query).await?;
                    Ok(Answered { revision, as_of: clock.now(), data, next })
                };
                answered.await.map_or_else(refused, Answer::Ok)
            }
        });
    }

    /// Serves `bcs.qry.<service>.<kind>.past`: `look` finds the object in a state that holds nothing else.
    pub fn serve_past<T, F>(&mut self, kind: &'static str, look: F)
    where
        T: Serialize + Send + 'static,
        F: Fn(&Live<S>, &Target) -> Option<T> + Send + Sync + 'static,
    {
        let (machine, clock, turns, look) =
            (self.machine.clone(), self.clock.clone(), self.turns.clone(), Arc::new(look));
        self.endpoint(kind, "past", move |query: PastQuery| {
            let (machine, clock, turns, look) = (machine.clone(), clock.clone(), turns.clone(), look.clone());
            async move {
                let answered = async {
                    let moment = moment(&query, machine.live().seq)?;
                    let project = query.project.clone().unwrap_or_else(bcs_schemas::Name::system);
                    let target = crate::machine::target(&project, kind, &query.name);
                    let _turn = turns.take().await?;
                    let live = machine.past(&target, moment).await.map_err(|e| telemetry::chain(&e))?;
                    let data = look(&live, &target);
                    Ok(Answered { revision: live.seq, as_of: clock.now(), data, next: None })
                };
                answered.await.map_or_else(refused, Answer::Ok)
            }
        });
    }
}

fn moment(query: &PastQuery, end: u64) -> Result<Moment, String> {
    match (query.revision, query.time) {
        (Some(seq), None) if seq > end => {
            Err(format!("revision: {seq} is still to come: the journal ends at {end}"))
        }
        (Some(seq), None) => Ok(Moment::Revision(seq)),
        (None, Some(at)) => Ok(Moment::Time(at)),
        _ => Err("revision, time: expected one of the two".to_owned()),
    }
}

type Events = (Vec<bcs_schemas::query::EventView>, Option<String>);

async fn page<S: StateMachine>(machine: &Machine<S>, query: &HistoryQuery) -> Result<Events, String> {
    let whole = query.limit.is_none();
    let mut page = Page::new(Some(query.limit.unwrap_or(u32::MAX)));
    let mut selection = selection(query)?;
    loop {
        let events = machine.events(&selection).await.map_err(|e| telemetry::chain(&e))?;
        let last = events.len() < ROWS as usize;
        for event in events {
            selection.after = Some(event.seq);
            if page.add(|| event.seq.to_string(), event.clone()) {
                continue;
            }
            if whole {
                let service = S::Event::SERVICE;
                return Err(format!("more events of {service} than fit into one answer: ask with a limit"));
            }
            return Ok(page.end());
        }
        if last {
            return Ok(page.end());
        }
    }
}

fn selection(query: &HistoryQuery) -> Result<Selection, String> {
    let target: Option<Target> =
        query.object.as_ref().map(|object| object.parse()).transpose().map_err(|e| {
            format!("object: {e}: expected <project>/<kind>/<name>, such as demo/app/shop-web")
        })?;
    let after = query.after.as_ref().map(|after| after.parse::<u64>()).transpose();
    Ok(Selection {
        target: target.map(|target| target.to_string()),
        id: query.id,
        since: query.since,
        after: after.map_err(|e| format!("after: {e}: expected `next` of the page before"))?,
        newest_first: query.newest_first,
        limit: ROWS,
    })
}
