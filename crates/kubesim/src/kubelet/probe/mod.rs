//! Probes: when one is due, and what its answers mean for the container. Pure; `ask` sends them.

pub(crate) mod ask;

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{
    container::{self, Role},
    image::warning,
    life::{Effect, Life, View},
    stop::Again,
};
use crate::object::int;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Startup,
    Liveness,
    Readiness,
}

const ALL: [Which; 3] = [Which::Startup, Which::Liveness, Which::Readiness];

impl Which {
    pub(crate) fn spec(self, container: &Value) -> &Value {
        &container[match self {
            Self::Startup => "startupProbe",
            Self::Liveness => "livenessProbe",
            Self::Readiness => "readinessProbe",
        }]
    }

    fn word(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// One probe of a container that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Probe {
    due: Instant,
    /// Sent, and not answered yet.
    sent: bool,
    passed: bool,
    /// Answers of the same kind in a row; failures count down.
    streak: i64,
}

/// The probes that a container has, in the order of `ALL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Probes([Option<Probe>; 3]);

impl Probes {
    /// None for a container without probes. One that came back from before a restart is believed what it was.
    fn new(spec: &Value, readiness: bool, (started, ready): (bool, bool), since: Instant) -> Option<Self> {
        let one = |which: Which, passed: bool| {
            let probe = which.spec(spec);
            probe.is_object().then(|| Probe {
                due: since + seconds(probe, "/initialDelaySeconds", 0),
                sent: false,
                passed,
                streak: 0,
            })
        };
        let readiness = if readiness { one(Which::Readiness, ready) } else { None };
        let all = [one(Which::Startup, started), one(Which::Liveness, true), readiness];
        all.iter().any(Option::is_some).then_some(Self(all))
    }

    pub(crate) fn started(&self) -> bool {
        self.0[0].as_ref().is_none_or(|p| p.passed)
    }

    pub(crate) fn ready(&self) -> bool {
        self.0[2].as_ref().is_none_or(|p| p.passed)
    }

    /// Whether it is the turn of this probe: the startup probe holds back the others, and then rests for ever.
    fn active(&self, which: Which) -> bool {
        (which == Which::Startup) != self.started()
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        let waiting = ALL.iter().zip(&self.0).filter(|(which, _)| self.active(**which));
        waiting.filter_map(|(_, probe)| probe.as_ref()).filter(|p| !p.sent).map(|p| p.due).min()
    }
}

fn seconds(probe: &Value, pointer: &str, default: u64) -> Duration {
    let given = int(probe, pointer).and_then(|n| u64::try_from(n).ok());
    Duration::from_secs(given.unwrap_or(default))
}

impl Life {
    /// The probes of a container that are due now.
    pub(super) fn probe(&mut self, index: usize, view: &View<'_>, since: Instant) -> Vec<Effect> {
        let container = &mut self.containers[index];
        let spec = view.spec(index);
        if container.role == Role::Init {
            return Vec::new();
        }
        if container.probes.is_none() {
            let decided = view.plan.containers[index].readiness.is_some();
            let state = (container.started, container.ready);
            container.probes = Probes::new(spec, !decided, state, since).map(Box::new);
        }
        let stopping = container.stop.is_some();
        let Some(probes) = container.probes.as_mut() else { return Vec::new() };
        let mut effects = Vec::new();
        for (place, which) in ALL.into_iter().enumerate() {
            if !probes.active(which) || (stopping && which != Which::Readiness) {
                continue;
            }
            if let Some(probe) = probes.0[place].as_mut().filter(|p| !p.sent && p.due <= view.now.at) {
                probe.sent = true;
                probe.due = view.now.at + seconds(which.spec(spec), "/periodSeconds", 10);
                effects.push(Effect::Probe(index, which));
            }
        }
        effects
    }

    /// What a probe was answered.
    pub(crate) fn probed(
        &mut self,
        index: usize,
        which: Which,
        answer: Result<(), String>,
        view: &View<'_>,
    ) -> Vec<Effect> {
        let spec = which.spec(view.spec(index));
        let limit = |pointer: &str, default| int(spec, pointer).unwrap_or(default);
        let Some(probe) = self.containers[index].probes.as_mut().and_then(|p| p.0[which as usize].as_mut())
        else {
            return Vec::new();
        };
        probe.sent = false;
        let Err(why) = answer else {
            probe.streak = probe.streak.max(0) + 1;
            probe.passed |= probe.streak >= limit("/successThreshold", 1);
            return Vec::new();
        };
        probe.streak = probe.streak.min(0) - 1;
        let failed = -probe.streak >= limit("/failureThreshold", 3);
        let mut effects = vec![warning("Unhealthy", format!("{} probe failed: {why}", which.word()))];
        if !failed {
            return effects;
        }
        if which == Which::Readiness {
            probe.passed = false;
            return effects;
        }
        let grace = int(spec, "/terminationGracePeriodSeconds").and_then(|n| u64::try_from(n).ok());
        let grace = grace.map_or_else(|| container::grace(view.pod), Duration::from_secs);
        let (name, word) = (view.container(index), which.word().to_lowercase());
        let message = format!("Container {name} failed {word} probe, will be restarted");
        effects.extend(self.halt(index, view, grace, message));
        if let Some(stop) = &mut self.containers[index].stop {
            stop.again = Again::Failed;
        }
        effects
    }
}

#[cfg(test)]
mod tests;
