//! What a pod is told to do by its annotations and its image.

use std::time::Duration;

use serde_json::Value;

use crate::object::{annotation, items, text};

/// The life that a pod is going to have. Durations count from when it starts to run, unless said otherwise.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// From the assignment to a node until the containers run.
    pub startup: Duration,
    pub ready_after: Duration,
    pub never_ready: bool,
    pub crash_after: Option<Duration>,
    pub complete_after: Option<Duration>,
    /// From the request to stop until the process has gone.
    pub shutdown: Duration,
    pub bad_image: bool,
    pub latency: Duration,
    pub error_rate: f64,
}

pub(crate) fn plan(pod: &Value, default_startup: Duration) -> Plan {
    let time = |key: &str| annotation(pod, key).and_then(duration);
    let on = |key: &str| annotation(pod, key) == Some("true");
    let bad_tag = |c: &Value| matches!(tag(text(c, "/image")), "missing" | "broken");
    Plan {
        startup: time("sim.bcs/startup").unwrap_or(default_startup),
        ready_after: time("sim.bcs/ready-after").unwrap_or_default(),
        never_ready: on("sim.bcs/never-ready"),
        crash_after: time("sim.bcs/crash-after"),
        complete_after: time("sim.bcs/complete-after"),
        shutdown: time("sim.bcs/shutdown").unwrap_or(Duration::from_millis(50)),
        bad_image: on("sim.bcs/image-pull-error") || items(pod, "/spec/containers").iter().any(bad_tag),
        latency: time("sim.bcs/latency").unwrap_or_default(),
        error_rate: annotation(pod, "sim.bcs/error-rate").and_then(|r| r.parse().ok()).unwrap_or(0.0),
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
}
