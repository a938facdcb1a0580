//! What stands in a set of addresses.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What stands in a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Member {
    /// `10.1.2.3`.
    #[default]
    Address,
    /// `10.1.2.3:8080`.
    AddressPort,
}
