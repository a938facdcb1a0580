//! A pod that ran before a restart of the simulator: its life, read back from its status. Pure.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::Value;

use super::{
    container::{self, Container, Ended, Exit, Now, Role, Stage, State, Why, backoff},
    life::Life,
    plan, session, stop,
};
use crate::object::{self, int, text};

/// `None` for a pod that had not come as far as to its address.
pub(crate) fn life(pod: &Value, process: bool, now: Now) -> Option<Life> {
    if text(pod, "/status/podIP").is_empty() {
        return None;
    }
    let mut life = Life::new(pod, now);
    life.sandbox = true;
    life.initialized = object::condition_true(pod, "Initialized");
    for ((_, spec), container) in plan::containers(pod).zip(&mut life.containers) {
        let name = &spec["name"];
        let status = session::status(pod, name.as_str().unwrap_or(""));
        if status.is_object() {
            read(container, status, now);
        }
        let again = container.over().is_some_and(|e| container::restarts(pod, spec, container.role, e.code));
        if let State::Terminated(_, next) = &mut container.state {
            *next = again.then_some(now.at);
        }
        if process && container.running().is_some() {
            // Nobody knows how it ended.
            container.exit(
                Exit { code: 255, signal: None, special: Some(("Unknown", "".into())) },
                None,
                now,
            );
            if let State::Terminated(_, again) = &mut container.state {
                *again = (container.role != Role::Ephemeral).then_some(now.at);
            }
        }
    }
    Some(life)
}

fn read(container: &mut Container, status: &Value, now: Now) {
    container.restarts = int(status, "/restartCount").and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    container.failures = container.restarts;
    container.image = stop::fingerprint(text(status, "/image"));
    container.started = status["started"] == true;
    container.ready = status["ready"] == true;
    let ended = |value: &Value| value.is_object().then(|| Box::new(ended(value, now)));
    container.last = ended(&status["lastState"]["terminated"]);
    if let Some(ended) = ended(&status["state"]["terminated"]) {
        container.state = State::Terminated(ended, None);
    } else if status["state"]["running"].is_object() {
        container.state = State::Running(Now { wall: time(status, "/state/running/startedAt", now), ..now });
    } else if text(status, "/state/waiting/reason") == "CrashLoopBackOff" {
        let until = now.at + backoff(container.failures);
        container.state = State::Waiting(Why::CrashLoopBackOff, Stage::Held(until));
    }
}

fn time(value: &Value, pointer: &str, now: Now) -> Timestamp {
    text(value, pointer).parse().unwrap_or(now.wall)
}

fn ended(value: &Value, now: Now) -> Ended {
    let message = text(value, "/message");
    Ended {
        code: int(value, "/exitCode").and_then(|n| i32::try_from(n).ok()).unwrap_or(0),
        signal: int(value, "/signal").and_then(|n| i32::try_from(n).ok()),
        reason: Cow::Owned(text(value, "/reason").to_owned()),
        message: (!message.is_empty()).then(|| message.into()),
        started: text(value, "/startedAt").parse().ok(),
        finished: time(value, "/finishedAt", now),
    }
}
