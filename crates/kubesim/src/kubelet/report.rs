//! The status of a pod at each station of its life. Pure: the pod and the station in, the new pod out.

use serde_json::{Value, json};

use super::plan::Plan;
use crate::object::{self, items, text};

pub(crate) enum Station<'a> {
    /// Assigned, nothing runs yet.
    Creating,
    /// The image cannot be had.
    BadImage,
    /// The containers run.
    Running { address: &'a str },
    /// The process died and will be started again.
    Crashed,
    /// The process ended for good.
    Ended { failed: bool },
}

pub(crate) fn at(pod: &Value, station: &Station<'_>, now: &str) -> Value {
    let mut value = pod.clone();
    object::default(&mut value, &["status", "startTime"], json!(now));
    object::default(&mut value, &["status", "hostIP"], json!("127.0.0.1"));
    for done in ["PodScheduled", "Initialized"] {
        object::set_condition(&mut value, &json!({"type": done, "status": "True"}), now);
    }
    let statuses: Vec<Value> =
        items(pod, "/spec/containers").iter().map(|c| container(pod, c, station, now)).collect();
    object::set(&mut value, &["status", "containerStatuses"], Value::Array(statuses));
    let phase = match station {
        Station::Creating | Station::BadImage => "Pending",
        Station::Running { .. } | Station::Crashed => "Running",
        Station::Ended { failed: true } => "Failed",
        Station::Ended { failed: false } => "Succeeded",
    };
    object::set(&mut value, &["status", "phase"], json!(phase));
    if let Station::Running { address } = station {
        object::set(&mut value, &["status", "podIP"], json!(address));
        object::set(&mut value, &["status", "podIPs"], json!([{"ip": address}]));
    }
    value
}

fn container(pod: &Value, container: &Value, station: &Station<'_>, now: &str) -> Value {
    let name = text(container, "/name");
    let old = items(pod, "/status/containerStatuses")
        .iter()
        .find(|s| s["name"] == name)
        .cloned()
        .unwrap_or_default();
    let image = text(container, "/image");
    let restarts = object::int(&old, "/restartCount").unwrap_or(0);
    let mut status = json!({
        "name": name, "image": image, "imageID": "", "ready": false, "started": false, "restartCount": restarts,
        "state": {}, "lastState": old.get("lastState").cloned().unwrap_or_else(|| json!({})),
    });
    let ended = |code: i64, reason: &str| {
        let started = old["state"]["running"]["startedAt"].clone();
        json!({"terminated": {"exitCode": code, "reason": reason, "startedAt": started, "finishedAt": now}})
    };
    match station {
        Station::Creating => status["state"] = json!({"waiting": {"reason": "ContainerCreating"}}),
        Station::BadImage => {
            let message = format!("Back-off pulling image {image:?}");
            status["state"] = json!({"waiting": {"reason": "ImagePullBackOff", "message": message}});
        }
        Station::Running { .. } => {
            status["state"] = json!({"running": {"startedAt": now}});
            status["started"] = json!(true);
            status["imageID"] = json!(format!("kubesim://{image}"));
            status["containerID"] = json!(format!("kubesim://{}-{name}-{restarts}", object::uid(pod)));
        }
        Station::Crashed => {
            status["restartCount"] = json!(restarts + 1);
            status["lastState"] = ended(1, "Error");
            let message = format!("back-off restarting failed container={name}");
            status["state"] = json!({"waiting": {"reason": "CrashLoopBackOff", "message": message}});
        }
        Station::Ended { failed } => {
            status["state"] = if *failed { ended(1, "Error") } else { ended(0, "Completed") };
        }
    }
    status
}

/// Whether the containers are ready by themselves, and then the pod by its gates.
pub(crate) fn readiness(pod: &Value, containers_ready: bool, why: &str, now: &str) -> Value {
    let mut value = pod.clone();
    for status in
        value["status"].get_mut("containerStatuses").and_then(Value::as_array_mut).into_iter().flatten()
    {
        status["ready"] = json!(containers_ready);
    }
    let closed: Vec<&str> = items(pod, "/spec/readinessGates")
        .iter()
        .map(|g| text(g, "/conditionType"))
        .filter(|gate| !object::condition_true(pod, gate))
        .collect();
    let condition = |name: &str, ready: bool, reason: &str, message: &str| {
        let mut condition = json!({"type": name, "status": if ready { "True" } else { "False" }});
        if !ready {
            condition["reason"] = json!(reason);
            condition["message"] = json!(message);
        }
        condition
    };
    let containers = condition("ContainersReady", containers_ready, why, "containers with unready status");
    object::set_condition(&mut value, &containers, now);
    let ready = if containers_ready && !closed.is_empty() {
        let message = format!(
            "corresponding condition of pod readiness gate {:?} does not exist or is not True.",
            closed[0]
        );
        condition("Ready", false, "ReadinessGatesNotReady", &message)
    } else {
        condition("Ready", containers_ready, why, "containers with unready status")
    };
    object::set_condition(&mut value, &ready, now);
    value
}

/// How long a stopping pod really takes: as long as it wants, but not longer than it may.
pub(crate) fn shutdown(pod: &Value, plan: &Plan) -> std::time::Duration {
    let grace = object::int(pod, "/metadata/deletionGracePeriodSeconds").unwrap_or(0);
    plan.shutdown.min(std::time::Duration::from_secs(u64::try_from(grace).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Value {
        json!({"metadata": {"name": "a", "uid": "u"}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}})
    }

    #[test]
    fn a_pod_goes_through_its_stations() {
        let creating = at(&pod(), &Station::Creating, "t1");
        assert_eq!(creating["status"]["phase"], "Pending");
        let running = at(&creating, &Station::Running { address: "127.9.0.1" }, "t2");
        assert_eq!(running["status"]["podIP"], "127.9.0.1");
        let crashed = at(&running, &Station::Crashed, "t3");
        let container = &crashed["status"]["containerStatuses"][0];
        assert_eq!(container["restartCount"], 1);
        assert_eq!(container["lastState"]["terminated"]["startedAt"], "t2");
        assert_eq!(container["state"]["waiting"]["reason"], "CrashLoopBackOff");
        let ended = at(&running, &Station::Ended { failed: false }, "t4");
        assert_eq!(ended["status"]["phase"], "Succeeded");
    }

    #[test]
    fn readiness_waits_for_every_gate() {
        let mut gated = at(&pod(), &Station::Running { address: "127.9.0.1" }, "t");
        gated["spec"]["readinessGates"] = json!([{"conditionType": "bcs/registered"}]);
        let closed = readiness(&gated, true, "", "t");
        assert!(
            object::condition_true(&closed, "ContainersReady") && !object::condition_true(&closed, "Ready")
        );
        let mut open = closed;
        object::set_condition(&mut open, &json!({"type": "bcs/registered", "status": "True"}), "t");
        assert!(object::condition_true(&readiness(&open, true, "", "t"), "Ready"));
        assert!(!object::condition_true(&readiness(&open, false, "x", "t"), "Ready"));
    }
}
