//! HAProxy.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::FieldError;

/// How the runtime API of one HAProxy is reached and which of its backends are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HaproxyDriver {
    /// Its stats socket of level admin: a path, or `127.0.0.1:9999`.
    pub socket: String,
    /// Name of the backend of an application, which must be there: `{app}`, `{project}` and `{cluster}` stand for themselves.
    #[serde(default = "default_backend")]
    pub backend: String,
    /// What every server gets beside its address and its weight, such as `check inter 2s`: servers that are added at run time
    /// take nothing from `default-server`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub options: String,
}

fn default_backend() -> String {
    "{app}.{project}".to_owned()
}

impl HaproxyDriver {
    pub(super) fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut refuse = |field: &str, problem: String| errors.push(FieldError::new(field, problem));
        let port = self.socket.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if !self.socket.starts_with('/') && port.is_none() {
            refuse("socket", format!("{:?}: expected an absolute path, or host:port", self.socket));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-:{}".contains(c);
        if !self.backend.contains("{app}") || !self.backend.chars().all(plain) {
            refuse("backend", format!("{:?}: expected a template such as {{app}}.{{project}}", self.backend));
        }
        // It becomes part of a line of commands.
        if self.options.contains([';', '\n', '\r', '\\']) {
            refuse("options", "holds more than one command: expected such as check inter 2s".to_owned());
        }
        errors
    }
}
