//! How many pods each metric of an autoscaler asks for. Pure.

use std::sync::Arc;

use serde_json::{Value, json};

use super::condition;
use crate::{
    controller::{metric, pod},
    object::{int, items, text},
    quantity,
};

/// So far the use may be from its target before anything happens.
const TOLERANCE: f64 = 0.1;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Measured {
    pub resource: String,
    pub replicas: i64,
    /// Of what is used to what is the target.
    pub ratio: f64,
    average: i128,
    percent: Option<i64>,
}

impl Measured {
    pub(super) fn status(&self) -> Value {
        let mut current = json!({"averageValue": metric::text_of(&self.resource, self.average)});
        if let Some(percent) = self.percent {
            current["averageUtilization"] = json!(percent);
        }
        json!({"type": "Resource", "resource": {"name": self.resource, "current": current}})
    }
}

/// What one pod uses and asks for, in thousandths.
struct Pod {
    used: i128,
    requested: i128,
}

/// All metrics that can be had, and the condition that tells whether any could.
pub(super) fn all(autoscaler: &Value, pods: &[Arc<Value>], current: i64) -> (Vec<Measured>, Value) {
    let (mut measured, mut problem) = (Vec::new(), None);
    for spec in items(autoscaler, "/spec/metrics") {
        match one(spec, pods, current) {
            Ok(found) => measured.push(found),
            Err(why) => problem = Some(why),
        }
    }
    // A metric that is missing must not be taken for one that asks for fewer pods.
    if problem.is_some() {
        measured.retain(|m| m.replicas > current);
    }
    let active = match (measured.first(), problem) {
        (Some(found), _) => {
            let message = format!(
                "the HPA was able to successfully calculate a replica count from {} resource utilization \
                 (percentage of request)",
                found.resource
            );
            condition("ScalingActive", true, "ValidMetricFound", &message)
        }
        (None, why) => {
            let why = why.unwrap_or_else(|| "no metrics".to_owned());
            let message = format!("the HPA was unable to compute the replica count: {why}");
            condition("ScalingActive", false, "FailedGetResourceMetric", &message)
        }
    };
    (measured, active)
}

fn one(spec: &Value, pods: &[Arc<Value>], current: i64) -> Result<Measured, String> {
    if spec["type"] != "Resource" {
        return Err(format!("metrics of type {} are not served here", spec["type"]));
    }
    let resource = text(spec, "/resource/name");
    let alive: Vec<&Value> = pods.iter().map(Arc::as_ref).filter(|p| pod::active(p)).collect();
    let (mut ready, mut unready, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for pod in &alive {
        let requested = requested(pod, resource);
        match metric::usage(pod, resource) {
            _ if !pod::ready(pod) => unready.push(Pod { used: 0, requested }),
            Some(used) => ready.push(Pod { used, requested }),
            None => missing.push(Pod { used: 0, requested }),
        }
    }
    if ready.is_empty() {
        return Err(format!("no metrics returned from resource metrics API for {resource}"));
    }
    let target = Target::of(&spec["resource"]["target"], resource)?;
    let (ratio, percent) = target.ratio(&ready)?;
    let average = ready.iter().map(|p| p.used).sum::<i128>() / i128::try_from(ready.len()).unwrap_or(1);
    let replicas = replicas(&target, ready, unready, missing, ratio, current)?;
    Ok(Measured { resource: resource.to_owned(), replicas, ratio, average, percent })
}

fn requested(pod: &Value, resource: &str) -> i128 {
    let ask = |c: &Value| c["resources"]["requests"][resource].as_str().and_then(quantity::milli);
    items(pod, "/spec/containers").iter().filter_map(ask).sum()
}

enum Target {
    /// Percent of what is asked for.
    Utilization(i64),
    /// Thousandths for each pod.
    Average(i128),
}

impl Target {
    fn of(target: &Value, resource: &str) -> Result<Self, String> {
        if let Some(percent) = int(target, "/averageUtilization") {
            return Ok(Self::Utilization(percent.max(1)));
        }
        let average = target["averageValue"].as_str().and_then(quantity::milli).filter(|v| *v > 0);
        average.map(Self::Average).ok_or_else(|| format!("invalid target for {resource}"))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a ratio of amounts needs no more digits than a float has"
    )]
    fn ratio(&self, pods: &[Pod]) -> Result<(f64, Option<i64>), String> {
        let used: i128 = pods.iter().map(|p| p.used).sum();
        match self {
            Self::Utilization(target) => {
                let requested: i128 = pods.iter().map(|p| p.requested).sum();
                if requested == 0 || pods.iter().any(|p| p.requested == 0) {
                    return Err("missing request in a container".to_owned());
                }
                let percent = i64::try_from(used * 100 / requested).unwrap_or(i64::MAX);
                Ok((percent as f64 / *target as f64, Some(percent)))
            }
            Self::Average(target) => {
                let wanted = target * i128::try_from(pods.len()).unwrap_or(1);
                Ok((used as f64 / wanted as f64, None))
            }
        }
    }

    /// What a pod without a metric is taken to use when the others ask for fewer pods.
    fn full(&self, pod: &Pod) -> i128 {
        match self {
            Self::Utilization(target) => pod.requested * i128::from(*target.max(&100)) / 100,
            Self::Average(target) => *target,
        }
    }
}

/// Pods that say nothing damp the change: they count as idle on the way up and as busy on the way down.
fn replicas(
    target: &Target,
    mut ready: Vec<Pod>,
    unready: Vec<Pod>,
    missing: Vec<Pod>,
    ratio: f64,
    current: i64,
) -> Result<i64, String> {
    let near = |ratio: f64| (1.0 - ratio).abs() <= TOLERANCE;
    if near(ratio) {
        return Ok(current);
    }
    let up = ratio > 1.0;
    if up {
        ready.extend(unready);
        ready.extend(missing);
    } else {
        ready.extend(missing.into_iter().map(|p| Pod { used: target.full(&p), ..p }));
    }
    let (ratio, _) = target.ratio(&ready)?;
    if near(ratio) || (ratio > 1.0) != up {
        return Ok(current);
    }
    let wanted = ceil(ratio, ready.len());
    Ok(if up { wanted.max(current) } else { wanted.min(current) })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "numbers of pods are small, and a float that is too large saturates"
)]
fn ceil(ratio: f64, count: usize) -> i64 {
    (ratio * count as f64).ceil() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(cpu: Option<&str>, ready: bool) -> Arc<Value> {
        let annotations = cpu.map_or_else(|| json!({}), |c| json!({"sim.bcs/cpu": c}));
        Arc::new(json!({
            "metadata": {"annotations": annotations},
            "spec": {"containers": [{"resources": {"requests": {"cpu": "100m"}}}]},
            "status": {
                "phase": "Running", "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
                "containerStatuses": [{"name": "main", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}],
            },
        }))
    }

    fn asked(target: Value, pods: &[Arc<Value>]) -> Option<i64> {
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
        let autoscaler = json!({"spec": {"metrics": [metric]}});
        let current = i64::try_from(pods.len()).expect("few");
        all(&autoscaler, pods, current).0.first().map(|m| m.replicas)
    }

    #[test]
    fn use_above_or_below_the_target_asks_for_more_or_fewer_pods() {
        let half = || json!({"type": "Utilization", "averageUtilization": 50});
        let busy = |cpu: &str| pod(Some(cpu), true);
        for (what, pods, expected) in [
            ("twice the target", vec![busy("100m"), busy("100m")], Some(4)),
            ("half of it", vec![busy("25m"), busy("25m")], Some(1)),
            ("near enough", vec![busy("54m"), busy("46m")], Some(2)),
            ("one says nothing: less growth", vec![busy("150m"), pod(None, true)], Some(3)),
            ("one says nothing: it might be busy", vec![busy("10m"), pod(None, true)], Some(2)),
            ("one is not ready: it will help", vec![busy("100m"), pod(Some("0m"), false)], Some(2)),
            ("nobody says anything", vec![pod(None, true)], None),
        ] {
            assert_eq!(asked(half(), &pods), expected, "{what}");
        }
        let average = json!({"type": "AverageValue", "averageValue": "30m"});
        assert_eq!(asked(average, &[busy("60m"), busy("60m")]), Some(4));
    }
}
