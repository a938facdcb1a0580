//! How containers get their images and start, one after the other. Pure.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{
    container::{Role, Stage, State, Why, backoff},
    life::{Effect, Life, View},
    stop,
};
use crate::{faults::Starts, object::text};

/// The images that the nodes have already, and how pulls of others go.
#[derive(Debug)]
pub(crate) struct Images {
    present: HashMap<String, HashSet<String>>,
    faults: Starts,
    random: StdRng,
}

impl Default for Images {
    fn default() -> Self {
        let faults = Starts::default();
        Self { present: HashMap::new(), random: StdRng::seed_from_u64(faults.seed), faults }
    }
}

impl Images {
    fn has(&self, node: &str, image: &str) -> bool {
        self.present.get(node).is_some_and(|images| images.contains(image))
    }

    fn add(&mut self, node: &str, image: &str) {
        self.present.entry(node.to_owned()).or_default().insert(image.to_owned());
    }

    /// From now on, pulls fail as these faults say.
    pub(crate) fn heed(&mut self, faults: &Starts) {
        if self.faults == *faults {
            return;
        }
        if (self.faults.seed, self.faults.sown) != (faults.seed, faults.sown) {
            self.random = StdRng::seed_from_u64(faults.seed);
        }
        self.faults.clone_from(faults);
    }

    fn may_fail(&self, image: &str) -> bool {
        self.faults.pull_errors > 0.0 || self.faults.breaks(image)
    }

    fn fails(&mut self, image: &str) -> bool {
        let rate = self.faults.pull_errors;
        self.faults.breaks(image) || rate > 0.0 && self.random.random_bool(rate)
    }
}

/// How long a failed pull is called by its name before it is called a back-off.
const NAMED: Duration = Duration::from_millis(100);

impl Life {
    /// Starts whoever may start now: init containers in order, then all others, pulling one image at a time.
    pub(crate) fn start(&mut self, view: &View<'_>, images: &mut Images) -> Vec<Effect> {
        let mut effects = Vec::new();
        for index in 0..self.containers.len() {
            // Those who are to find out what holds up the others wait for nobody.
            if self.containers[index].role == Role::Ephemeral {
                effects.extend(self.proceed(index, view, images));
            }
        }
        for index in 0..self.containers.len() {
            let role = self.containers[index].role;
            if role == Role::App && !self.initialized {
                self.initialize();
            }
            let past = role == Role::Init && (self.initialized || self.containers[index].over().is_some());
            if past || role == Role::Ephemeral {
                continue;
            }
            effects.extend(self.proceed(index, view, images));
            let container = &self.containers[index];
            let busy = matches!(container.state, State::Waiting(_, Stage::Pulling(_) | Stage::Creating(_)));
            let holds = match role {
                Role::Init => true,
                Role::Sidecar => !self.initialized && !container.started,
                Role::App | Role::Ephemeral => false,
            };
            if busy || holds {
                break;
            }
        }
        effects
    }

    fn initialize(&mut self) {
        self.initialized = true;
        for container in self.containers.iter_mut().filter(|c| c.role == Role::App) {
            if let State::Waiting(why @ Why::PodInitializing, _) = &mut container.state {
                *why = Why::ContainerCreating;
            }
        }
    }

    /// Brings one container as far on its way to run as it gets now.
    fn proceed(&mut self, index: usize, view: &View<'_>, images: &mut Images) -> Vec<Effect> {
        let now = view.now.at;
        let mut effects = Vec::new();
        let (bad, image) = (view.plan.containers[index].bad_image, view.image(index));
        let soon = now + view.plan.containers[index].startup;
        loop {
            let container = &mut self.containers[index];
            match &mut container.state {
                State::Terminated(_, Some(at)) if *at <= now => container.turn(),
                // Somebody gave the container another image, or the fault is over, and with it the wait.
                State::Waiting(Why::ErrImagePull | Why::ImagePullBackOff, stage @ Stage::Held(_))
                    if !bad && !images.may_fail(image) =>
                {
                    *stage = Stage::Queued;
                }
                // Starts have been slow, and are no longer.
                State::Waiting(_, Stage::Creating(at)) if *at > soon => *at = soon,
                State::Waiting(_, stage) if !stage.due(now) => return effects,
                State::Waiting(why @ Why::ErrImagePull, stage @ Stage::Held(_)) => {
                    *why = Why::ImagePullBackOff;
                    *stage = Stage::Held(now + backoff(container.failures));
                    let message = format!("Back-off pulling image {image:?}");
                    effects.extend([normal("BackOff", message), failed("ImagePullBackOff")]);
                }
                State::Waiting(_, stage @ Stage::Held(_)) => *stage = Stage::Queued,
                State::Waiting(_, stage @ Stage::Queued) => {
                    let (next, effect) = fetch(index, view, images);
                    *stage = next;
                    effects.push(effect);
                }
                State::Waiting(why, stage @ Stage::Pulling(_)) if bad || images.fails(image) => {
                    (*why, *stage) = (Why::ErrImagePull, Stage::Held(now + NAMED));
                    container.failures += 1;
                    let message = format!("Failed to pull image {image:?}: {}", missing(image));
                    effects.extend([warning("Failed", message), failed("ErrImagePull")]);
                }
                State::Waiting(_, stage @ Stage::Pulling(_)) => {
                    *stage = Stage::Creating(soon);
                    effects.push(pulled(index, view, images));
                }
                State::Waiting(_, Stage::Creating(_)) => {
                    container.run(stop::fingerprint(view.image(index)), view.now);
                    effects.push(Effect::Start(index));
                    if view.spec(index)["lifecycle"]["postStart"].is_object() {
                        effects.push(Effect::PostStart(index));
                    }
                }
                _ => return effects,
            }
        }
    }
}

/// The image is there already, or has to be pulled.
fn fetch(index: usize, view: &View<'_>, images: &Images) -> (Stage, Effect) {
    let (part, image) = (&view.plan.containers[index], view.image(index));
    let present = images.has(text(view.pod, "/spec/nodeName"), image) && !part.bad_image;
    if present && text(view.spec(index), "/imagePullPolicy") != "Always" {
        let message = format!("Container image {image:?} already present on machine");
        return (Stage::Creating(view.now.at + part.startup), normal("Pulled", message));
    }
    let takes = if present { Duration::ZERO } else { part.image_pull };
    (Stage::Pulling(view.now.at + takes), normal("Pulling", format!("Pulling image {image:?}")))
}

fn pulled(index: usize, view: &View<'_>, images: &mut Images) -> Effect {
    let image = view.image(index);
    images.add(text(view.pod, "/spec/nodeName"), image);
    let took = view.plan.containers[index].image_pull.as_millis();
    let message = format!(
        "Successfully pulled image {image:?} in {took}ms ({took}ms including waiting). Image size: 0 bytes."
    );
    normal("Pulled", message)
}

impl Stage {
    fn due(self, now: tokio::time::Instant) -> bool {
        match self {
            Self::Queued => true,
            Self::Held(at) | Self::Pulling(at) | Self::Creating(at) => at <= now,
        }
    }
}

pub(crate) fn missing(image: &str) -> String {
    format!("rpc error: code = NotFound desc = failed to resolve reference {image:?}: not found")
}

fn failed(what: &str) -> Effect {
    warning("Failed", format!("Error: {what}"))
}

pub(crate) fn normal(reason: &'static str, message: String) -> Effect {
    Effect::Event { warning: false, reason, message }
}

pub(crate) fn warning(reason: &'static str, message: String) -> Effect {
    Effect::Event { warning: true, reason, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_fails_the_same_pulls() {
        let faults = |sown| Starts { pull_errors: 0.5, seed: 7, sown, ..Starts::default() };
        let mut images = Images::default();
        let runs: [Vec<bool>; 2] = std::array::from_fn(|run| {
            images.heed(&faults(run as u64));
            (0..20).map(|_| images.fails("web:1")).collect()
        });
        assert_eq!(runs[0], runs[1]);
        assert!(runs[0].contains(&true) && runs[0].contains(&false));
    }
}
