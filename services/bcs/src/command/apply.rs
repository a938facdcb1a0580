//! `bcs apply`: everything is read and checked first, then sent in the order of the files; or planned, or done as a plan
//! says.

use std::path::{Path, PathBuf};

use bcs_client::Client;
use bcs_schemas::{
    Millis, Name,
    cluster::ImportCluster,
    deploy::ApplyApp,
    outcome::{Accepted, Outcome},
    resource::Resource,
    subject::Target,
};
use clap::Args;

use crate::{
    Exit, Failure, color,
    document::{self, Setting},
    output,
    plan::{self, Plan, Planning, Wish},
    session::{Session, short, target},
    wait::{self, Goal, Watched},
};

const AFTER: &str = "\
Examples:
  bcs apply -f examples/shop.yaml --wait
  bcs apply -f examples/shop.yaml --set image.tag=v2 --plan
  cat app.yaml | bcs apply -f - --wait --timeout 10m

A plan that is looked at first, and then done exactly so or not at all:
  bcs apply -f examples/shop.yaml --plan-file shop.plan.json
  bcs apply --from-plan shop.plan.json --wait

Every command that changes something plans: --plan ends with 0, whether there is something to do or not, and with 3 when
something would be rejected. --from-plan does the commands of any plan, once: a repeat tells what came of it. It ends with
3 and does nothing when an object was changed since, and says by whom.";

#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct Arguments {
    /// File of resource documents (YAML or JSON), directory of such files, - for standard input
    #[arg(short, long = "file", required_unless_present = "from_plan", value_name = "FILE")]
    files: Vec<String>,
    /// Set a value below spec in every App, such as image.tag=v2
    #[arg(long = "set", value_name = "PATH=VALUE")]
    settings: Vec<Setting>,
    /// Do exactly what this plan says, or nothing and say what has moved since
    #[arg(long, value_name = "FILE", conflicts_with_all = ["files", "settings", "plan", "plan_file"])]
    from_plan: Option<PathBuf>,
    /// Wait until every application is available
    #[arg(short, long, conflicts_with_all = ["plan", "plan_file"])]
    wait: bool,
    /// How long to wait
    #[arg(long, default_value = "5m")]
    timeout: Millis,
    #[command(flatten)]
    planning: Planning,
}

/// What was accepted so far.
#[derive(Default)]
struct Done {
    outcomes: Vec<Outcome>,
    names: Vec<String>,
    /// Applications to come, and applications to go.
    coming: Vec<Watched>,
    going: Vec<Watched>,
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        if let Some(path) = &self.from_plan {
            return self.apply_plan(session, path).await;
        }
        let wishes = wishes(document::read_all(&self.files, &self.settings)?, &session.project()?)?;
        let _log = session.log()?;
        let client = session.connect().await?;
        if self.planning.wanted() {
            return self.planning.make(session, &client, wishes).await;
        }
        let mut done = Done::default();
        let mut worst = Ok(());
        for wish in wishes {
            match wish.apply(&client, &session.actor()).await {
                Ok(Outcome::Accepted(accepted)) => done.accepted(session, &wish, &accepted),
                Ok(Outcome::Rejected(rejected)) => {
                    output::error(&Failure::rejected(&short(&wish.object), &rejected).message);
                    worst = Err(Failure { exit: Exit::Rejected, message: String::new() });
                    done.outcomes.push(Outcome::Rejected(rejected));
                }
                Err(failure) => {
                    worst = Err(told(failure));
                    break;
                }
            }
        }
        self.finish(session, &client, done, worst).await
    }

    async fn apply_plan(&self, session: &Session, path: &Path) -> Result<(), Failure> {
        let plan = Plan::load(path)?;
        let _log = session.log()?;
        let client = session.connect().await?;
        let mut done = Done::default();
        let tell = |step: &plan::Step, accepted: &Accepted| done.accepted(session, &step.wish, accepted);
        let worst = plan::carry_out(&client, &session.actor(), &plan, tell).await;
        self.finish(session, &client, done, worst.map_err(told)).await
    }

    /// What was accepted is told and waited for, whatever went wrong after it.
    async fn finish(
        &self,
        session: &Session,
        client: &Client,
        done: Done,
        worst: Result<(), Failure>,
    ) -> Result<(), Failure> {
        if !session.format().for_people() {
            output::answer(session.format(), done.names, &done.outcomes)?;
        }
        if self.wait {
            wait::wait(client, &done.coming, Goal::Available, self.timeout).await?;
            wait::wait(client, &done.going, Goal::Gone, self.timeout).await?;
        }
        worst
    }
}

/// A failure that is told at once, before others are waited for.
fn told(failure: Failure) -> Failure {
    output::error(&failure.message);
    Failure { message: String::new(), ..failure }
}

impl Done {
    fn accepted(&mut self, session: &Session, wish: &Wish, accepted: &Accepted) {
        if session.format().for_people() {
            tell(&wish.object, accepted);
        }
        self.names.push(short(&wish.object));
        if wish.object.kind.as_str() == "app" {
            let Target { project, name, .. } = wish.object.clone();
            let watched = Watched { project, name, revision: accepted.revision };
            let going = wish.type_name.verb == "delete";
            if going { &mut self.going } else { &mut self.coming }.push(watched);
        }
        self.outcomes.push(Outcome::Accepted(accepted.clone()));
    }
}

fn wishes(resources: Vec<Resource>, project: &Name) -> Result<Vec<Wish>, Failure> {
    let mut wishes: Vec<Wish> = Vec::with_capacity(resources.len());
    for resource in resources {
        let wish = wish(resource, project)?;
        if wishes.iter().any(|other| other.object == wish.object) {
            let name = short(&wish.object);
            return Err(Failure::usage(format!("{name} stands twice in what is to be applied")));
        }
        wishes.push(wish);
    }
    Ok(wishes)
}

fn wish(resource: Resource, project: &Name) -> Result<Wish, Failure> {
    match resource {
        Resource::App(app) => {
            let of = app.metadata.project.as_ref().unwrap_or(project);
            let object = target(of, "app", &app.metadata.name);
            Wish::new(object, ApplyApp { labels: app.metadata.labels, spec: app.spec })
        }
        Resource::Cluster(cluster) => {
            let (system, metadata) = (Name::system(), cluster.metadata);
            if metadata.project.is_some_and(|project| project != system) {
                let words = "metadata.project: clusters belong to the platform: leave it out";
                return Err(Failure::usage(format!("cluster {}: {words}", metadata.name)));
            }
            let object = target(&system, "cluster", &metadata.name);
            Wish::new(object, ImportCluster { labels: metadata.labels, spec: cluster.spec })
        }
        Resource::Registry(registry) => Err(Failure::usage(format!(
            "registry {}: registries are configured at the sidecar for now: put this document into the sidecar's \
             settings and start it again",
            registry.metadata.name
        ))),
    }
}

/// One line for what was accepted.
pub(super) fn tell(target: &Target, accepted: &Accepted) {
    let name = color::strong(&short(target));
    if accepted.events.is_empty() {
        return output::line(format!("{name} unchanged"));
    }
    output::line(format!("{name} accepted (revision {})", accepted.revision));
}
