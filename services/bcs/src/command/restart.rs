//! `bcs restart app`, and what every command about one application has in common.

use bcs_client::Payload;
use bcs_schemas::{Millis, Name, deploy::RestartApp};
use clap::{Args, Subcommand};

use super::apply::tell;
use crate::{
    Failure, output,
    plan::{Planning, Wish},
    session::{Session, accepted, short, target},
    wait::{self, Goal, Watched},
};

const AFTER: &str = "\
Examples:
  bcs restart app shop-web
  bcs restart app shop-web --plan
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
        #[command(flatten)]
        manner: Manner,
    },
}

/// What every command about one application takes.
#[derive(Debug, Args)]
pub(super) struct Manner {
    /// Wait until it is so
    #[arg(short, long, conflicts_with_all = ["plan", "plan_file"])]
    wait: bool,
    /// How long to wait
    #[arg(long, default_value = "5m")]
    timeout: Millis,
    #[command(flatten)]
    planning: Planning,
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let Kind::App { name, manner } = self.kind;
        send_and_wait(session, &name, RestartApp {}, Goal::Available, &manner).await
    }
}

/// Sends a command about an application, tells the outcome, and waits for the goal if that is wanted; or only plans it.
pub(super) async fn send_and_wait<P: Payload>(
    session: &Session,
    name: &Name,
    message: P,
    goal: Goal,
    manner: &Manner,
) -> Result<(), Failure> {
    let project = session.project()?;
    let target = target(&project, "app", name);
    let wish = Wish::new(target.clone(), message)?;
    let _log = session.log()?;
    let client = session.connect().await?;
    if manner.planning.wanted() {
        return manner.planning.make(session, &client, vec![wish]).await;
    }
    let accepted = accepted(&target, wish.apply(&client, &session.actor()).await?)?;
    if session.format().for_people() {
        tell(&target, &accepted);
    } else {
        output::answer(session.format(), [short(&target)], &accepted)?;
    }
    if !manner.wait {
        return Ok(());
    }
    let watched = [Watched { project, name: name.clone(), revision: accepted.revision }];
    wait::wait(&client, &watched, goal, manner.timeout).await
}
