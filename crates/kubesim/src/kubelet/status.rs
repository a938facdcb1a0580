//! The status of a pod as its containers make it: phase, conditions, container statuses. Pure.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    container::{Container, Ended, Now, Role, State, Why},
    life::Life,
    plan,
};
use crate::object::{self, items, text};

/// The pod with the status that its life gives it.
pub(crate) fn write(seen: &Value, life: &Life, address: Option<Ipv4Addr>, now: &Now) -> Value {
    let mut value = seen.clone();
    let stamp = stamp(now.wall);
    object::default(&mut value, &["status", "startTime"], json!(stamp));
    object::default(&mut value, &["status", "hostIP"], json!("127.0.0.1"));
    object::default(&mut value, &["status", "hostIPs"], json!([{"ip": "127.0.0.1"}]));
    if let Some(address) = address.filter(|_| life.sandbox) {
        object::set(&mut value, &["status", "podIP"], json!(address));
        object::set(&mut value, &["status", "podIPs"], json!([{"ip": address}]));
    }
    let (mut init, mut apps, mut ephemeral) = (Vec::new(), Vec::new(), Vec::new());
    for ((_, spec), container) in plan::containers(seen).zip(&life.containers) {
        let list = match container.role {
            Role::Init | Role::Sidecar => &mut init,
            Role::App => &mut apps,
            Role::Ephemeral => &mut ephemeral,
        };
        list.push(status(seen, spec, container));
    }
    for (field, list) in [("initContainerStatuses", init), ("ephemeralContainerStatuses", ephemeral)] {
        if !list.is_empty() {
            object::set(&mut value, &["status", field], Value::Array(list));
        }
    }
    object::set(&mut value, &["status", "containerStatuses"], Value::Array(apps));
    let phase = phase(seen, life);
    object::set(&mut value, &["status", "phase"], json!(phase));
    if life.expired {
        object::set(&mut value, &["status", "reason"], json!("DeadlineExceeded"));
        let message = "Pod was active on the node longer than the specified deadline";
        object::set(&mut value, &["status", "message"], json!(message));
    }
    for condition in conditions(seen, life, phase) {
        object::set_condition(&mut value, &condition, &stamp);
    }
    value
}

pub(crate) fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn status(pod: &Value, spec: &Value, container: &Container) -> Value {
    let (name, image) = (text(spec, "/name"), text(spec, "/image"));
    let id = |number: u32| format!("kubesim://{}-{name}-{number}", object::uid(pod));
    let ran = container.last.is_some() || !matches!(container.state, State::Waiting(..));
    let mut status = json!({
        "name": name, "image": image, "imageID": "", "ready": container.ready, "started": container.started,
        "restartCount": container.restarts, "state": state(container, spec, &id(container.restarts)), "lastState": {},
    });
    if ran {
        status["imageID"] = json!(format!("kubesim://{image}"));
        status["containerID"] = json!(id(container.restarts));
    }
    if let Some(last) = &container.last {
        // While it waits for the next start, its number is still that of the last one.
        let waits = matches!(container.state, State::Waiting(..));
        let number = if waits { container.restarts } else { container.restarts.saturating_sub(1) };
        status["lastState"] = json!({"terminated": terminated(last, &id(number))});
    }
    status
}

fn state(container: &Container, spec: &Value, id: &str) -> Value {
    match &container.state {
        State::Running(since) => json!({"running": {"startedAt": stamp(since.wall)}}),
        State::Terminated(ended, _) => json!({"terminated": terminated(ended, id)}),
        State::Waiting(why, _) => {
            let (reason, message) = waiting(why, spec);
            let mut waiting = json!({"reason": reason});
            if let Some(message) = message {
                waiting["message"] = json!(message);
            }
            json!({"waiting": waiting})
        }
    }
}

fn waiting(why: &Why, spec: &Value) -> (&'static str, Option<String>) {
    let (name, image) = (text(spec, "/name"), text(spec, "/image"));
    match why {
        Why::PodInitializing => ("PodInitializing", None),
        Why::ContainerCreating => ("ContainerCreating", None),
        Why::CrashLoopBackOff => {
            ("CrashLoopBackOff", Some(format!("back-off restarting failed container={name}")))
        }
        Why::ErrImagePull => ("ErrImagePull", Some(super::image::missing(image))),
        Why::ImagePullBackOff => ("ImagePullBackOff", Some(format!("Back-off pulling image {image:?}"))),
        Why::CreateContainerConfigError(message) => ("CreateContainerConfigError", Some(message.to_string())),
    }
}

fn terminated(ended: &Ended, id: &str) -> Value {
    let mut value = json!({
        "exitCode": ended.code, "reason": ended.reason, "finishedAt": stamp(ended.finished), "containerID": id,
    });
    if let Some(signal) = ended.signal {
        value["signal"] = json!(signal);
    }
    if let Some(message) = &ended.message {
        value["message"] = json!(message);
    }
    if let Some(started) = ended.started {
        value["startedAt"] = json!(stamp(started));
    }
    value
}

/// The phase, from the containers alone.
pub(crate) fn phase(pod: &Value, life: &Life) -> &'static str {
    let apps = || life.containers.iter().filter(|c| c.role == Role::App);
    let ended = |c: &Container| match &c.state {
        State::Terminated(ended, _) => Some(ended.code),
        State::Waiting(..) => c.last.as_ref().map(|l| l.code),
        State::Running(_) => None,
    };
    let over = life.done() || (object::deleting(pod) && life.stopping.is_some());
    if over && !life.any_running() && (life.done() || apps().any(|c| ended(c).is_some())) {
        let good = !life.expired && apps().all(|c| ended(c) == Some(0));
        return if good { "Succeeded" } else { "Failed" };
    }
    // One that never ran makes the pod wait; one that ran before does not.
    if !life.initialized || apps().any(|c| c.running().is_none() && ended(c).is_none()) {
        return "Pending";
    }
    "Running"
}

fn conditions(pod: &Value, life: &Life, phase: &str) -> Vec<Value> {
    let over = match phase {
        "Succeeded" => Some("PodCompleted"),
        "Failed" => Some("PodFailed"),
        _ => None,
    };
    let names = |wanted: &dyn Fn(&Container) -> bool| {
        let all = plan::containers(pod).zip(&life.containers);
        let names: Vec<&str> =
            all.filter(|(_, c)| wanted(c)).map(|((_, spec), _)| text(spec, "/name")).collect();
        names.join(" ")
    };
    let unready = names(&|c| !matches!(c.role, Role::Init | Role::Ephemeral) && !c.ready);
    let incomplete = names(&|c| match c.role {
        Role::Init => c.over().is_none_or(|e| e.code != 0),
        Role::Sidecar => !c.started,
        Role::App | Role::Ephemeral => false,
    });
    let initialized = life.initialized || over == Some("PodCompleted");
    let message = |kind: &str, names: &str| format!("containers with {kind} status: [{names}]");
    let containers = (!unready.is_empty()).then(|| {
        over.map_or_else(|| ("ContainersNotReady", message("unready", &unready)), |why| (why, String::new()))
    });
    let ready = containers.clone().or_else(|| closed_gate(pod));
    let waits = || ("ContainersNotInitialized", message("incomplete", &incomplete));
    vec![
        condition(
            "PodReadyToStartContainers",
            (!life.sandbox || over.is_some()).then_some(("", String::new())),
        ),
        condition("PodScheduled", None),
        condition("Initialized", (!initialized).then(waits)),
        condition("ContainersReady", containers),
        condition("Ready", ready),
    ]
}

fn closed_gate(pod: &Value) -> Option<(&'static str, String)> {
    let gates = items(pod, "/spec/readinessGates").iter().map(|g| text(g, "/conditionType"));
    let closed = gates.into_iter().find(|gate| !object::condition_true(pod, gate))?;
    let message =
        format!("corresponding condition of pod readiness gate {closed:?} does not exist or is not True.");
    Some(("ReadinessGatesNotReady", message))
}

fn condition(kind: &str, not: Option<(&str, String)>) -> Value {
    let mut value = json!({"type": kind, "status": if not.is_some() { "False" } else { "True" }});
    for (field, text) in
        not.into_iter().flat_map(|(reason, message)| [("reason", reason.to_owned()), ("message", message)])
    {
        if !text.is_empty() {
            value[field] = json!(text);
        }
    }
    value
}

#[cfg(test)]
mod tests;
