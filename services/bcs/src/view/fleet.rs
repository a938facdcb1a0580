//! Rows of what belongs to the platform: applications, clusters, nodes, registries.

use bcs_schemas::{
    Name,
    observation::{Capacity, Node, RegistryStatus},
    query::{AppView, ClusterView},
    resource::Labels,
};
use jiff::Timestamp;

use super::{Listed, age, or_dash};
use crate::color;

impl Listed for AppView {
    const KIND: &'static str = "app";
    const COLUMNS: (&'static [&'static str], &'static [&'static str]) = (
        &["NAME", "PHASE", "AVAILABLE", "UPDATED", "IMAGE", "CLUSTERS", "AGE", "WHY"],
        &["READY", "DRAINING", "REVISION", "GENERATION", "SEEN"],
    );

    fn cells(&self, as_of: Timestamp) -> Vec<String> {
        let status = &self.status;
        let share = |(name, part): (&Name, &bcs_schemas::query::ClusterStatus)| {
            format!("{name}:{}/{}", part.available, part.replicas)
        };
        let clusters: Vec<String> = status.clusters.iter().map(share).collect();
        vec![
            self.name.to_string(),
            color::state(&status.phase.to_string()),
            format!("{}/{}", status.available, status.replicas),
            status.updated.to_string(),
            self.spec.image.to_string(),
            if clusters.is_empty() { "-".to_owned() } else { clusters.join(",") },
            age(self.created_at, as_of),
            or_dash(status.reason.as_ref()),
        ]
    }

    fn more(&self, as_of: Timestamp) -> Vec<String> {
        let status = &self.status;
        let generation = if status.observed_generation == self.generation {
            self.generation.to_string()
        } else {
            format!("{} (seen {})", self.generation, status.observed_generation)
        };
        vec![
            status.ready.to_string(),
            status.draining.to_string(),
            status.revision.to_string(),
            generation,
            age(status.observed_at, as_of),
        ]
    }

    fn name(&self) -> String {
        self.name.to_string()
    }

    fn project(&self) -> Option<&Name> {
        Some(&self.project)
    }

    fn labels(&self) -> Option<&Labels> {
        Some(&self.labels)
    }
}

impl Listed for ClusterView {
    const KIND: &'static str = "cluster";
    const COLUMNS: (&'static [&'static str], &'static [&'static str]) = (
        &["NAME", "HEALTH", "NODES", "VERSION", "CPU", "MEMORY", "SINCE", "SEEN", "WHY"],
        &["INSTANCES", "AGENT", "LABELS", "GENERATION"],
    );

    fn cells(&self, as_of: Timestamp) -> Vec<String> {
        vec![
            self.name.to_string(),
            color::state(&self.health.to_string()),
            format!("{}/{}", self.nodes_ready, self.nodes),
            or_dash(self.version.as_ref()),
            cpu(&self.capacity),
            memory(&self.capacity),
            age(self.since, as_of),
            or_dash(self.observed_at.map(|at| age(at, as_of))),
            or_dash(self.reason.as_ref()),
        ]
    }

    fn more(&self, _: Timestamp) -> Vec<String> {
        vec![
            self.capacity.instances.to_string(),
            super::word(&self.spec.agent).to_lowercase(),
            labels(&self.labels),
            self.generation.to_string(),
        ]
    }

    fn name(&self) -> String {
        self.name.to_string()
    }

    fn labels(&self) -> Option<&Labels> {
        Some(&self.labels)
    }
}

impl Listed for Node {
    const KIND: &'static str = "node";
    const COLUMNS: (&'static [&'static str], &'static [&'static str]) = (
        &["CLUSTER", "NAME", "STATE", "CPU", "MEMORY", "VERSION", "SEEN", "WHY"],
        &["INSTANCES", "OS", "ARCH", "ZONE", "LABELS"],
    );

    fn cells(&self, as_of: Timestamp) -> Vec<String> {
        let state = match (self.ready, self.cordoned) {
            (true, false) => "Ready",
            (true, true) => "Cordoned",
            (false, _) => "Failed",
        };
        vec![
            self.cluster.to_string(),
            self.name.clone(),
            color::state(state),
            cpu(&self.capacity),
            memory(&self.capacity),
            self.version.clone(),
            age(self.observed_at, as_of),
            or_dash(self.reason.as_ref()),
        ]
    }

    fn more(&self, _: Timestamp) -> Vec<String> {
        vec![
            self.capacity.instances.to_string(),
            self.os.clone(),
            self.arch.clone(),
            or_dash(self.zone.as_ref()),
            labels(&self.labels),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.cluster.as_str() == name
    }

    fn labels(&self) -> Option<&Labels> {
        Some(&self.labels)
    }
}

impl Listed for RegistryStatus {
    const KIND: &'static str = "registry";
    const COLUMNS: (&'static [&'static str], &'static [&'static str]) = (
        &["CLUSTER", "NAME", "DRIVER", "REACHABLE", "ENTRIES", "PENDING", "LAG", "SEEN", "WHY"],
        &["EPOCH", "REFUSED", "REPAIRED"],
    );

    fn cells(&self, as_of: Timestamp) -> Vec<String> {
        vec![
            self.cluster.to_string(),
            self.registry.to_string(),
            self.driver.clone(),
            color::state(if self.reachable { "yes" } else { "no" }),
            self.entries.to_string(),
            self.pending.to_string(),
            or_dash(self.oldest_pending_since.map(|at| age(at, as_of))),
            age(self.observed_at, as_of),
            or_dash(self.reason.as_ref()),
        ]
    }

    fn more(&self, _: Timestamp) -> Vec<String> {
        vec![self.epoch.to_string(), self.quarantined.to_string(), self.drift_repaired.to_string()]
    }

    fn name(&self) -> String {
        self.registry.to_string()
    }

    fn answers_to(&self, name: &str) -> bool {
        self.registry.as_str() == name || self.cluster.as_str() == name
    }
}

fn cpu(capacity: &Capacity) -> String {
    let (cores, rest) = (capacity.cpu_millis / 1_000, capacity.cpu_millis % 1_000);
    if rest == 0 { cores.to_string() } else { format!("{}m", capacity.cpu_millis) }
}

/// In the largest unit that shows it exactly, as Kubernetes does.
fn memory(capacity: &Capacity) -> String {
    let bytes = capacity.memory_bytes;
    let exact = |bits: &(u32, &str)| bytes > 0 && bytes.is_multiple_of(1 << bits.0);
    match [(40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")].iter().find(|unit| exact(unit)) {
        Some((bits, unit)) => format!("{}{unit}", bytes >> bits),
        None => bytes.to_string(),
    }
}

pub(crate) fn labels(labels: &Labels) -> String {
    let all: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if all.is_empty() { "-".to_owned() } else { all.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_is_shown_exactly() {
        let of = |cpu_millis, memory_bytes| Capacity { cpu_millis, memory_bytes, instances: 0 };
        for (bytes, text) in
            [(0, "0"), (1280 << 30, "1280Gi"), (2 << 40, "2Ti"), (1000, "1000"), (3 << 10, "3Ki")]
        {
            assert_eq!(memory(&of(0, bytes)), text);
        }
        assert_eq!((cpu(&of(64_000, 0)), cpu(&of(1_500, 0))), ("64".to_owned(), "1500m".to_owned()));
    }
}
