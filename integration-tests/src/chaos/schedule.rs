//! What happens in a run, and when: worked out from a seed before anything starts. Pure: the same seed, area and length
//! give the same schedule.

use std::{fmt, time::Duration};

use clap::ValueEnum;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    fault::{Fault, Part},
    order::Order,
};

/// Which faults are chosen from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Area {
    /// Bus, services and their database
    Bus,
    /// Registries and what keeps them
    Registry,
    /// API servers and what asks them
    Rollout,
}

impl Area {
    /// As it is typed.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// What the world is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Simulated clusters.
    pub(super) clusters: usize,
    /// Applications.
    pub(super) apps: usize,
    /// Instances of each service, and sidecars.
    pub(super) instances: usize,
    /// Journals lie in PostgreSQL; in SQLite files otherwise.
    pub(super) postgres: bool,
    /// The SQLite files lie on a small disk of their own.
    pub(super) small_disk: bool,
    /// Each service and sidecar has a clock of its own, which can be moved.
    pub(super) clocks: bool,
}

/// Something that happens at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Since the load began.
    pub(super) at: Duration,
    pub(super) act: Act,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// A command is sent. Ids are given in the order of numbers, which is not always that of sending.
    Send { number: usize, order: Order },
    /// It is sent again with its id.
    Repeat { number: usize },
    /// Something goes wrong, for so long.
    Fault { fault: Fault, lasting: Duration },
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    pub(super) seed: u64,
    pub(super) shape: Shape,
    /// In the order of their moments.
    pub(super) steps: Vec<Step>,
}

/// How long the load of a short run lasts.
pub(super) const SHORT: Duration = Duration::from_millis(2_000);
/// Faults of each such while.
const FAULTS: std::ops::RangeInclusive<usize> = 3..=6;
/// By how much a clock is wrong at the most, in seconds.
const MOST_WRONG: i32 = 1_200;
/// Commands of each such while.
const COMMANDS: std::ops::RangeInclusive<usize> = 20..=50;

impl Shape {
    /// One world in eight has PostgreSQL, one in eight a small disk, and one in eight clocks that move: each costs time.
    pub(super) fn of(seed: u64, area: Option<Area>) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let kind = random.random_range(0..8);
        let about_bus = matches!(area, None | Some(Area::Bus));
        Self {
            clusters: random.random_range(1..=2),
            apps: random.random_range(2..=4),
            instances: if random.random_bool(0.4) { 2 } else { 1 },
            postgres: kind == 0 && about_bus,
            small_disk: kind == 1 && about_bus,
            clocks: kind == 2,
        }
    }
}

impl Schedule {
    /// The run of a seed.
    pub(super) fn of(seed: u64, area: Option<Area>, length: Duration) -> Self {
        Self::within(Shape::of(seed, area), seed, area, length)
    }

    /// Another while in a world that exists.
    pub(super) fn within(shape: Shape, seed: u64, area: Option<Area>, length: Duration) -> Self {
        // Not the numbers that made the shape.
        let mut dice = Dice { random: StdRng::seed_from_u64(!seed), shape, area, length };
        let whiles = (length.as_millis() / SHORT.as_millis()).max(1);
        let times = |count: usize| count * usize::try_from(whiles).unwrap_or(1);
        let (faults, commands) = (dice.random.random_range(FAULTS), dice.random.random_range(COMMANDS));
        let mut steps = dice.commands(times(commands));
        steps.extend((0..times(faults)).map(|_| dice.fault()));
        steps.sort_by_key(|step| step.at);
        Self { seed, shape, steps }
    }

    /// How many commands it has.
    pub(super) fn commands(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step.act, Act::Send { .. })).count()
    }

    /// How many faults it has.
    pub(super) fn faults(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step.act, Act::Fault { .. })).count()
    }
}

struct Dice {
    random: StdRng,
    shape: Shape,
    area: Option<Area>,
    length: Duration,
}

impl Dice {
    fn moment(&mut self) -> Duration {
        Duration::from_millis(self.random.random_range(0..self.length.as_millis() as u64))
    }

    /// Every application is applied first. Later commands come at any moment, some are repeated, some overtaken.
    fn commands(&mut self, count: usize) -> Vec<Step> {
        let mut moments: Vec<Duration> = (0..count).map(|_| self.moment()).collect();
        moments.sort();
        let mut numbers: Vec<usize> = (0..count).collect();
        for place in 1..count {
            if self.random.random_bool(0.15) {
                numbers.swap(place - 1, place);
            }
        }
        let mut steps = Vec::new();
        for (place, (at, number)) in moments.into_iter().zip(numbers).enumerate() {
            let order = if place < self.shape.apps { self.apply(place) } else { self.order() };
            steps.push(Step { at, act: Act::Send { number, order } });
            for _ in 0..[0, 0, 0, 0, 1, 2][self.random.random_range(0..6)] {
                let later = at + Duration::from_millis(self.random.random_range(0..600));
                steps.push(Step { at: later, act: Act::Repeat { number } });
            }
        }
        steps
    }

    fn apply(&mut self, app: usize) -> Order {
        Order::Apply { app, replicas: self.random.random_range(0..=3), tag: self.random.random_range(1..=3) }
    }

    fn order(&mut self) -> Order {
        let app = self.random.random_range(0..self.shape.apps);
        match self.random.random_range(0..20) {
            0..6 => self.apply(app),
            6..16 => Order::Scale { app, replicas: self.random.random_range(0..=4) },
            16 => Order::Restart { app },
            17 => Order::Delete { app },
            _ => Order::Label {
                cluster: self.random.random_range(0..self.shape.clusters),
                value: self.random.random_range(0..100),
            },
        }
    }

    fn fault(&mut self) -> Step {
        let (at, fault) = (self.moment(), self.kind());
        // Some are longer than a silence that is noticed, where there is time for that; one in six is longer than a lease.
        let longest = if self.length > SHORT && self.random.random_bool(1.0 / 60.0) {
            100_000
        } else if self.random.random_bool(1.0 / 6.0) {
            5_000
        } else {
            900
        };
        let lasting = Duration::from_millis(self.random.random_range(10..longest));
        Step { at, act: Act::Fault { fault, lasting } }
    }

    fn kind(&mut self) -> Fault {
        if self.shape.clocks && self.random.random_bool(0.4) {
            return self.clock();
        }
        match self.area {
            Some(Area::Bus) => self.bus(),
            Some(Area::Registry) => self.registry(),
            Some(Area::Rollout) => self.rollout(),
            None => match self.random.random_range(0..3) {
                0 => self.bus(),
                1 => self.registry(),
                _ => self.rollout(),
            },
        }
    }

    /// Within the hour that a drain may take: a clock that passes a deadline makes it pass.
    fn clock(&mut self) -> Fault {
        let number = self.instance();
        let part = match self.area {
            Some(Area::Bus) => Part::Deploy(number),
            Some(Area::Registry) => Part::Sidecar(number),
            Some(Area::Rollout) => Part::Cluster(number),
            None => [Part::Deploy(number), Part::Sidecar(number), Part::Cluster(number)]
                [self.random.random_range(0..3)],
        };
        let seconds = self.random.random_range(1..=MOST_WRONG);
        Fault::Clock { part, seconds: if self.random.random_bool(0.5) { seconds } else { -seconds } }
    }

    fn instance(&mut self) -> usize {
        self.random.random_range(0..self.shape.instances)
    }

    fn service(&mut self) -> Part {
        let number = self.instance();
        if self.random.random_bool(0.6) { Part::Deploy(number) } else { Part::Cluster(number) }
    }

    fn on(&mut self, part: Part) -> Fault {
        let hurts = [Fault::Kill, Fault::Kill, Fault::Kill, Fault::Stop, Fault::Pause];
        let wires = [Fault::Partition, Fault::Disconnect];
        let choices = if part.wired() { hurts.len() + wires.len() } else { hurts.len() };
        let chosen = self.random.random_range(0..choices);
        hurts.iter().chain(&wires).nth(chosen).map_or(Fault::Kill(part), |make| make(part))
    }

    fn bus(&mut self) -> Fault {
        let service = self.service();
        match self.random.random_range(0..6) {
            0 | 1 => self.on(Part::Nats),
            2 if self.shape.postgres => Fault::Kill(Part::Postgres),
            2 if self.shape.small_disk => Fault::FullDisk,
            _ => self.on(service),
        }
    }

    fn registry(&mut self) -> Fault {
        let sidecar = Part::Sidecar(self.instance());
        match self.random.random_range(0..7) {
            0 => self.on(Part::Etcd),
            1 => Fault::SlowRegistry { ms: self.random.random_range(10..500) },
            2 => Fault::NoRegistry,
            3 => Fault::DeafRegistry,
            _ => self.on(sidecar),
        }
    }

    fn rollout(&mut self) -> Fault {
        let cluster = self.random.random_range(0..self.shape.clusters);
        match self.random.random_range(0..7) {
            0 | 1 => Fault::BadApi {
                cluster,
                percent: self.random.random_range(2..40),
                ms: self.random.random_range(0..50),
            },
            2 => Fault::DropWatches { cluster },
            3 => Fault::Compact { cluster },
            4 => self.on(Part::Api(cluster)),
            _ => {
                let part = Part::Cluster(self.instance());
                self.on(part)
            }
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clusters, apps, instances, postgres, small_disk, clocks } = self;
        let journals = match (postgres, small_disk) {
            (true, _) => "PostgreSQL",
            (_, true) => "SQLite on a small disk",
            _ => "SQLite",
        };
        let clocks = if *clocks { ", clocks that move" } else { "" };
        write!(
            f,
            "{clusters} clusters, {apps} applications, each service {instances} times, {journals}{clocks}"
        )
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.shape)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6} ms  ", self.at.as_millis())?;
        match &self.act {
            Act::Send { number, order } => write!(f, "#{number} {order}"),
            Act::Repeat { number } => write!(f, "#{number} again"),
            Act::Fault { fault, lasting } => write!(f, "! {fault}, {} ms", lasting.as_millis()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_is_a_schedule() {
        for seed in 0..50 {
            let (once, again) = (Schedule::of(seed, None, SHORT), Schedule::of(seed, None, SHORT));
            assert_eq!(once, again);
            assert_ne!(once.to_string(), Schedule::of(seed + 1, None, SHORT).to_string());
        }
    }

    #[test]
    fn a_long_run_has_faults_of_over_a_minute_and_a_short_one_has_none() {
        let longest = |length| {
            let steps = (0..20).flat_map(move |seed| Schedule::of(seed, None, length).steps);
            let lasting = steps.filter_map(|step| match step.act {
                Act::Fault { lasting, .. } => Some(lasting),
                _ => None,
            });
            lasting.max().expect("some fault")
        };
        assert!(longest(SHORT) <= Duration::from_secs(5));
        assert!(longest(5 * SHORT) > Duration::from_secs(60));
    }

    #[test]
    fn steps_come_in_order_and_each_number_is_sent_once_before_it_is_repeated() {
        for seed in 0..200 {
            let schedule = Schedule::of(seed, None, SHORT);
            assert!(schedule.steps.is_sorted_by_key(|step| step.at));
            assert!(
                COMMANDS.contains(&schedule.commands()) && FAULTS.contains(&schedule.faults()),
                "{schedule}"
            );
            let mut sent = BTreeSet::new();
            for step in &schedule.steps {
                match &step.act {
                    Act::Send { number, .. } => assert!(sent.insert(*number), "{schedule}"),
                    Act::Repeat { number } => assert!(sent.contains(number), "{schedule}"),
                    Act::Fault { .. } => (),
                }
            }
            assert_eq!(sent, (0..schedule.commands()).collect());
        }
    }

    #[test]
    fn every_fault_fits_its_world_and_its_area() {
        for seed in 0..300 {
            for area in [None, Some(Area::Bus), Some(Area::Registry), Some(Area::Rollout)] {
                let Schedule { shape, steps, .. } = Schedule::of(seed, area, SHORT);
                for step in steps {
                    if let Act::Fault { fault, .. } = step.act {
                        assert!(fits(&fault, shape, area), "seed {seed}, {area:?}: {fault:?}");
                    }
                }
            }
        }
    }

    fn fits(fault: &Fault, shape: Shape, area: Option<Area>) -> bool {
        let within = |wanted: &[Area]| area.is_none_or(|area| wanted.contains(&area));
        match fault {
            Fault::Kill(part)
            | Fault::Stop(part)
            | Fault::Pause(part)
            | Fault::Partition(part)
            | Fault::Disconnect(part) => match part {
                Part::Nats => within(&[Area::Bus]),
                Part::Postgres => within(&[Area::Bus]) && shape.postgres,
                Part::Deploy(number) => within(&[Area::Bus]) && *number < shape.instances,
                Part::Cluster(number) => within(&[Area::Bus, Area::Rollout]) && *number < shape.instances,
                Part::Etcd => within(&[Area::Registry]),
                Part::Sidecar(number) => within(&[Area::Registry]) && *number < shape.instances,
                Part::Api(number) => within(&[Area::Rollout]) && *number < shape.clusters,
            },
            Fault::SlowRegistry { .. } | Fault::NoRegistry | Fault::DeafRegistry => within(&[Area::Registry]),
            Fault::BadApi { cluster, .. } | Fault::DropWatches { cluster } | Fault::Compact { cluster } => {
                within(&[Area::Rollout]) && *cluster < shape.clusters
            }
            Fault::FullDisk => within(&[Area::Bus]) && shape.small_disk,
            Fault::Clock { part, .. } => {
                let of = match part {
                    Part::Deploy(_) => Area::Bus,
                    Part::Sidecar(_) => Area::Registry,
                    _ => Area::Rollout,
                };
                within(&[of]) && part.wired() && shape.clocks
            }
        }
    }

    #[test]
    fn some_seed_has_each_kind_of_world_and_of_fault() {
        let all: String = (0..200).map(|seed| Schedule::of(seed, None, SHORT).to_string()).collect();
        for words in [
            "1 clusters",
            "2 clusters",
            "each service 1 times",
            "each service 2 times",
            "PostgreSQL",
            "small disk",
            "nats is killed",
            "etcd is killed",
            "postgres is killed",
            "api-1 is killed",
            "deploy-1 is killed",
            "sidecar-0 is stopped",
            "cluster-0 stands still",
            "deploy-0 is parted",
            "sidecar-1 loses",
            "ms late",
            "cannot be reached",
            "answers of etcd are lost",
            "fails",
            "drops its watches",
            "forgets its history",
            "disk of the journals is full",
            "clocks that move",
            "the clock of deploy-0",
            "the clock of sidecar-1",
            "the clock of cluster-0",
            "again",
            "delete",
            "restart",
            "label",
        ] {
            assert!(all.contains(words), "no {words}");
        }
    }
}
