//! TLS towards registries, and of servers that others come to.

use std::net::SocketAddr;

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

/// TLS of a server. Every file is PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ServerTls {
    /// Our certificate, with those between it and its authority.
    pub certificate: SecretRef,
    /// Its private key.
    pub key: SecretRef,
    /// Authorities one of which must have signed the certificate of whoever connects; anybody may when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<SecretRef>,
}

impl ServerTls {
    fn validate(&self) -> Vec<FieldError> {
        let mut errors = self.certificate.validate("certificate");
        errors.extend(self.key.validate("key"));
        errors.extend(self.client_ca.iter().flat_map(|ca| ca.validate("clientCa")));
        errors
    }
}

/// What is wrong with how `whom` are served: `listen`, `tls` and `plaintext` of one settings struct.
pub(super) fn open_to(
    whom: &str,
    listen: SocketAddr,
    tls: Option<&ServerTls>,
    plaintext: bool,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut refuse = |field: &str, problem: String| errors.push(FieldError::new(field, problem));
    if listen.port() == 0 {
        refuse("listen", format!("{listen}: expected a port that {whom} can be told"));
    }
    match (tls, plaintext) {
        (None, false) if !listen.ip().is_loopback() => {
            refuse("listen", format!("{listen} can be reached by others: expected tls, or plaintext: true"));
        }
        (Some(_), true) => refuse("plaintext", "is true: expected no tls then".to_owned()),
        _ => (),
    }
    errors.extend(tls.into_iter().flat_map(ServerTls::validate).map(|e| e.under("tls")));
    errors
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
