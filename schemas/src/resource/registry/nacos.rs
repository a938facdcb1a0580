//! Nacos.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{super::cluster::SecretRef, Tls, url};
use crate::FieldError;

/// How the HTTP API (v1) of Nacos, or of a server that speaks it, is reached and where instances are registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NacosDriver {
    /// With its context path: `http://127.0.0.1:8848/nacos`.
    pub url: String,
    /// Whom we say we are, where Nacos asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<NacosAuth>,
    /// Id of the namespace; none is the public one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Group of the services.
    #[serde(default = "default_group")]
    pub group: String,
    /// Cluster of Nacos that the instances are in.
    #[serde(default = "default_cluster")]
    pub cluster: String,
    /// Whether instances go when the sidecar is silent for long, instead of staying until somebody takes them out. A service
    /// of Nacos has instances of one of these kinds only.
    #[serde(default)]
    pub ephemeral: bool,
    /// What `https` needs beyond the authorities that the machine trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// A user of Nacos.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NacosAuth {
    /// Name.
    pub user: String,
    /// Password; a line break at the end does not count.
    pub password: SecretRef,
}

fn default_group() -> String {
    "DEFAULT_GROUP".to_owned()
}

fn default_cluster() -> String {
    "DEFAULT".to_owned()
}

impl NacosDriver {
    pub(super) fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let Some(problem) = url::problem(&self.url, self.tls.is_some()) {
            errors.push(FieldError::new("url", problem));
        }
        if let Some(auth) = &self.auth {
            if auth.user.is_empty() {
                errors.push(FieldError::new("auth.user", "is empty: expected the name of a user of Nacos"));
            }
            errors.extend(auth.password.validate("auth.password"));
        }
        let word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c));
        for (field, text, may_be_empty) in [
            ("namespace", &self.namespace, true),
            ("group", &self.group, false),
            ("cluster", &self.cluster, false),
        ] {
            if !word(text) || (text.is_empty() && !may_be_empty) {
                errors.push(FieldError::new(
                    field,
                    format!("{text:?}: expected letters, digits, -, _, . and :"),
                ));
            }
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
        let auth = |file: &str, user: &str| serde_json::json!({ "user": user, "password": { "file": file } });
        for (more, words) in [
            (serde_json::json!({ "auth": auth("/etc/bcs/nacos", "bcs"), "ephemeral": true }), None),
            (serde_json::json!({ "url": "nacos:8848" }), Some("driver.nacos.url: ")),
            (serde_json::json!({ "auth": auth("/x", "") }), Some("driver.nacos.auth.user: ")),
            (serde_json::json!({ "auth": auth("x", "bcs") }), Some("driver.nacos.auth.password.file: ")),
            (serde_json::json!({ "group": "" }), Some("driver.nacos.group: ")),
            (serde_json::json!({ "namespace": "a b" }), Some("driver.nacos.namespace: ")),
        ] {
            let mut driver = serde_json::json!({ "url": "http://nacos:8848/nacos" });
            if let (Some(driver), Some(more)) = (driver.as_object_mut(), more.as_object()) {
                driver.extend(more.clone());
            }
            let spec = serde_json::json!({ "driver": { "nacos": driver } });
            let spec: RegistrySpec = serde_json::from_value(spec).expect("a spec");
            let errors: Vec<String> = spec.validate().iter().map(ToString::to_string).collect();
            assert_eq!(errors.len(), usize::from(words.is_some()), "{errors:?}");
            assert!(errors.concat().starts_with(words.unwrap_or_default()), "{errors:?}");
        }
    }
}
