//! Carries a plan out: exactly what was planned, or a word on what has moved since. Everything is asked again before the
//! first command is sent, each command holds only for the revision that it was planned on, and what was decided is
//! compared with the plan.

use bcs_client::Client;
use bcs_schemas::{
    TypeName,
    envelope::CommandHeaders,
    outcome::{Accepted, Outcome, RejectionCode},
    query::{EventView, HistoryQuery},
};

use super::{
    document::{Plan, Step},
    draft::expected,
};
use crate::{
    Exit, Failure,
    session::{accepted, short},
};

/// Decisions that are told of an object that has moved.
const MOST_TOLD: u32 = 5;

/// How a step stands before anything is sent.
enum Standing {
    /// It was sent before, and this came of it.
    Done(Outcome),
    /// It would be decided as planned.
    Holds,
    /// It would not, and why.
    Moved(String),
}

/// Carries `plan` out. What is done is told one by one, also when a later step fails.
pub(crate) async fn carry_out(
    client: &Client,
    actor: &str,
    plan: &Plan,
    mut tell: impl FnMut(&Step, &Accepted),
) -> Result<(), Failure> {
    if let Some(failure) = plan.refusals().next() {
        return Err(failure);
    }
    if plan.site != *client.bus().site() {
        let here = client.bus().site();
        return Err(Failure::usage(format!("the plan was made for site {}, and this is {here}", plan.site)));
    }
    let mut standings = Vec::with_capacity(plan.commands.len());
    for (place, step) in plan.commands.iter().enumerate() {
        standings.push(standing(client, actor, plan, place, step).await?);
    }
    let moved = standings.iter().filter_map(|standing| match standing {
        Standing::Moved(why) => Some(format!("\n  {why}")),
        _ => None,
    });
    let moved: String = moved.collect();
    if !moved.is_empty() {
        let words = "the plan does not hold any more, and nothing of it was done now: make it again";
        return Err(Failure { exit: Exit::Rejected, message: format!("{words}{moved}") });
    }
    for (place, (step, standing)) in plan.commands.iter().zip(standings).enumerate() {
        let outcome = match standing {
            Standing::Done(outcome) => outcome,
            _ => {
                let headers = CommandHeaders {
                    id: Some(plan.command_id(place)),
                    expected_revision: step.base_revision,
                    ..CommandHeaders::default()
                };
                step.wish.send(client, actor, headers).await?
            }
        };
        let accepted = decided(client, step, outcome).await?;
        tell(step, &accepted);
        as_planned(step, &accepted)?;
    }
    Ok(())
}

/// The stored outcome is asked for after the plan: commands are decided in order, so whatever an earlier run has sent is
/// decided by then, and its own effect is not taken for somebody else's.
async fn standing(
    client: &Client,
    actor: &str,
    plan: &Plan,
    place: usize,
    step: &Step,
) -> Result<Standing, Failure> {
    let now = step.wish.plan(client, actor).await?;
    if let Some(outcome) = client.outcome(step.wish.type_name.service, plan.command_id(place)).await?.data {
        return Ok(Standing::Done(outcome));
    }
    let name = short(&step.wish.object);
    Ok(match now {
        Outcome::Rejected(rejected) => {
            Standing::Moved(format!("{name} would be rejected now ({}): {}", rejected.code, rejected.message))
        }
        Outcome::Accepted(now) if Some(now.revision) != step.base_revision => {
            Standing::Moved(format!("{name} {}", since(client, step, Some(now.revision)).await?))
        }
        Outcome::Accepted(now) => {
            let events = expected(&now)?;
            if events == step.events && now.digest == step.digest {
                Standing::Holds
            } else {
                let words = |events: &[_]| serde_json::to_string(events).unwrap_or_default();
                let (planned, now) = (words(&step.events), words(&events));
                Standing::Moved(format!(
                    "{name} would be decided otherwise now: planned {planned}, now {now}"
                ))
            }
        }
    })
}

/// What was accepted; of a refusal because the object has moved, by whom.
async fn decided(client: &Client, step: &Step, outcome: Outcome) -> Result<Accepted, Failure> {
    let moved = matches!(&outcome, Outcome::Rejected(r) if r.code == RejectionCode::RevisionMismatch);
    match accepted(&step.wish.object, outcome) {
        Err(mut failure) if moved => {
            failure.message.push_str(&format!("\n  it {}", since(client, step, None).await?));
            Err(failure)
        }
        result => result,
    }
}

/// Whether what was decided is what was planned. A cluster that came at this very moment can change the shares.
fn as_planned(step: &Step, accepted: &Accepted) -> Result<(), Failure> {
    let came = accepted.events.iter().map(|event| (event.target.clone(), event.type_name.clone()));
    let planned = step.events.iter().map(|event| (event.object.clone(), event.type_name.to_string()));
    if came.eq(planned) && accepted.digest == step.digest {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "{} was done, and was decided otherwise than planned, because something else changed at the same moment: look \
         with `bcs events --object {}`; what comes after it in the plan was not sent",
        short(&step.wish.object),
        step.wish.object
    )))
}

/// `was planned on revision 12 and is at 15: scaled by ada at … (#15)`.
async fn since(client: &Client, step: &Step, now: Option<u64>) -> Result<String, Failure> {
    let base = step.base_revision.unwrap_or_default();
    let query = HistoryQuery {
        object: Some(step.wish.object.to_string()),
        after: Some(base.to_string()),
        limit: Some(MOST_TOLD),
        ..HistoryQuery::default()
    };
    let news = client.events_of(step.wish.type_name.service, &query).await?;
    let mut told: Vec<String> = news.data.iter().map(told).collect();
    if news.next.is_some() {
        told.push("and more".to_owned());
    }
    let at = now.map(|now| format!(" and is at {now}")).unwrap_or_default();
    Ok(format!("was planned on revision {base}{at}: {}", told.join(", ")))
}

fn told(event: &EventView) -> String {
    let fact = event.type_name.parse::<TypeName>().map_or_else(|_| event.type_name.clone(), |name| name.verb);
    let time = event.time.strftime("%Y-%m-%d %H:%M:%SZ");
    format!("{fact} by {} at {time} (#{})", event.actor, event.seq)
}
