//! Nodes: how they are made, and what becomes of them and of their pods when they are lost or deleted.

mod eviction;
mod health;
mod lease;
mod orphan;
mod taint;

use std::time::Duration;

use serde_json::{Value, json};

pub(crate) use self::{
    eviction::Evictions, health::follow, lease::renew, orphan::Orphans, taint::Taints,
    taint::parse as parse_taint,
};
use crate::{Config, NodeProfile, clock, kind, object, status::Status, store::Store};

pub(crate) fn create(store: &Store, config: &Config) -> Result<(), Status> {
    let plain = NodeProfile {
        count: config.nodes,
        cpu: config.node_cpu.clone(),
        memory: config.node_memory.clone(),
        pods: config.node_pods,
        ..NodeProfile::default()
    };
    let profiles = std::iter::once(&plain).chain(&config.node_profiles);
    let all = profiles.flat_map(|profile| std::iter::repeat_n(profile, profile.count));
    for (index, profile) in (1_usize..).zip(all) {
        let name = format!("{}-node-{index}", config.name);
        match store.create(&kind::NODES, node(&name, index, profile)) {
            Err(status) if status.reason != "AlreadyExists" => return Err(status),
            _ => {}
        }
    }
    Ok(())
}

fn node(name: &str, index: usize, profile: &NodeProfile) -> Value {
    let size = json!({
        "cpu": profile.cpu, "memory": profile.memory, "pods": profile.pods.to_string(), "ephemeral-storage": "100Gi",
    });
    let zone = profile.zone.clone().unwrap_or_else(|| format!("zone-{}", (index - 1) % 3 + 1));
    let mut node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": profile.os, "kubernetes.io/arch": profile.arch,
            "topology.kubernetes.io/zone": zone,
        }},
        "spec": {"providerID": format!("kubesim://{name}")},
        "status": {
            "capacity": size, "allocatable": size,
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
            "conditions": health::conditions(true, &clock::stamp()),
            "nodeInfo": {
                "kubeletVersion": "v1.36.0", "kubeProxyVersion": "", "containerRuntimeVersion": "kubesim://1", "osImage": "kubesim",
                "operatingSystem": profile.os, "architecture": profile.arch, "kernelVersion": "0", "machineID": name,
                "systemUUID": name, "bootID": name,
            },
        },
    });
    for (key, value) in &profile.labels {
        object::set(&mut node, &["metadata", "labels", key], json!(value));
    }
    if !profile.taints.is_empty() {
        let taints = profile.taints.iter().filter_map(|text| taint::parse(text)).collect();
        object::set(&mut node, &["spec", "taints"], Value::Array(taints));
    }
    node
}

/// How long a pod may be assigned to a node that does not exist: much shorter than real, since tests wait for it.
const QUARANTINE: Duration = Duration::from_millis(200);

/// Says why a pod is made to go, before it goes.
pub(super) fn disrupt(
    store: &Store,
    key: &object::Key,
    reason: &str,
    message: &str,
    fail: bool,
) -> Result<(), Status> {
    let condition =
        json!({"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message});
    let done = store.update(&kind::PODS, key, |seen| {
        let mut value = seen.clone();
        object::set_condition(&mut value, &condition, &clock::stamp());
        if fail && !matches!(object::text(seen, "/status/phase"), "Succeeded" | "Failed") {
            object::set(&mut value, &["status", "phase"], json!("Failed"));
        }
        Ok(Some(value))
    });
    done.map(|_| ())
}
