//! `bcs sim`: what goes wrong in a simulated cluster, and how it is.

use clap::{Args, Subcommand};
use serde::Serialize;

use bcs_kubesim::CurrentFaults;

use crate::{
    Failure, output,
    session::Session,
    sim::{
        place::Place,
        server::{Counts, Server},
        words,
    },
    view::table,
};

const FAULT: &str = "\
Examples:
  bcs sim fault --cluster sim-a api-errors=5% latency=200ms
  bcs sim fault --cluster sim-a drop-watches compact
  bcs sim fault --cluster sim-a node-down sim-a-node-1
  bcs sim fault --cluster sim-a partition 60s
  bcs sim fault --cluster sim-a crash shop-web
  bcs sim fault --cluster sim-a reset
  bcs sim fault --kubeconfig /tmp/sim.yaml image-pull-error=web:2

Faults that last until they are off (=off, or reset for all of them):
  api-errors=5%             so many requests fail with 500
  conflicts=10%             so many updates and patches fail with 409
  latency=200ms             every request is answered so much later
  slow-start[=5s]           every container takes so much longer to start
  image-pull-error[=100%]   so many pulls fail
  image-pull-error=IMAGE    these images cannot be pulled, and no others: web:2, web (with any tag), */web:*
  node-down NODE            the node is lost, until node-up NODE
  partition 60s             nobody reaches the API for so long; nodes and pods go on

Faults that happen once:
  drop-watches              every open watch is ended
  compact                   history is forgotten: watches from before get 410
  crash APP                 its containers end and start again: APP, NAMESPACE/APP, or labels such as tier=front

  seed=7                    chance begins again here: the same requests meet the same faults
  reset                     no faults from now on; what else is asked for comes after it

A value comes after `=` or, where there must be one, as the next word.";

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Let things go wrong in a simulated cluster
    #[command(after_help = FAULT)]
    Fault {
        #[command(flatten)]
        place: Place,
        /// What goes wrong; several at once
        #[arg(required = true, value_name = "FAULT")]
        faults: Vec<String>,
    },
    /// Show what goes wrong there, what there is, and how much is asked
    #[command(
        after_help = "Examples:\n  bcs sim status\n  bcs sim status --cluster sim-a -o json\n  bcs sim status --kubeconfig /tmp/sim.yaml"
    )]
    Status {
        #[command(flatten)]
        place: Place,
    },
}

/// A cluster, for programs.
#[derive(Serialize)]
struct Shown<'a> {
    cluster: &'a str,
    server: &'a str,
    faults: CurrentFaults,
    #[serde(flatten)]
    counts: Counts,
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let _log = session.log()?;
        match self.action {
            Action::Fault { place, faults } => fault(session, &place, &faults).await,
            Action::Status { place } => status(session, &place).await,
        }
    }
}

async fn fault(session: &Session, place: &Place, faults: &[String]) -> Result<(), Failure> {
    let asked = words::asked(faults).map_err(Failure::usage)?;
    let server = place.named().await?;
    let done = server.set(&asked).await?;
    if !session.format().for_people() {
        return output::answer(session.format(), [format!("cluster/{}", server.name)], &done);
    }
    if !done.crashed.is_empty() {
        output::line(format!("cluster {}: crashed {}", server.name, done.crashed.join(", ")));
    }
    output::line(format!("cluster {}: {}", server.name, told(&done.set)));
    Ok(())
}

fn told(set: &CurrentFaults) -> String {
    let words = words::of(set);
    if words.is_empty() { "no faults".to_owned() } else { words.join(" ") }
}

async fn status(session: &Session, place: &Place) -> Result<(), Failure> {
    let named = place.one().await?;
    let single = named.is_some();
    let servers = match named {
        Some(server) => vec![server],
        None => place.all().await?,
    };
    let looks = servers.iter().map(async |server| {
        Ok::<_, Failure>(Shown {
            cluster: &server.name,
            server: &server.url,
            faults: server.faults().await?,
            counts: server.counts().await?,
        })
    });
    let shown: Vec<Shown<'_>> = futures::future::try_join_all(looks).await?;
    if session.format().for_people() {
        output::line(rows(&shown));
        return Ok(());
    }
    let names = servers.iter().map(|server: &Server| format!("cluster/{}", server.name));
    match shown.first().filter(|_| single) {
        Some(one) => output::answer(session.format(), names, one),
        None => output::answer(session.format(), names, &shown),
    }
}

fn rows(shown: &[Shown<'_>]) -> String {
    let head = ["CLUSTER", "SERVER", "NODES", "PODS", "OBJECTS", "REQUESTS", "WATCHES", "FAULTS"];
    let row = |it: &Shown<'_>| {
        let count = |kind: &str| it.counts.objects.get(kind).copied().unwrap_or(0).to_string();
        vec![
            it.cluster.to_owned(),
            it.server.to_owned(),
            count("nodes"),
            count("pods"),
            it.counts.objects.values().sum::<u64>().to_string(),
            it.counts.requests.to_string(),
            it.counts.watches.to_string(),
            told(&it.faults),
        ]
    };
    table(&head, shown.iter().map(row))
}
