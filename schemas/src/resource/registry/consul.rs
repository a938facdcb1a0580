//! Consul.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{super::cluster::SecretRef, Tls, url};
use crate::FieldError;

/// How the HTTP API of Consul is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ConsulDriver {
    /// An agent or a server: `http://127.0.0.1:8500`.
    pub url: String,
    /// Which of its APIs entries are written through.
    #[serde(default)]
    pub via: ConsulVia,
    /// The ACL token, where Consul asks for one; a line break at the end does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretRef>,
    /// The datacenter that is written to; the agent's own when absent. Not with `via: agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datacenter: Option<String>,
    /// What the name of the node that stands for our instances begins with; with `via: agent`, what the ids of our services do.
    #[serde(default = "default_node")]
    pub node: String,
    /// What `https` needs beyond the authorities that the machine trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// An API of Consul.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConsulVia {
    /// The catalog: entries lie on a node of their own, which runs nowhere.
    #[default]
    Catalog,
    /// The agent that `url` leads to: entries lie among its services, and are as well as its node.
    Agent,
}

fn default_node() -> String {
    "bcs".to_owned()
}

impl ConsulDriver {
    pub(super) fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let Some(problem) = url::problem(&self.url, self.tls.is_some()) {
            errors.push(FieldError::new("url", problem));
        }
        errors.extend(self.token.iter().flat_map(|token| token.validate("token")));
        let datacenter = self.datacenter.iter().map(|datacenter| ("datacenter", datacenter));
        for (field, text) in std::iter::once(("node", &self.node)).chain(datacenter) {
            if crate::Name::new(text.as_str()).is_err() {
                errors.push(FieldError::new(field, format!("{text:?}: expected a DNS label")));
            }
        }
        if self.via == ConsulVia::Agent && self.datacenter.is_some() {
            let problem = "is not for `via: agent`: expected none, since an agent is in one datacenter";
            errors.push(FieldError::new("datacenter", problem));
        }
        errors.extend(self.tls.iter().flat_map(Tls::validate).map(|e| e.under("tls")));
        errors
    }
}

#[cfg(test)]
mod tests {
    use crate::resource::RegistrySpec;

    #[test]
    fn mistakes_are_named() {
        for (more, words) in [
            (serde_json::json!({ "token": { "file": "/etc/bcs/consul" }, "datacenter": "dc1" }), None),
            (serde_json::json!({ "url": "consul:8500" }), Some("driver.consul.url: ")),
            (serde_json::json!({ "token": { "file": "x" } }), Some("driver.consul.token.file: ")),
            (serde_json::json!({ "datacenter": "a/b" }), Some("driver.consul.datacenter: ")),
            (serde_json::json!({ "node": "" }), Some("driver.consul.node: ")),
            (serde_json::json!({ "via": "agent" }), None),
            (serde_json::json!({ "via": "agent", "datacenter": "dc1" }), Some("driver.consul.datacenter: ")),
        ] {
            let mut driver = serde_json::json!({ "url": "http://consul:8500" });
            if let (Some(driver), Some(more)) = (driver.as_object_mut(), more.as_object()) {
                driver.extend(more.clone());
            }
            let spec = serde_json::json!({ "driver": { "consul": driver } });
            let spec: RegistrySpec = serde_json::from_value(spec).expect("a spec");
            let errors: Vec<String> = spec.validate().iter().map(ToString::to_string).collect();
            assert_eq!(errors.len(), usize::from(words.is_some()), "{errors:?}");
            assert!(errors.concat().starts_with(words.unwrap_or_default()), "{errors:?}");
        }
    }
}
