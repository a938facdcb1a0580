//! The other side of the webhook protocol: an ExternalDNS whose records a registry keeps beside ours.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Driver, RegistrySpec, ServerTls, dns::is_domain, tls::open_to};
use crate::FieldError;

/// Where an ExternalDNS (`--provider=webhook`) hands in its records, and which it may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExternalDns {
    /// Address and port. One that is not of loopback needs `tls`, or `plaintext: true`.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Only names at and below these; the whole zone of the server when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<String>,
    /// No names at or below these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// What makes the connections TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
    /// Said by whoever wants no TLS on an address that others can reach.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plaintext: bool,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8888))
}

impl RegistrySpec {
    /// The zone of the server in which records of others can be kept beside ours, where the driver can.
    pub fn hosting_zone(&self) -> Option<&str> {
        match &self.driver {
            Driver::Dns(dns) => Some(&dns.zone),
            Driver::Powerdns(dns) => Some(dns.zone.as_ref().unwrap_or(&self.zone)),
            _ => None,
        }
    }
}

impl ExternalDns {
    /// `zone` is the server's.
    pub(super) fn validate(&self, zone: &str) -> Vec<FieldError> {
        let mut errors = open_to("an ExternalDNS", self.listen, self.tls.as_ref(), self.plaintext);
        for (field, domains) in [("domains", &self.domains), ("exclude", &self.exclude)] {
            for (i, domain) in domains.iter().enumerate() {
                let within = domain == zone || domain.ends_with(&format!(".{zone}"));
                if !is_domain(domain) || !within {
                    let problem = format!(
                        "{domain:?}: expected {zone:?}, the zone of the server, or a domain below it"
                    );
                    errors.push(FieldError::new(format!("{field}[{i}]"), problem));
                }
            }
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::super::RegistrySpec;

    fn errors(driver: &serde_json::Value, external_dns: serde_json::Value) -> Vec<String> {
        let spec =
            serde_json::json!({ "driver": driver, "zone": "bcs.corp.test", "externalDns": external_dns });
        let spec: RegistrySpec = serde_json::from_value(spec).expect("a spec");
        spec.validate().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_external_dns_is_served_by_drivers_that_can_within_their_zone_and_not_open_by_accident() {
        let file = |name: &str| serde_json::json!({ "file": format!("/etc/bcs/{name}") });
        let dns = serde_json::json!({ "dns": {
            "servers": ["ns1"], "zone": "corp.test", "key": { "name": "bcs", "secret": file("tsig") },
        } });
        let powerdns = serde_json::json!({ "powerdns": { "url": "http://dns:8081", "key": file("key") } });
        let tls = serde_json::json!({ "certificate": file("crt"), "key": file("key") });
        for (driver, good) in [
            (&dns, serde_json::json!({})),
            (
                &dns,
                serde_json::json!({ "domains": ["corp.test", "apps.corp.test"], "exclude": ["bcs.corp.test"] }),
            ),
            (&dns, serde_json::json!({ "listen": "0.0.0.0:8888", "plaintext": true })),
            (
                &powerdns,
                serde_json::json!({ "domains": ["bcs.corp.test"], "listen": "0.0.0.0:8888", "tls": tls }),
            ),
        ] {
            assert_eq!(errors(driver, good), [""; 0]);
        }
        let etcd = serde_json::json!({ "etcd": { "endpoints": ["http://etcd:2379"] } });
        for (driver, bad, words) in [
            (
                &etcd,
                serde_json::json!({}),
                "externalDns: is not for this driver: expected it only with dns or powerdns",
            ),
            (
                &dns,
                serde_json::json!({ "listen": "0.0.0.0:8888" }),
                "externalDns.listen: 0.0.0.0:8888 can be reached",
            ),
            (
                &dns,
                serde_json::json!({ "listen": "127.0.0.1:0" }),
                "externalDns.listen: 127.0.0.1:0: expected a port",
            ),
            (&dns, serde_json::json!({ "plaintext": true, "tls": tls }), "externalDns.plaintext: is true"),
            (
                &dns,
                serde_json::json!({ "domains": ["anticorp.test"] }),
                "externalDns.domains[0]: \"anticorp.test\"",
            ),
            (
                &powerdns,
                serde_json::json!({ "exclude": ["corp.test"] }),
                "externalDns.exclude[0]: \"corp.test\"",
            ),
        ] {
            let errors = errors(driver, bad);
            assert!(matches!(&errors[..], [error] if error.starts_with(words)), "{words}: {errors:?}");
        }
    }
}
