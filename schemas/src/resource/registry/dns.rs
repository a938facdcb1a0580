//! Servers of DNS that take updates (RFC 2136).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::cluster::SecretRef;
use crate::FieldError;

/// How a zone of a DNS server is reached and written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DnsDriver {
    /// Addresses of the primary, `host` or `host:port`, port 53 unless said: the first that answers is taken.
    pub servers: Vec<String>,
    /// The server's zone; the registry's `zone` is the same or lies below it.
    pub zone: String,
    /// What messages are signed with.
    pub key: TsigKey,
    /// Whether every port of an instance gets an SRV record too, with its weight, and the instance a host name of its own
    /// that the record points to.
    #[serde(default)]
    pub srv: bool,
}

/// A key that the server knows too (TSIG, RFC 8945).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TsigKey {
    /// Its name, as the server has it.
    pub name: String,
    /// Its algorithm.
    #[serde(default)]
    pub algorithm: TsigAlgorithm,
    /// The secret in base64, as `tsig-keygen` and `keymgr -t` print it; a line break at the end does not count.
    pub secret: SecretRef,
}

/// How messages are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TsigAlgorithm {
    /// HMAC with SHA-256.
    #[default]
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// HMAC with SHA-384.
    #[serde(rename = "hmac-sha384")]
    HmacSha384,
    /// HMAC with SHA-512.
    #[serde(rename = "hmac-sha512")]
    HmacSha512,
}

impl DnsDriver {
    pub(super) fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut refuse = |field: String, problem: String| errors.push(FieldError::new(field, problem));
        if self.servers.is_empty() {
            refuse("servers".to_owned(), "is empty: expected at least one address".to_owned());
        }
        for (i, server) in self.servers.iter().enumerate() {
            if host_and_port(server).is_none() {
                refuse(
                    format!("servers[{i}]"),
                    format!(
                        "{server:?}: expected such as 192.0.2.53, [2001:db8::53]:53 or ns1.example.org:5353"
                    ),
                );
            }
        }
        if !is_domain(&self.zone) {
            refuse(
                "zone".to_owned(),
                format!("{:?} is no domain: expected DNS labels joined by dots", self.zone),
            );
        }
        // Underscores are common in names of keys.
        if !is_domain(&self.key.name.trim_end_matches('.').replace('_', "x").to_ascii_lowercase()) {
            refuse("key.name".to_owned(), format!("{:?}: expected the name of a key", self.key.name));
        }
        errors.extend(self.key.secret.validate("key.secret"));
        errors
    }

    /// Whether names of this domain can lie in the zone.
    pub(super) fn holds(&self, domain: &str) -> bool {
        domain == self.zone || domain.strip_suffix(self.zone.as_str()).is_some_and(|rest| rest.ends_with('.'))
    }
}

/// The parts of `host`, `host:port`, `v6` or `[v6]:port`.
pub fn host_and_port(server: &str) -> Option<(&str, u16)> {
    const PORT: u16 = 53;
    if server.parse::<std::net::IpAddr>().is_ok() {
        return Some((server, PORT));
    }
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0)?),
        None => (server, PORT),
    };
    if let Some(v6) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return v6.parse::<std::net::Ipv6Addr>().is_ok().then_some((v6, port));
    }
    is_domain(&host.to_ascii_lowercase()).then_some((host, port))
}

pub(super) fn is_domain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(|label| crate::Name::new(label).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_hosts_with_or_without_a_port() {
        for (server, parts) in [
            ("192.0.2.53", Some(("192.0.2.53", 53))),
            ("192.0.2.53:5353", Some(("192.0.2.53", 5353))),
            ("2001:db8::53", Some(("2001:db8::53", 53))),
            ("[2001:db8::53]:5353", Some(("2001:db8::53", 5353))),
            ("ns1.example.org", Some(("ns1.example.org", 53))),
            ("NS1:53", Some(("NS1", 53))),
            ("", None),
            ("ns1:0", None),
            ("ns1:dns", None),
            ("udp://ns1", None),
            ("a b", None),
            ("[ns1]:53", None),
        ] {
            assert_eq!(host_and_port(server), parts, "{server}");
        }
    }
}
