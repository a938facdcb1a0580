//! Pure: a pod as an `Endpoint`. On its way out beats ready, and ready beats everything else.

use bcs_schemas::{
    Name,
    observation::{Endpoint, EndpointPhase, EndpointPort},
    resource::{
        Labels,
        app::{Protocol, Registration},
    },
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};

use super::{Sight, annotation, generation_of, key_of};
use crate::kubernetes::label;

/// None when the pod is none of ours.
pub(crate) fn endpoint(pod: &Pod, sight: Sight<'_>) -> Option<Endpoint> {
    let key = key_of(&pod.metadata).filter(|_| of_a_set(pod))?;
    let (phase, reason, since) = phase(pod, sight.now);
    Some(Endpoint {
        cluster: sight.cluster.clone(),
        project: key.project,
        app: key.app,
        revision: key.revision,
        instance: pod.metadata.name.clone()?,
        uid: pod.metadata.uid.clone()?,
        node: pod.spec.as_ref().and_then(|s| s.node_name.clone()),
        // The pod does not know it: whoever knows the nodes says it.
        zone: None,
        addresses: addresses(pod),
        ports: ports(pod),
        weight: annotation(&pod.metadata, label::WEIGHT).and_then(|w| w.parse().ok()).unwrap_or(100),
        labels: labels(pod),
        register: register(pod),
        registered: registered(pod),
        phase,
        stopping: pod.metadata.deletion_timestamp.is_some(),
        reason,
        since,
        generation: generation_of(&pod.metadata),
        observed_at: sight.now,
    })
}

/// Labels that are not ours.
fn labels(pod: &Pod) -> Labels {
    let ours = [label::PROJECT, label::APP, label::REVISION, label::MANAGED_BY];
    let all = pod.metadata.labels.iter().flatten();
    all.filter(|(key, _)| !ours.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// In which registries it belongs. In none, as long as what somebody wrote there cannot be read: `deploy` puts it right.
fn register(pod: &Pod) -> Option<Vec<Registration>> {
    let text = annotation(&pod.metadata, label::REGISTER)?;
    Some(serde_json::from_str(text).unwrap_or_default())
}

/// A pod that no ReplicaSet keeps was started by somebody else, whatever its labels say.
pub(crate) fn of_a_set(pod: &Pod) -> bool {
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().any(|owner| owner.controller == Some(true) && owner.kind == "ReplicaSet")
}

/// A condition of a pod by its type.
pub(crate) fn condition<'a>(pod: &'a Pod, type_name: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == type_name)
}

/// Whether the pod says that it is ready.
pub(crate) fn ready(pod: &Pod) -> bool {
    open(pod, "Ready")
}

/// Whether its readiness gate of ours is open, if it has one.
pub(crate) fn registered(pod: &Pod) -> Option<bool> {
    let ours = gates(pod).any(|gate| gate == label::REGISTERED);
    ours.then(|| open(pod, label::REGISTERED))
}

/// Whether the pod is ready, or only waits for the registries, which wait for this.
fn serves(pod: &Pod) -> bool {
    let but_for_us = || {
        open(pod, "ContainersReady") && gates(pod).all(|gate| gate == label::REGISTERED || open(pod, gate))
    };
    ready(pod) || (registered(pod).is_some() && but_for_us())
}

fn gates(pod: &Pod) -> impl Iterator<Item = &str> {
    let gates = pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_deref());
    gates.unwrap_or_default().iter().map(|gate| gate.condition_type.as_str())
}

fn open(pod: &Pod, type_name: &str) -> bool {
    condition(pod, type_name).is_some_and(|c| c.status == "True")
}

fn phase(pod: &Pod, now: Timestamp) -> (EndpointPhase, Option<String>, Timestamp) {
    let changed = condition(pod, "Ready").and_then(|c| c.last_transition_time.as_ref()).map(|t| t.0);
    let since = changed.or_else(|| pod.metadata.creation_timestamp.as_ref().map(|t| t.0)).unwrap_or(now);
    let drained = annotation(&pod.metadata, label::DRAINING);
    let ended = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    if let Some(ended @ ("Succeeded" | "Failed")) = ended {
        (EndpointPhase::Gone, Some(ending(pod, ended)), since)
    } else if let Some(text) = drained {
        // A damaged instant does not undo the decision.
        let at = text.parse().unwrap_or(since);
        (EndpointPhase::Draining, Some("taken out of service".to_owned()), at)
    } else if let Some(stop_at) = pod.metadata.deletion_timestamp.as_ref() {
        // Kubernetes stamps when the grace will be over, not when it began.
        let grace = SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or(0));
        let asked = stop_at.0.checked_sub(grace).unwrap_or(stop_at.0);
        (EndpointPhase::Draining, Some("is being deleted".to_owned()), asked)
    } else if serves(pod) {
        (EndpointPhase::Ready, None, since)
    } else {
        (EndpointPhase::Starting, Some(obstacle(pod)), since)
    }
}

fn ending(pod: &Pod, phase: &str) -> String {
    let status = pod.status.as_ref();
    let said = status.and_then(|s| s.message.clone().or_else(|| s.reason.clone()));
    let said = said.map(|words| format!(": {words}")).unwrap_or_default();
    if phase == "Failed" { format!("failed{said}") } else { format!("ended{said}") }
}

/// Why a pod is not ready, from the most telling source to the least.
fn obstacle(pod: &Pod) -> String {
    unschedulable(pod)
        .or_else(|| containers(pod).find_map(waiting))
        .or_else(|| {
            let ready = condition(pod, "Ready")?;
            ready.message.clone().filter(|words| !words.is_empty()).or_else(|| ready.reason.clone())
        })
        .unwrap_or_else(|| {
            let placed = pod.spec.as_ref().is_some_and(|s| s.node_name.is_some());
            if placed { "is starting".to_owned() } else { "waits for a node".to_owned() }
        })
}

fn unschedulable(pod: &Pod) -> Option<String> {
    let scheduled = condition(pod, "PodScheduled").filter(|c| c.status == "False")?;
    let words = scheduled.message.clone().or_else(|| scheduled.reason.clone()).unwrap_or_default();
    Some(format!("no node takes it: {words}"))
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|s| s.init_container_statuses.as_ref());
    let main = status.and_then(|s| s.container_statuses.as_ref());
    init.into_iter().flatten().chain(main.into_iter().flatten())
}

fn waiting(container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    // Said of every container that has not begun: the pod's own condition says more.
    if matches!(reason, "ContainerCreating" | "PodInitializing") {
        return None;
    }
    let words = waiting.message.as_deref().map(|m| format!(": {m}")).unwrap_or_default();
    Some(format!("{reason}{words}"))
}

fn addresses(pod: &Pod) -> Vec<std::net::IpAddr> {
    let Some(status) = pod.status.as_ref() else { return Vec::new() };
    let listed = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let mut found: Vec<_> = listed.chain(status.pod_ip.as_deref()).filter_map(|ip| ip.parse().ok()).collect();
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|ip| seen.insert(*ip));
    found
}

fn ports(pod: &Pod) -> Vec<EndpointPort> {
    let containers = pod.spec.as_ref().map(|s| s.containers.as_slice()).unwrap_or_default();
    // Those of a sidecar that was put in are none of the application's.
    let own = containers.iter().filter(|container| container.name != label::SIDECAR);
    let declared = own.flat_map(|c| c.ports.iter().flatten());
    declared
        .filter_map(|port| {
            let number = u16::try_from(port.container_port).ok()?;
            let named = port.name.as_deref().and_then(|name| Name::new(name).ok());
            let protocol = match port.protocol.as_deref() {
                None | Some("TCP") => Protocol::Tcp,
                Some("UDP") => Protocol::Udp,
                Some(_) => return None,
            };
            let name = named.or_else(|| Name::new(format!("port-{number}")).ok())?;
            Some(EndpointPort { name, port: number, protocol })
        })
        .collect()
}
