//! `bcs registry`: how the registries outside do.

use bcs_client::Client;
use bcs_schemas::{
    Name,
    bucket::{REGISTRATIONS, REGISTRIES},
    observation::{Registration, RegistrationState},
};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{Failure, output, session::Session, view::detail};

const STATUS: &str = "\
Examples:
  bcs registry status
  bcs registry status dns --cluster sim-a
  bcs registry status -o json";

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show what each holds, the oldest change that waits, what it refuses, and every instance that waits for it
    #[command(after_help = STATUS)]
    Status {
        /// Only this registry
        name: Option<Name>,
        /// Only as the sidecars of this cluster keep it
        #[arg(long)]
        cluster: Option<Name>,
    },
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let _log = session.log()?;
        let What::Status { name, cluster } = self.what;
        Box::pin(status(session, &session.connect().await?, name, cluster)).await
    }
}

async fn status(
    session: &Session,
    client: &Client,
    name: Option<Name>,
    cluster: Option<Name>,
) -> Result<(), Failure> {
    let (registries, registrations) =
        tokio::try_join!(client.observed(REGISTRIES, ">"), client.observed(REGISTRATIONS, ">"))?;
    let meant = registries.values().filter(|status| {
        name.as_ref().is_none_or(|name| *name == status.registry)
            && cluster.as_ref().is_none_or(|cluster| *cluster == status.cluster)
    });
    let pages: Vec<_> = meant
        .map(|status| {
            let its = registrations
                .values()
                .filter(|r| r.registry == status.registry && r.cluster == status.cluster && waits(r));
            let mut its: Vec<&Registration> = its.collect();
            its.sort_by_key(|registration| registration.since);
            (status, its)
        })
        .collect();
    if pages.is_empty() {
        let what = name.map_or_else(|| "no registry".to_owned(), |name| format!("no registry {name}"));
        return Err(Failure::failed(format!("{what} is kept by any sidecar: see bcs get registries")));
    }
    if session.format().for_people() {
        let now = client.clock().now();
        let pages: Vec<String> =
            pages.iter().map(|(status, waiting)| detail::registry(status, waiting, now)).collect();
        output::line(pages.join("\n"));
        return Ok(());
    }
    let names = pages.iter().map(|(status, _)| format!("registry/{}.{}", status.cluster, status.registry));
    let all: Vec<_> =
        pages.iter().map(|(status, waiting)| json!({ "registry": status, "waiting": waiting })).collect();
    output::answer(session.format(), names, &all)
}

/// Neither in nor out for good.
const fn waits(registration: &Registration) -> bool {
    !matches!(registration.state, RegistrationState::Confirmed | RegistrationState::Drained)
}
