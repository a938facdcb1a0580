//! The simulated nodes: they are made at the start, and say that they are well until told otherwise.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    clock, kind,
    object::{self, Key, text},
    status::Status,
    store::Store,
};

/// How large every node is.
pub(crate) struct Shape<'a> {
    pub cpu: &'a str,
    pub memory: &'a str,
    pub pods: usize,
}

pub(crate) fn create(store: &Store, cluster: &str, count: usize, shape: &Shape<'_>) -> Result<(), Status> {
    for index in 1..=count {
        let name = format!("{cluster}-node-{index}");
        match store.create(&kind::NODES, node(&name, index, shape)) {
            Err(status) if status.reason != "AlreadyExists" => return Err(status),
            _ => {}
        }
    }
    Ok(())
}

fn node(name: &str, index: usize, shape: &Shape<'_>) -> Value {
    let size = json!({"cpu": shape.cpu, "memory": shape.memory, "pods": shape.pods.to_string(), "ephemeral-storage": "100Gi"});
    let now = clock::stamp();
    let condition = |kind: &str, status: &str, reason: &str, message: &str| json!({"type": kind, "status": status, "reason": reason, "message": message, "lastHeartbeatTime": now, "lastTransitionTime": now});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
            "topology.kubernetes.io/zone": format!("zone-{}", (index - 1) % 3 + 1),
        }},
        "spec": {"providerID": format!("kubesim://{name}")},
        "status": {
            "capacity": size, "allocatable": size,
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
            ],
            "nodeInfo": {
                "kubeletVersion": "v1.36.0", "kubeProxyVersion": "", "containerRuntimeVersion": "kubesim://1", "osImage": "kubesim",
                "operatingSystem": "linux", "architecture": "amd64", "kernelVersion": "0", "machineID": name, "systemUUID": name, "bootID": name,
            },
        },
    })
}

/// Follows the set of lost nodes.
pub(crate) async fn follow(store: Arc<Store>, mut down: watch::Receiver<BTreeSet<String>>) {
    let mut lost = BTreeSet::new();
    loop {
        let wanted = down.borrow_and_update().clone();
        for name in lost.symmetric_difference(&wanted) {
            if let Err(status) = report(&store, name, !wanted.contains(name)) {
                tracing::debug!(error = %status, node = %name, "the state of a node was not written");
            }
        }
        lost = wanted;
        if down.changed().await.is_err() {
            return;
        }
    }
}

const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

fn report(store: &Store, name: &str, up: bool) -> Result<(), Status> {
    let done = store.update(&kind::NODES, &Key::new("", name), |seen| {
        let mut value = seen.clone();
        let now = clock::stamp();
        let (status, reason, message) = if up {
            ("True", "KubeletReady", "kubelet is posting ready status")
        } else {
            ("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.")
        };
        let condition = json!({"type": "Ready", "status": status, "reason": reason, "message": message, "lastHeartbeatTime": now});
        object::set_condition(&mut value, &condition, &now);
        let mut taints = object::items(seen, "/spec/taints").to_vec();
        taints.retain(|t| text(t, "/key") != UNREACHABLE);
        if !up {
            taints.push(json!({"key": UNREACHABLE, "effect": "NoSchedule", "timeAdded": now}));
        }
        if taints.is_empty() {
            object::unset(&mut value, &["spec", "taints"]);
        } else {
            object::set(&mut value, &["spec", "taints"], Value::Array(taints));
        }
        Ok(Some(value))
    });
    done.map(|_| ())
}
