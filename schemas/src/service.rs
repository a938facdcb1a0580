//! The services of the platform, as they appear in subjects, streams and message types.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A service with a journal, commands and events of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// Clusters and their nodes.
    Cluster,
    /// Applications and their rollouts.
    Deploy,
    /// Addresses.
    Network,
    /// Measurements.
    Metrics,
}

impl Service {
    /// All of them, in the order in which they are started.
    pub const ALL: [Self; 4] = [Self::Cluster, Self::Deploy, Self::Network, Self::Metrics];

    /// The token in subjects: `deploy`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Deploy => "deploy",
            Self::Network => "network",
            Self::Metrics => "metrics",
        }
    }

    /// Name of the stream that keeps this service's commands.
    pub const fn command_stream(self) -> &'static str {
        match self {
            Self::Cluster => "CMD_CLUSTER",
            Self::Deploy => "CMD_DEPLOY",
            Self::Network => "CMD_NETWORK",
            Self::Metrics => "CMD_METRICS",
        }
    }

    /// Name of the stream that carries this service's events.
    pub const fn event_stream(self) -> &'static str {
        match self {
            Self::Cluster => "EVT_CLUSTER",
            Self::Deploy => "EVT_DEPLOY",
            Self::Network => "EVT_NETWORK",
            Self::Metrics => "EVT_METRICS",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Service {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            format!("{text:?} is no service: expected one of {known}")
        })
    }
}
