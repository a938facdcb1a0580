//! How far and how fast an autoscaler may go: minimum and maximum, stabilization windows, policies. Pure.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::condition;
use crate::object::{int, items, text};

/// What was recommended and done before.
#[derive(Debug, Default)]
pub(super) struct Past {
    asked: Vec<(Instant, i64)>,
    /// By how much the number changed.
    done: Vec<(Instant, i64)>,
}

#[derive(Debug, PartialEq)]
pub(super) struct Allowed {
    pub replicas: i64,
    pub reason: &'static str,
    pub message: &'static str,
    pub limited: Value,
}

const LONGEST: Duration = Duration::from_secs(3600);

pub(super) fn within(autoscaler: &Value, past: &mut Past, current: i64, asked: i64, now: Instant) -> Allowed {
    past.asked.push((now, asked));
    for list in [&mut past.asked, &mut past.done] {
        list.retain(|(at, _)| now.duration_since(*at) <= LONGEST);
    }
    let stable = stabilized(autoscaler, past, current, asked, now);
    let slow = pace(autoscaler, past, current, stable, now);
    let minimum = int(autoscaler, "/spec/minReplicas").unwrap_or(1);
    let maximum = int(autoscaler, "/spec/maxReplicas").unwrap_or(1);
    let replicas = slow.clamp(minimum.min(maximum), maximum);
    if replicas != current {
        past.done.push((now, replicas - current));
    }
    let (reason, message) = stability(asked, stable);
    Allowed { replicas, reason, message, limited: limited(stable, slow, minimum, maximum) }
}

fn stability(asked: i64, stable: i64) -> (&'static str, &'static str) {
    if stable > asked {
        let message =
            "recent recommendations were higher than current one, applying the highest recent recommendation";
        ("ScaleDownStabilized", message)
    } else if stable < asked {
        let message =
            "recent recommendations were lower than current one, applying the lowest recent recommendation";
        ("ScaleUpStabilized", message)
    } else {
        ("ReadyForNewScale", "recommended size matches current size")
    }
}

/// Whether limits keep the number from what is wanted.
fn limited(stable: i64, slow: i64, minimum: i64, maximum: i64) -> Value {
    let (reason, message) = if stable < minimum {
        ("TooFewReplicas", "the desired replica count is less than the minimum replica count")
    } else if stable > maximum {
        ("TooManyReplicas", "the desired replica count is more than the maximum replica count")
    } else if slow > stable {
        ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate")
    } else if slow < stable {
        ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
    } else {
        ("DesiredWithinRange", "the desired count is within the acceptable range")
    };
    condition("ScalingLimited", reason != "DesiredWithinRange", reason, message)
}

fn seconds(rules: &Value, field: &str, otherwise: u64) -> Duration {
    Duration::from_secs(rules[field].as_u64().unwrap_or(otherwise))
}

/// A change must have been asked for all the time of its window.
fn stabilized(autoscaler: &Value, past: &Past, current: i64, asked: i64, now: Instant) -> i64 {
    let behavior = &autoscaler["spec"]["behavior"];
    let recent = |rules: &Value, otherwise: u64| {
        let window = seconds(rules, "stabilizationWindowSeconds", otherwise);
        past.asked
            .iter()
            .filter(|(at, _)| now.duration_since(*at) <= window)
            .map(|(_, n)| *n)
            .chain([asked])
            .collect::<Vec<_>>()
    };
    let lowest = recent(&behavior["scaleUp"], 0).into_iter().min().unwrap_or(asked);
    let highest = recent(&behavior["scaleDown"], 300).into_iter().max().unwrap_or(asked);
    current.max(lowest).min(highest)
}

/// Policies say by how much the number may change in a period of time.
fn pace(autoscaler: &Value, past: &Past, current: i64, wanted: i64, now: Instant) -> i64 {
    let up = wanted > current;
    let rules = &autoscaler["spec"]["behavior"][if up { "scaleUp" } else { "scaleDown" }];
    if wanted == current || text(rules, "/selectPolicy") == "Disabled" {
        return current;
    }
    let all = json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]);
    let doubled = json!([{"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]);
    let otherwise = if up { &doubled } else { &all };
    let policies =
        if rules["policies"].is_array() { items(rules, "/policies") } else { items(otherwise, "") };
    let edges = policies.iter().map(|policy| {
        let period = seconds(policy, "periodSeconds", 15);
        let recent = past.done.iter().filter(|(at, n)| now.duration_since(*at) <= period && (*n > 0) == up);
        let start = current - recent.map(|(_, n)| n).sum::<i64>();
        let value = int(policy, "/value").unwrap_or(0);
        let step = if policy["type"] == "Percent" { (start * value + 99) / 100 } else { value };
        if up { start + step } else { (start - step).max(0) }
    });
    // The policy that allows most counts, unless the one that allows least was chosen.
    let far = text(rules, "/selectPolicy") != "Min";
    let edge = if far == up { edges.max() } else { edges.min() }.unwrap_or(current);
    if up { wanted.min(edge.max(current)) } else { wanted.max(edge.min(current)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn autoscaler(behavior: Value) -> Value {
        json!({"spec": {"minReplicas": 2, "maxReplicas": 10, "behavior": behavior}})
    }

    #[test]
    fn numbers_stay_between_minimum_and_maximum() {
        let quick = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
        for (current, asked, expected, reason) in [
            (4, 6, 6, "DesiredWithinRange"),
            (4, 20, 8, "TooManyReplicas"),
            (8, 20, 10, "TooManyReplicas"),
            (4, 1, 2, "TooFewReplicas"),
            (1, 9, 5, "ScaleUpLimit"),
        ] {
            let found =
                within(&autoscaler(quick.clone()), &mut Past::default(), current, asked, Instant::now());
            assert_eq!(
                (found.replicas, text(&found.limited, "/reason")),
                (expected, reason),
                "{current} to {asked}"
            );
        }
    }

    #[test]
    fn fewer_pods_must_have_been_enough_for_a_while() {
        let (mut past, start) = (Past::default(), Instant::now());
        let at = |second: u64| start + Duration::from_secs(second);
        let spec = autoscaler(json!({}));
        assert_eq!(within(&spec, &mut past, 6, 6, at(0)).replicas, 6);
        let held = within(&spec, &mut past, 6, 3, at(200));
        assert_eq!((held.replicas, held.reason), (6, "ScaleDownStabilized"));
        assert_eq!(within(&spec, &mut past, 6, 3, at(301)).replicas, 3);
    }

    #[test]
    fn policies_set_the_pace() {
        let slow = json!({"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}});
        let (mut past, start) = (Past::default(), Instant::now());
        let at = |second: u64| start + Duration::from_secs(second);
        let spec = autoscaler(slow);
        assert_eq!(within(&spec, &mut past, 3, 9, at(0)).replicas, 4);
        assert_eq!(within(&spec, &mut past, 4, 9, at(30)).replicas, 4);
        assert_eq!(within(&spec, &mut past, 4, 9, at(61)).replicas, 5);
        let never =
            autoscaler(json!({"scaleDown": {"selectPolicy": "Disabled", "stabilizationWindowSeconds": 0}}));
        assert_eq!(within(&never, &mut Past::default(), 5, 2, start).replicas, 5);
    }
}
