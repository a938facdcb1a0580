//! Follows the set of lost nodes: after the grace they are reported as unknown, and as ready when they are back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use crate::{
    clock, kind,
    object::{self, Key, text},
    status::Status,
    store::Store,
};

pub(crate) async fn follow(store: Arc<Store>, mut down: watch::Receiver<BTreeSet<String>>, grace: Duration) {
    // Nodes that were lost before a restart of the simulator: the loss is a fault, and faults do not outlive it.
    let mut lost: BTreeSet<String> = store
        .list(&kind::NODES, "")
        .objects
        .iter()
        .filter(|n| object::condition(n, "Ready").is_some_and(|c| text(c, "/reason") == "NodeStatusUnknown"))
        .map(|n| object::name(n).to_owned())
        .collect();
    let mut since: BTreeMap<String, Instant> = BTreeMap::new();
    loop {
        let (silent, now) = (down.borrow_and_update().clone(), Instant::now());
        since.retain(|name, _| silent.contains(name));
        for name in &silent {
            since.entry(name.clone()).or_insert(now);
        }
        let wanted: BTreeSet<String> =
            since.iter().filter(|(_, at)| **at + grace <= now).map(|(name, _)| name.clone()).collect();
        for name in lost.symmetric_difference(&wanted) {
            if let Err(status) = report(&store, name, !wanted.contains(name)) {
                tracing::debug!(error = %status, node = %name, "the state of a node was not written");
            }
        }
        let next = since.iter().filter(|(name, _)| !wanted.contains(*name)).map(|(_, at)| *at + grace).min();
        lost = wanted;
        tokio::select! {
            changed = down.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(next.unwrap_or(now)), if next.is_some() => {}
        }
    }
}

pub(super) fn conditions(up: bool, now: &str) -> Vec<Value> {
    let all = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ];
    let lost = ("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.");
    let one = |(kind, status, reason, message): (&str, &str, &str, &str)| {
        let (status, reason, message) = if up { (status, reason, message) } else { lost };
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        })
    };
    all.map(one).to_vec()
}

/// The heartbeat of a node that is well, or what is said of one that is not.
pub(super) fn report(store: &Store, name: &str, up: bool) -> Result<(), Status> {
    let done = store.update(&kind::NODES, &Key::new("", name), |seen| {
        let mut value = seen.clone();
        let now = clock::stamp();
        for mut condition in conditions(up, &now) {
            if !up && let Some(old) = object::condition(seen, text(&condition, "/type")) {
                condition["lastHeartbeatTime"] = old["lastHeartbeatTime"].clone();
            }
            object::set_condition(&mut value, &condition, &now);
        }
        Ok(Some(value))
    });
    done.map(|_| ())
}
