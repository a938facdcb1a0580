//! `bcs why`: the chain of causes of a decision, up to the person or the rule at its beginning.

use bcs_client::Client;
use bcs_schemas::{Service, query::EventView};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::events::about;
use crate::{
    Failure, color,
    decisions::{self, SYSTEM},
    output,
    session::Session,
    view::{
        ago,
        event::{fact, words},
    },
};

const AFTER: &str = "\
Examples:
  bcs why shop-web                                    the last decision about an application
  bcs why cluster/sim-a
  bcs why 01a204e6-f4d8-77e9-863b-5c8fe72045b7        a command or an event, by its id";

/// A chain ends here whatever it is.
const LONGEST: usize = 16;

#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct Arguments {
    /// An object (shop-web, app/shop-web, cluster/sim-a, demo/app/shop-web), an event id or a command id
    #[arg(value_name = "OBJECT|EVENT|COMMAND")]
    what: String,
}

/// One decision of a chain, and why it was made.
#[derive(Serialize)]
struct Link {
    event: EventView,
    /// In words.
    what: String,
    /// A person, or the rule by which a service decided.
    because: String,
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let id = self.what.parse::<uuid::Uuid>().ok();
        let object = if id.is_none() { Some(about(&self.what, session)?) } else { None };
        let _log = session.log()?;
        let client = session.connect().await?;
        let found = match (id, object) {
            (Some(id), _) => {
                let found = decisions::of(&client, id).await?;
                found.and_then(|(service, events)| {
                    let asked = events.iter().position(|event| event.id.0 == id).unwrap_or_default();
                    events.into_iter().nth(asked).map(|event| (service, event))
                })
            }
            (None, Some(object)) => {
                let service = owner(object.kind.as_str());
                let newest = decisions::newest(&client, service, &object.to_string(), None, |_| true).await?;
                newest.map(|event| (service, event))
            }
            (None, None) => None,
        };
        let (service, event) = found.ok_or_else(|| {
            Failure::failed(format!(
                "no journal knows {}: nothing was decided about it, or its command was rejected",
                self.what
            ))
        })?;
        let chain = chain(&client, service, event).await?;
        if session.format().for_people() {
            output::line(text(&chain, client.clock().now()));
            return Ok(());
        }
        let names = chain.iter().map(|link| link.event.id.to_string()).collect::<Vec<_>>();
        output::answer(session.format(), names, &json!({ "items": chain }))
    }
}

fn owner(kind: &str) -> Service {
    if kind == "cluster" { Service::Cluster } else { Service::Deploy }
}

/// From the decision to its first cause.
async fn chain(client: &Client, service: Service, event: EventView) -> Result<Vec<Link>, Failure> {
    let mut chain: Vec<Link> = Vec::new();
    let mut next = Some((service, event));
    while let Some((service, event)) = next.take() {
        if chain.len() == LONGEST || chain.iter().any(|link| link.event.id == event.id) {
            break;
        }
        next = cause(client, service, &event).await?;
        let because = match &next {
            Some((_, first)) if first.command_id == event.command_id => {
                format!("decided together with #{} about {}", first.seq, first.object)
            }
            _ if event.actor == SYSTEM => rule(&event).to_owned(),
            _ if event.correlation_id != event.command_id => {
                format!("{} asked for it, on account of command {}", event.actor, event.correlation_id)
            }
            _ => format!("{} asked for it", event.actor),
        };
        chain.push(Link { what: words(&event), because, event });
    }
    Ok(chain)
}

/// The decision that this one follows from; none when a person is at its beginning, or something that was observed.
async fn cause(
    client: &Client,
    service: Service,
    event: &EventView,
) -> Result<Option<(Service, EventView)>, Failure> {
    let of_command = decisions::of(client, event.command_id.0).await?;
    let first = of_command.and_then(|(_, events)| events.into_iter().next());
    if let Some(first) = first.filter(|first| first.seq < event.seq) {
        return Ok(Some((service, first)));
    }
    if event.correlation_id != event.command_id {
        let earlier = decisions::of(client, event.correlation_id.0).await?;
        return Ok(earlier.and_then(|(service, events)| Some((service, events.into_iter().next()?))));
    }
    if event.actor != SYSTEM || matches!(fact(event), "health-changed" | "node-gone") {
        return Ok(None);
    }
    // What a service decides by itself follows from the last wish of a person, or from what another service decided.
    let heard = matches!(fact(event), "joined" | "left");
    let (owner, before) = if heard { (Service::Cluster, None) } else { (service, Some(event.seq)) };
    let fits = |earlier: &EventView| {
        if heard {
            earlier.time <= event.time && matches!(fact(earlier), "imported" | "labelled" | "removed")
        } else {
            earlier.actor != SYSTEM
        }
    };
    let found = decisions::newest(client, owner, &event.object, before, fits).await?;
    Ok(found.map(|found| (owner, found)))
}

/// By which rule a service decides this by itself.
fn rule(event: &EventView) -> &'static str {
    match fact(event) {
        "placed" => "rule: instances are spread over the clusters that there are",
        "rollout-completed" => "rule: every wanted instance runs the revision and is available",
        "rollout-stalled" => "rule: the rollout did not move on before its deadline",
        "deleted" => "rule: nothing of it is left, or what is left is noted",
        "leftovers-stopped" => "rule: clusters that came back hold nothing of it any more",
        "health-changed" => "rule: enough probes agree",
        "node-gone" => "rule: the node is not in its cluster any more",
        "joined" | "left" => "rule: deploy notes what cluster decided",
        _ => "the service decided it by itself",
    }
}

fn text(chain: &[Link], now: Timestamp) -> String {
    let mut text = String::new();
    for (depth, link) in chain.iter().enumerate() {
        let (event, indent) = (&link.event, "  ".repeat(depth));
        let arrow = if depth == 0 { "" } else { "└ " };
        let head = color::strong(&format!("{} #{}", event.object, event.seq));
        text.push_str(&format!("{indent}{arrow}{head}  {}\n", link.what));
        let inner = if depth == 0 { indent } else { format!("{indent}  ") };
        let detail = format!("command {}, {}", event.command_id, ago(event.time, now));
        text.push_str(&format!("{inner}{}  {}\n", link.because, color::dim(&detail)));
    }
    text
}
