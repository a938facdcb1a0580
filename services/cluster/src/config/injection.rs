//! Settings of the webhook that puts a sidecar into pods.

use std::{net::SocketAddr, path::Path};

use bcs_engines::kubernetes::trust::Place;
use bcs_schemas::{FieldError, Millis};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::domain::inject::{Sidecar, sidecar::is_object_name};

/// The webhook of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Injection {
    /// Where the API server of the cluster asks.
    pub listen: SocketAddr,
    /// The Service by which it asks, `<service>.<namespace>`. Its certificate is for this name, and the Secret lies in this
    /// namespace.
    pub service: String,
    /// Further names and addresses by which it asks, where it does not ask by a Service.
    pub names: Vec<String>,
    /// Name of the MutatingWebhookConfiguration, which is told whom to believe.
    pub webhook: String,
    /// Name of the Secret that all replicas share: the authority that signs their certificates.
    pub secret: String,
    /// How often the two are looked at.
    pub look_every: Millis,
    /// Whether the cluster knows sidecars of its own kind (init containers that go on running); when absent, it does from
    /// version 1.29 on.
    pub native: Option<bool>,
    /// What is put into pods.
    pub sidecar: Sidecar,
}

impl Default for Injection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 9443)),
            service: "bcs-agent.bcs-system".to_owned(),
            names: Vec::new(),
            webhook: "bcs-sidecar-injector".to_owned(),
            secret: "bcs-injector-tls".to_owned(),
            look_every: Millis::from_secs(30),
            native: None,
            sidecar: Sidecar::default(),
        }
    }
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file or the environment says something that is not understood.
    #[error("the settings of the injection cannot be read")]
    Unreadable(#[from] bcs_kit::config::Error),
    /// They are understood and wrong.
    #[error("the settings of the injection are wrong: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Wrong(Vec<FieldError>),
}

impl Injection {
    /// From a file (TOML), which must exist; `BCS__…` in the environment goes before it.
    pub fn load(file: &Path) -> Result<Self, Error> {
        let settings: Self = bcs_kit::config::load("injection", Some(file))?;
        settings.checked()
    }

    /// The same, unless something is wrong with it.
    pub fn checked(self) -> Result<Self, Error> {
        let wrong = self.validate();
        if wrong.is_empty() { Ok(self) } else { Err(Error::Wrong(wrong)) }
    }

    /// What is wrong with it, by field.
    pub fn validate(&self) -> Vec<FieldError> {
        let mut errors: Vec<FieldError> =
            self.sidecar.validate().into_iter().map(|e| e.under("sidecar")).collect();
        let mut refuse = |field: &str, found: &str, expected: &str| {
            errors.push(FieldError::new(field, format!("{found:?}: expected {expected}")));
        };
        if !self.service.split_once('.').is_some_and(|(a, b)| is_object_name(a) && is_object_name(b)) {
            refuse("service", &self.service, "<service>.<namespace>");
        }
        for (field, name) in [("webhook", &self.webhook), ("secret", &self.secret)] {
            if !is_object_name(name) {
                refuse(field, name, "the name of an object of Kubernetes");
            }
        }
        let plain = |name: &&String| {
            name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-.:*".contains(c))
        };
        if let Some(name) = self.names.iter().find(plain) {
            refuse("names", name, "DNS names and addresses");
        }
        if self.look_every < Millis(100) {
            refuse("look_every", &self.look_every.to_string(), "at least 100ms");
        }
        errors
    }

    /// For what names a certificate is needed: as API servers name a Service, and the others.
    pub(crate) fn server_names(&self) -> Vec<String> {
        let service = format!("{}.svc", self.service);
        std::iter::once(service).chain(self.names.iter().cloned()).collect()
    }

    /// Where the Secret lies.
    pub(crate) fn place(&self) -> Place {
        let namespace = self.service.split_once('.').map_or("default", |(_, namespace)| namespace);
        Place { namespace: namespace.to_owned(), name: self.secret.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Injection, String> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("writes");
        Injection::load(file.path()).map_err(|e| bcs_kit::telemetry::chain(&e))
    }

    const USABLE: &str = "sidecar.image = \"sidecar:1\"\nsidecar.bus.url = \"nats://bus:4222\"\n";

    #[test]
    fn an_image_and_the_bus_are_enough() {
        let settings = read(USABLE).expect("is right");
        assert_eq!(settings.server_names(), ["bcs-agent.bcs-system.svc"]);
        let place = Place { namespace: "bcs-system".to_owned(), name: "bcs-injector-tls".to_owned() };
        assert_eq!(settings.place(), place);
        assert_eq!(settings.sidecar.hold_within, Millis::from_secs(60));
    }

    const README: &str = include_str!("../../../../k8s/injector/README.md");

    #[test]
    fn the_readme_names_every_setting() {
        let schema = serde_json::to_value(schemars::schema_for!(Injection)).expect("a schema");
        let keys = |pointer: &str| {
            let found = schema.pointer(pointer).and_then(serde_json::Value::as_object).expect(pointer);
            found.keys().cloned().collect::<Vec<_>>()
        };
        let places = [
            ("", "/properties"),
            ("sidecar.", "/$defs/Sidecar/properties"),
            ("sidecar.bus.", "/$defs/Reach/properties"),
        ];
        for (prefix, pointer) in places {
            let inner = |key: &String| !["sidecar", "bus"].contains(&key.as_str());
            for key in keys(pointer).into_iter().filter(inner) {
                assert!(README.contains(&format!("`{prefix}{key}`")), "{prefix}{key} is missing");
            }
        }
    }

    #[test]
    fn a_mistake_is_named_with_its_field() {
        for (line, words) in [
            ("service = \"bcs-agent\"", "service: \"bcs-agent\": expected <service>.<namespace>"),
            ("webhook = \"Not A Name\"", "webhook: "),
            ("secret = \"\"", "secret: "),
            ("names = [\"a b\"]", "names: \"a b\": expected DNS names"),
            ("look_every = \"1ms\"", "look_every: "),
            ("listen = \"9443\"", "listen"),
            ("imgae = \"x\"", "imgae"),
            ("sidecar.hold_within = \"3h\"", "sidecar.hold_within: "),
        ] {
            let error = read(&format!("{USABLE}{line}\n")).expect_err(line);
            assert!(error.contains(words), "{line}: {error}");
        }
        let error = read("").expect_err("no image");
        assert!(error.contains("sidecar.image: ") && error.contains("sidecar.bus.url: "), "{error}");
    }
}
