//! What a pod wants of its node, read once for all that want the same. Pure.

use serde_json::Value;

use super::{
    super::{fit, request},
    spread::Constraint,
    term::Terms,
};
use crate::{
    clock,
    object::{self, int, items, text},
    selector,
};

/// What a container that asks for nothing counts for when nodes are compared, as in the real scheduler: otherwise all such pods went to
/// one node.
const DEFAULT_CPU: i128 = 100;
const DEFAULT_MEMORY: i128 = (200 << 20) * 1000;

/// A port of the node itself: its address, protocol and number.
pub(super) type Port = (String, String, i64);

#[derive(Debug, Default)]
pub(super) struct Wish {
    pub class: Class,
    pub namespace: String,
    pub labels: selector::Map,
    pub requests: Vec<(String, i128)>,
    /// Processors and memory that it counts for.
    pub load: (i128, i128),
    pub ports: Vec<Port>,
    pub tolerations: Vec<Value>,
    /// Whether it tolerates more than that its node is lost for a while: every pod does that.
    pub tolerant: bool,
    pub choice: fit::Choice,
    /// The only nodes that it may go to, if its affinity names them.
    pub names: Option<Vec<String>>,
    /// Nodes that it would rather have.
    pub nodes_liked: Vec<(i64, fit::Term)>,
    pub terms: Terms,
    pub spread: Vec<Constraint>,
    pub priority: i64,
    /// Whether it may drive out pods of less priority.
    pub preempts: bool,
}

/// Pods of one class want the same, so that they fit on the same nodes.
pub(super) type Class = u64;

impl Wish {
    pub(super) fn of(pod: &Value) -> Self {
        let mut requests: Vec<(String, i128)> = request::of_pod(pod, "requests").into_iter().collect();
        let asked = |name: &str| requests.iter().find(|(n, _)| n == name).map_or(0, |(_, amount)| *amount);
        let silent = |name: &str| {
            let without = |c: &&Value| c["resources"]["requests"][name].is_null();
            i128::try_from(items(pod, "/spec/containers").iter().filter(without).count()).unwrap_or(0)
        };
        let load =
            (asked("cpu") + silent("cpu") * DEFAULT_CPU, asked("memory") + silent("memory") * DEFAULT_MEMORY);
        requests.retain(|(_, amount)| *amount > 0);
        let choice = fit::Choice::of(pod);
        let tolerations = items(pod, "/spec/tolerations").to_vec();
        Self {
            class: class(pod),
            namespace: object::namespace(pod).to_owned(),
            labels: object::labels(pod).cloned().unwrap_or_default(),
            requests,
            load,
            ports: ports(pod),
            tolerant: !tolerations.iter().all(of_lost_nodes),
            tolerations,
            names: choice.names(),
            choice,
            nodes_liked: nodes_liked(pod),
            terms: Terms::of(pod),
            spread: Constraint::all(pod),
            preempts: text(pod, "/spec/preemptionPolicy") != "Never",
            priority: int(pod, "/spec/priority").unwrap_or(0),
        }
    }

    /// Whether other nodes than the emptiest may be better.
    pub(super) fn picky(&self) -> bool {
        let soft_spread = self.spread.iter().any(|constraint| !constraint.hard);
        !self.nodes_liked.is_empty() || !self.terms.liked.is_empty() || soft_spread
    }

    /// Whether it matters to it where other pods are.
    pub(super) fn sociable(&self) -> bool {
        !self.terms.is_empty() || !self.spread.is_empty()
    }

    pub(super) fn tolerates(&self, taint: &Value) -> bool {
        self.tolerations.iter().any(|toleration| fit::tolerates(toleration, taint))
    }
}

fn nodes_liked(pod: &Value) -> Vec<(i64, fit::Term)> {
    let affinity = &pod["spec"]["affinity"]["nodeAffinity"];
    let terms = items(affinity, "/preferredDuringSchedulingIgnoredDuringExecution").iter();
    terms.map(|t| (int(t, "/weight").unwrap_or(0), fit::Term::of(&t["preference"]))).collect()
}

fn of_lost_nodes(toleration: &Value) -> bool {
    let lost =
        matches!(text(toleration, "/key"), "node.kubernetes.io/not-ready" | "node.kubernetes.io/unreachable");
    lost && toleration["effect"] == fit::NO_EXECUTE
}

fn ports(pod: &Value) -> Vec<Port> {
    let sidecars = items(pod, "/spec/initContainers").iter().filter(|c| c["restartPolicy"] == "Always");
    let all = items(pod, "/spec/containers").iter().chain(sidecars).flat_map(|c| items(c, "/ports"));
    // Who uses the network of the node has all its ports there.
    let own_network = pod["spec"]["hostNetwork"] != true;
    let own = |port: &Value| {
        let outside = int(port, "/hostPort").filter(|number| *number > 0);
        let number = if own_network { outside } else { outside.or_else(|| int(port, "/containerPort")) }?;
        let or = |pointer: &str, otherwise: &str| match text(port, pointer) {
            "" => otherwise.to_owned(),
            found => found.to_owned(),
        };
        Some((or("/hostIP", "0.0.0.0"), or("/protocol", "TCP"), number))
    };
    all.filter_map(own).collect()
}

/// Whether two pods cannot have these ports on one node: an address clashes with itself and with all of them.
pub(super) fn clash(a: &Port, b: &Port) -> bool {
    let same_address = a.0 == b.0 || a.0 == "0.0.0.0" || b.0 == "0.0.0.0";
    same_address && a.1 == b.1 && a.2 == b.2
}

/// The class of a pod: whatever a wish is made of, in short.
pub(super) fn class(pod: &Value) -> Class {
    let spec = &pod["spec"];
    let mut class = format!("{}{}", object::namespace(pod), pod["metadata"]["labels"]);
    for part in [
        "priority",
        "preemptionPolicy",
        "nodeSelector",
        "affinity",
        "tolerations",
        "topologySpreadConstraints",
        "overhead",
        "resources",
    ] {
        class.push('|');
        if let Some(found) = spec.get(part) {
            class.push_str(&found.to_string());
        }
    }
    let shared = spec["hostNetwork"] == true;
    for list in ["/spec/initContainers", "/spec/containers"] {
        class.push(if shared { '!' } else { '|' });
        for container in items(pod, list) {
            let ports: Vec<&Value> =
                items(container, "/ports").iter().filter(|p| shared || !p["hostPort"].is_null()).collect();
            class.push_str(&container["resources"]["requests"].to_string());
            class.push_str(&container["restartPolicy"].to_string());
            for port in ports {
                class.push_str(&port.to_string());
            }
        }
    }
    clock::fnv(class.as_bytes())
}
