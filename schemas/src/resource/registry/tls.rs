//! TLS towards registries.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::cluster::SecretRef;
use crate::FieldError;

/// TLS towards a registry. Every file is PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Tls {
    /// Authorities that may have signed its certificate; those that the machine trusts when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<SecretRef>,
    /// Who we are, where it wants a client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Identity>,
    /// Name in its certificate, when it is not the host that is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// A client certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Identity {
    /// The certificate, with those between it and its authority.
    pub certificate: SecretRef,
    /// Its private key.
    pub key: SecretRef,
}

impl Tls {
    pub(super) fn validate(&self) -> Vec<FieldError> {
        let files = [
            ("ca", self.ca.as_ref()),
            ("client.certificate", self.client.as_ref().map(|client| &client.certificate)),
            ("client.key", self.client.as_ref().map(|client| &client.key)),
        ];
        files
            .into_iter()
            .filter_map(|(at, file)| Some((at, file?)))
            .flat_map(|(at, f)| f.validate(at))
            .collect()
    }
}
