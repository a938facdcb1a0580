//! `bcs restart app`, and what every command about one application has in common.

use bcs_client::Payload;
use bcs_schemas::{Millis, Name, deploy::RestartApp};
use clap::{Args, Subcommand};

use super::apply::tell;
use crate::{
    Failure, output,
    session::{DECIDED_WITHIN, Session, accepted, short, target},
    wait::{self, Goal, Watched},
};

const AFTER: &str = "\
Examples:
  bcs restart app shop-web
  bcs restart app shop-web --wait --timeout 10m";

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Replace every instance of an application by a fresh one
    #[command(alias = "apps", after_help = AFTER)]
    App {
        /// The application
        name: Name,
        /// Wait until it is available
        #[arg(short, long)]
        wait: bool,
        /// How long to wait
        #[arg(long, default_value = "5m")]
        timeout: Millis,
    },
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let Kind::App { name, wait, timeout } = self.kind;
        send_and_wait(session, &name, RestartApp {}, wait.then_some(Goal::Available), timeout).await
    }
}

/// Sends a command about an application, tells the outcome, and waits for the goal if there is one.
pub(super) async fn send_and_wait<P: Payload>(
    session: &Session,
    name: &Name,
    message: P,
    goal: Option<Goal>,
    timeout: Millis,
) -> Result<(), Failure> {
    let project = session.project()?;
    let _log = session.log()?;
    let client = session.connect().await?;
    let target = target(&project, "app", name);
    let command = client.command(target.clone(), message).actor(session.actor());
    let accepted = accepted(&target, command.send(DECIDED_WITHIN).await?)?;
    if session.format().for_people() {
        tell(&target, &accepted);
    } else {
        output::answer(session.format(), [short(&target)], &accepted)?;
    }
    let Some(goal) = goal else { return Ok(()) };
    let watched = [Watched { project, name: name.clone(), revision: accepted.revision }];
    wait::wait(&client, &watched, goal, timeout).await
}
