//! Settings of the service.

use bcs_kit::run::ProcessConfig;
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of `deploy`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What every process has.
    pub process: ProcessConfig,
    /// Where the journal lies: `sqlite:<path>` or `postgres://…`.
    pub journal: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { process: ProcessConfig::default(), journal: "sqlite:deploy.db".to_owned() }
    }
}
