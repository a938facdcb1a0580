//! How containers are brought to stop: the hook, the signal, the end of patience; sidecars last. Pure.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

use super::{
    container::{self, Exit, Role},
    image::warning,
    life::{Effect, Life, View},
};
use crate::object::{int, text};

/// A container on its way to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stop {
    pub since: Instant,
    /// When patience ends; in a pod that is deleted the pod's own deadline counts instead.
    pub deadline: Instant,
    /// What the process gets beyond that, because its hook used up everything.
    pub extra: Duration,
    pub hook: Hook,
    /// When it was told to stop.
    pub told: Option<Instant>,
    pub killed: bool,
    pub again: Again,
}

/// Who decides whether the container starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// The restart policy, by the exit code.
    Policy,
    /// The restart policy, as if the container had failed: a probe said so.
    Failed,
    /// Nobody: its definition changed, so it does.
    Changed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    Sleeping(Instant),
    Running,
    Done,
}

/// What stands for an image in a running container.
pub(crate) fn fingerprint(image: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    image.hash(&mut hasher);
    hasher.finish()
}

/// What a hook that used up all the patience leaves for the process.
const LEAST: Duration = Duration::from_secs(2);

impl Life {
    /// Begins to stop a container that runs.
    pub(crate) fn halt(
        &mut self,
        index: usize,
        view: &View<'_>,
        grace: Duration,
        message: String,
    ) -> Vec<Effect> {
        let container = &mut self.containers[index];
        if container.running().is_none() || container.stop.is_some() {
            return Vec::new();
        }
        let spec = view.spec(index);
        let (hook, effect) = first_step(&spec["lifecycle"]["preStop"], index, view.now.at);
        container.stop = Some(Box::new(Stop {
            since: view.now.at,
            deadline: view.now.at + grace,
            extra: Duration::ZERO,
            hook,
            told: None,
            killed: false,
            again: Again::Policy,
        }));
        let killing = Effect::Event { warning: false, reason: "Killing", message };
        std::iter::once(killing).chain(effect).collect()
    }

    /// The hook after the start ended; a container whose hook failed is stopped.
    pub(crate) fn begun(&mut self, index: usize, answer: Result<(), String>, view: &View<'_>) -> Vec<Effect> {
        let Err(why) = answer else { return Vec::new() };
        let mut effects = vec![warning("FailedPostStartHook", format!("PostStartHook failed: {why}"))];
        let message = format!("Container {} failed its postStart hook", view.container(index));
        effects.extend(self.halt(index, view, container::grace(view.pod), message));
        if let Some(stop) = &mut self.containers[index].stop {
            stop.again = Again::Failed;
        }
        effects
    }

    /// Stops containers that were given another image than the one they run.
    pub(crate) fn replace_changed(&mut self, view: &View<'_>) -> Vec<Effect> {
        let mut effects = Vec::new();
        for index in 0..self.containers.len() {
            let container = &self.containers[index];
            let same = container.image == fingerprint(view.image(index));
            if container.running().is_none() || container.stop.is_some() || same {
                continue;
            }
            let name = view.container(index);
            let message = format!("Container {name} definition changed, will be restarted");
            effects.extend(self.halt(index, view, container::grace(view.pod), message));
            if let Some(stop) = &mut self.containers[index].stop {
                stop.again = Again::Changed;
            }
        }
        effects
    }

    /// The pod is being deleted, or its work is done: who has to stop now does.
    pub(crate) fn wind_down(&mut self, view: &View<'_>, since: Instant) -> Vec<Effect> {
        let deadline = since + container::grace(view.pod);
        let left = deadline.saturating_duration_since(view.now.at);
        let mut effects = Vec::new();
        let busy = |life: &Self, role: fn(Role) -> bool| {
            life.containers.iter().any(|c| role(c.role) && c.running().is_some())
        };
        for index in (0..self.containers.len()).rev() {
            // A sidecar waits for those that may still need it: the apps, and the sidecars after it.
            let sidecar = self.containers[index].role == Role::Sidecar;
            let needed = busy(self, |r| r != Role::Sidecar)
                || self.containers[index + 1..]
                    .iter()
                    .any(|c| c.role == Role::Sidecar && c.running().is_some());
            if sidecar && needed {
                continue;
            }
            let message = format!("Stopping container {}", text(view.spec(index), "/name"));
            effects.extend(self.halt(index, view, left, message));
            if view.deleting
                && let Some(stop) = &mut self.containers[index].stop
            {
                stop.deadline = deadline;
            }
        }
        effects
    }

    /// Brings every container that is stopping a step further.
    pub(crate) fn press_on(&mut self, view: &View<'_>) -> Vec<Effect> {
        let mut effects = Vec::new();
        for index in 0..self.containers.len() {
            let Some(mut stop) = self.containers[index].stop.take() else { continue };
            let now = view.now.at;
            if stop.hook != Hook::Done && stop.deadline <= now {
                stop.extra = LEAST.min(stop.deadline.saturating_duration_since(stop.since));
            }
            if matches!(stop.hook, Hook::Sleeping(until) if until <= now) || stop.deadline <= now {
                stop.hook = Hook::Done;
            }
            if stop.hook == Hook::Done && stop.told.is_none() {
                stop.told = Some(now);
                effects.push(Effect::Terminate(index));
            }
            if stop.told.is_some() && stop.deadline + stop.extra <= now && !stop.killed {
                stop.killed = true;
                effects.push(Effect::Kill(index));
            }
            let ended = stopped(&stop, view, index);
            let again = stop.again;
            self.containers[index].stop = Some(stop);
            if let Some(exit) = ended {
                effects.extend(self.exit(index, exit, again, view));
            }
        }
        effects
    }
}

impl Life {
    /// The hook before the stop ended, well or not: the process is told to stop now.
    pub(crate) fn hooked(&mut self, index: usize, answer: Result<(), String>) -> Vec<Effect> {
        if let Some(stop) = &mut self.containers[index].stop {
            stop.hook = Hook::Done;
        }
        let failed = |why| warning("FailedPreStopHook", format!("PreStopHook failed: {why}"));
        answer.err().map(failed).into_iter().collect()
    }
}

/// How a simulated container ended, if it did; real processes report that themselves.
fn stopped(stop: &Stop, view: &View<'_>, index: usize) -> Option<Exit> {
    if view.plan.process {
        return None;
    }
    if stop.told.is_some_and(|at| at + view.plan.containers[index].shutdown <= view.now.at) {
        return Some(Exit::default());
    }
    stop.killed.then(|| Exit { code: 137, ..Exit::default() })
}

/// When a container that is stopping goes on by itself.
pub(crate) fn next(stop: &Stop, view: &View<'_>, index: usize) -> Option<Instant> {
    let end = stop.deadline + stop.extra;
    match (stop.hook, stop.told) {
        (Hook::Sleeping(until), _) => Some(until.min(end)),
        (_, Some(_)) if stop.killed => None,
        (_, Some(told)) if !view.plan.process => Some((told + view.plan.containers[index].shutdown).min(end)),
        _ => Some(end),
    }
}

fn first_step(hook: &Value, index: usize, now: Instant) -> (Hook, Option<Effect>) {
    if let Some(seconds) = int(hook, "/sleep/seconds") {
        return (Hook::Sleeping(now + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))), None);
    }
    if hook["httpGet"].is_object() || hook["exec"].is_object() {
        return (Hook::Running, Some(Effect::PreStop(index)));
    }
    (Hook::Done, None)
}
