//! Pure: what a revision of an application looks like as a ReplicaSet.

use std::collections::BTreeMap;

use bcs_schemas::{
    resource::{
        Labels,
        app::{Protocol, Registration, Template},
    },
    step::WorkloadKey,
};
use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSet, ReplicaSetSpec},
        core::v1::{
            Container, ContainerPort, EnvVar, PodReadinessGate, PodSpec, PodTemplateSpec,
            ResourceRequirements,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
    },
};

use super::label;

/// What a ReplicaSet is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) key: &'a WorkloadKey,
    pub(crate) template: &'a Template,
    pub(crate) labels: &'a Labels,
    pub(crate) register: Option<&'a [Registration]>,
    pub(crate) replicas: i32,
    pub(crate) generation: u64,
}

/// The ReplicaSet, without a resource version.
pub(crate) fn replica_set(wanted: Wanted<'_>) -> ReplicaSet {
    let labels = labels(wanted.key, wanted.labels);
    let generation = BTreeMap::from([(label::GENERATION.to_owned(), wanted.generation.to_string())]);
    let mut annotations = wanted.template.annotations.clone();
    annotations.extend(generation.clone());
    annotations.extend(wanted.register.map(|list| (label::REGISTER.to_owned(), register(list))));
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(label::workload_name(wanted.key)),
            namespace: Some(wanted.key.project.to_string()),
            labels: Some(labels.clone()),
            annotations: Some(generation),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(wanted.replicas),
            // The selector can never be changed, so it holds only what cannot change: who the pods are.
            selector: LabelSelector { match_labels: Some(identity(wanted.key)), ..LabelSelector::default() },
            template: Some(PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(wanted.template)),
            }),
            ..ReplicaSetSpec::default()
        }),
        status: None,
    }
}

/// The value of the annotation [`label::REGISTER`].
pub(crate) fn register(list: &[Registration]) -> String {
    // Names and numbers: there is nothing in it that could not be written.
    serde_json::to_string(list).unwrap_or_default()
}

fn identity(key: &WorkloadKey) -> BTreeMap<String, String> {
    [(label::PROJECT, &key.project), (label::APP, &key.app), (label::REVISION, &key.revision)]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_string()))
        .collect()
}

/// Labels of the user, and ours on top: a user cannot make a pod that we take for another one.
fn labels(key: &WorkloadKey, user: &Labels) -> BTreeMap<String, String> {
    let mut all = user.clone();
    all.extend(identity(key));
    all.insert(label::MANAGED_BY.to_owned(), label::MANAGER.to_owned());
    all
}

fn pod(template: &Template) -> PodSpec {
    let millis = template.stop_timeout.signed().as_millis();
    // Kubernetes counts whole seconds; half a second more is better than a process cut off.
    let grace = i64::try_from((millis + 999) / 1000).unwrap_or(i64::MAX);
    PodSpec {
        containers: vec![container(template)],
        termination_grace_period_seconds: Some(grace),
        readiness_gates: template
            .readiness_gate
            .then(|| vec![PodReadinessGate { condition_type: label::REGISTERED.to_owned() }]),
        ..PodSpec::default()
    }
}

fn container(template: &Template) -> Container {
    let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    let env = template.env.iter().map(|(name, value)| EnvVar {
        name: name.clone(),
        value: Some(value.clone()),
        ..EnvVar::default()
    });
    let ports = template.ports.iter().map(|port| ContainerPort {
        name: Some(port.name.to_string()),
        container_port: i32::from(port.port),
        protocol: Some(protocol(port.protocol).to_owned()),
        ..ContainerPort::default()
    });
    Container {
        name: "main".to_owned(),
        image: Some(template.image.to_string()),
        command: some(&template.command),
        args: some(&template.args),
        env: Some(env.collect()),
        ports: Some(ports.collect()),
        resources: resources(template),
        ..Container::default()
    }
}

const fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    }
}

/// Asked for and given alike: memory beyond the request is what nodes run out of. Processor time may be borrowed.
fn resources(template: &Template) -> Option<ResourceRequirements> {
    let quantity = |name: &str, text: &Option<String>| Some((name.to_owned(), Quantity(text.clone()?)));
    let cpu = quantity("cpu", &template.resources.cpu);
    let memory = quantity("memory", &template.resources.memory);
    if cpu.is_none() && memory.is_none() {
        return None;
    }
    Some(ResourceRequirements {
        limits: memory.clone().map(|m| BTreeMap::from([m])),
        requests: Some(cpu.into_iter().chain(memory).collect()),
        ..ResourceRequirements::default()
    })
}

#[cfg(test)]
mod tests;
