//! KV buckets and their keys. A bucket is typed: what lies under its keys is one kind of observation.

use std::marker::PhantomData;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Name, Service,
    observation::{ClusterHealth, Endpoint, Node, Registration, RegistryStatus, Workload},
};

/// A KV bucket that holds values of one type.
#[derive(Debug)]
pub struct Bucket<T> {
    /// Name of the bucket.
    pub name: &'static str,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for Bucket<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Bucket<T> {}

impl<T> Bucket<T> {
    const fn new(name: &'static str) -> Self {
        Self { name, value: PhantomData }
    }
}

/// Instances and where they answer.
pub const ENDPOINTS: Bucket<Endpoint> = Bucket::new("endpoints");
/// Instances counted by the engine.
pub const WORKLOADS: Bucket<Workload> = Bucket::new("workloads");
/// Nodes.
pub const NODES: Bucket<Node> = Bucket::new("nodes");
/// Heartbeats of clusters.
pub const CLUSTERS: Bucket<ClusterHealth> = Bucket::new("clusters");
/// What registries know.
pub const REGISTRATIONS: Bucket<Registration> = Bucket::new("registrations");
/// Registries as their sidecars see them.
pub const REGISTRIES: Bucket<RegistryStatus> = Bucket::new("registries");
/// Leader keys and epochs; their values are free text for people.
pub const LEASES: Bucket<String> = Bucket::new("leases");

/// Every bucket, by name, with what it is for.
pub const ALL: [(&str, &str); 7] = [
    (ENDPOINTS.name, "instances and where they answer; one writer: the cluster's agent"),
    (WORKLOADS.name, "instances as the engine counts them; one writer: the cluster's agent"),
    (NODES.name, "nodes; one writer: the cluster's agent"),
    (CLUSTERS.name, "heartbeats of clusters; one writer: the cluster's agent"),
    (REGISTRATIONS.name, "what registries know; one writer: the sidecar of registry and cluster"),
    (REGISTRIES.name, "registries and their lag; one writer: the sidecar of registry and cluster"),
    (LEASES.name, "who leads; compare and set"),
];

/// An observation knows its own key.
pub trait Keyed: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// Key in its bucket.
    fn key(&self) -> String;
}

/// Keys of everything that a cluster's agent or sidecar wrote: `sim-a.>`.
pub fn of_cluster(cluster: &Name) -> String {
    format!("{cluster}.>")
}

/// How the keys end of what is said of instances by the sidecar that keeps a registry: `.dns`.
pub fn of_registry(registry: &Name) -> String {
    format!(".{registry}")
}

/// Key prefix of everything about one application in one cluster, with its last dot.
pub fn app_prefix(cluster: &Name, project: &Name, app: &Name) -> String {
    format!("{cluster}.{project}.{app}.")
}

/// Key of the lease of the instance that decides for a service.
pub fn service_lease(service: Service) -> String {
    format!("service.{service}")
}

/// Key of the lease of the agent that has a cluster.
pub fn agent_lease(cluster: &Name) -> String {
    format!("agent.{cluster}")
}

impl Keyed for Endpoint {
    fn key(&self) -> String {
        format!("{}{}", app_prefix(&self.cluster, &self.project, &self.app), self.instance)
    }
}

impl Keyed for Workload {
    fn key(&self) -> String {
        format!("{}{}", app_prefix(&self.cluster, &self.project, &self.app), self.revision)
    }
}

impl Keyed for Node {
    fn key(&self) -> String {
        format!("{}.{}", self.cluster, self.name)
    }
}

impl Keyed for ClusterHealth {
    fn key(&self) -> String {
        self.cluster.to_string()
    }
}

impl Keyed for Registration {
    fn key(&self) -> String {
        let instance = format!("{}{}", app_prefix(&self.cluster, &self.project, &self.app), self.instance);
        instance + &of_registry(&self.registry)
    }
}

impl Keyed for RegistryStatus {
    fn key(&self) -> String {
        format!("{}.{}", self.cluster, self.registry)
    }
}
