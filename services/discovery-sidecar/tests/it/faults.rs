//! Sidecars under load whose registry, bus, clock and own process fail, by seeds that can be repeated: as many faults as
//! `BCS_TEST_FAULTS` says, else a few, from the seed `BCS_TEST_SEED` on. After each round of them everything must become
//! right, seen by a client of the registry that is not ours. `scripts/chaos --area registry --driver NAME` runs it at length.

mod fault;
mod inject;
mod line;
mod load;
mod round;
mod sidecars;
mod truth;

use std::{collections::BTreeMap, io::Write, net::IpAddr, time::Duration};

use bcs_testbus::Wire;
use serde_json::Value;

use self::{fault::schedule, round::World};
pub(crate) use self::{
    fault::{Able, Fault},
    line::{Line, SCRIPT},
};
use crate::contract::Site;

/// A registry that can fail.
pub(crate) trait Faulty: Site {
    /// How it is called.
    const NAME: &'static str;
    /// What can be done to it.
    const ABLE: Able;

    /// Where it listens, if it does.
    fn port(&self) -> u16 {
        0
    }

    /// For each of two sidecars, what stands between it and this port, and the spec by which it goes through there.
    async fn lines(&self, port: u16) -> Vec<(Line, Value)>;

    /// `kill -9`; with everything that it kept, if that is asked for.
    async fn down(&mut self, with_its_data: bool);

    /// It answers again.
    async fn up(&mut self);

    /// What others have in it, to the last byte and version.
    async fn theirs(&self) -> String;

    /// Somebody takes this entry of ours out, if it is there.
    async fn take_out(&self, address: IpAddr);

    /// How many entries are marked as ours, where that can lie elsewhere than the entries.
    async fn marks(&self) -> Option<usize> {
        None
    }

    /// Its history is forgotten.
    async fn compact(&self) {}
}

/// Wires to a port of this machine, for a driver with such a spec.
pub(crate) async fn wires(port: u16, spec: impl Fn(&str) -> Value) -> Vec<(Line, Value)> {
    let mut lines = Vec::new();
    for _ in 0..2 {
        let wire = Wire::to(format!("127.0.0.1:{port}")).await.expect("a wire");
        let spec = spec(&wire.address());
        lines.push((Line::Wire(wire), spec));
    }
    lines
}

fn asked(variable: &str, otherwise: u64) -> u64 {
    let text = std::env::var_os(variable).map(|text| text.to_string_lossy().into_owned());
    text.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

const A_FEW: u64 = 4;
/// A round that takes longer to come right is told.
const SLOW: Duration = Duration::from_secs(10);
/// Faults in a round.
const ROUND: u64 = 20;

/// Rounds until there were as many faults as are asked for.
pub(crate) async fn whatever_fails_it_comes_right_and_others_are_not_touched<S: Faulty>() {
    let (all, first) = (asked("BCS_TEST_FAULTS", A_FEW), asked("BCS_TEST_SEED", 1));
    let foreign: IpAddr = "192.0.2.7".parse().expect("an address");
    let mut world = World::new(S::start().await, foreign).await;
    let (mut kinds, mut took) = (BTreeMap::<Fault, usize>::new(), Vec::new());
    let mut left = all;
    for seed in first.. {
        let count = left.min(ROUND);
        left -= count;
        let strikes = schedule(seed, count as usize, S::ABLE);
        strikes.iter().for_each(|strike| *kinds.entry(strike.fault).or_default() += 1);
        world.told.clear();
        match world.round(seed, &strikes).await {
            Ok(time) => {
                if time > SLOW {
                    say(&format!("seed {seed} took {time:?}:\n{}", world.told));
                }
                took.push(time);
            }
            Err(problem) => fail::<S>(world, seed, count, &problem),
        }
        if left == 0 {
            break;
        }
    }
    took.sort();
    say(&row(S::NAME, all, &kinds, &took));
    say(&format!(
        "{} changes of endpoints, {} looks at what was said to be out; {} came back for a moment",
        world.load.done, world.looks, world.came_back
    ));
}

/// To whoever runs it at length.
fn say(words: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{words}");
}

fn fail<S: Faulty>(world: World<S>, seed: u64, count: u64, problem: &str) -> ! {
    let World { sidecars, told, .. } = world;
    let log = sidecars.log();
    let folder = sidecars.directory.keep();
    std::fs::write(folder.join("told"), &told).expect("writes");
    let last: Vec<&str> = log.lines().rev().take(15).collect();
    panic!(
        "{} is not right: {problem}\n{told}\nthe last words of the sidecars:\n{}\nlogs: {}\nrepeat it: scripts/chaos --area registry \
         --driver {} --faults {count} --seed {seed}",
        S::NAME,
        last.into_iter().rev().collect::<Vec<_>>().join("\n"),
        folder.display(),
        S::NAME,
    )
}

/// As the documentation has it.
fn row(name: &str, all: u64, kinds: &BTreeMap<Fault, usize>, took: &[Duration]) -> String {
    let at = |share: f64| took[((took.len() - 1) as f64 * share).round() as usize].as_secs_f64();
    let kinds: Vec<String> = kinds.iter().map(|(fault, count)| format!("{count} {fault}")).collect();
    format!(
        "| {name} | {all} | 0 | 0 | 0 | {:.1} s | {:.1} s | {:.1} s | {}",
        at(0.5),
        at(0.9),
        at(1.0),
        kinds.join(", ")
    )
}

/// The story as a test of one driver.
macro_rules! faults {
    ($site:ty) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn whatever_fails_it_comes_right_and_others_are_not_touched() {
            $crate::faults::whatever_fails_it_comes_right_and_others_are_not_touched::<$site>().await;
        }
    };
}
pub(crate) use faults;
