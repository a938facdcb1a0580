//! `bcs undo`: the opposite of a command, worked out from the journal, planned, shown, and applied if it is still the last
//! wish about its object.

use std::io::{IsTerminal, Write, stdin};

use bcs_client::Client;
use bcs_schemas::{
    CommandId, Name, Service,
    cluster::{CordonNode, LabelCluster, UncordonNode},
    deploy::{ApplyApp, DeleteApp, DeployCommand, ScaleApp},
    envelope::CommandHeaders,
    query::{EventView, PastQuery},
    subject::Target,
};
use clap::Args;

use super::apply::tell;
use crate::{
    Failure,
    decisions::{self, SYSTEM},
    output,
    plan::{Planning, Wish},
    session::{Session, accepted, short},
    view::event::{fact, words},
};

const AFTER: &str = "\
Examples:
  bcs history app shop-web                                  tells the ids of commands
  bcs undo 01a204e6-f4d8-77e9-863b-5c8fe72045b7             shows the plan and asks
  bcs undo 01a204e6-f4d8-77e9-863b-5c8fe72045b7 --yes

What can be undone: apply and scale of applications, labels of clusters, cordon and uncordon of nodes.";

#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct Arguments {
    /// The command to undo
    #[arg(value_name = "COMMAND-ID")]
    command: CommandId,
    /// Only say what would be decided
    #[arg(long, conflicts_with = "yes")]
    plan: bool,
    /// Do it without asking
    #[arg(short, long)]
    yes: bool,
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let _log = session.log()?;
        let client = session.connect().await?;
        let id = self.command;
        let found = decisions::of(&client, id.0).await?;
        let (service, events) = found.ok_or_else(|| {
            Failure::failed(format!(
                "no journal knows command {id}: it decided nothing, so there is nothing to undo"
            ))
        })?;
        // An event's id finds its command too, but then something else may have been meant.
        let Some(event) = events.first().filter(|event| event.command_id == id) else {
            return Err(Failure::usage(format!("{id} is an event, not a command: see `bcs history`")));
        };
        let target: Target =
            event.object.parse().map_err(|e| Failure::failed(format!("{}: {e}", event.object)))?;
        let wish = opposite(&client, service, &target, event).await?;
        let wish = Wish { expected: Some(still_last(&client, service, event).await?), ..wish };
        let people = session.format().for_people();
        if people {
            output::line(format!("undo of: {} (#{} by {})", words(event), event.seq, event.actor));
        } else if !(self.plan || self.yes) {
            return Err(Failure::usage("undo: say --yes, or --plan to see what would be decided"));
        }
        if self.plan || people {
            Planning::to_look_at().make(session, &client, vec![wish.clone()]).await?;
        }
        if self.plan {
            return Ok(());
        }
        if !self.yes {
            confirm()?;
        }
        // On account of the command that is undone: so the chain of causes leads back to it.
        let headers = CommandHeaders {
            expected_revision: wish.expected,
            correlation: Some(id),
            ..CommandHeaders::default()
        };
        let done = accepted(&target, wish.send(&client, &session.actor(), headers).await?)?;
        if people {
            tell(&target, &done);
            return Ok(());
        }
        output::answer(session.format(), [short(&target)], &done)
    }
}

/// The command that makes the object what it was before `event`.
async fn opposite(
    client: &Client,
    service: Service,
    target: &Target,
    event: &EventView,
) -> Result<Wish, Failure> {
    let before = PastQuery {
        project: Some(target.project.clone()),
        name: target.name.clone(),
        revision: Some(event.seq.saturating_sub(1)),
        time: None,
    };
    let none = || {
        Failure::failed(format!(
            "command {} has no opposite ({}): only apply, scale, label, cordon and uncordon have one",
            event.command_id,
            words(event)
        ))
    };
    match (service, fact(event)) {
        (Service::Deploy, "applied" | "scaled") => {
            let app = client.past_app(&before).await?.data;
            let command: DeployCommand = match (app, fact(event)) {
                (Some(app), "scaled") => ScaleApp { replicas: app.spec.replicas, remove: Vec::new() }.into(),
                (Some(app), _) => ApplyApp { labels: app.labels, spec: app.spec }.into(),
                // It came into being by this command.
                (None, _) => DeleteApp::default().into(),
            };
            Wish::new(target.clone(), command)
        }
        (Service::Cluster, "labelled") => {
            let question = PastQuery { project: Some(Name::system()), ..before };
            let cluster = client.past_cluster(&question).await?.data.ok_or_else(none)?;
            Wish::new(target.clone(), LabelCluster { labels: cluster.labels })
        }
        (Service::Cluster, "node-cordoned") => Wish::new(target.clone(), UncordonNode { node: node(event)? }),
        (Service::Cluster, "node-uncordoned") => Wish::new(target.clone(), CordonNode { node: node(event)? }),
        _ => Err(none()),
    }
}

fn node(event: &EventView) -> Result<String, Failure> {
    let node = event.payload["node"].as_str().map(ToOwned::to_owned);
    node.ok_or_else(|| Failure::failed(format!("event {} names no node", event.id)))
}

/// The revision of the object, if nobody has wished anything else of it since.
async fn still_last(client: &Client, service: Service, event: &EventView) -> Result<u64, Failure> {
    let wished = |other: &EventView| other.actor != SYSTEM && same_matter(event, other);
    let last = decisions::newest(client, service, &event.object, None, wished).await?;
    if let Some(later) = last.filter(|last| last.command_id != event.command_id) {
        return Err(Failure::failed(format!(
            "{} was changed since: {} by {} (#{}, command {}): undo that first",
            event.object,
            words(&later),
            later.actor,
            later.seq,
            later.command_id
        )));
    }
    let newest = decisions::newest(client, service, &event.object, None, |_| true).await?;
    Ok(newest.map_or(event.seq, |newest| newest.seq))
}

/// Whether two decisions about one object are about the same part of it: nodes and labels of a cluster have nothing to do
/// with each other.
fn same_matter(one: &EventView, other: &EventView) -> bool {
    match (one.payload.get("node"), other.payload.get("node")) {
        (Some(one), Some(other)) => one == other,
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => matches!(fact(other), "imported" | "removed"),
    }
}

/// Asks the person; without one, somebody must have said yes before.
fn confirm() -> Result<(), Failure> {
    if !stdin().is_terminal() {
        return Err(Failure::usage("nothing was done: nobody is here to ask, so say --yes"));
    }
    let mut answer = String::new();
    let asked = std::io::stderr().write_all(b"Do it? [y/N] ").and_then(|()| stdin().read_line(&mut answer));
    asked.map_err(|e| Failure::failed(format!("nobody could be asked: {e}")))?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(Failure::failed("nothing was done")) }
}
