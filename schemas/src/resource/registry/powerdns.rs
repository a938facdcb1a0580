//! PowerDNS.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{super::cluster::SecretRef, Tls, url};
use crate::FieldError;

/// How the HTTP API of a PowerDNS Authoritative Server is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PowerDnsDriver {
    /// Its web server: `http://127.0.0.1:8081`.
    pub url: String,
    /// The API key; a line break at the end does not count.
    pub key: SecretRef,
    /// Id of the server behind the API.
    #[serde(default = "default_server")]
    pub server: String,
    /// The zone of PowerDNS that the names lie in, when it is not the registry's own zone but one above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// What `https` needs beyond the authorities that the machine trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

fn default_server() -> String {
    "localhost".to_owned()
}

impl PowerDnsDriver {
    pub(super) fn validate(&self, below: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let Some(problem) = url::problem(&self.url, self.tls.is_some()) {
            errors.push(FieldError::new("url", problem));
        }
        errors.extend(self.key.validate("key"));
        let word = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        if !word(&self.server) {
            errors.push(FieldError::new("server", format!("{:?}: expected such as localhost", self.server)));
        }
        if let Some(zone) =
            self.zone.as_deref().filter(|zone| below != *zone && !below.ends_with(&format!(".{zone}")))
        {
            errors.push(FieldError::new("zone", format!("{zone:?}: expected {below} or a zone above it")));
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
        let key = serde_json::json!({ "file": "/etc/bcs/key" });
        for (driver, words) in [
            (serde_json::json!({ "url": "http://dns:8081", "key": key }), None),
            (serde_json::json!({ "url": "http://dns:8081", "key": key, "zone": "local" }), None),
            (serde_json::json!({ "url": "dns:8081", "key": key }), Some("driver.powerdns.url: ")),
            (
                serde_json::json!({ "url": "http://dns", "key": { "file": "key" } }),
                Some("driver.powerdns.key.file: "),
            ),
            (
                serde_json::json!({ "url": "http://dns", "key": key, "zone": "other" }),
                Some("driver.powerdns.zone: "),
            ),
            (
                serde_json::json!({ "url": "http://dns", "key": key, "server": "a/b" }),
                Some("driver.powerdns.server: "),
            ),
        ] {
            let spec = serde_json::json!({ "driver": { "powerdns": driver } });
            let spec: RegistrySpec = serde_json::from_value(spec).expect("a spec");
            let errors: Vec<String> = spec.validate().iter().map(ToString::to_string).collect();
            let expected = usize::from(words.is_some());
            assert_eq!(errors.len(), expected, "{errors:?}");
            assert!(errors.concat().starts_with(words.unwrap_or_default()), "{errors:?}");
        }
    }
}
