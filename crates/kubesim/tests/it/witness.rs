//! Watching pods from outside: what they become, and what is said about them.

use bcs_kubesim::{Config, Kubesim};
use serde_json::Value;

use crate::harness::{PODS, Raw, eventually};

/// A simulator with settings of its own.
pub(crate) async fn sim_with(name: &str, change: impl FnOnce(&mut Config)) -> Kubesim {
    let mut config = Config { name: name.to_owned(), ..Config::default() };
    change(&mut config);
    bcs_kubesim::start(config).await.expect("a simulator")
}

/// Waits until a pod looks as wanted, and returns it.
pub(crate) async fn pod_that(sim: &Kubesim, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let path = format!("{PODS}/{name}");
    let wanted = &wanted;
    eventually(|| {
        let path = &path;
        async move {
            let (_, pod) = Raw(sim).get(path).await;
            if wanted(&pod) { Ok(pod) } else { Err(format!("{} {}", pod["metadata"], pod["status"])) }
        }
    })
    .await
}

pub(crate) async fn gone(sim: &Kubesim, name: &str) {
    pod_that(sim, name, |answer| answer["code"] == 404).await;
}

/// The reasons of the events about an object, oldest first.
pub(crate) async fn events(sim: &Kubesim, about: &str) -> Vec<(String, String)> {
    let (_, list) = Raw(sim).get("/api/v1/namespaces/default/events").await;
    let mut all: Vec<Value> = list["items"].as_array().cloned().unwrap_or_default();
    all.retain(|e| e["involvedObject"]["name"] == about);
    all.sort_by_key(|e| e["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse::<u64>().ok()));
    let text = |e: &Value, field: &str| e[field].as_str().unwrap_or("").to_owned();
    all.iter().map(|e| (text(e, "reason"), text(e, "message"))).collect()
}

/// Waits for an event about an object.
pub(crate) async fn event(sim: &Kubesim, about: &str, reason: &str, part: &str) {
    eventually(|| async {
        let all = events(sim, about).await;
        if all.iter().any(|(r, m)| r == reason && m.contains(part)) {
            Ok(())
        } else {
            Err(format!("{all:?}"))
        }
    })
    .await;
}
