//! How long a command waits when the instance that decides is killed, paused, cut off from the bus or stopped under a steady
//! load, and while all are restarted one after another: three instances on one journal in PostgreSQL. There is no floor: by
//! hand, nobody would take over.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use bcs_schemas::{deploy::ScaleApp, outcome::Outcome};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::{
    apart::{self, Apart, LONGEST},
    load, machine,
    report::{Report, Row, Target},
    sample::Rounds,
};
use crate::harness::{Lab, Mood, NotYet, Postgres, Process, Ready, Wire, wait_until};

/// Commands a second, and in a turn: it lasts longer than any failover may.
const RATE: u32 = 50;
const COMMANDS: u32 = 500;
/// What an instance says when it leads.
const LEADS: &str = "this instance decides";
/// The load runs for so long before something happens.
const BEFORE: Duration = Duration::from_secs(1);

/// What happens.
#[derive(Clone, Copy)]
enum Trouble {
    /// The leader is killed.
    Killed,
    /// The leader is paused.
    Paused,
    /// The leader and the bus do not hear each other, and nobody tells them.
    Unheard,
    /// The leader's connections to the bus are closed, and new ones as well.
    Unplugged,
    /// All are stopped and started again, one after another, beginning with the leader.
    Rolled,
}

/// One process of the service, which reaches the bus over a wire of its own.
struct Instance {
    process: Process,
    wire: Wire,
}

/// Three instances; the first one leads, and which one that is changes with every turn.
struct Instances<'a> {
    lab: &'a Lab,
    apart: Apart,
    running: Vec<Instance>,
    started: usize,
}

/// Runs the scenario.
pub(super) async fn run(lab: &Lab, rounds: usize) -> Result<Report> {
    let postgres = Postgres::start(lab).await?;
    let mut instances = Instances::start(lab, postgres.url()).await?;
    let mut rows = Vec::new();
    for (trouble, words, allowed) in [
        (Trouble::Killed, "leader killed", 5000.0),
        (Trouble::Paused, "leader paused", 5000.0),
        (Trouble::Unheard, "network of the leader cut, connections stay open", 5000.0),
        (Trouble::Unplugged, "network of the leader cut, connections closed", 5000.0),
        (Trouble::Rolled, "three instances restarted one after another", 1000.0),
    ] {
        let mut longest = Rounds::default();
        for _ in 0..rounds {
            longest.add(&[instances.turn(trouble).await?])?;
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

impl<'a> Instances<'a> {
    async fn start(lab: &'a Lab, journal: &str) -> Result<Self> {
        let (apart, first) = Apart::start(lab, "0", journal.to_owned()).await?;
        let mut instances = Self { lab, apart, running: Vec::new(), started: 1 };
        for _ in 0..3 {
            instances.one_more().await?;
        }
        let ended = first.stop(LONGEST).await?;
        ensure!(ended.success(), "an instance ended with {ended}");
        instances.leader_first().await?;
        Ok(instances)
    }

    /// Starts an instance and waits until it waits for the lease, or has it.
    async fn one_more(&mut self) -> Result<()> {
        let wire = Wire::to(self.apart.nats.url().trim_start_matches("nats://").to_owned()).await?;
        let process = self.apart.deploy_over(self.lab, &self.started.to_string(), &wire)?;
        self.started += 1;
        wait_until(LONGEST, "an instance is ready", async || {
            let said = process.output();
            let ready = said.contains("somebody else has the lease") || said.contains(LEADS);
            if ready { Ready(()) } else { NotYet(said) }
        })
        .await?;
        self.running.push(Instance { process, wire });
        Ok(())
    }

    /// Waits until one of them leads, and puts it first.
    async fn leader_first(&mut self) -> Result<()> {
        let place = wait_until(LONGEST, "an instance leads", async || {
            let leads = |one: &Instance| one.process.output().contains(LEADS);
            self.running.iter().position(leads).map_or_else(|| NotYet("none does".to_owned()), Ready)
        })
        .await?;
        self.running.swap(0, place);
        Ok(())
    }

    /// A turn of load with trouble in it; returns the longest wait of a command. All are well afterwards.
    async fn turn(&mut self, trouble: Trouble) -> Result<Duration> {
        let client = self.apart.client.clone();
        let load = load::paced(RATE, COMMANDS, |number| {
            let client = &client;
            async move {
                let message = ScaleApp { replicas: 1 + number % 3, remove: Vec::new() };
                let begin = Instant::now();
                match client.command(apart::target("first")?, message).send(LONGEST).await? {
                    Outcome::Accepted(_) => Ok(begin.elapsed()),
                    Outcome::Rejected(rejected) => {
                        bail!("command {number} was rejected: {}", rejected.message)
                    }
                }
            }
        });
        let strike = async {
            sleep(BEFORE).await;
            self.strike(trouble).await
        };
        let (waits, struck) = tokio::join!(load, strike);
        struck?;
        Ok(waits?.into_iter().max().unwrap_or_default())
    }

    async fn strike(&mut self, trouble: Trouble) -> Result<()> {
        if matches!(trouble, Trouble::Rolled) {
            for _ in 0..3 {
                let one = self.running.remove(0);
                let ended = one.process.stop(LONGEST).await?;
                ensure!(ended.success(), "an instance ended with {ended}");
                self.one_more().await?;
            }
            return self.leader_first().await;
        }
        let leader = self.running.remove(0);
        match trouble {
            Trouble::Paused => leader.process.signal(Signal::STOP)?,
            Trouble::Unheard => leader.wire.set(Mood::Hole),
            Trouble::Unplugged => leader.wire.set(Mood::Cut),
            Trouble::Killed | Trouble::Rolled => leader.process.signal(Signal::KILL)?,
        }
        self.leader_first().await?;
        leader.process.kill().await?;
        self.one_more().await
    }
}
