//! etcd.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{super::cluster::SecretRef, Tls, url};
use crate::FieldError;

/// How etcd is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EtcdDriver {
    /// Addresses of the members, all of one scheme: `http://127.0.0.1:2379`.
    pub endpoints: Vec<String>,
    /// Root of the keys.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// Whom we say we are, where etcd asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<EtcdAuth>,
    /// What `https` needs beyond the authorities that the machine trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// A user of etcd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EtcdAuth {
    /// Name.
    pub user: String,
    /// Password; a line break at the end does not count.
    pub password: SecretRef,
}

fn default_prefix() -> String {
    "/skydns".to_owned()
}

impl EtcdDriver {
    /// Without authentication and TLS, below `/skydns`.
    pub fn plain(endpoints: Vec<String>) -> Self {
        Self { endpoints, prefix: default_prefix(), auth: None, tls: None }
    }

    pub(super) fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut refuse = |field: String, problem: &str| errors.push(FieldError::new(field, problem));
        if self.endpoints.is_empty() {
            refuse("endpoints".to_owned(), "is empty: expected at least one URL");
        }
        for (i, url) in self.endpoints.iter().enumerate() {
            if let Some(problem) = url::problem(url, self.tls.is_some()) {
                refuse(format!("endpoints[{i}]"), &problem);
            }
        }
        if !self.prefix.starts_with('/') || self.prefix.ends_with('/') {
            refuse("prefix".to_owned(), &format!("{:?}: expected such as /skydns", self.prefix));
        }
        if self.auth.as_ref().is_some_and(|auth| auth.user.is_empty()) {
            refuse("auth.user".to_owned(), "is empty: expected the name of a user of etcd");
        }
        if let Some(auth) = &self.auth {
            errors.extend(auth.password.validate("auth.password"));
        }
        errors.extend(self.tls.iter().flat_map(Tls::validate).map(|e| e.under("tls")));
        errors
    }
}
