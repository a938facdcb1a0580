//! `register`: in which registries the instances of an application are entered, and as what.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Port;
use crate::{FieldError, Name};

/// The heaviest that an instance can be: what every registry that knows weights can hold.
pub const MAX_WEIGHT: u32 = 256;

/// A registry in which the instances are entered, and as what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// Name of the registry.
    pub registry: Name,
    /// Name of the port to register; all of them, the first one first, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Name>,
    /// What stands for `{app}` in the names that the registry gives: applications of one project can share a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Relative part of the traffic, 0 to 256; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
}

/// What the types alone cannot tell of `register`.
pub(super) fn validate(register: &[Registration], ports: &[Port]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut registries = BTreeSet::new();
    for (i, Registration { registry, port, weight, .. }) in register.iter().enumerate() {
        let mut refuse = |field: &str, problem: String| {
            errors.push(FieldError::new(format!("register[{i}].{field}"), problem));
        };
        if !registries.insert(registry) {
            refuse("registry", format!("{registry} stands twice: expected each registry once"));
        }
        if let Some(port) = port.as_ref().filter(|port| !ports.iter().any(|known| known.name == **port)) {
            refuse("port", format!("{port} is no port of this app"));
        }
        if let Some(weight) = weight.filter(|weight| *weight > MAX_WEIGHT) {
            refuse("weight", format!("{weight} is too much: expected 0 to {MAX_WEIGHT}"));
        }
    }
    errors
}
