//! Settings of the service.

use bcs_kit::{bus::BusConfig, run::ProcessConfig, telemetry::TelemetryConfig};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of `metrics`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How the bus is reached.
    pub bus: BusConfig,
    /// What is logged and traced.
    pub telemetry: TelemetryConfig,
    /// Where health and metrics are served.
    pub health_address: std::net::SocketAddr,
    /// Where the journal lies: `sqlite:<path>` or `postgres://…`.
    pub journal_url: String,
}

impl Default for Config {
    fn default() -> Self {
        let ProcessConfig { bus, telemetry, health_address } = ProcessConfig::default();
        Self { bus, telemetry, health_address, journal_url: "sqlite:/var/lib/bcs/metrics.db".to_owned() }
    }
}

impl Config {
    /// The settings that every service has.
    pub fn process(&self) -> ProcessConfig {
        let (bus, telemetry) = (self.bus.clone(), self.telemetry.clone());
        ProcessConfig { bus, telemetry, health_address: self.health_address }
    }
}
