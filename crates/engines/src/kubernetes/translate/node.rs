//! Pure: a Kubernetes node as a `Node`.

use bcs_schemas::observation::{Capacity, Node};
use k8s_openapi::api::core::v1 as core;

use super::{Sight, quantity};

/// Well-known label of a node.
const ZONE: &str = "topology.kubernetes.io/zone";

/// None when the node has no name, which no server answers.
pub(crate) fn node(node: &core::Node, sight: Sight<'_>) -> Option<Node> {
    let name = node.metadata.name.clone()?;
    let info = node.status.as_ref().and_then(|s| s.node_info.as_ref());
    let (ready, reason) = readiness(node);
    Some(Node {
        cluster: sight.cluster.clone(),
        name,
        ready,
        cordoned: cordoned(node),
        capacity: capacity(node),
        version: info.map(|i| i.kubelet_version.clone()).unwrap_or_default(),
        os: info.map(|i| i.operating_system.clone()).unwrap_or_default(),
        arch: info.map(|i| i.architecture.clone()).unwrap_or_default(),
        zone: node.metadata.labels.as_ref().and_then(|labels| labels.get(ZONE)).cloned(),
        labels: node.metadata.labels.clone().unwrap_or_default(),
        reason,
        observed_at: sight.now,
    })
}

/// Whether the node is closed for new instances.
pub(crate) fn cordoned(node: &core::Node) -> bool {
    node.spec.as_ref().and_then(|s| s.unschedulable).unwrap_or(false)
}

fn readiness(node: &core::Node) -> (bool, Option<String>) {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    let Some(ready) = conditions.and_then(|all| all.iter().find(|c| c.type_ == "Ready")) else {
        return (false, Some("has not reported yet".to_owned()));
    };
    match ready.status.as_str() {
        "True" => (true, None),
        _ => (false, ready.message.clone().or_else(|| ready.reason.clone())),
    }
}

/// What instances can use: `allocatable`, which is the capacity without what the node keeps for itself.
fn capacity(node: &core::Node) -> Capacity {
    let status = node.status.as_ref();
    let quantity = |name: &str| {
        let from = |all: Option<&std::collections::BTreeMap<String, _>>| all?.get(name).cloned();
        let found = from(status.and_then(|s| s.allocatable.as_ref()));
        found.or_else(|| from(status.and_then(|s| s.capacity.as_ref())))
    };
    let units = |name| {
        quantity(name)
            .map_or(0, |q: k8s_openapi::apimachinery::pkg::api::resource::Quantity| quantity::units(&q.0))
    };
    Capacity {
        cpu_millis: quantity("cpu").map_or(0, |q| quantity::thousandths(&q.0)),
        memory_bytes: units("memory"),
        instances: units("pods"),
    }
}
