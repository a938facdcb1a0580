//! `bcs registry`: how the registries outside do, and what of others is in them.

mod adopt;
mod door;
mod export;
mod list;
mod purge;
mod show;
mod verdict;

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

const EXPORT: &str = "\
Shows every entry that the registry holds, ours and those of others, with whose it is where the registry tells.

Examples:
  bcs registry export dns
  bcs registry export dns --cluster sim-a -o json > before.json
  bcs registry export dns --format hosts";

const DIFF: &str = "\
Compares what belongs into the registry (the ready instances) with what is there. With -f, the list that people kept by
hand with what BCS knows. Ends with 1 when there are differences; entries of others that are no instance of ours are none.

Examples:
  bcs registry diff dns
  bcs registry diff dns -f hosts.txt";

const IMPORT: &str = "\
Lines of the list that are ready instances of ours, and stand in the registry as nobody's, become ours. All other lines are
told one by one: nothing is invented and nothing deleted.

Examples:
  bcs registry import dns -f hosts.txt
  bcs registry import dns -f list.csv --yes";

const ADOPT: &str = "\
Only whose it is changes: clients find the entry all the while. Without --yes it is only shown.

Examples:
  bcs registry adopt dns
  bcs registry adopt dns --app shop/web --yes
  bcs registry adopt dns --address 10.0.0.1 10.0.0.2 --yes
  bcs registry adopt dns --from external-dns --yes";

const PURGE: &str = "\
Cleans up after an installation that was removed: its entries go, and then its marks (epoch and claim of the name). Entries
of others stay. The registry is reached through the sidecar that keeps it now.

Examples:
  bcs registry purge dns --owner eu1.sim-b.dns
  bcs registry purge dns --owner eu1 --yes";

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
    /// Show what a registry holds and whose it is
    #[command(after_help = EXPORT)]
    Export(export::Export),
    /// Compare what a registry holds, or a list kept by hand, with what belongs there
    #[command(after_help = DIFF)]
    Diff(export::Diff),
    /// Take the entries of a list kept by hand over, as far as they are instances of ours
    #[command(after_help = IMPORT)]
    Import(adopt::Import),
    /// Take entries of others over that are exactly what instances of ours need
    #[command(after_help = ADOPT)]
    Adopt(adopt::Adopt),
    /// Remove what an installation left behind
    #[command(after_help = PURGE)]
    Purge(purge::Purge),
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let _log = session.log()?;
        match self.what {
            What::Status { name, cluster } => {
                Box::pin(status(session, &session.connect().await?, name, cluster)).await
            }
            What::Export(export) => Box::pin(export.run(session)).await,
            What::Diff(diff) => Box::pin(diff.run(session)).await,
            What::Import(import) => Box::pin(import.run(session)).await,
            What::Adopt(adopt) => Box::pin(adopt.run(session)).await,
            What::Purge(purge) => Box::pin(purge.run(session)).await,
        }
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
