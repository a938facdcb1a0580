//! A pod as its kubelet knows it: the containers, and how one step of time moves them all. Pure.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{
    container::{self, Container, Exit, Now, Role, State, Why},
    image::Images,
    plan::{self, Plan, Readiness},
    probe,
    stop::{self, Again},
};
use crate::object::{int, text};

/// What a step looks at.
pub(crate) struct View<'a> {
    pub pod: &'a Value,
    pub plan: &'a Plan<'a>,
    pub now: Now,
    pub deleting: bool,
    /// Whether probes are sent; nobody could answer them in a cluster whose pods do not listen.
    pub probing: bool,
}

impl<'a> View<'a> {
    pub(crate) fn spec(&self, index: usize) -> &'a Value {
        plan::containers(self.pod).nth(index).map_or(&Value::Null, |(_, spec)| spec)
    }

    pub(crate) fn container(&self, index: usize) -> &'a str {
        text(self.spec(index), "/name")
    }

    pub(crate) fn image(&self, index: usize) -> &'a str {
        text(self.spec(index), "/image")
    }
}

/// What a step asks to be done outside; containers by their index.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    Event { warning: bool, reason: &'static str, message: String },
    Start(usize),
    PostStart(usize),
    PreStop(usize),
    Probe(usize, probe::Which),
    Terminate(usize),
    Kill(usize),
}

#[derive(Debug, Clone)]
pub(crate) struct Life {
    /// When the node first saw the pod.
    pub seen: Instant,
    /// The pod has its address: containers may start.
    pub sandbox: bool,
    /// The init containers have done their work, once and for all.
    pub initialized: bool,
    /// Since when everything is being stopped.
    pub stopping: Option<Instant>,
    /// The pod was active for longer than it may.
    pub expired: bool,
    pub containers: Vec<Container>,
}

impl Life {
    pub(crate) fn new(pod: &Value, now: Now) -> Self {
        let first = |role| {
            let waits = role == Role::App && !no_init(pod);
            Container::new(role, if waits { Why::PodInitializing } else { Why::ContainerCreating })
        };
        Self {
            seen: now.at,
            sandbox: false,
            initialized: no_init(pod),
            stopping: None,
            expired: false,
            containers: plan::containers(pod).map(|(role, _)| first(role)).collect(),
        }
    }

    /// Containers were added to the pod.
    pub(crate) fn grow(&mut self, pod: &Value) {
        let added = plan::containers(pod).skip(self.containers.len());
        self.containers.extend(added.map(|(role, _)| Container::new(role, Why::ContainerCreating)));
    }

    /// One step; after its effects are done there may be another one to take.
    pub(crate) fn advance(&mut self, view: &View<'_>, images: &mut Images) -> Vec<Effect> {
        // A container that ended, or has started, may let others go on, without any effect of its own.
        let shape = |life: &Self| {
            let count = |what: fn(&Container) -> bool| life.containers.iter().filter(|c| what(c)).count();
            (count(|c| c.running().is_some()), count(|c| c.started))
        };
        loop {
            let before = shape(self);
            let effects = self.pass(view, images);
            if !effects.is_empty() || shape(self) == before {
                return effects;
            }
        }
    }

    fn pass(&mut self, view: &View<'_>, images: &mut Images) -> Vec<Effect> {
        let mut effects = self.end_by_themselves(view);
        self.expired |= active_until(self.seen, view.pod).is_some_and(|at| at <= view.now.at);
        if view.deleting || self.done() {
            let since = *self.stopping.get_or_insert(view.now.at);
            effects.extend(self.wind_down(view, since));
        } else if self.sandbox {
            effects.extend(self.replace_changed(view));
            effects.extend(self.start(view, images));
        }
        effects.extend(self.press_on(view));
        effects.extend(self.judge(view));
        effects
    }

    /// Nothing is left to do: the apps ended for good, or the way to them did.
    pub(crate) fn done(&self) -> bool {
        let failed = |c: &Container| c.role == Role::Init && c.over().is_some_and(|e| e.code != 0);
        let mut apps = self.containers.iter().filter(|c| c.role == Role::App);
        self.expired || self.containers.iter().any(failed) || apps.all(|c| c.over().is_some())
    }

    pub(crate) fn any_running(&self) -> bool {
        self.containers.iter().any(|c| c.running().is_some())
    }

    /// A container ended; perhaps it starts again.
    pub(crate) fn exit(&mut self, index: usize, exit: Exit, again: Again, view: &View<'_>) -> Option<Effect> {
        let spec = view.spec(index);
        let role = self.containers[index].role;
        let by_policy = |code| container::restarts(view.pod, spec, role, code);
        let restarts = match again {
            Again::Policy => by_policy(exit.code),
            Again::Failed => by_policy(exit.code) || by_policy(1),
            Again::Changed => {
                self.containers[index].failures = 0;
                true
            }
        };
        let pause = (restarts && self.stopping.is_none()).then_some(view.plan.startup);
        let held = self.containers[index].exit(exit, pause, view.now);
        held.then(|| {
            let (name, pod) = (text(spec, "/name"), crate::object::name(view.pod));
            let (namespace, uid) = (crate::object::namespace(view.pod), crate::object::uid(view.pod));
            let message =
                format!("Back-off restarting failed container {name} in pod {pod}_{namespace}({uid})");
            Effect::Event { warning: true, reason: "BackOff", message }
        })
    }

    fn end_by_themselves(&mut self, view: &View<'_>) -> Vec<Effect> {
        if view.plan.process {
            return Vec::new();
        }
        let mut effects = Vec::new();
        for index in 0..self.containers.len() {
            let Some(since) = self.containers[index].running() else { continue };
            let end = view.plan.containers[index].end();
            if let Some((_, code)) = end.filter(|(after, _)| since.at + *after <= view.now.at) {
                effects.extend(self.exit(index, Exit { code, ..Exit::default() }, Again::Policy, view));
            }
        }
        effects
    }

    /// Decides who has started and who is ready, and which probes are due.
    fn judge(&mut self, view: &View<'_>) -> Vec<Effect> {
        let mut effects = Vec::new();
        for index in 0..self.containers.len() {
            let Some(since) = self.containers[index].running() else { continue };
            if view.probing {
                effects.extend(self.probe(index, view, since.at));
            }
            let container = &mut self.containers[index];
            container.started = container.probes.as_ref().is_none_or(|p| p.started());
            let by_itself = container.probes.as_ref().is_none_or(|p| p.ready());
            container.ready = container.started
                && !matches!(container.role, Role::Init | Role::Ephemeral)
                && match view.plan.containers[index].readiness {
                    Some(Readiness::Never) => false,
                    Some(Readiness::After(after)) => since.at + after <= view.now.at,
                    None => by_itself,
                };
        }
        effects
    }

    /// When the next step is due, if nothing happens before.
    pub(crate) fn next(&self, view: &View<'_>) -> Option<Instant> {
        let now = view.now.at;
        let one = |(index, c): (usize, &Container)| {
            let part = &view.plan.containers[index];
            let mut times = [c.until(), None, None, None, None];
            if let State::Running(since) = c.state {
                times[1] = part.end().filter(|_| !view.plan.process).map(|(after, _)| since.at + after);
                if let Some(Readiness::After(after)) = part.readiness {
                    times[2] = Some(since.at + after);
                }
                times[3] = c.probes.as_ref().and_then(|p| p.next());
                times[4] = c.stop.as_ref().and_then(|s| stop::next(s, view, index));
            }
            times.into_iter().flatten().filter(|at| *at > now).min()
        };
        let sandbox = (!self.sandbox).then(|| self.seen + view.plan.startup);
        let limits =
            [sandbox, active_until(self.seen, view.pod)].into_iter().flatten().filter(|at| *at > now);
        limits.chain(self.containers.iter().enumerate().filter_map(one)).min()
    }
}

fn no_init(pod: &Value) -> bool {
    crate::object::items(pod, "/spec/initContainers").is_empty()
}

fn active_until(seen: Instant, pod: &Value) -> Option<Instant> {
    let seconds = int(pod, "/spec/activeDeadlineSeconds")?;
    Some(seen + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

#[cfg(test)]
mod tests;
