//! One world for minutes: round after round of load and faults, everything checked after each, and the memory of every
//! process at the first check and at the last.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    num::NonZeroU64,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::time::Instant;

use super::{
    fault::Part,
    run::{Counts, play},
    schedule::{Area, Schedule, Shape},
    witness::Witness,
    world::World,
};
use crate::harness::Lab;

/// Length of a round's load.
const ROUND: Duration = Duration::from_secs(10);
/// How a process that was started again counts: its memory is no growth of the one before.
type Memory = BTreeMap<String, f64>;

/// A check.
#[derive(Debug, Serialize)]
struct Check<'a> {
    seed: u64,
    round: u64,
    ok: bool,
    #[serde(flatten)]
    counts: &'a Counts,
    /// MiB of each process.
    memory: &'a Memory,
    problem: Option<String>,
}

/// Whether everything was right.
pub(super) async fn run(seed: u64, area: Option<Area>, minutes: NonZeroU64, json: bool) -> Result<bool> {
    let shape =
        Shape { clusters: 2, apps: 4, instances: 2, postgres: false, small_disk: false, clocks: true };
    let lab = Arc::new(Lab::new()?);
    let world = Box::pin(World::start(lab.clone(), shape)).await.context("the world cannot be made")?;
    let witness = Witness::of(&world).await?;
    let end = Instant::now() + Duration::from_secs(60 * minutes.get());
    let (mut first, mut round, mut commands) = (None, 0, 0);
    while Instant::now() < end {
        let schedule = Schedule::within(shape, seed.wrapping_add(round), area, ROUND);
        let mut counts = Counts::default();
        let result = Box::pin(play(&world, &schedule, &witness, &mut counts)).await;
        let memory = memory(&world).await;
        commands += counts.commands;
        let problem = result.err().map(|error| format!("{error:#}"));
        let check = Check { seed, round, ok: problem.is_none(), counts: &counts, memory: &memory, problem };
        tell(&check, json)?;
        if !check.ok {
            lab.keep();
            eprintln!("logs: {}\nthe round was\n{schedule}", lab.path().display());
            return Ok(false);
        }
        round += 1;
        let first = first.get_or_insert_with(|| memory.clone());
        if Instant::now() >= end && !json {
            let mut out = io::stdout().lock();
            writeln!(
                out,
                "{round} rounds and {commands} commands were right; memory at the first and last check, MiB:"
            )?;
            for (name, now) in &memory {
                writeln!(
                    out,
                    "  {name:<10} {:>7.1} {now:>7.1}",
                    first.get(name).copied().unwrap_or_default()
                )?;
            }
        }
    }
    Ok(true)
}

fn tell(check: &Check<'_>, json: bool) -> Result<()> {
    let text = match &check.problem {
        _ if json => serde_json::to_string(check)?,
        Some(problem) => format!("round {}: WRONG: {problem}", check.round),
        None => format!(
            "round {}: right: {} commands, {} faults, {} events in all, {} instances, {} stopped, quiet after {:.1} s",
            check.round,
            check.counts.commands,
            check.counts.faults,
            check.counts.events,
            check.counts.instances,
            check.counts.stopped,
            check.counts.quiet_after
        ),
    };
    writeln!(io::stdout().lock(), "{text}")?;
    Ok(())
}

/// Memory in use of every process, in MiB.
async fn memory(world: &World) -> Memory {
    let of = |(part, pid): (Part, u32)| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
        Some((part.to_string(), (kib / 102.4).round() / 10.0))
    };
    world.pids().await.into_iter().filter_map(of).collect()
}
