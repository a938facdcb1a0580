//! `bcs-chaos`: real processes under load while things go wrong, by seeds that can be repeated. After each run everything
//! must become quiet, and then be right.

mod check;
mod cluster;
mod disk;
mod fault;
mod foreign;
mod inject;
mod load;
mod order;
mod run;
mod running;
mod schedule;
mod soak;
mod witness;
mod world;

use std::{
    io::{self, Write},
    num::NonZeroU64,
    process::ExitCode,
};

use anyhow::Result;
use clap::{Parser, Subcommand};
use futures::{StreamExt, TryStreamExt, stream};

use run::Report;
use schedule::{Area, SHORT, Schedule};

const AFTER: &str = "\
Examples:
  scripts/chaos --seeds 20                 seeds 0 to 19, one after the other
  scripts/chaos --seed 17                  one seed, as often as you like: its schedule is the same
  scripts/chaos --seed 17 --show           its schedule; nothing is run
  scripts/chaos --seeds 500 --jobs 2 --json > seeds.jsonl
  scripts/chaos --seeds 50 --area registry only faults of registries and of what keeps them
  scripts/chaos --minutes 30               one world under load and faults for half an hour

Ends with 0 when everything was right, with 1 when a seed was not: its folder is left and named.";

/// Runs the platform under load while things go wrong, and checks that everything is right in the end
#[derive(Debug, Parser)]
#[command(name = "bcs-chaos", after_help = AFTER)]
struct Arguments {
    /// The seed, or the first of several
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// How many seeds
    #[arg(long, default_value = "1", value_name = "N", conflicts_with = "minutes")]
    seeds: NonZeroU64,
    /// One world for so long instead, with checks in between
    #[arg(long, value_name = "N")]
    minutes: Option<NonZeroU64>,
    /// Only faults of this area
    #[arg(long, value_enum)]
    area: Option<Area>,
    /// How many seeds run at once
    #[arg(long, default_value = "1", value_name = "N")]
    jobs: NonZeroU64,
    /// One JSON object a line for each seed, or each check of a soak
    #[arg(long)]
    json: bool,
    /// Say what would happen, and when, and run nothing
    #[arg(long)]
    show: bool,
    #[command(subcommand)]
    server: Option<Server>,
}

/// A process that a world starts from this same program.
#[derive(Debug, Subcommand)]
enum Server {
    /// A simulated cluster
    #[command(name = "serve-cluster", hide = true)]
    Cluster(cluster::Serve),
}

/// What the process ends with when something was wrong.
const WRONG: u8 = 1;
/// What it ends with when nothing could be run.
const BROKEN: u8 = 2;

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error.into()),
    };
    let ended = runtime.block_on(async {
        if let Some(Server::Cluster(serve)) = arguments.server {
            return cluster::serve(serve).await.map(|()| ExitCode::SUCCESS);
        }
        tokio::select! {
            ended = go(&arguments) => ended,
            // Everything is dropped, and with that every process ended.
            _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(BROKEN)),
        }
    });
    ended.unwrap_or_else(|error| complain(&error))
}

async fn go(arguments: &Arguments) -> Result<ExitCode> {
    let seeds = arguments.seed..arguments.seed.saturating_add(arguments.seeds.get());
    if arguments.show {
        for seed in seeds {
            write!(io::stdout().lock(), "{}", Schedule::of(seed, arguments.area, SHORT))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(minutes) = arguments.minutes {
        let fine = Box::pin(soak::run(arguments.seed, arguments.area, minutes, arguments.json)).await?;
        return Ok(if fine { ExitCode::SUCCESS } else { ExitCode::from(WRONG) });
    }
    let jobs = usize::try_from(arguments.jobs.get())?;
    let mut reports = stream::iter(seeds).map(|seed| run::seed(seed, arguments.area)).buffer_unordered(jobs);
    let (mut fine, mut wrong) = (0, Vec::new());
    while let Some(report) = reports.next().await {
        let report = report?;
        tell(&report, arguments)?;
        if report.ok { fine += 1 } else { wrong.push(report.seed) }
    }
    if !arguments.json {
        writeln!(io::stdout().lock(), "{fine} seeds were right, {} were not: {wrong:?}", wrong.len())?;
    }
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(WRONG) })
}

/// The short form, two seeds at a time: what was wrong, one text for each seed that was not right.
pub async fn a_handful(seeds: std::ops::Range<u64>) -> Result<Vec<String>> {
    let reports: Vec<Report> =
        stream::iter(seeds).map(|seed| run::seed(seed, None)).buffer_unordered(2).try_collect().await?;
    Ok(reports.iter().filter(|report| !report.ok).map(|report| in_words(report, None)).collect())
}

fn tell(report: &Report, arguments: &Arguments) -> Result<()> {
    let text = if arguments.json { serde_json::to_string(report)? } else { in_words(report, arguments.area) };
    writeln!(io::stdout().lock(), "{text}")?;
    Ok(())
}

fn in_words(report: &Report, area: Option<Area>) -> String {
    let Report { seed, counts, seconds, .. } = report;
    let Some(problem) = &report.problem else {
        return format!(
            "seed {seed}: right in {seconds:.1} s: {} commands, {} faults, {} events, {} instances, {} stopped, quiet \
             after {:.1} s",
            counts.commands,
            counts.faults,
            counts.events,
            counts.instances,
            counts.stopped,
            counts.quiet_after
        );
    };
    let folder = report.folder.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
    let area = area.map(|area| format!(" --area {}", area.name())).unwrap_or_default();
    format!(
        "seed {seed}: WRONG ({}): {problem}\n  logs: {folder}\n  repeat it: scripts/chaos --seed {seed}{area}",
        report.world
    )
}

fn complain(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::from(BROKEN)
}
