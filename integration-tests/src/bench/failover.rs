//! How long a command waits when the instance that decides is killed, paused or stopped under a steady load: two instances
//! on one journal in PostgreSQL. There is no floor: by hand, nobody would take over.

use std::time::Duration;

use anyhow::{Result, bail};
use bcs_schemas::{deploy::ScaleApp, outcome::Outcome};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::{
    apart::{self, Apart, LONGEST},
    load, machine,
    report::{Report, Row, Target},
    sample::Rounds,
};
use crate::harness::{Lab, Postgres, Process};

/// Commands a second, and in a turn: it lasts longer than any failover may.
const RATE: u32 = 50;
const COMMANDS: u32 = 500;
/// The load runs for so long before something happens.
const BEFORE: Duration = Duration::from_secs(1);

/// What happens to the instance that leads.
#[derive(Clone, Copy)]
enum Trouble {
    Killed,
    Paused,
    Stopped,
}

/// Two instances; which of them leads changes with every turn.
struct Pair<'a> {
    lab: &'a Lab,
    apart: Apart,
    leader: Process,
    other: Process,
    started: usize,
}

/// Runs the scenario.
pub(super) async fn run(lab: &Lab, rounds: usize) -> Result<Report> {
    let postgres = Postgres::start(lab).await?;
    let mut pair = Pair::start(lab, postgres.url()).await?;
    let mut rows = Vec::new();
    for (trouble, words, allowed) in [
        (Trouble::Killed, "leader killed", 5000.0),
        (Trouble::Paused, "leader paused", 5000.0),
        (Trouble::Stopped, "leader stopped, as in a rolling restart", 1000.0),
    ] {
        let mut longest = Rounds::default();
        for _ in 0..rounds {
            longest.add(&[pair.turn(trouble).await?])?;
        }
        let row = |part: &str, quantile: f64| {
            Row::new(
                format!("{words}: longest wait for an outcome, {part} of {rounds}"),
                "ms",
                longest.millis(quantile),
            )
        };
        rows.extend([row("median", 0.5), row("worst", 1.0).target(Target::Below(allowed))]);
    }
    let versions = vec![
        machine::version("nats-server", "NATS_SERVER_BIN", "--version"),
        machine::version("postgres", "POSTGRES_BIN", "--version"),
        format!("{RATE} commands a second, {COMMANDS} in a turn, each with its outcome or the run is void"),
    ];
    Ok(Report { rows, versions, ..Report::default() })
}

impl<'a> Pair<'a> {
    async fn start(lab: &'a Lab, journal: &str) -> Result<Self> {
        let (apart, leader) = Apart::start(lab, "0", journal.to_owned()).await?;
        let other = follower(lab, &apart, 1).await?;
        Ok(Self { lab, apart, leader, other, started: 2 })
    }

    /// A turn of load with trouble in it; returns the longest wait of a command. Both instances are well afterwards.
    async fn turn(&mut self, trouble: Trouble) -> Result<Duration> {
        let apart = &self.apart;
        let load = load::paced(RATE, COMMANDS, |number| async move {
            let message = ScaleApp { replicas: 1 + number % 3, remove: Vec::new() };
            let begin = Instant::now();
            match apart.client.command(apart::target("first")?, message).send(LONGEST).await? {
                Outcome::Accepted(_) => Ok(begin.elapsed()),
                Outcome::Rejected(rejected) => bail!("command {number} was rejected: {}", rejected.message),
            }
        });
        let strike = async {
            sleep(BEFORE).await;
            match trouble {
                Trouble::Killed => self.leader.signal(Signal::KILL)?,
                Trouble::Paused => self.leader.signal(Signal::STOP)?,
                Trouble::Stopped => self.leader.signal(Signal::TERM)?,
            }
            apart::leads(&self.other).await
        };
        let (waits, struck) = tokio::join!(load, strike);
        struck?;
        let longest = waits?.into_iter().max().unwrap_or_default();
        // It is gone, or goes now.
        let _ = self.leader.signal(Signal::KILL);
        let fresh = follower(self.lab, &self.apart, self.started).await?;
        self.started += 1;
        self.leader = std::mem::replace(&mut self.other, fresh);
        Ok(longest)
    }
}

/// One more instance, which waits for the lease.
async fn follower(lab: &Lab, apart: &Apart, number: usize) -> Result<Process> {
    let process = apart.deploy(lab, &number.to_string())?;
    apart::says(&process, "somebody else has the lease").await?;
    Ok(process)
}
