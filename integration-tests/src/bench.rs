//! `bcs-bench`: how fast the platform is, beside what the same job costs by hand. Product and floor take turns on the same
//! servers in the same run, so that a busy machine slows down both.

mod apart;
mod clusters;
mod cold_start;
mod commands;
mod docs;
mod drain;
mod failover;
mod idle;
mod load;
mod machine;
mod place;
mod pods;
mod propagate;
mod register;
mod registry;
mod report;
mod resync;
mod rollout;
mod sample;
mod site;
mod usage;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};

use crate::harness::Lab;
use report::Report;

/// Runs benchmarks: each figure beside a floor that was measured in the same run
#[derive(Debug, Parser)]
#[command(name = "bcs-bench")]
struct Arguments {
    /// What to measure; everything when nothing is named
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
    /// One JSON object per scenario instead of tables
    #[arg(long)]
    json: bool,
    /// End with 1 when a target is missed
    #[arg(long)]
    check: bool,
    /// Write the results into docs/benchmarks.md
    #[arg(long)]
    write: bool,
    /// How often product and floor take turns
    #[arg(long, default_value_t = 5, value_name = "N")]
    rounds: usize,
    /// Registries that `register`, `drain` and `resync` measure; all of them when none is named
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND")]
    registry: Vec<registry::Kind>,
    /// No more endpoints than this in `resync`
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    endpoints: u32,
    /// How many instances `rollout` replaces
    #[arg(long, default_value_t = 500, value_name = "N")]
    instances: u32,
    #[command(subcommand)]
    server: Option<Server>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    Commands,
    Propagate,
    Register,
    Drain,
    Resync,
    Rollout,
    ColdStart,
    Failover,
    Idle,
    Pods,
}

/// Processes that a scenario starts from this same program, so that their memory and CPU time count for themselves.
#[derive(Debug, Subcommand)]
enum Server {
    /// A service made with the kit
    #[command(name = "serve-commands", hide = true)]
    Commands(commands::Serve),
    /// The same service by hand
    #[command(name = "serve-floor", hide = true)]
    Floor(commands::Serve),
    /// Simulated clusters
    #[command(name = "serve-clusters", hide = true)]
    Clusters(clusters::Serve),
}

impl Scenario {
    fn name(self) -> String {
        self.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
    }

    async fn run(self, lab: &Lab, arguments: &Arguments) -> Result<Report> {
        let rounds = arguments.rounds;
        let registries = match &*arguments.registry {
            [] => registry::Kind::value_variants(),
            named => named,
        };
        match self {
            Self::Commands => Box::pin(commands::run(lab, rounds)).await,
            Self::Propagate => Box::pin(propagate::run(lab, rounds)).await,
            Self::Register => Box::pin(register::run(lab, rounds, registries)).await,
            Self::Drain => Box::pin(drain::run(lab, rounds, registries)).await,
            Self::Resync => Box::pin(resync::run(lab, rounds, registries, arguments.endpoints)).await,
            Self::Rollout => Box::pin(rollout::run(lab, arguments.instances)).await,
            Self::ColdStart => Box::pin(cold_start::run(lab, rounds)).await,
            Self::Failover => Box::pin(failover::run(lab, rounds)).await,
            Self::Idle => Box::pin(idle::run(lab, rounds)).await,
            Self::Pods => Box::pin(pods::run(lab)).await,
        }
    }
}

/// What the process ends with when a target is missed.
const MISSED: u8 = 1;
/// What it ends with when nothing could be measured.
const BROKEN: u8 = 2;

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error.into()),
    };
    match runtime.block_on(run(arguments)) {
        Ok(code) => code,
        Err(error) => complain(&error),
    }
}

async fn run(arguments: Arguments) -> Result<ExitCode> {
    match arguments.server {
        Some(Server::Commands(serve)) => commands::product(serve).await.map(|()| ExitCode::SUCCESS),
        Some(Server::Floor(serve)) => commands::floor(serve).await.map(|()| ExitCode::SUCCESS),
        Some(Server::Clusters(serve)) => clusters::serve(serve).await.map(|()| ExitCode::SUCCESS),
        None => measure(&arguments).await,
    }
}

async fn measure(arguments: &Arguments) -> Result<ExitCode> {
    let mut scenarios = arguments.scenarios.clone();
    if scenarios.is_empty() {
        scenarios = Scenario::value_variants().to_vec();
    }
    let mut missed = false;
    for scenario in scenarios {
        let report = one(scenario, arguments).await?;
        missed |= report.missed();
        let text = if arguments.json { serde_json::to_string(&report)? } else { report.markdown() };
        writeln!(io::stdout().lock(), "{text}")?;
        if arguments.write {
            docs::write(&report).context("docs/benchmarks.md cannot be written")?;
        }
    }
    Ok(if missed && arguments.check { ExitCode::from(MISSED) } else { ExitCode::SUCCESS })
}

/// A scenario in a lab of its own; the logs of its processes are shown when it breaks.
async fn one(scenario: Scenario, arguments: &Arguments) -> Result<Report> {
    let lab = Lab::new()?;
    let load = machine::load();
    let result = scenario.run(&lab, arguments).await;
    let mut report = result.inspect_err(|_| lab.show_logs()).with_context(|| scenario.name())?;
    report.scenario = scenario.name();
    report.machine = machine::describe(&report.versions, &load);
    Ok(report)
}

fn complain(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::from(BROKEN)
}
