//! Pure: series from observations. Labels come from names of objects and closed sets only, so their number is bounded
//! by what runs.

use std::{collections::BTreeMap, sync::Arc};

use bcs_schemas::observation::{
    ClusterHealth, Endpoint, EndpointPhase, Registration, RegistrationState, RegistryStatus, Workload,
};
use imbl::OrdMap;
use jiff::Timestamp;

type View<T> = OrdMap<String, Arc<T>>;

/// Every observation.
pub(crate) struct Observations {
    pub(crate) clusters: View<ClusterHealth>,
    pub(crate) workloads: View<Workload>,
    pub(crate) endpoints: View<Endpoint>,
    pub(crate) registrations: View<Registration>,
    pub(crate) registries: View<RegistryStatus>,
}

/// A gauge with all its series.
pub(crate) struct Gauge {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) series: BTreeMap<Vec<(&'static str, String)>, f64>,
}

impl Gauge {
    const fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, series: BTreeMap::new() }
    }

    fn add(&mut self, labels: &[(&'static str, &str)], value: f64) {
        *self.series.entry(owned(labels)).or_default() += value;
    }

    fn largest(&mut self, labels: &[(&'static str, &str)], value: f64) {
        let held = self.series.entry(owned(labels)).or_default();
        *held = held.max(value);
    }
}

fn owned(labels: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

fn age(now: Timestamp, then: Timestamp) -> f64 {
    now.duration_since(then).as_secs_f64().max(0.0)
}

/// Every series, as of `now`.
pub(crate) fn gauges(seen: &Observations, now: Timestamp) -> Vec<Gauge> {
    [clusters(seen, now), apps(seen, now), registrations(seen, now), registries(seen, now)]
        .into_iter()
        .flatten()
        .collect()
}

fn clusters(seen: &Observations, now: Timestamp) -> Vec<Gauge> {
    let mut reachable = Gauge::new("bcs_cluster_reachable", "Whether the engine answered the last probe");
    let mut report =
        Gauge::new("bcs_cluster_report_age_seconds", "Age of the last report of the cluster's agent");
    for health in seen.clusters.values() {
        let labels = [("cluster", health.cluster.as_str())];
        reachable.add(&labels, f64::from(u8::from(health.reachable)));
        report.largest(&labels, age(now, health.observed_at));
    }
    vec![reachable, report]
}

fn apps(seen: &Observations, now: Timestamp) -> Vec<Gauge> {
    let mut wanted = Gauge::new("bcs_app_replicas", "Instances that the engine is told to keep");
    for w in seen.workloads.values() {
        let labels =
            [("project", w.project.as_str()), ("app", w.app.as_str()), ("cluster", w.cluster.as_str())];
        wanted.add(&labels, f64::from(w.replicas));
    }
    let mut instances = Gauge::new("bcs_app_instances", "Instances by phase");
    let mut waiting =
        Gauge::new("bcs_app_instance_phase_age_seconds", "For how long the longest has been in this phase");
    for e in seen.endpoints.values() {
        let labels = [
            ("project", e.project.as_str()),
            ("app", e.app.as_str()),
            ("cluster", e.cluster.as_str()),
            ("phase", phase(e.phase)),
        ];
        instances.add(&labels, 1.0);
        waiting.largest(&labels, age(now, e.since));
    }
    vec![wanted, instances, waiting]
}

fn registrations(seen: &Observations, now: Timestamp) -> Vec<Gauge> {
    let mut count = Gauge::new("bcs_registrations", "Registrations by state");
    let mut oldest =
        Gauge::new("bcs_registration_state_age_seconds", "For how long the longest has been in this state");
    for r in seen.registrations.values() {
        let labels =
            [("cluster", r.cluster.as_str()), ("registry", r.registry.as_str()), ("state", state(r.state))];
        count.add(&labels, 1.0);
        oldest.largest(&labels, age(now, r.since));
    }
    vec![count, oldest]
}

fn registries(seen: &Observations, now: Timestamp) -> Vec<Gauge> {
    let mut entries = Gauge::new("bcs_registry_entries", "Entries of ours that the registry holds");
    let mut pending = Gauge::new("bcs_registry_pending", "Changes that the registry has not taken yet");
    let mut oldest =
        Gauge::new("bcs_registry_oldest_pending_age_seconds", "Age of the oldest of these changes");
    let mut reachable =
        Gauge::new("bcs_registry_reachable", "Whether the last call of the registry succeeded");
    let mut report = Gauge::new("bcs_registry_report_age_seconds", "Age of the last report of the sidecar");
    let mut drift =
        Gauge::new("bcs_registry_drift_repaired", "Entries that somebody else had changed, since the start");
    for r in seen.registries.values() {
        let labels = [("cluster", r.cluster.as_str()), ("registry", r.registry.as_str())];
        let number = |value: u64| value as f64;
        entries.add(&labels, number(r.entries));
        pending.add(&labels, number(r.pending));
        oldest.largest(&labels, r.oldest_pending_since.map_or(0.0, |since| age(now, since)));
        reachable.add(&labels, f64::from(u8::from(r.reachable)));
        report.largest(&labels, age(now, r.observed_at));
        drift.add(&labels, number(r.drift_repaired));
    }
    vec![entries, pending, oldest, reachable, report, drift]
}

const fn phase(phase: EndpointPhase) -> &'static str {
    match phase {
        EndpointPhase::Starting => "starting",
        EndpointPhase::Ready => "ready",
        EndpointPhase::Draining => "draining",
        EndpointPhase::Gone => "gone",
        EndpointPhase::Unknown => "unknown",
    }
}

const fn state(state: RegistrationState) -> &'static str {
    match state {
        RegistrationState::Pending => "pending",
        RegistrationState::Confirmed => "confirmed",
        RegistrationState::Draining => "draining",
        RegistrationState::Drained => "drained",
        RegistrationState::Failed => "failed",
        RegistrationState::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use bcs_schemas::Name;

    use super::*;

    #[test]
    fn registrations_are_counted_by_state_with_the_age_of_the_oldest() {
        let name = |text: &str| Name::new(text).expect("a label");
        let registration = |instance: &str, state, since: i64| {
            let since = Timestamp::from_second(since).expect("in range");
            let registration = Registration {
                cluster: name("sim-a"),
                project: name("demo"),
                app: name("web"),
                instance: instance.to_owned(),
                uid: instance.to_owned(),
                registry: name("etcd"),
                address: "127.0.0.1:1".to_owned(),
                state,
                reason: None,
                since,
                retry_at: None,
                observed_at: since,
            };
            (instance.to_owned(), Arc::new(registration))
        };
        let seen = Observations {
            clusters: OrdMap::new(),
            workloads: OrdMap::new(),
            endpoints: OrdMap::new(),
            registries: OrdMap::new(),
            registrations: [
                registration("a", RegistrationState::Pending, 100),
                registration("b", RegistrationState::Pending, 40),
                registration("c", RegistrationState::Confirmed, 0),
            ]
            .into_iter()
            .collect(),
        };
        let gauges = gauges(&seen, Timestamp::from_second(100).expect("in range"));
        let value = |gauge: &str, state: &str| {
            let gauge = gauges.iter().find(|g| g.name == gauge).expect("exists");
            gauge
                .series
                .iter()
                .find(|(labels, _)| labels.iter().any(|l| l.1 == state))
                .map(|(_, value)| *value)
        };
        assert_eq!(value("bcs_registrations", "pending"), Some(2.0));
        assert_eq!(value("bcs_registrations", "confirmed"), Some(1.0));
        assert_eq!(value("bcs_registration_state_age_seconds", "pending"), Some(60.0));
        assert_eq!(value("bcs_registrations", "failed"), None);
    }
}
