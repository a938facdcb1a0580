//! How fast commands become events: a durable service made with the kit, beside the same service by hand. Both are
//! processes of their own on one nats-server, and each keeps its own database on the same disk.

mod byhand;
mod product;
mod sink;

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use futures::future::try_join_all;
use tokio::{process::Command, time::Instant};

use super::{
    machine,
    report::{Report, Row, Target},
    sample::{Rounds, median},
    usage::{Meter, Watched},
};
use crate::harness::{Lab, NatsServer, NotYet, Poll, Postgres, Process, Ready, wait_until};
pub(super) use byhand::serve as floor;
pub(super) use product::serve as product;

/// Where a serving process works.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The bus
    #[arg(long)]
    nats: String,
    /// The database
    #[arg(long)]
    database: String,
}

/// Publishers at once, each with one command in flight.
const PUBLISHERS: usize = 64;
/// Commands of each publisher in a turn.
const EACH: usize = 50;
/// Commands of a turn with one in flight.
const ALONE: usize = 200;
/// Bytes of a command, and of the event that it causes.
const BODY: usize = 256;
/// What a serving process says when it takes commands.
const READY: &str = "ready";

/// One who sends commands and waits for outcomes.
trait Publisher {
    /// Sends one and waits for its outcome.
    async fn ask(&mut self) -> Result<()>;
}

/// Product or floor: its process, its publishers, and the stream in which its events appear.
struct Side<P> {
    process: Process,
    publishers: Vec<P>,
    jetstream: async_nats::jetstream::Context,
    events: &'static str,
}

/// What a turn gave.
struct Turn {
    /// Commands that had an outcome and whose events were on the bus, a second.
    rate: f64,
    took: Vec<Duration>,
}

impl<P: Publisher> Side<P> {
    /// Lets the first `publishers` send so many each; ends when every event is on the bus.
    async fn turn(&mut self, publishers: usize, each: usize) -> Result<Turn> {
        let before = self.stored().await?;
        let begin = Instant::now();
        let all = self.publishers.iter_mut().take(publishers).map(|publisher| async move {
            let mut took = Vec::with_capacity(each);
            for _ in 0..each {
                let sent = Instant::now();
                publisher.ask().await?;
                took.push(sent.elapsed());
            }
            Ok::<_, anyhow::Error>(took)
        });
        let took = try_join_all(all).await?.concat();
        let wanted = before + u64::try_from(took.len())?;
        while self.stored().await? < wanted {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(Turn { rate: took.len() as f64 / begin.elapsed().as_secs_f64(), took })
    }

    async fn stored(&self) -> Result<u64> {
        let stream = self.jetstream.get_stream(self.events).await.context("the events")?;
        Ok(stream.cached_info().state.messages)
    }
}

/// Runs the scenario.
pub(super) async fn run(lab: &Lab, rounds: usize) -> Result<Report> {
    let file = |name: &str| format!("sqlite:{}", lab.path().join(name).display());
    let sqlite = Journals { on: "SQLite", ours: file("kit.db"), floor: file("hand.db") };
    let mut rows = compare(lab, &sqlite, rounds).await?;
    match Postgres::start(lab).await {
        Ok(server) => {
            let url = || server.url().to_owned();
            let postgres = Journals { on: "PostgreSQL", ours: url(), floor: url() };
            rows.extend(compare(lab, &postgres, rounds).await?);
        }
        Err(error) => rows.push(Row::not_run("PostgreSQL", Some("the same"), &format!("{error:#}"))),
    }
    let versions = vec![
        machine::version("nats-server", "NATS_SERVER_BIN", "--version"),
        machine::version("postgres", "POSTGRES_BIN", "--version"),
        format!("messages of {BODY} bytes; SQLite with WAL and synchronous=FULL, PostgreSQL as it comes"),
    ];
    Ok(Report { rows, versions, ..Report::default() })
}

/// Where both sides keep what they decided.
struct Journals {
    on: &'static str,
    ours: String,
    floor: String,
}

async fn compare(lab: &Lab, journals: &Journals, rounds: usize) -> Result<Vec<Row>> {
    let on = journals.on;
    let nats = NatsServer::start(lab, &format!("nats-{on}")).await?;
    let url = nats.url();
    let mut ours = product::side(start(lab, "serve-commands", &url, &journals.ours).await?, &url).await?;
    let mut floor = byhand::side(start(lab, "serve-floor", &url, &journals.floor).await?, &url).await?;
    let mut meter = Meter::new(vec![Watched::new("nats-server", nats.pid()?), Watched::bench()]);
    let service = [Watched::new("service", ours.process.pid()?), Watched::new("floor", floor.process.pid()?)];
    // Connections, caches and statements are made here and not in the first turn.
    ours.turn(PUBLISHERS, 20).await?;
    floor.turn(PUBLISHERS, 20).await?;
    let (mut many, mut alone) = (Both::default(), Both::default());
    let before = [service[0].cpu()?, service[1].cpu()?];
    for _ in 0..rounds {
        let begin = meter.begin()?;
        many.ours(&ours.turn(PUBLISHERS, EACH).await?)?;
        alone.ours(&ours.turn(1, ALONE).await?)?;
        meter.end_of_ours(&begin)?;
        let begin = meter.begin()?;
        many.floor(&floor.turn(PUBLISHERS, EACH).await?)?;
        alone.floor(&floor.turn(1, ALONE).await?)?;
        meter.end_of_floor(&begin)?;
    }
    let used = [service[0].cpu()? - before[0], service[1].cpu()? - before[1]];
    let mut rows = vec![
        many.throughput(&format!("{PUBLISHERS} publishers")).target(Target::RatioAtLeast(0.6)),
        many.quantile("publish → outcome at 64 in flight", 0.5),
        many.quantile("publish → outcome at 64 in flight", 0.99),
        alone.quantile("publish → outcome at one in flight", 0.5).target(Target::RatioAtMost(2.0)),
        alone.quantile("publish → outcome at one in flight", 0.99),
        Row::new("CPU of the service", "s", used[0]).over(used[1]),
        Row::new("peak RSS of the service", "MiB", service[0].peak()?).over(service[1].peak()?),
    ];
    rows.extend(meter.rows("")?);
    rows.iter_mut().for_each(|row| row.metric = format!("{on}: {}", row.metric));
    Ok(rows)
}

/// Starts a serving process and waits until it takes commands.
async fn start(lab: &Lab, server: &str, nats: &str, database: &str) -> Result<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([server, "--nats", nats, "--database", database]);
    let mut process = Process::start(lab, server, command)?;
    wait_until(Duration::from_secs(20), server, async || match process.ended() {
        Ok(None) if process.output().contains(READY) => Ready(()),
        Ok(None) => NotYet("it starts".to_owned()),
        Ok(Some(status)) => Poll::NotYet(format!("it ended with {status}")),
        Err(error) => NotYet(error.to_string()),
    })
    .await?;
    Ok(process)
}

/// The turns of both sides at one load.
#[derive(Default)]
struct Both {
    rates: [Vec<f64>; 2],
    took: [Rounds; 2],
}

impl Both {
    fn ours(&mut self, turn: &Turn) -> Result<()> {
        self.rates[0].push(turn.rate);
        self.took[0].add(&turn.took)
    }

    fn floor(&mut self, turn: &Turn) -> Result<()> {
        self.rates[1].push(turn.rate);
        self.took[1].add(&turn.took)
    }

    fn throughput(&self, metric: &str) -> Row {
        let [ours, floor] = &self.rates;
        let ratios = ours.iter().zip(floor).map(|(ours, floor)| ours / floor).collect();
        Row::new(metric, "1/s", median(ours.clone())).beside(median(floor.clone()), median(ratios))
    }

    fn quantile(&self, metric: &str, quantile: f64) -> Row {
        let [ours, floor] = &self.took;
        Row::quantile(metric, quantile, ours, floor)
    }
}
