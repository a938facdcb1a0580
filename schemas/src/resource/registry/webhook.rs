//! Providers of ExternalDNS.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Tls, url};
use crate::FieldError;

/// How a webhook provider of ExternalDNS is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct WebhookDriver {
    /// The provider, which usually runs beside this sidecar: `http://127.0.0.1:8888`.
    pub url: String,
    /// What `https` needs beyond the authorities that the machine trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

impl WebhookDriver {
    pub(super) fn validate(&self) -> Vec<FieldError> {
        let url = url::problem(&self.url, self.tls.is_some()).map(|problem| FieldError::new("url", problem));
        let tls = self.tls.iter().flat_map(Tls::validate).map(|e| e.under("tls"));
        url.into_iter().chain(tls).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::resource::RegistrySpec;

    #[test]
    fn mistakes_are_named() {
        for (driver, words) in [
            (serde_json::json!({ "url": "http://127.0.0.1:8888" }), None),
            (serde_json::json!({ "url": "localhost:8888" }), Some("driver.webhook.url: ")),
            (serde_json::json!({ "url": "http://127.0.0.1:8888", "tls": {} }), Some("driver.webhook.url: ")),
        ] {
            let spec = serde_json::json!({ "driver": { "webhook": driver } });
            let spec: RegistrySpec = serde_json::from_value(spec).expect("a spec");
            let errors: Vec<String> = spec.validate().iter().map(ToString::to_string).collect();
            assert_eq!(errors.len(), usize::from(words.is_some()), "{errors:?}");
            assert!(errors.concat().starts_with(words.unwrap_or_default()), "{errors:?}");
        }
    }
}
