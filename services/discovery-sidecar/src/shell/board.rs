//! What each worker shows of itself: readiness, and numbers for Prometheus. Workers write, whoever asks reads.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use bcs_kit::{Clock, health::Health};
use bcs_schemas::Name;
use jiff::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

/// What all sidecars of a process show. Clones share it.
#[derive(Clone, Debug)]
pub struct Board {
    clock: Clock,
    /// By cluster and registry.
    panels: Arc<Mutex<BTreeMap<(Name, Name), Panel>>>,
}

/// What one worker shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Panel {
    /// The bus and the registry were read as a whole once, or another sidecar keeps the registry.
    pub(crate) ready: bool,
    /// Why the last call failed, or what is held.
    pub(crate) reason: Option<String>,
    pub(crate) leads: bool,
    pub(crate) reachable: bool,
    pub(crate) entries: u64,
    pub(crate) pending: u64,
    pub(crate) quarantined: u64,
    /// Since when the oldest change waits.
    pub(crate) oldest: Option<Timestamp>,
    pub(crate) writes: u64,
    pub(crate) failures: u64,
    pub(crate) drift_repaired: u64,
}

/// A number of a worker, under a name that Prometheus sees.
type Number = (&'static str, &'static str, fn(&Panel, Timestamp) -> f64);

const GAUGES: [Number; 6] = [
    ("leads", "Whether this sidecar keeps the registry (1) or another one does (0)", |p, _| flag(p.leads)),
    ("reachable", "Whether the last call of the registry succeeded", |p, _| flag(p.reachable)),
    ("entries", "Entries of ours that the registry holds", |p, _| float(p.entries)),
    ("pending", "Changes that the registry has not taken yet", |p, _| float(p.pending)),
    ("quarantined", "Entries that the registry refuses", |p, _| float(p.quarantined)),
    ("lag_seconds", "Age of the oldest change that the registry has not taken yet", |p, now| {
        p.oldest.map_or(0.0, |since| now.duration_since(since).as_secs_f64().max(0.0))
    }),
];

/// One that only grows.
type Count = (&'static str, &'static str, fn(&Panel) -> u64);

const COUNTERS: [Count; 3] = [
    ("writes", "Changes that the registry confirmed", |p| p.writes),
    ("failures", "Calls of the registry that failed", |p| p.failures),
    ("drift_repaired", "Entries changed by somebody else and repaired", |p| p.drift_repaired),
];

impl Board {
    /// A board whose numbers `health` serves: one for a process, however many sidecars run in it.
    pub fn new(health: &Health, clock: Clock) -> Self {
        let board = Self { clock, panels: Arc::default() };
        let (checked, shown) = (board.clone(), board.clone());
        health.check("registries", move || checked.missing());
        health.metrics(|registry| {
            registry.sub_registry_with_prefix("bcs_sidecar").register_collector(Box::new(shown));
        });
        board
    }

    pub(crate) fn show(&self, cluster: &Name, registry: &Name, panel: Panel) {
        self.panels().insert((cluster.clone(), registry.clone()), panel);
    }

    /// A registry that went away later is no reason not to be ready: everything that can be done is done meanwhile.
    fn missing(&self) -> Result<(), String> {
        let panels = self.panels();
        let missing = panels.iter().filter(|(_, panel)| !panel.ready).map(|((cluster, registry), panel)| {
            let why = panel.reason.as_deref().unwrap_or("not read yet");
            format!("{registry} for {cluster}: {why}")
        });
        let missing: Vec<String> = missing.collect();
        if missing.is_empty() { Ok(()) } else { Err(missing.join("; ")) }
    }

    fn panels(&self) -> std::sync::MutexGuard<'_, BTreeMap<(Name, Name), Panel>> {
        self.panels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Board {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (panels, now) = (self.panels().clone(), self.clock.now());
        for (name, help, number) in GAUGES {
            let kind = ConstGauge::new(0.0_f64).metric_type();
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            for ((cluster, registry), panel) in &panels {
                let labels = [("cluster", cluster.as_str()), ("registry", registry.as_str())];
                ConstGauge::new(number(panel, now)).encode(metric.encode_family(&labels)?)?;
            }
        }
        for (name, help, number) in COUNTERS {
            let kind = ConstCounter::new(0_u64).metric_type();
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            for ((cluster, registry), panel) in &panels {
                let labels = [("cluster", cluster.as_str()), ("registry", registry.as_str())];
                ConstCounter::new(number(panel)).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

const fn flag(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

/// Exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "nobody has so many entries")]
const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_names_every_number() {
        let readme = include_str!("../../README.md");
        let gauges = GAUGES.iter().map(|(name, _, _)| format!("`bcs_sidecar_{name}`"));
        let counters = COUNTERS.iter().map(|(name, _, _)| format!("`bcs_sidecar_{name}_total`"));
        for name in gauges.chain(counters) {
            assert!(readme.contains(&name), "{name} is missing");
        }
    }
}
