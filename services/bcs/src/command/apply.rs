//! `bcs apply`: everything is read and checked first, then sent in the order of the files.

use bcs_client::Client;
use bcs_schemas::{
    Millis, Name,
    cluster::ImportCluster,
    deploy::ApplyApp,
    envelope::Mode,
    outcome::{Accepted, Outcome},
    resource::Resource,
    subject::Target,
};
use clap::Args;

use crate::{
    Exit, Failure, color,
    document::{self, Setting},
    output,
    session::{DECIDED_WITHIN, Session, short, target},
    wait::{self, Goal, Watched},
};

const AFTER: &str = "\
Examples:
  bcs apply -f examples/shop.yaml --wait
  bcs apply -f examples/shop.yaml --set image.tag=v2 --plan
  cat app.yaml | bcs apply -f - --wait --timeout 10m";

#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct Arguments {
    /// File of resource documents (YAML or JSON), directory of such files, - for standard input
    #[arg(short, long = "file", required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Set a value below spec in every App, such as image.tag=v2
    #[arg(long = "set", value_name = "PATH=VALUE")]
    settings: Vec<Setting>,
    /// Wait until every application is available
    #[arg(short, long, conflicts_with = "plan")]
    wait: bool,
    /// How long to wait
    #[arg(long, default_value = "5m")]
    timeout: Millis,
    /// Only say what would be decided
    #[arg(long)]
    plan: bool,
}

/// A document and where it goes.
struct Order {
    target: Target,
    resource: Resource,
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let orders = orders(document::read_all(&self.files, &self.settings)?, &session.project()?)?;
        let _log = session.log()?;
        let client = session.connect().await?;
        let mode = if self.plan { Mode::Plan } else { Mode::Apply };
        let (mut watched, mut outcomes, mut names) = (Vec::new(), Vec::new(), Vec::new());
        let mut worst = None::<Failure>;
        for Order { target, resource } in orders {
            let app = matches!(resource, Resource::App(_));
            let outcome = match send(&client, session, &target, resource, mode).await {
                Ok(outcome) => outcome,
                Err(failure) => {
                    // What was accepted before is told and waited for all the same.
                    output::error(&failure.message);
                    worst = Some(Failure { message: String::new(), ..failure });
                    break;
                }
            };
            match outcome {
                Outcome::Accepted(accepted) => {
                    if session.format().for_people() {
                        tell(&target, &accepted);
                    }
                    names.push(short(&target));
                    if app {
                        let Target { project, name, .. } = target;
                        watched.push(Watched { project, name, revision: accepted.revision });
                    }
                    outcomes.push(Outcome::Accepted(accepted));
                }
                Outcome::Rejected(rejected) => {
                    let failure = Failure::rejected(&short(&target), &rejected);
                    output::error(&failure.message);
                    worst = Some(Failure { exit: Exit::Rejected, message: String::new() });
                    outcomes.push(Outcome::Rejected(rejected));
                }
            }
        }
        if !session.format().for_people() {
            output::answer(session.format(), names, &outcomes)?;
        }
        if self.wait {
            wait::wait(&client, &watched, Goal::Available, self.timeout).await?;
        }
        worst.map_or(Ok(()), Err)
    }
}

fn orders(resources: Vec<Resource>, project: &Name) -> Result<Vec<Order>, Failure> {
    let mut orders: Vec<Order> = Vec::with_capacity(resources.len());
    for resource in resources {
        let metadata = resource.metadata();
        let target = match &resource {
            Resource::App(_) => target(metadata.project.as_ref().unwrap_or(project), "app", &metadata.name),
            Resource::Cluster(_) => {
                let system = Name::system();
                if metadata.project.as_ref().is_some_and(|project| *project != system) {
                    let words = "metadata.project: clusters belong to the platform: leave it out";
                    return Err(Failure::usage(format!("cluster {}: {words}", metadata.name)));
                }
                target(&system, "cluster", &metadata.name)
            }
            Resource::Registry(_) => {
                return Err(Failure::usage(format!(
                    "registry {}: registries are configured at the sidecar for now: put this document into the \
                     sidecar's settings and start it again",
                    metadata.name
                )));
            }
        };
        if orders.iter().any(|order| order.target == target) {
            return Err(Failure::usage(format!("{} stands twice in what is to be applied", short(&target))));
        }
        orders.push(Order { target, resource });
    }
    Ok(orders)
}

async fn send(
    client: &Client,
    session: &Session,
    target: &Target,
    resource: Resource,
    mode: Mode,
) -> Result<Outcome, Failure> {
    let sent = match resource {
        Resource::App(app) => {
            let message = ApplyApp { labels: app.metadata.labels, spec: app.spec };
            let command = client.command(target.clone(), message).mode(mode).actor(session.actor());
            command.send(DECIDED_WITHIN).await
        }
        Resource::Cluster(cluster) => {
            let message = ImportCluster { labels: cluster.metadata.labels, spec: cluster.spec };
            let command = client.command(target.clone(), message).mode(mode).actor(session.actor());
            command.send(DECIDED_WITHIN).await
        }
        Resource::Registry(_) => return Err(Failure::usage("registries are configured at the sidecar")),
    };
    Ok(sent?)
}

/// One line for what was accepted; for a plan, what would be decided.
pub(super) fn tell(target: &Target, accepted: &Accepted) {
    let name = color::strong(&short(target));
    if accepted.events.is_empty() {
        return output::line(format!("{name} unchanged"));
    }
    if !accepted.plan {
        return output::line(format!("{name} accepted (revision {})", accepted.revision));
    }
    output::line(format!("{name} would decide, from revision {}:", accepted.revision));
    for event in &accepted.events {
        let payload = event.payload.as_ref().map(ToString::to_string).unwrap_or_default();
        output::line(format!("  {} {} {payload}", event.target, event.type_name));
    }
}
