//! What a command loop tells Prometheus. The names begin with the service: `bcs_deploy_commands_total`.

use std::{fmt, sync::atomic::Ordering::Relaxed};

use bcs_schemas::MessageSet;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

use super::{Machine, StateMachine};
use crate::health::Health;

impl<S: StateMachine> Machine<S> {
    /// Adds the loop's counters to `health`.
    pub fn report_to(&self, health: &Health) {
        let prefix = format!("bcs_{}", S::Event::SERVICE);
        let counters = Counters(self.clone());
        health.metrics(|registry| {
            registry.sub_registry_with_prefix(prefix).register_collector(Box::new(counters))
        });
    }
}

struct Counters<S: StateMachine>(Machine<S>);

impl<S: StateMachine> fmt::Debug for Counters<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("counters of a command loop")
    }
}

impl<S: StateMachine> Collector for Counters<S> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stats = self.0.stats();
        let revision = self.0.live().seq;
        let counters = [
            ("commands", "Commands that got an outcome", stats.commands.load(Relaxed)),
            ("command_duplicates", "Commands that had an outcome already", stats.repeats.load(Relaxed)),
            ("commands_rejected", "Commands refused", stats.rejected.load(Relaxed)),
            ("dlq_messages", "Messages put into quarantine", stats.quarantined.load(Relaxed)),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        let gauges = [
            ("leads", "Whether this instance decides", u64::from(self.0.leads())),
            ("journal_revision", "Position of the last event", revision),
            (
                "journal_unpublished",
                "Events not on the bus yet",
                revision.saturating_sub(stats.published.load(Relaxed)),
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}
