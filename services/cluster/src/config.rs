//! Settings of the cluster service and of its agents.

mod injection;

use std::collections::BTreeMap;

use bcs_kit::{bus::BusConfig, run::ProcessConfig, telemetry::TelemetryConfig};
use bcs_schemas::{Millis, Name};
use schemars::JsonSchema;
use serde::Deserialize;

pub use self::injection::{Error as InjectionError, Injection};
use crate::domain::health::Thresholds;

/// Settings of the service.
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
    /// What it takes to change a mind about a cluster.
    pub hysteresis: Thresholds,
    /// How often minds are made up; silence is noticed no sooner.
    pub judge_every: Millis,
    /// Agents of direct clusters.
    pub agent: AgentConfig,
    /// Direct clusters into whose pods a sidecar is put, by their names; an agent that runs by itself is told so by
    /// `--injection`.
    pub injection: BTreeMap<Name, Injection>,
}

/// Settings of an agent.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AgentConfig {
    /// How often it probes its cluster and says so.
    pub heartbeat: Millis,
    /// How long a probe may take; what takes longer counts as no answer.
    pub probe_timeout: Millis,
    /// Longest pause between attempts to open the engine.
    pub longest_pause: Millis,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            heartbeat: Millis::from_secs(2),
            probe_timeout: Millis::from_secs(4),
            longest_pause: Millis::from_secs(30),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let ProcessConfig { bus, telemetry, health_address } = ProcessConfig::default();
        Self {
            bus,
            telemetry,
            health_address,
            journal_url: "sqlite:/var/lib/bcs/cluster.db".to_owned(),
            hysteresis: Thresholds::default(),
            judge_every: Millis::from_secs(1),
            agent: AgentConfig::default(),
            injection: BTreeMap::new(),
        }
    }
}

impl Config {
    /// The settings that every service has.
    pub fn process(&self) -> ProcessConfig {
        let (bus, telemetry) = (self.bus.clone(), self.telemetry.clone());
        ProcessConfig { bus, telemetry, health_address: self.health_address }
    }
}
