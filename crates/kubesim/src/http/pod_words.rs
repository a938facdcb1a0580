//! The words about a pod in the table of `kubectl get pods`.

use serde_json::Value;

use crate::object::{self, int, items, text};

/// Nobody looks for a node yet.
const GATED: &str = "SchedulingGated";

/// The one word that says how a pod is.
pub(crate) fn status(pod: &Value) -> String {
    let lost = text(pod, "/status/reason") == "NodeLost" || condition_reason(pod, "Ready") == "NodeNotReady";
    if object::deleting(pod) {
        return if lost { "Unknown" } else { "Terminating" }.to_owned();
    }
    if let Some(word) = initializing(pod) {
        return word;
    }
    let mut word = text(pod, "/status/reason");
    if word.is_empty() {
        word = text(pod, "/status/phase");
    }
    if condition_reason(pod, "PodScheduled") == GATED {
        word = GATED;
    }
    let mut running = false;
    let mut own = None;
    for status in items(pod, "/status/containerStatuses").iter().rev() {
        match trouble(status) {
            Some(reason) => own = Some(reason),
            None => running |= status["ready"] == true,
        }
    }
    match own {
        // One container is done and another one goes on.
        Some(reason) if reason == "Completed" && running => {
            if object::condition_true(pod, "Ready") { "Running" } else { "NotReady" }.to_owned()
        }
        Some(reason) => reason,
        None => word.to_owned(),
    }
}

fn condition_reason<'a>(pod: &'a Value, kind: &str) -> &'a str {
    object::condition(pod, kind).map_or("", |c| text(c, "/reason"))
}

/// Why a container does not run.
fn trouble(status: &Value) -> Option<String> {
    let waiting = text(status, "/state/waiting/reason");
    let ended = &status["state"]["terminated"];
    if !waiting.is_empty() {
        return Some(waiting.to_owned());
    }
    if !ended.is_object() {
        return None;
    }
    let reason = text(ended, "/reason");
    Some(match (reason, int(ended, "/signal"), int(ended, "/exitCode")) {
        ("", Some(signal), _) if signal != 0 => format!("Signal:{signal}"),
        ("", _, code) => format!("ExitCode:{}", code.unwrap_or(0)),
        _ => reason.to_owned(),
    })
}

fn sidecar(pod: &Value, index: usize) -> bool {
    items(pod, "/spec/initContainers").get(index).is_some_and(|c| text(c, "/restartPolicy") == "Always")
}

/// `Init:1/3` or what is wrong with the init container whose turn it is.
fn initializing(pod: &Value) -> Option<String> {
    let statuses = items(pod, "/status/initContainerStatuses");
    for (index, status) in statuses.iter().enumerate() {
        let done = text(status, "/state/terminated/reason") == "Completed"
            || (sidecar(pod, index) && status["started"] == true);
        if done {
            continue;
        }
        if object::condition_true(pod, "Initialized") {
            return None;
        }
        return Some(match trouble(status) {
            Some(reason) if reason != "PodInitializing" && reason != "ContainerCreating" => {
                format!("Init:{reason}")
            }
            _ => format!("Init:{index}/{}", items(pod, "/spec/initContainers").len()),
        });
    }
    None
}

/// Ready containers, all containers, restarts; sidecars count.
pub(crate) fn counts(pod: &Value) -> (usize, usize, i64) {
    let sidecars = items(pod, "/status/initContainerStatuses").iter().enumerate();
    let sidecars = sidecars.filter(|(index, _)| sidecar(pod, *index)).map(|(_, status)| status);
    let all: Vec<&Value> = sidecars.chain(items(pod, "/status/containerStatuses")).collect();
    let ready = all.iter().filter(|s| s["ready"] == true).count();
    let restarts =
        |list: &mut dyn Iterator<Item = &Value>| list.filter_map(|s| int(s, "/restartCount")).sum();
    let init = items(pod, "/status/initContainerStatuses");
    let restarts = if object::condition_true(pod, "Initialized") {
        restarts(&mut all.iter().copied())
    } else {
        restarts(&mut init.iter())
    };
    let beside = (0..items(pod, "/spec/initContainers").len()).filter(|i| sidecar(pod, *i)).count();
    (ready, items(pod, "/spec/containers").len() + beside, restarts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(init: &Value, apps: &Value, initialized: bool) -> Value {
        json!({
            "spec": {"initContainers": [{"name": "setup"}, {"name": "proxy", "restartPolicy": "Always"}], "containers": [{}, {}]},
            "status": {
                "phase": if initialized { "Running" } else { "Pending" },
                "conditions": [{"type": "Initialized", "status": if initialized { "True" } else { "False" }}],
                "initContainerStatuses": init, "containerStatuses": apps,
            },
        })
    }

    #[test]
    fn a_pod_is_described_as_kubectl_does() {
        let waiting = |reason: &str| json!({"state": {"waiting": {"reason": reason}}, "restartCount": 3});
        let ended = |reason: &str| json!({"state": {"terminated": {"reason": reason, "exitCode": 0}}, "restartCount": 1});
        let running = json!({"state": {"running": {}}, "ready": true, "started": true, "restartCount": 1});
        let (creating, init) = (waiting("PodInitializing"), json!([ended("Completed"), running]));
        for (init, apps, initialized, word, numbers) in [
            (json!([running, creating]), json!([creating, creating]), false, "Init:0/2", (0, 3, 4)),
            (
                json!([waiting("CrashLoopBackOff"), creating]),
                json!([creating]),
                false,
                "Init:CrashLoopBackOff",
                (0, 3, 6),
            ),
            (init.clone(), json!([running, running]), true, "Running", (3, 3, 3)),
            (
                init.clone(),
                json!([running, waiting("CrashLoopBackOff")]),
                true,
                "CrashLoopBackOff",
                (2, 3, 5),
            ),
            (init.clone(), json!([running, ended("Completed")]), true, "NotReady", (2, 3, 3)),
            (init, json!([ended("Error"), ended("Completed")]), true, "Error", (1, 3, 3)),
        ] {
            let pod = pod(&init, &apps, initialized);
            assert_eq!((status(&pod).as_str(), counts(&pod)), (word, numbers), "{pod}");
        }
        let mut leaving = pod(&json!([]), &json!([running]), true);
        leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(status(&leaving), "Terminating");
    }
}
