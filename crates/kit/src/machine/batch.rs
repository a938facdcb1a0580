//! One batch of commands, decided in order on a working copy. Nothing of it is visible before its journal commit.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use bcs_schemas::{
    CommandId, EventId, MessageSet, codec,
    outcome::{self, Accepted, EventSummary, Outcome, Rejection, RejectionCode},
    stream::MAX_EVENT_PAYLOAD,
    subject::Target,
};
use bytes::Bytes;
use jiff::Timestamp;

use super::{Ctx, Error, Fact, Incoming, Live, Request, StateMachine};
use crate::{
    Clock,
    journal::{OutcomeRow, Row},
    task::panic_text,
};

/// What became of one request.
pub(super) enum Verdict {
    /// It has an outcome: a new one, or the one it had before.
    Outcome(Outcome),
    /// It has none, through its own fault.
    Failed(Error),
}

/// A batch that was decided and not yet written.
pub(super) struct Batch<S> {
    /// The state after it.
    pub(super) live: Live<S>,
    /// The events to write.
    pub(super) rows: Vec<Row>,
    /// The outcomes to write with them.
    pub(super) outcomes: Vec<OutcomeRow>,
    /// One verdict for each request, in order.
    pub(super) verdicts: Vec<Verdict>,
    /// Requests that had been answered before.
    pub(super) repeats: u64,
}

/// Decides `requests` in order on top of `live`. `known` holds stored outcomes of commands that were seen before.
pub(super) fn decide<S: StateMachine>(
    live: Live<S>,
    requests: &[Incoming<S>],
    known: &HashMap<CommandId, Bytes>,
    clock: &Clock,
) -> Batch<S> {
    let mut batch = Batch {
        live,
        rows: Vec::new(),
        outcomes: Vec::new(),
        verdicts: Vec::with_capacity(requests.len()),
        repeats: 0,
    };
    let mut within: HashMap<CommandId, Outcome> = HashMap::new();
    for request in requests {
        let stored = match known.get(&request.id).map(|payload| codec::decode::<Outcome>(payload)) {
            None => None,
            Some(Ok(outcome)) => Some(outcome),
            // Decided it was, so it is not decided again, and nothing else waits for it.
            Some(Err(error)) => {
                let words = format!("its stored outcome is not understood: {error}");
                batch.verdicts.push(Verdict::Failed(Error::Unwritten(words)));
                continue;
            }
        };
        if let Some(outcome) = stored.or_else(|| within.get(&request.id).cloned()) {
            batch.repeats += 1;
            batch.verdicts.push(Verdict::Outcome(outcome));
            continue;
        }
        let verdict = batch.one(request, clock);
        if let Verdict::Outcome(outcome) = &verdict
            && !request.plan
        {
            within.insert(request.id, outcome.clone());
            batch.outcomes.push(OutcomeRow {
                command: request.id,
                at: clock.now(),
                payload: codec::encode(outcome).unwrap_or_default(),
            });
        }
        batch.verdicts.push(verdict);
    }
    batch
}

impl<S: StateMachine> Batch<S> {
    fn one(&mut self, request: &Incoming<S>, clock: &Clock) -> Verdict {
        let now = clock.now();
        let (target, wish) = match check(&self.live, request, now) {
            Ok(checked) => checked,
            Err(rejection) => return Verdict::Outcome(rejection.outcome(Some(request.id))),
        };
        let ctx = Ctx { now, actor: request.actor.clone(), command: request.id };
        // A panic must not leave half a change behind: the machine works on a copy, which costs a pointer.
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            let events = self.live.state.decide(target, wish, &ctx)?;
            let mut next = self.live.clone();
            for (offset, (target, event)) in (1..).zip(&events) {
                next.take_in(&Fact { seq: self.live.seq + offset, at: now, target, event });
            }
            Ok((events, next))
        }));
        match attempt {
            Err(panic) => Verdict::Failed(Error::Panicked(panic_text(&*panic).to_owned())),
            Ok(Err(rejection)) => Verdict::Outcome(Rejection::outcome(rejection, Some(request.id))),
            Ok(Ok((events, next))) => {
                let outcome = self.settle(request, target, now, &events, next);
                Verdict::Outcome(outcome.unwrap_or_else(|rejection| rejection.outcome(Some(request.id))))
            }
        }
    }

    /// A plan goes the same way as what is applied, up to the moment of writing, so that it is refused where that is.
    fn settle(
        &mut self,
        request: &Incoming<S>,
        target: &Target,
        now: Timestamp,
        events: &[(Target, S::Event)],
        next: Live<S>,
    ) -> Result<Outcome, Rejection> {
        let mut rows = self.rows(request, now, events)?;
        let parts =
            rows.iter().map(|row| (row.target.as_str(), row.type_name.as_str(), row.payload.as_ref()));
        let digest = Some(outcome::digest(parts));
        let plan = request.plan;
        let summary = |(row, (_, event)): (&Row, &(Target, S::Event))| EventSummary {
            id: row.id,
            seq: if plan { 0 } else { row.seq },
            target: row.target.clone(),
            type_name: row.type_name.clone(),
            payload: if plan { serde_json::to_value(event).ok() } else { None },
        };
        let events = rows.iter().zip(events).map(summary).collect();
        let revision = if plan { self.live.revision(target) } else { next.seq };
        if !plan {
            self.rows.append(&mut rows);
            self.live = next;
        }
        Ok(Outcome::Accepted(Accepted { command_id: request.id, plan, revision, events, digest }))
    }

    /// The events as the journal keeps them.
    fn rows(
        &self,
        request: &Incoming<S>,
        now: Timestamp,
        events: &[(Target, S::Event)],
    ) -> Result<Vec<Row>, Rejection> {
        let mut rows = Vec::with_capacity(events.len());
        for (offset, (target, event)) in (1..).zip(events) {
            let type_name = event.type_name().to_string();
            let refused = |words: String| Rejection::new(RejectionCode::Invalid, words);
            let payload = event
                .encode()
                .map_err(|error| refused(format!("event {type_name} cannot be written: {error}")))?;
            if payload.len() > MAX_EVENT_PAYLOAD {
                let size = payload.len();
                return Err(refused(format!(
                    "event {type_name} would have {size} bytes, {MAX_EVENT_PAYLOAD} fit"
                )));
            }
            rows.push(Row {
                seq: self.live.seq + offset,
                // Derived, so that a batch decided again after a fence gives the same ids.
                id: EventId::derived(&request.id.to_string(), &offset.to_string()),
                target: target.to_string(),
                type_name,
                at: now,
                actor: request.actor.clone(),
                command: request.id,
                correlation: request.correlation.unwrap_or(request.id),
                traceparent: request.traceparent.clone(),
                payload,
            });
        }
        Ok(rows)
    }
}

type Wish<S> = Request<<S as StateMachine>::Command, <S as StateMachine>::Internal>;

/// What holds for every command, whatever the service.
fn check<'a, S: StateMachine>(
    live: &Live<S>,
    request: &'a Incoming<S>,
    now: Timestamp,
) -> Result<(&'a Target, &'a Wish<S>), Rejection> {
    let wish = request.request.as_ref().map_err(Clone::clone)?;
    let Some(target) = &request.target else {
        return Err(Rejection::new(RejectionCode::Invalid, "the command names no object"));
    };
    if let Some(limit) = request.not_after.filter(|limit| now > *limit) {
        return Err(Rejection::new(
            RejectionCode::Expired,
            format!("came at {now}, not wanted after {limit}"),
        ));
    }
    if let Some(expected) = request.expected_revision {
        let found = live.revision(target);
        if found != expected {
            let words = format!("{target} has revision {found}, expected {expected}: look again and repeat");
            return Err(Rejection::new(RejectionCode::RevisionMismatch, words));
        }
    }
    Ok((target, wish))
}
