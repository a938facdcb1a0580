//! The observations that decisions about rollouts are made on, mirrored in memory.

use bcs_kit::kv::View;
use bcs_schemas::observation::{ClusterHealth, Endpoint, Registration, RegistryStatus, Workload};

use jiff::Timestamp;

use super::pulses::Pulses;
use crate::domain::observed::Observations;

/// Mirrors of the buckets.
#[derive(Clone)]
pub(crate) struct Views {
    pub(crate) clusters: View<ClusterHealth>,
    pub(crate) workloads: View<Workload>,
    pub(crate) endpoints: View<Endpoint>,
    pub(crate) registrations: View<Registration>,
    pub(crate) registries: View<RegistryStatus>,
    pub(crate) pulses: Pulses,
}

impl Views {
    /// One consistent look. Registrations are taken before endpoints: a confirmation is never older than the instance
    /// that it is held against. Clusters come first: what a heartbeat vouches for is read after it.
    pub(crate) fn look(&self, now: Timestamp) -> Observations {
        let heard = self.pulses.heard(now);
        let clusters = self.clusters.snapshot();
        let registries = self.registries.snapshot();
        let registrations = self.registrations.snapshot();
        Observations {
            registries,
            registrations,
            endpoints: self.endpoints.snapshot(),
            workloads: self.workloads.snapshot(),
            clusters,
            heard,
        }
    }

    /// What was not read completely yet. Until then, what is missing says nothing, and nothing is done.
    pub(crate) fn missing(&self) -> Result<(), String> {
        let views = [
            ("clusters", self.clusters.is_synced()),
            ("workloads", self.workloads.is_synced()),
            ("endpoints", self.endpoints.is_synced()),
            ("registrations", self.registrations.is_synced()),
            ("registries", self.registries.is_synced()),
        ];
        let missing: Vec<&str> = views.iter().filter(|(_, synced)| !synced).map(|(name, _)| *name).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("not read yet: {}", missing.join(", "))) }
    }

    pub(crate) async fn synced(&self) {
        self.clusters.synced().await;
        self.workloads.synced().await;
        self.endpoints.synced().await;
        self.registrations.synced().await;
        self.registries.synced().await;
    }
}
