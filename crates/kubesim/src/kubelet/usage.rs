//! How much processor and memory a container seems to use: a value, or a curve over its age.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::plan;
use crate::{
    object::{self, items, text},
    quantity,
};

/// Points of age and amount (in thousandths), in order of age; in between the curve is straight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Curve(Vec<(Duration, i128)>);

impl Curve {
    /// `64Mi`, or `0s=64Mi,10s=128Mi`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if !text.contains('=') {
            return Some(Self(vec![(Duration::ZERO, quantity::milli(text.trim())?)]));
        }
        let point = |part: &str| {
            let (age, amount) = part.split_once('=')?;
            Some((plan::duration(age.trim())?, quantity::milli(amount.trim())?))
        };
        let mut points = text.split(',').map(point).collect::<Option<Vec<_>>>()?;
        points.sort_by_key(|(age, _)| *age);
        Some(Self(points))
    }

    /// The amount at an age; before the first point and after the last it does not change.
    pub(crate) fn at(&self, age: Duration) -> i128 {
        let after = self.0.partition_point(|(at, _)| *at <= age);
        match (after.checked_sub(1).and_then(|i| self.0.get(i)), self.0.get(after)) {
            (Some((from, low)), Some((to, high))) => {
                let nanos = |d: Duration| i128::try_from(d.as_nanos()).unwrap_or(i128::MAX);
                low + (high - low) * nanos(age - *from) / nanos(*to - *from).max(1)
            }
            (Some((_, amount)), None) | (None, Some((_, amount))) => *amount,
            (None, None) => 0,
        }
    }
}

/// What a container seems to use now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    pub container: String,
    /// Thousandths of a processor.
    pub cpu_milli: u64,
    pub memory_bytes: u64,
}

/// The use of the containers of a pod that run, as its annotations tell it.
pub(crate) fn of(pod: &Value, now: Timestamp) -> Vec<Usage> {
    let statuses = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let running = statuses.into_iter().flat_map(|list| items(pod, list)).filter_map(|status| {
        let since: Timestamp = text(status, "/state/running/startedAt").parse().ok()?;
        Some((text(status, "/name"), Duration::try_from(now.duration_since(since)).unwrap_or_default()))
    });
    let one = |(container, age): (&str, Duration)| {
        let amount = |what: &str| u64::try_from(amount(pod, container, what, age)).unwrap_or(0);
        Usage {
            container: container.to_owned(),
            cpu_milli: amount("cpu"),
            memory_bytes: amount("memory") / 1000,
        }
    };
    running.map(one).collect()
}

/// Whether a pod says how much of something it uses, of itself or of one of its containers.
pub(crate) fn says(pod: &Value, what: &str) -> bool {
    told(pod, what).next().is_some()
}

/// Whether what it uses changes by itself.
pub(crate) fn changes(pod: &Value) -> bool {
    ["cpu", "memory"].iter().any(|what| told(pod, what).any(|amount| amount.contains('=')))
}

fn told<'a>(pod: &'a Value, what: &'a str) -> impl Iterator<Item = &'a str> {
    let annotations = pod["metadata"]["annotations"].as_object().into_iter().flatten();
    annotations.filter_map(move |(name, amount)| {
        let of = name.strip_prefix("sim.bcs/")?.strip_suffix(what)?;
        amount.as_str().filter(|_| of.is_empty() || of.ends_with('.'))
    })
}

/// In thousandths; what is said of the container weighs more than what is said of the pod.
fn amount(pod: &Value, container: &str, what: &str, age: Duration) -> i128 {
    let own = object::annotation(pod, &format!("sim.bcs/{container}.{what}"));
    let said = own.or_else(|| object::annotation(pod, &format!("sim.bcs/{what}")));
    said.and_then(Curve::parse).map_or(0, |curve| curve.at(age))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn use_is_told_for_each_container_that_runs() {
        let running =
            |name: &str| json!({"name": name, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}});
        let pod = json!({
            "metadata": {"annotations": {"sim.bcs/memory": "1Ki", "sim.bcs/b.memory": "2Ki", "sim.bcs/cpu": "0s=0,10s=1"}},
            "status": {"containerStatuses": [running("a"), running("b"), {"name": "c", "state": {"waiting": {}}}]},
        });
        let found = of(&pod, "2026-01-01T00:00:05Z".parse().expect("a time"));
        let expected = |container: &str, memory_bytes| Usage {
            container: container.to_owned(),
            cpu_milli: 500,
            memory_bytes,
        };
        assert_eq!(found, [expected("a", 1024), expected("b", 2048)]);
    }

    #[test]
    fn a_curve_is_straight_between_its_points() {
        let curve = Curve::parse("10s=100, 0s=0,20s=50").expect("a curve");
        for (age, expected) in [(0, 0), (5, 50), (10, 100), (15, 75), (20, 50), (90, 50)] {
            assert_eq!(curve.at(Duration::from_secs(age)), expected * 1000, "{age}");
        }
        assert_eq!(Curve::parse("64Mi").expect("a value").at(Duration::from_secs(9)), (64 << 20) * 1000);
        assert_eq!(Curve::parse("much"), None);
        assert_eq!(Curve::parse("0s=1,x"), None);
    }
}
