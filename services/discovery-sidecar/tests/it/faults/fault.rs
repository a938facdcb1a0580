//! What goes wrong and when, worked out from a seed before anything begins.

use std::{fmt, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The way to the registry is cut, and nobody gets through.
    Cut,
    /// Nothing passes on the way to the registry, and connections stay open.
    Hole,
    /// Everything is late on the way to the registry.
    Slow,
    /// The registry hears and does; its answers are lost.
    Deaf,
    /// HTTP: an error in place of what was asked for, which is not done.
    Error,
    /// HTTP: it is done, and an error is answered.
    ErrorAfter,
    /// HTTP: it is done, and the connection is closed without an answer.
    Lost,
    /// HTTP: every request arrives twice.
    Twice,
    /// The registry is killed, and started again with what it kept.
    Killed,
    /// It is started again with nothing.
    Emptied,
    /// Somebody else takes one of ours out.
    TakenOut,
    /// Its history is forgotten.
    Compacted,
    /// `kill -9` of a sidecar, which is started again.
    SidecarKilled,
    /// A sidecar stands still.
    SidecarPaused,
    /// Nothing passes between a sidecar and the bus.
    SidecarParted,
    /// The connections of a sidecar to the bus are cut.
    SidecarCut,
    /// Another sidecar begins while the first one runs; one of them is killed later.
    Second,
    /// Another sidecar begins while the first one stands still, or is parted from the bus, and goes on later.
    TwoLeaders,
    /// The clock of a sidecar is up to 20 minutes off.
    Clock,
    /// The bus is killed and started again.
    BusKilled,
    /// The bus ends every watch.
    WatchesDropped,
}

/// Whom it happens to: one thing at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Line,
    Answers,
    Registry,
    Sidecar,
    BusLine,
    Clock,
    Bus,
    Nobody,
}

/// What can be done to a registry, and how long the way to it may be disturbed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Able {
    pub(crate) faults: &'static [&'static [Fault]],
    pub(crate) longest: Duration,
    /// How often somebody looks whether what was said to be out is out.
    pub(crate) look: Duration,
}

impl Able {
    /// What can happen on a way that can be disturbed.
    pub(crate) const WAY: &[Fault] = &[Fault::Cut, Fault::Hole, Fault::Slow, Fault::Deaf];
    /// What a server can do over HTTP.
    pub(crate) const HTTP: &[Fault] = &[Fault::Error, Fault::ErrorAfter, Fault::Lost, Fault::Twice];
    /// What can happen to a server that keeps its data.
    pub(crate) const SERVER: &[Fault] = &[Fault::Killed, Fault::Emptied];

    pub(crate) const fn of(faults: &'static [&'static [Fault]]) -> Self {
        Self { faults, longest: Duration::from_millis(4500), look: Duration::from_millis(300) }
    }
}

/// What can be done whatever the registry is.
const ALWAYS: [Fault; 9] = [
    Fault::SidecarKilled,
    Fault::SidecarPaused,
    Fault::SidecarParted,
    Fault::SidecarCut,
    Fault::Second,
    Fault::TwoLeaders,
    Fault::Clock,
    Fault::BusKilled,
    Fault::WatchesDropped,
];

impl Able {
    /// Whether it speaks HTTP.
    pub(super) fn speaks_http(&self) -> bool {
        self.faults.iter().copied().flatten().any(|fault| *fault == Fault::Error)
    }
}

/// A fault and its moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strike {
    pub(super) at: Duration,
    pub(super) fault: Fault,
    pub(super) lasts: Duration,
    /// Chooses among several, by whatever there is to choose from.
    pub(super) draw: u32,
}

impl Fault {
    pub(super) const fn target(self) -> Target {
        match self {
            Self::Cut | Self::Hole | Self::Slow | Self::Deaf => Target::Line,
            Self::Error | Self::ErrorAfter | Self::Lost | Self::Twice => Target::Answers,
            Self::Killed | Self::Emptied => Target::Registry,
            Self::SidecarKilled | Self::SidecarPaused | Self::Second | Self::TwoLeaders => Target::Sidecar,
            Self::SidecarParted | Self::SidecarCut => Target::BusLine,
            Self::Clock => Target::Clock,
            Self::BusKilled => Target::Bus,
            Self::TakenOut | Self::Compacted | Self::WatchesDropped => Target::Nobody,
        }
    }
}

/// On average one fault in so long, whatever the others do.
const PACE: Duration = Duration::from_millis(200);

/// `count` faults.
pub(super) fn schedule(seed: u64, count: usize, able: Able) -> Vec<Strike> {
    let mut random = StdRng::seed_from_u64(seed);
    let all: Vec<Fault> = able.faults.iter().copied().flatten().copied().chain(ALWAYS).collect();
    let mut busy: Vec<(Target, Duration)> = Vec::new();
    let (mut strikes, mut at) = (Vec::new(), Duration::ZERO);
    while strikes.len() < count {
        at += Duration::from_millis(random.random_range(0..2 * PACE.as_millis() as u64));
        busy.retain(|(_, until)| *until > at);
        let fault = all[random.random_range(0..all.len())];
        let target = fault.target();
        if target != Target::Nobody && busy.iter().any(|(other, _)| *other == target) {
            continue;
        }
        let long = random.random_range(0..10) < 3;
        let most = if long { able.longest } else { able.longest.min(Duration::from_millis(700)) };
        let lasts = Duration::from_millis(random.random_range(30..=most.as_millis() as u64));
        strikes.push(Strike { at, fault, lasts, draw: random.random() });
        // Two sidecars are left alone for a while before one of them goes.
        let rest = if target == Target::Sidecar { AFTER } else { Duration::ZERO };
        busy.push((target, at + lasts + rest));
    }
    strikes
}

/// How long both sidecars run after the first one goes on.
pub(super) const AFTER: Duration = Duration::from_millis(800);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "cut",
            Self::Hole => "partition",
            Self::Slow => "slow",
            Self::Deaf => "answers lost",
            Self::Error => "5xx",
            Self::ErrorAfter => "5xx after it was done",
            Self::Lost => "no answer after it was done",
            Self::Twice => "requests doubled",
            Self::Killed => "registry killed",
            Self::Emptied => "registry emptied",
            Self::TakenOut => "ours taken out by others",
            Self::Compacted => "history forgotten",
            Self::SidecarKilled => "sidecar killed",
            Self::SidecarPaused => "sidecar paused",
            Self::SidecarParted => "sidecar parted from the bus",
            Self::SidecarCut => "sidecar cut from the bus",
            Self::Second => "second sidecar",
            Self::TwoLeaders => "two leaders",
            Self::Clock => "clock wrong",
            Self::BusKilled => "bus killed",
            Self::WatchesDropped => "watches dropped",
        })
    }
}
