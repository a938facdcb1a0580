//! PostgreSQL.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{super::cluster::SecretRef, Tls};
use crate::FieldError;

/// How PostgreSQL is reached and which table is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PostgresDriver {
    /// `postgres://host:5432/database`, without user and password.
    pub url: String,
    /// Role that writes.
    pub user: String,
    /// Its password, where the server asks for one; a line break at the end does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretRef>,
    /// The table, with its schema if need be; made if it is missing and the role may. `<table>_owners` lies beside it.
    #[serde(default = "default_table")]
    pub table: String,
    /// With it, the server must speak TLS and its certificate is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

fn default_table() -> String {
    "bcs_instances".to_owned()
}

impl PostgresDriver {
    pub(super) fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut refuse = |field: &str, problem: String| errors.push(FieldError::new(field, problem));
        // The URL itself is not repeated where it may hold a password.
        match self.url.split_once("://") {
            Some(_) if self.url.contains('@') => {
                refuse("url", "holds a user: give it as user, with the password in a file".to_owned());
            }
            Some(("postgres" | "postgresql", _)) => (),
            _ => refuse("url", format!("{:?}: expected such as postgres://host:5432/database", self.url)),
        }
        if self.user.is_empty() {
            refuse("user", "is empty: expected the name of a role".to_owned());
        }
        // It becomes part of statements.
        let plain = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
                && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
                && part.len() <= 50
        };
        if self.table.split('.').count() > 2 || !self.table.split('.').all(plain) {
            refuse(
                "table",
                format!("{:?}: expected such as bcs_instances or cmdb.bcs_instances", self.table),
            );
        }
        if let Some(password) = &self.password {
            errors.extend(password.validate("password"));
        }
        errors.extend(self.tls.iter().flat_map(Tls::validate).map(|e| e.under("tls")));
        errors
    }
}
