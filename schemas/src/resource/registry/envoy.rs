//! Envoy.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ServerTls, tls::open_to};
use crate::{FieldError, Millis};

/// Where Envoys ask for the endpoints of their clusters. Here the sidecar is the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EnvoyDriver {
    /// Address and port. One that is not of loopback needs `tls`, or `plaintext: true`.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Service name of the Envoy cluster of an application: `{app}`, `{project}` and `{cluster}` stand for themselves.
    #[serde(default = "default_cluster")]
    pub cluster: String,
    /// How long an Envoy that is not connected any more is still waited for when an instance is taken out.
    #[serde(default = "default_forget_after")]
    pub forget_after: Millis,
    /// What makes the connections TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
    /// Said by whoever wants no TLS on an address that others can reach.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plaintext: bool,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 18000))
}

fn default_cluster() -> String {
    "{app}.{project}".to_owned()
}

const fn default_forget_after() -> Millis {
    Millis::from_secs(10)
}

impl EnvoyDriver {
    pub(super) fn validate(&self) -> Vec<FieldError> {
        let mut errors = open_to("Envoys", self.listen, self.tls.as_ref(), self.plaintext);
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-:|{}".contains(c);
        if !self.cluster.contains("{app}") || !self.cluster.chars().all(plain) {
            let problem = format!("{:?}: expected a template such as {{app}}.{{project}}", self.cluster);
            errors.push(FieldError::new("cluster", problem));
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::super::RegistrySpec;

    fn errors(driver: serde_json::Value, more: serde_json::Value) -> Vec<String> {
        let mut spec = serde_json::json!({ "driver": { "envoy": driver } });
        spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let spec: RegistrySpec = serde_json::from_value(spec).expect("a spec");
        spec.validate().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_address_that_others_reach_is_not_open_by_accident_and_mistakes_are_named() {
        let none = serde_json::json!({});
        let tls =
            |key: &str| serde_json::json!({ "certificate": { "file": "/c.pem" }, "key": { "file": key } });
        for good in [
            none.clone(),
            serde_json::json!({ "listen": "[::1]:18000" }),
            serde_json::json!({ "listen": "0.0.0.0:18000", "plaintext": true }),
            serde_json::json!({ "listen": "0.0.0.0:18000", "tls": tls("/k.pem") }),
            serde_json::json!({ "cluster": "outbound|80||{app}" }),
        ] {
            assert_eq!(errors(good, none.clone()), [""; 0]);
        }
        for (bad, words) in [
            (
                serde_json::json!({ "listen": "0.0.0.0:18000" }),
                "driver.envoy.listen: 0.0.0.0:18000 can be reached",
            ),
            (
                serde_json::json!({ "listen": "127.0.0.1:0" }),
                "driver.envoy.listen: 127.0.0.1:0: expected a port",
            ),
            (serde_json::json!({ "cluster": "a/{app}" }), "driver.envoy.cluster: "),
            (serde_json::json!({ "cluster": "web" }), "driver.envoy.cluster: "),
            (serde_json::json!({ "plaintext": true, "tls": tls("/k.pem") }), "driver.envoy.plaintext: "),
            (serde_json::json!({ "tls": tls("k.pem") }), "driver.envoy.tls.key.file: k.pem is relative"),
        ] {
            let errors = errors(bad, none.clone());
            assert!(matches!(&errors[..], [error] if error.starts_with(words)), "{words}: {errors:?}");
        }
        let rate = serde_json::json!({ "rate": { "changesPerSecond": 9 } });
        assert!(errors(none, rate)[0].starts_with("rate: is not for envoy"));
    }
}
