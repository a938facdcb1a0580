//! Redis and what speaks like it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{super::cluster::SecretRef, Member, Tls};
use crate::FieldError;

/// How Redis is reached and what its sets hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RedisDriver {
    /// `redis://host:6379/0`, or `rediss://` for TLS; the number is the database.
    pub url: String,
    /// What the key of every set begins with; the name of the application follows.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// What a member is.
    #[serde(default)]
    pub member: Member,
    /// Who we are, where Redis asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<RedisAuth>,
    /// What `rediss` needs beyond the authorities that the machine trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// A user of Redis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RedisAuth {
    /// Name; the default user when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Password; a line break at the end does not count.
    pub password: SecretRef,
}

fn default_prefix() -> String {
    "bcs:allow:".to_owned()
}

impl RedisDriver {
    pub(super) fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut refuse = |field: &str, problem: String| errors.push(FieldError::new(field, problem));
        // The URL itself is not repeated where it may hold a password.
        match self.url.split_once("://") {
            Some(_) if self.url.contains('@') => {
                refuse("url", "holds a user: give it as auth, with the password in a file".to_owned());
            }
            Some(("redis", _)) if self.tls.is_some() => {
                refuse("url", format!("{:?}: expected rediss://, since there is tls", self.url));
            }
            Some(("redis" | "rediss", _)) => (),
            _ => refuse("url", format!("{:?}: expected redis:// or rediss://", self.url)),
        }
        if self.prefix.is_empty() {
            refuse("prefix", "is empty: expected such as bcs:allow:".to_owned());
        }
        if let Some(auth) = &self.auth {
            errors.extend(auth.password.validate("auth.password"));
        }
        errors.extend(self.tls.iter().flat_map(Tls::validate).map(|e| e.under("tls")));
        if let Some(server_name) = self.tls.as_ref().and_then(|tls| tls.server_name.as_ref()) {
            errors.push(FieldError::new(
                "tls.serverName",
                format!("{server_name}: the certificate of Redis is checked for the host of the url"),
            ));
        }
        errors
    }
}
