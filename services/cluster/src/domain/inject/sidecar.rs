//! Settings of the sidecar that is put into pods.

use std::net::IpAddr;

use bcs_schemas::{FieldError, Millis, Name, resource::app::Resources};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Ask;

/// Volume of the settings, and where it lies: where every service looks for them.
const SETTINGS: (&str, &str) = ("bcs-sidecar-settings", "/etc/bcs");
/// Volume of what it logs in with, and where it lies.
const BUS: (&str, &str) = ("bcs-sidecar-bus", "/var/run/secrets/bcs");
/// A hold longer than this is a mistake.
const LONGEST_HOLD: Millis = Millis::from_secs(3600);

/// The container that is put into pods.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sidecar {
    /// Image of `bcs-discovery-sidecar`; required.
    pub image: String,
    /// What is run, with its arguments, instead of the program of the image.
    pub command: Vec<String>,
    /// Where it listens in a pod: `::` where pods have no IPv4.
    pub listen: IpAddr,
    /// How it reaches the bus.
    pub bus: Reach,
    /// ConfigMap in the namespace of the pod with further settings, under the key `discovery-sidecar.toml`: the registries
    /// that it keeps. Without one it keeps none, and only holds.
    pub settings: Option<String>,
    /// What it asks of its node.
    pub resources: Resources,
    /// How long the stop of a container is held at most; also how much longer a pod may take to stop.
    pub hold_within: Millis,
}

/// How the sidecar reaches the bus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Reach {
    /// `nats://host:port`, or `tls://host:port`, as it is reached from pods; required.
    pub url: String,
    /// Name of the site; `local` when absent.
    pub site: Option<Name>,
    /// Secret in the namespace of the pod with the next two.
    pub secret: Option<String>,
    /// Key in the Secret: credentials for the bus, such as `holder.nk`.
    pub credentials: Option<String>,
    /// Key in the Secret: certificates (PEM) of who may vouch for the bus, such as `ca.pem`.
    pub ca: Option<String>,
    /// What its inboxes begin with; `{project}` and `{cluster}` may stand in it. With credentials, when absent, as the keys have
    /// it that `bcs bus credentials` makes: `_INBOX_sidecar-{cluster}` with `settings`, which are registries to be kept, and
    /// `_INBOX_holder-{project}.{cluster}` without.
    pub inbox: Option<String>,
}

impl Default for Sidecar {
    fn default() -> Self {
        Self {
            image: String::new(),
            command: Vec::new(),
            listen: IpAddr::from([0, 0, 0, 0]),
            bus: Reach::default(),
            settings: None,
            resources: Resources { cpu: Some("10m".to_owned()), memory: Some("128Mi".to_owned()) },
            hold_within: Millis::from_secs(60),
        }
    }
}

impl Sidecar {
    /// What is wrong with it, by field. A pod that it spoils would be refused by the cluster, so nothing doubtful passes.
    pub fn validate(&self) -> Vec<FieldError> {
        let mut errors: Vec<FieldError> =
            self.resources.validate().into_iter().map(|e| e.under("resources")).collect();
        let word =
            |text: &str| !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control());
        if !word(&self.image) {
            let problem = format!("{:?}: expected an image of bcs-discovery-sidecar", self.image);
            errors.push(FieldError::new("image", problem));
        }
        if !word(&self.bus.url) {
            let problem = format!("{:?}: expected nats://host:port or tls://host:port", self.bus.url);
            errors.push(FieldError::new("bus.url", problem));
        }
        for (field, name) in [("settings", &self.settings), ("bus.secret", &self.bus.secret)] {
            if let Some(name) = name.as_ref().filter(|name| !is_object_name(name)) {
                let problem = format!("{name:?}: expected the name of an object in the namespace of the pod");
                errors.push(FieldError::new(field, problem));
            }
        }
        for (field, key) in [("bus.credentials", &self.bus.credentials), ("bus.ca", &self.bus.ca)] {
            let Some(key) = key else { continue };
            if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
                errors.push(FieldError::new(field, format!("{key:?}: expected a key of a Secret")));
            } else if self.bus.secret.is_none() {
                errors.push(FieldError::new("bus.secret", format!("is missing: {field} is a key in it")));
            }
        }
        let plain = |text: &str| word(text) && text.starts_with("_INBOX") && !text.contains(['*', '>']);
        if let Some(inbox) = self.bus.inbox.as_ref().filter(|inbox| !plain(inbox)) {
            let problem = format!("{inbox:?}: expected _INBOX and more, without spaces and wildcards");
            errors.push(FieldError::new("bus.inbox", problem));
        }
        if self.hold_within < Millis::from_secs(1) || self.hold_within > LONGEST_HOLD {
            let problem = format!("{}: expected 1s to {LONGEST_HOLD}", self.hold_within);
            errors.push(FieldError::new("hold_within", problem));
        }
        errors
    }

    /// Volumes of the pod. What they name must be there: a pod whose sidecar lacks its settings waits, and says for what.
    pub(super) fn volumes(&self) -> Vec<Value> {
        let settings =
            self.settings.as_ref().map(|name| json!({ "name": SETTINGS.0, "configMap": { "name": name } }));
        let bus =
            self.bus.secret.as_ref().map(|name| json!({ "name": BUS.0, "secret": { "secretName": name } }));
        settings.into_iter().chain(bus).collect()
    }

    /// Where they lie in the container.
    pub(super) fn mounts(&self) -> Vec<Value> {
        let mount = |(name, path): (&str, &str)| json!({ "name": name, "mountPath": path, "readOnly": true });
        let settings = self.settings.is_some().then(|| mount(SETTINGS));
        let bus = self.bus.secret.is_some().then(|| mount(BUS));
        settings.into_iter().chain(bus).collect()
    }
}

impl Reach {
    /// As variables of the container; `keeps` says whether it may have registries to keep.
    pub(super) fn environment(&self, ask: Ask<'_>, keeps: bool) -> Vec<(&'static str, String)> {
        let file = |key: &String| format!("{}/{key}", BUS.1);
        let usual = if keeps { "_INBOX_sidecar-{cluster}" } else { "_INBOX_holder-{project}.{cluster}" };
        let usual = self.credentials.is_some().then_some(usual);
        let inbox = self.inbox.as_deref().or(usual);
        let named =
            |text: &str| text.replace("{project}", ask.namespace).replace("{cluster}", ask.cluster.as_str());
        let optional = [
            ("BCS__BUS__SITE", self.site.as_ref().map(Name::to_string)),
            ("BCS__BUS__CREDENTIALS", self.credentials.as_ref().map(file)),
            ("BCS__BUS__CA", self.ca.as_ref().map(file)),
            ("BCS__BUS__INBOX", inbox.map(named)),
        ];
        let optional = optional.into_iter().filter_map(|(name, text)| Some((name, text?)));
        [("BCS__BUS__URL", self.url.clone())].into_iter().chain(optional).collect()
    }
}

/// DNS labels joined by dots.
pub fn is_object_name(text: &str) -> bool {
    (1..=253).contains(&text.len()) && text.split('.').all(|label| Name::new(label).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usable() -> Value {
        json!({ "image": "registry.example/bcs-discovery-sidecar:1", "bus": { "url": "nats://bus:4222" } })
    }

    fn problems(more: &Value) -> Vec<String> {
        let mut settings = usable();
        json_patch::merge(&mut settings, more);
        let sidecar: Sidecar = serde_json::from_value(settings).expect("settings");
        sidecar.validate().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_would_spoil_a_pod_is_refused_with_its_field() {
        assert_eq!(problems(&json!({})), Vec::<String>::new());
        let whole = json!({ "bus": { "secret": "bus", "credentials": "sidecar.nk", "ca": "ca.pem" }, "settings": "s" });
        assert_eq!(problems(&whole), Vec::<String>::new());
        for (more, field) in [
            (json!({ "image": "" }), "image"),
            (json!({ "image": "two words" }), "image"),
            (json!({ "bus": { "url": "" } }), "bus.url"),
            (json!({ "settings": "No_Name" }), "settings"),
            (json!({ "bus": { "secret": "" } }), "bus.secret"),
            (json!({ "bus": { "ca": "ca.pem" } }), "bus.secret"),
            (json!({ "bus": { "secret": "bus", "ca": "a/b" } }), "bus.ca"),
            (json!({ "bus": { "inbox": "_INBOX.>" } }), "bus.inbox"),
            (json!({ "resources": { "cpu": "much" } }), "resources.cpu"),
            (json!({ "hold_within": "1ms" }), "hold_within"),
            (json!({ "hold_within": "2h" }), "hold_within"),
        ] {
            let found = problems(&more);
            assert!(
                matches!(&found[..], [one] if one.starts_with(&format!("{field}: "))),
                "{more}: {found:?}"
            );
        }
    }

    #[test]
    fn its_inboxes_are_those_of_the_key_that_is_made_for_it() {
        let cluster = Name::new("eu-1").expect("a name");
        let ask = Ask { cluster: &cluster, namespace: "shop", native: true };
        let inbox = |reach: &serde_json::Value, keeps| {
            let reach: Reach = serde_json::from_value(reach.clone()).expect("settings");
            let all = reach.environment(ask, keeps);
            all.into_iter().find(|(name, _)| *name == "BCS__BUS__INBOX").map(|(_, text)| text)
        };
        let with = json!({ "credentials": "key.nk" });
        assert_eq!(inbox(&with, true).as_deref(), Some("_INBOX_sidecar-eu-1"));
        assert_eq!(inbox(&with, false).as_deref(), Some("_INBOX_holder-shop.eu-1"));
        assert_eq!(inbox(&json!({}), true), None);
        let own = json!({ "inbox": "_INBOX.{cluster}.{project}" });
        assert_eq!(inbox(&own, false).as_deref(), Some("_INBOX.eu-1.shop"));
    }
}
