//! One batch of commands, decided in order on a working copy. Nothing of it is visible before its journal commit.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use bcs_schemas::{
    CommandId, EventId, MessageSet, codec,
    outcome::{Accepted, EventSummary, Outcome, Rejection, RejectionCode},
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
        let stored = known.get(&request.id).and_then(|payload| codec::decode::<Outcome>(payload).ok());
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
            Ok(Ok((events, _))) if request.plan => {
                Verdict::Outcome(planned(request.id, self.live.revision(target), &events))
            }
            Ok(Ok((events, next))) => Verdict::Outcome(self.write(request, now, &events, next)),
        }
    }

    fn write(
        &mut self,
        request: &Incoming<S>,
        now: Timestamp,
        events: &[(Target, S::Event)],
        next: Live<S>,
    ) -> Outcome {
        let mut summaries = Vec::with_capacity(events.len());
        let mut rows = Vec::with_capacity(events.len());
        for (offset, (target, event)) in (1..).zip(events) {
            let seq = self.live.seq + offset;
            // Derived, so that a batch decided again after a fence gives the same ids.
            let id = EventId::derived(&request.id.to_string(), &offset.to_string());
            let type_name = event.type_name().to_string();
            let payload = match event.encode() {
                Ok(payload) => payload,
                Err(error) => {
                    let words = format!("event {type_name} cannot be written: {error}");
                    return Rejection::new(RejectionCode::Invalid, words).outcome(Some(request.id));
                }
            };
            if payload.len() > MAX_EVENT_PAYLOAD {
                let words =
                    format!("event {type_name} would have {} bytes, {MAX_EVENT_PAYLOAD} fit", payload.len());
                return Rejection::new(RejectionCode::Invalid, words).outcome(Some(request.id));
            }
            let target = target.to_string();
            summaries.push(EventSummary {
                id,
                seq,
                target: target.clone(),
                type_name: type_name.clone(),
                payload: None,
            });
            rows.push(Row {
                seq,
                id,
                target,
                type_name,
                at: now,
                actor: request.actor.clone(),
                command: request.id,
                correlation: request.correlation.unwrap_or(request.id),
                traceparent: request.traceparent.clone(),
                payload,
            });
        }
        self.rows.append(&mut rows);
        self.live = next;
        let revision = self.live.seq;
        Outcome::Accepted(Accepted { command_id: request.id, plan: false, revision, events: summaries })
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

fn planned<E: MessageSet>(command_id: CommandId, revision: u64, events: &[(Target, E)]) -> Outcome {
    let summary = |(offset, (target, event)): (usize, &(Target, E))| EventSummary {
        id: EventId::derived(&command_id.to_string(), &(offset + 1).to_string()),
        seq: 0,
        target: target.to_string(),
        type_name: event.type_name().to_string(),
        payload: serde_json::to_value(event).ok(),
    };
    let events = events.iter().enumerate().map(summary).collect();
    Outcome::Accepted(Accepted { command_id, plan: true, revision, events })
}
