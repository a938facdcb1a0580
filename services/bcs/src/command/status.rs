//! `bcs status`: how services, clusters and registries do, on one page. A part that does not answer is shown as such and
//! hides no other.

use bcs_client::Client;
use bcs_schemas::{
    Service,
    bucket::REGISTRIES,
    query::{Query, ServiceStatus},
};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use crate::{
    Failure, color, output,
    session::Session,
    view::{Listing, age, or_dash, table},
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bcs status\n  bcs status -o json")]
pub struct Arguments {}

/// What is known of one service.
#[derive(Serialize)]
struct Row {
    service: Service,
    running: bool,
    status: Option<ServiceStatus>,
    /// Commands on the bus without an outcome.
    waiting_commands: Option<u64>,
    problem: Option<String>,
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let _log = session.log()?;
        let client = session.connect().await?;
        let services = futures::future::join_all(Service::ALL.map(|service| look(&client, service))).await;
        let query = Query::default();
        let (clusters, registries) = tokio::join!(client.clusters(&query), client.observed(REGISTRIES, ">"));
        let now = client.clock().now();
        if !session.format().for_people() {
            let clusters = clusters.map(|answer| answer.data).unwrap_or_default();
            let registries: Vec<_> = registries.unwrap_or_default().into_values().collect();
            let all =
                json!({ "as_of": now, "services": services, "clusters": clusters, "registries": registries });
            let names = services.iter().map(|row| format!("service/{}", row.service));
            output::answer(session.format(), names, &all)?;
        } else {
            output::line(format!(
                "{}  {}\n",
                color::strong("bus"),
                bcs_kit::bus::without_password(&session.context()?.bus().url)
            ));
            output::line(rows(&services, now));
            part(
                clusters.map(|answer| Listing {
                    items: answer.data,
                    as_of: answer.as_of,
                    revision: None,
                    with_project: false,
                    single: false,
                }),
                session,
            )?;
            part(
                registries.map(|found| Listing {
                    items: found.into_values().collect(),
                    as_of: now,
                    revision: None,
                    with_project: false,
                    single: false,
                }),
                session,
            )?;
        }
        let down = services.iter().filter(|row| !row.running).count();
        if down == 0 {
            Ok(())
        } else {
            Err(Failure::failed(format!("{down} of {} services do not answer", services.len())))
        }
    }
}

async fn look(client: &Client, service: Service) -> Row {
    let (status, waiting) = tokio::join!(client.service_status(service), client.waiting_commands(service));
    let (status, problem) = match status {
        Ok(answer) => (Some(answer.data), None),
        Err(error) => (None, Some(error.to_string())),
    };
    Row { service, running: status.is_some(), status, waiting_commands: waiting.ok().flatten(), problem }
}

fn rows(services: &[Row], now: Timestamp) -> String {
    let head = [
        "SERVICE",
        "STATE",
        "REVISION",
        "UNPUBLISHED",
        "COMMANDS",
        "WAITING",
        "QUARANTINED",
        "AGE",
        "VERSION",
    ];
    let row = |row: &Row| {
        let status = row.status.as_ref();
        vec![
            row.service.to_string(),
            color::state(if row.running { "running" } else { "down" }),
            or_dash(status.map(|s| s.revision)),
            or_dash(status.map(|s| s.unpublished)),
            or_dash(status.map(|s| s.commands)),
            or_dash(row.waiting_commands),
            or_dash(status.map(|s| s.quarantined)),
            or_dash(status.map(|s| age(s.started_at, now))),
            or_dash(status.map(|s| s.version.as_str())),
        ]
    };
    table(&head, services.iter().map(row))
}

fn part<T: crate::view::Listed>(
    found: Result<Listing<T>, bcs_client::Error>,
    session: &Session,
) -> Result<(), Failure> {
    output::line("");
    match found {
        Ok(listing) => listing.show(session.format()),
        Err(error) => {
            output::note(format!("{} unknown: {error}", T::KIND));
            Ok(())
        }
    }
}
