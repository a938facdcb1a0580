//! What a pod is told to do by its annotations and its images.

use std::time::Duration;

use serde_json::Value;

use super::container::Role;
use crate::object::{annotation, items, text};

/// The life that a pod is going to have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan<'a> {
    /// From the assignment to a node until the pod has an address and its containers may start.
    pub startup: Duration,
    /// The address that the pod wants.
    pub address: Option<&'a str>,
    /// Whether the containers are real processes.
    pub process: bool,
    /// Init containers first, as everywhere in the kubelet.
    pub containers: Vec<Part>,
}

/// The life that a container is going to have. Durations count from when it runs, unless said otherwise.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Part {
    /// From its turn to start until it runs, without the pull of its image.
    pub startup: Duration,
    pub image_pull: Duration,
    pub bad_image: bool,
    /// Set when annotations decide about readiness, and not probes.
    pub readiness: Option<Readiness>,
    pub crash_after: Option<Duration>,
    pub complete_after: Option<Duration>,
    pub exit_code: Option<i32>,
    /// From the signal to stop until the process has gone.
    pub shutdown: Duration,
    pub latency: Duration,
    pub error_rate: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    After(Duration),
    Never,
}

impl Plan<'_> {
    /// All containers take so much longer to start.
    pub(crate) fn slow_down(&mut self, longer: Duration) {
        self.containers.iter_mut().for_each(|part| part.startup += longer);
    }
}

impl Part {
    /// When and how the container ends by itself.
    pub(crate) fn end(&self) -> Option<(Duration, i32)> {
        let crash = self.crash_after.map(|at| (at, self.exit_code.unwrap_or(1)));
        let complete = self.complete_after.map(|at| (at, self.exit_code.unwrap_or(0)));
        crash.into_iter().chain(complete).min_by_key(|(at, _)| *at)
    }
}

/// The containers of a pod with their roles: init containers first, and ephemeral ones last, as they are added last.
pub(crate) fn containers(pod: &Value) -> impl Iterator<Item = (Role, &Value)> {
    let init = items(pod, "/spec/initContainers").iter().map(|c| {
        let sidecar = text(c, "/restartPolicy") == "Always";
        (if sidecar { Role::Sidecar } else { Role::Init }, c)
    });
    let apps = items(pod, "/spec/containers").iter().map(|c| (Role::App, c));
    init.chain(apps).chain(items(pod, "/spec/ephemeralContainers").iter().map(|c| (Role::Ephemeral, c)))
}

pub(crate) fn plan(pod: &Value, default_startup: Duration) -> Plan<'_> {
    let mut plan = Plan {
        startup: default_startup,
        address: None,
        process: is_process(pod),
        containers: containers(pod).map(|(role, c)| part(role, c)).collect(),
    };
    let annotations = pod["metadata"]["annotations"].as_object();
    let ours = annotations.into_iter().flatten().filter_map(|(key, value)| {
        let key = key.strip_prefix("sim.bcs/")?;
        Some((key.rsplit_once('.'), key, value.as_str()?))
    });
    // What is said of one container weighs more than what is said of the pod.
    let (single, general): (Vec<_>, Vec<_>) = ours.partition(|(split, ..)| split.is_some());
    for (_, key, value) in general {
        match key {
            "startup" => plan.startup = duration(value).unwrap_or(plan.startup),
            "address" => plan.address = Some(value),
            _ => {
                for ((role, _), part) in containers(pod).zip(&mut plan.containers) {
                    if concerns(role, key) {
                        tell(part, key, value);
                    }
                }
            }
        }
    }
    for (split, _, value) in single {
        let Some((name, key)) = split else { continue };
        for ((_, container), part) in containers(pod).zip(&mut plan.containers) {
            if text(container, "/name") == name {
                tell(part, key, value);
            }
        }
    }
    plan
}

/// Whether the containers of a pod are real processes.
pub(crate) fn is_process(pod: &Value) -> bool {
    match annotation(pod, "sim.bcs/process") {
        Some(said) => said == "true",
        None => text(pod, "/spec/runtimeClassName") == "process",
    }
}

/// The life of a container of which nothing is said.
fn part(role: Role, container: &Value) -> Part {
    let bad_image = matches!(tag(text(container, "/image")), "missing" | "broken");
    match role {
        Role::App => Part { bad_image, shutdown: Duration::from_millis(50), ..Part::default() },
        Role::Sidecar | Role::Ephemeral => Part { bad_image, ..Part::default() },
        Role::Init => Part { bad_image, complete_after: Some(Duration::ZERO), ..Part::default() },
    }
}

/// How the pod goes is how its app containers go; how images and requests go is the same for all.
fn concerns(role: Role, key: &str) -> bool {
    role == Role::App || matches!(key, "image-pull" | "image-pull-error" | "latency" | "error-rate")
}

fn tell(part: &mut Part, key: &str, value: &str) {
    let time = duration(value);
    match key {
        "startup" => part.startup = time.unwrap_or_default(),
        "image-pull" => part.image_pull = time.unwrap_or_default(),
        "image-pull-error" => part.bad_image |= value == "true",
        // The order of annotations is that of the alphabet: `never-ready` comes before `ready-after`.
        "never-ready" if value == "true" => part.readiness = Some(Readiness::Never),
        "ready-after" if part.readiness.is_none() => part.readiness = time.map(Readiness::After),
        "crash-after" => part.crash_after = time,
        "complete-after" => part.complete_after = time,
        "exit-code" => part.exit_code = value.parse().ok(),
        "shutdown" => part.shutdown = time.unwrap_or(part.shutdown),
        "latency" => part.latency = time.unwrap_or_default(),
        "error-rate" => part.error_rate = value.parse().unwrap_or(0.0),
        _ => {}
    }
}

/// `150ms`, `2s`, `1m`, or a plain number of seconds.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let number: f64 = text[..end].trim().parse().ok()?;
    let unit = match text[end..].trim() {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * unit).ok()
}

/// The tag of an image; `latest` without one.
pub(crate) fn tag(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or("").rsplit('/').next().unwrap_or("");
    name.split_once(':').map_or("latest", |(_, tag)| tag)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_and_tags_are_read() {
        for (text, expected) in [
            ("150ms", Some(150)),
            ("2s", Some(2000)),
            ("1.5", Some(1500)),
            ("1m", Some(60_000)),
            ("x", None),
            ("-1s", None),
        ] {
            assert_eq!(duration(text), expected.map(Duration::from_millis), "{text}");
        }
        for (image, expected) in [
            ("web", "latest"),
            ("web:1.2", "1.2"),
            ("host:5000/web", "latest"),
            ("host:5000/a/web:v3@sha256:00", "v3"),
        ] {
            assert_eq!(tag(image), expected, "{image}");
        }
    }

    #[test]
    fn one_container_can_be_told_apart_from_the_others() {
        let pod = json!({
            "metadata": {"annotations": {
                "sim.bcs/crash-after": "1s", "sim.bcs/b.crash-after": "2s", "sim.bcs/b.exit-code": "7",
                "sim.bcs/setup.complete-after": "3s", "sim.bcs/ready-after": "4s", "sim.bcs/never-ready": "false",
                "sim.bcs/image-pull": "5s",
            }},
            "spec": {
                "initContainers": [{"name": "setup"}, {"name": "proxy", "restartPolicy": "Always"}],
                "containers": [{"name": "a"}, {"name": "b", "image": "web:missing"}],
            },
        });
        let plan = plan(&pod, Duration::ZERO);
        let seconds = Duration::from_secs;
        let ends: Vec<_> = plan.containers.iter().map(Part::end).collect();
        assert_eq!(ends, [Some((seconds(3), 0)), None, Some((seconds(1), 1)), Some((seconds(2), 7))]);
        assert_eq!(plan.containers[1].readiness, None, "the pod's readiness is that of its app containers");
        assert_eq!(plan.containers[2].readiness, Some(Readiness::After(seconds(4))));
        assert!(plan.containers.iter().all(|c| c.image_pull == seconds(5)));
        assert!(plan.containers[3].bad_image && !plan.containers[2].bad_image);
    }
}
