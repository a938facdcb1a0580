//! Makes plans: the platform says what it would decide, and what the object is at that revision.

use bcs_client::Client;
use bcs_schemas::{
    outcome::{Accepted, EventSummary, Outcome},
    query::Query,
    subject::Target,
};

use super::{
    change::{Expected, Kind, Object, change},
    document::{Plan, Step},
    wish::Wish,
};
use crate::{Failure, session::short};

/// How often both questions are asked when the object moves between them.
const ATTEMPTS: u32 = 5;

/// A plan of these wishes, each on its own.
pub(super) async fn draft(client: &Client, actor: &str, wishes: Vec<Wish>) -> Result<Plan, Failure> {
    let mut plan = Plan::new(client.fresh_id(), client.bus().site().clone(), client.clock().now(), actor);
    for wish in wishes {
        plan.commands.push(step(client, actor, wish).await?);
    }
    Ok(plan)
}

async fn step(client: &Client, actor: &str, wish: Wish) -> Result<Step, Failure> {
    for _ in 0..ATTEMPTS {
        let accepted = match wish.plan(client, actor).await? {
            Outcome::Accepted(accepted) => accepted,
            Outcome::Rejected(rejected) => {
                return Ok(Step {
                    wish,
                    base_revision: None,
                    change: Kind::Rejected,
                    before: None,
                    after: None,
                    effects: Vec::new(),
                    events: Vec::new(),
                    digest: None,
                    rejected: Some(rejected),
                });
            }
        };
        let before = look(client, &wish.object, accepted.revision).await?;
        // What is compared must be of one moment.
        if before.as_ref().is_some_and(|object| object.revision != accepted.revision) {
            continue;
        }
        let events = expected(&accepted)?;
        let change = change(before.as_ref(), &events);
        return Ok(Step {
            wish,
            base_revision: Some(accepted.revision),
            change: change.kind,
            before: before.map(|object| object.wanted),
            after: change.after,
            effects: change.effects,
            events,
            digest: accepted.digest,
            rejected: None,
        });
    }
    let words = format!("{} changes faster than it can be looked at: try again", short(&wish.object));
    Err(Failure::failed(words))
}

/// What a plan says would be decided.
pub(super) fn expected(accepted: &Accepted) -> Result<Vec<Expected>, Failure> {
    let event = |event: &EventSummary| {
        let type_name = event.type_name.parse().map_err(Failure::failed)?;
        let (object, payload) = (event.target.clone(), event.payload.clone().unwrap_or_default());
        Ok(Expected { object, type_name, payload })
    };
    accepted.events.iter().map(event).collect()
}

/// The object at this revision or a later one; none when it does not exist, or is of a kind that nobody can ask for.
async fn look(client: &Client, target: &Target, revision: u64) -> Result<Option<Object>, Failure> {
    let query = Query { name: Some(target.name.clone()), wait_for: Some(revision), ..Query::default() };
    Ok(match target.kind.as_str() {
        "app" => {
            let query = Query { project: Some(target.project.clone()), ..query };
            client.app(&query).await?.data.as_ref().map(Object::app)
        }
        "cluster" => client.cluster(&query).await?.data.as_ref().map(Object::cluster),
        _ => None,
    })
}
