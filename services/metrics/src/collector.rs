//! Hands the series to Prometheus, worked out from the mirrors at each scrape: nothing is stored twice.

use std::fmt;

use bcs_kit::{Clock, kv::View, run::Deps};
use bcs_schemas::observation::{ClusterHealth, Endpoint, Registration, RegistryStatus, Workload};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::gauge::ConstGauge,
};

use crate::domain::{self, Observations};

/// Mirrors of the buckets.
#[derive(Clone, Debug)]
pub(crate) struct Views {
    pub(crate) clusters: View<ClusterHealth>,
    pub(crate) workloads: View<Workload>,
    pub(crate) endpoints: View<Endpoint>,
    pub(crate) registrations: View<Registration>,
    pub(crate) registries: View<RegistryStatus>,
}

impl Views {
    pub(crate) fn missing(&self) -> Result<(), String> {
        let synced = self.clusters.is_synced()
            && self.workloads.is_synced()
            && self.endpoints.is_synced()
            && self.registrations.is_synced()
            && self.registries.is_synced();
        if synced { Ok(()) } else { Err("observations not read yet".to_owned()) }
    }
}

#[derive(Debug)]
struct Series {
    views: Views,
    clock: Clock,
}

pub(crate) fn register(views: Views, deps: &Deps) {
    let series = Series { views, clock: deps.clock.clone() };
    deps.health.metrics(|registry| registry.register_collector(Box::new(series)));
}

impl Collector for Series {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let seen = Observations {
            clusters: self.views.clusters.snapshot(),
            workloads: self.views.workloads.snapshot(),
            endpoints: self.views.endpoints.snapshot(),
            registrations: self.views.registrations.snapshot(),
            registries: self.views.registries.snapshot(),
        };
        for gauge in domain::gauges(&seen, self.clock.now()) {
            let kind = ConstGauge::new(0.0_f64).metric_type();
            let mut metric = encoder.encode_descriptor(gauge.name, gauge.help, None, kind)?;
            for (labels, value) in &gauge.series {
                ConstGauge::new(*value).encode(metric.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}
