//! `bcs describe`: one object with everything that is known about it.

use bcs_client::{Client, EventRecord, Position};
use bcs_schemas::{
    Name, Service,
    bucket::{ENDPOINTS, NODES, REGISTRATIONS, REGISTRIES},
    query::Query,
    subject::Target,
};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    Failure, output,
    session::{Session, short, target},
    view::detail,
};

/// How many events a description shows.
const EVENTS: usize = 10;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// An application: spec, status, why it waits, instances with their registrations, recent events
    #[command(alias = "apps", after_help = "Example:\n  bcs describe app shop-web")]
    App {
        /// The application
        name: Name,
    },
    /// A cluster: health, nodes, registries, recent events
    #[command(alias = "clusters", after_help = "Example:\n  bcs describe cluster sim-a")]
    Cluster {
        /// The cluster
        name: Name,
    },
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let _log = session.log()?;
        match self.kind {
            Kind::App { name } => app(session, &session.connect().await?, name).await,
            Kind::Cluster { name } => cluster(session, &session.connect().await?, name).await,
        }
    }
}

fn missing(target: &Target) -> Failure {
    Failure::failed(format!("{} does not exist in project {}", short(target), target.project))
}

async fn app(session: &Session, client: &Client, name: Name) -> Result<(), Failure> {
    let project = session.project()?;
    let target = target(&project, "app", &name);
    let query = Query { project: Some(project.clone()), name: Some(name.clone()), ..Query::default() };
    let answer = client.app(&query).await?;
    let view = answer.data.ok_or_else(|| missing(&target))?;
    let filter = format!("*.{project}.{name}.>");
    let endpoints: Vec<_> = client.observed(ENDPOINTS, &filter).await?.into_values().collect();
    let registrations: Vec<_> = client.observed(REGISTRATIONS, &filter).await?.into_values().collect();
    let events = recent(client, &target, Service::Deploy).await?;
    if session.format().for_people() {
        output::line(detail::app(&view, &endpoints, &registrations, &events, answer.as_of));
        return Ok(());
    }
    let events: Vec<_> = events.iter().map(super::events::as_json).collect();
    let all =
        json!({ "app": view, "endpoints": endpoints, "registrations": registrations, "events": events });
    output::answer(session.format(), [short(&target)], &all)
}

async fn cluster(session: &Session, client: &Client, name: Name) -> Result<(), Failure> {
    let target = target(&Name::system(), "cluster", &name);
    let query = Query { name: Some(name.clone()), ..Query::default() };
    let answer = client.cluster(&query).await?;
    let view = answer.data.ok_or_else(|| missing(&target))?;
    let filter = format!("{name}.>");
    let nodes: Vec<_> = client.observed(NODES, &filter).await?.into_values().collect();
    let registries: Vec<_> = client.observed(REGISTRIES, &filter).await?.into_values().collect();
    let events = recent(client, &target, Service::Cluster).await?;
    if session.format().for_people() {
        output::line(detail::cluster(&view, &nodes, &registries, &events, answer.as_of));
        return Ok(());
    }
    let events: Vec<_> = events.iter().map(super::events::as_json).collect();
    let all = json!({ "cluster": view, "nodes": nodes, "registries": registries, "events": events });
    output::answer(session.format(), [short(&target)], &all)
}

async fn recent(client: &Client, target: &Target, service: Service) -> Result<Vec<EventRecord>, Failure> {
    let mut events = client.events_about(target, &[service], Position::All).await?;
    let mut last = std::collections::VecDeque::new();
    while let Some(event) = events.next_past().await {
        last.push_back(event);
        if last.len() > EVENTS {
            last.pop_front();
        }
    }
    Ok(last.into())
}
