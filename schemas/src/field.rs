//! What is wrong with one field of an input, in words that let its author mend it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One field, and what was expected of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct FieldError {
    /// Path from the top of the document: `spec.ports[1].port`.
    pub field: String,
    /// What is wrong and what was expected.
    pub problem: String,
}

impl FieldError {
    /// An error of the field at `field`.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }

    /// The same error seen from a document that holds this one under `prefix`.
    #[must_use]
    pub fn under(self, prefix: &str) -> Self {
        Self { field: format!("{prefix}.{}", self.field), ..self }
    }
}
