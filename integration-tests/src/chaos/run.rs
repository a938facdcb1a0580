//! A seed: its world is made, its schedule played, and when everything is quiet again, everything is checked.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Error, Result, ensure};
use futures::future::join_all;
use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    check,
    inject::inject,
    load::Load,
    schedule::{Act, Area, SHORT, Schedule},
    witness::Witness,
    world::World,
};
use crate::harness::{Lab, Poll, wait_until};

/// How a seed came out.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) seed: u64,
    pub(super) ok: bool,
    /// What the world was made of.
    pub(super) world: String,
    #[serde(flatten)]
    pub(super) counts: Counts,
    /// Wall time of all of it.
    pub(super) seconds: f64,
    /// What is wrong.
    pub(super) problem: Option<String>,
    /// Where logs, journals and registries were left.
    pub(super) folder: Option<PathBuf>,
}

/// What was done and seen.
#[derive(Debug, Default, Serialize)]
pub(super) struct Counts {
    pub(super) commands: usize,
    pub(super) faults: usize,
    pub(super) events: usize,
    /// Instances that run in the end.
    pub(super) instances: usize,
    /// Instances whose stop was seen, none of which a registry named any more.
    pub(super) stopped: usize,
    /// Processes that ended by themselves, and were started again.
    pub(super) ended: Vec<String>,
    /// From the last fault until everything was as wanted.
    pub(super) quiet_after: f64,
}

/// Longer than it may take until everything is as wanted.
const QUIET_WITHIN: Duration = Duration::from_secs(120);
/// Between two looks whether it is: each costs something.
const LOOK: Duration = Duration::from_millis(75);
/// How often it is looked after what ended by itself.
const WATCH: Duration = Duration::from_millis(200);

/// Runs one seed in a world of its own.
pub(super) async fn seed(seed: u64, area: Option<Area>) -> Result<Report> {
    let begin = Instant::now();
    let (lab, schedule) = (Arc::new(Lab::new()?), Schedule::of(seed, area, SHORT));
    let mut counts = Counts::default();
    let result = Box::pin(alone(&lab, &schedule, &mut counts)).await;
    let folder = result.is_err().then(|| {
        lab.keep();
        lab.path().to_owned()
    });
    if let Some(folder) = &folder {
        std::fs::write(folder.join("schedule"), schedule.to_string())?;
    }
    let problem = result.err().map(|error| format!("{error:#}"));
    let world = schedule.shape.to_string();
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Report { seed, ok: problem.is_none(), world, counts, seconds, problem, folder })
}

async fn alone(lab: &Arc<Lab>, schedule: &Schedule, counts: &mut Counts) -> Result<()> {
    let world =
        Box::pin(World::start(lab.clone(), schedule.shape)).await.context("the world cannot be made")?;
    let witness = Witness::of(&world).await?;
    Box::pin(play(&world, schedule, &witness, counts)).await
}

/// Plays a schedule in a world that is quiet, and checks everything when it is quiet again.
pub(super) async fn play(
    world: &World,
    schedule: &Schedule,
    witness: &Witness,
    counts: &mut Counts,
) -> Result<()> {
    (counts.commands, counts.faults) = (schedule.commands(), schedule.faults());
    let load = Load::of(schedule, &world.nats).await?;
    let mut ended = Vec::new();
    let settled = tokio::select! {
        settled = act_and_settle(world, schedule, &load) => settled,
        broken = keep(world, &mut ended) => Err(broken),
    };
    counts.ended = ended;
    (counts.instances, counts.quiet_after) = settled?;
    counts.events = check::books(world, &load.ids(true), &load.ids(false)).await?;
    let (stopped, wrong) = witness.findings();
    counts.stopped = stopped;
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

/// How many instances run in the end, and after how many seconds everything was as wanted.
async fn act_and_settle(world: &World, schedule: &Schedule, load: &Load) -> Result<(usize, f64)> {
    let begin = Instant::now();
    let acts = schedule.steps.iter().map(async |step| {
        sleep_until(begin + step.at).await;
        match &step.act {
            Act::Send { number, .. } | Act::Repeat { number } => load.send(*number).await,
            Act::Fault { fault, lasting } => inject(world, fault, *lasting).await,
        }
    });
    // All are awaited, also after a problem: whoever is down is started again.
    let ended = join_all(acts).await;
    ended.into_iter().collect::<Result<()>>()?;
    let begin = Instant::now();
    let instances = wait_until(QUIET_WITHIN, "everything is as wanted", async || {
        let looked = check::quiet(world).await;
        if looked.is_err() {
            sleep(LOOK).await;
        }
        Poll::from(looked)
    })
    .await?;
    Ok((instances, begin.elapsed().as_secs_f64()))
}

/// Starts again what ends by itself, and notes it. Ends only when something cannot be started.
async fn keep(world: &World, ended: &mut Vec<String>) -> Error {
    loop {
        sleep(WATCH).await;
        match world.revive().await {
            Ok(news) => ended.extend(news),
            Err(error) => return error,
        }
    }
}
