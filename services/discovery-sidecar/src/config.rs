//! Settings of the sidecar.

mod beside;

use std::time::Duration;

use bcs_kit::{bus::BusConfig, run::ProcessConfig, telemetry::TelemetryConfig};
use bcs_schemas::{
    FieldError, Millis, Name, bucket,
    resource::{Registry, registry::Driver},
};
use schemars::JsonSchema;
use serde::Deserialize;

pub use self::beside::Beside;
use crate::domain::guard;

/// Everything that can be set.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How the bus is reached.
    pub bus: BusConfig,
    /// What is logged and traced.
    pub telemetry: TelemetryConfig,
    /// Where health and metrics are served.
    pub health_address: std::net::SocketAddr,
    /// What this sidecar is called. Once it has a name, it removes at its start what it said, under this name, about
    /// registries that it is not configured with any more: nobody waits for those then. No two sidecars of a platform may
    /// have the same name if they keep registries of the same cluster.
    pub name: Option<Name>,
    /// The cluster whose instances are written; every cluster when absent.
    pub cluster: Option<Name>,
    /// Who we are in a registry that others write to as well: a name that no other installation has, required unless every
    /// registry is a file; the site when absent. Never change it: entries of the former owner count as foreign.
    pub owner: Option<Name>,
    /// That it runs beside an instance, and beside which one: it holds up its end until it is out of every registry, and its
    /// own registries take only the instances of its application.
    pub beside: Option<Beside>,
    /// The registries, as documents of kind `Registry`.
    pub registries: Vec<Registry>,
    /// How long an instance that is not ready any more stays registered, in case it is ready again at once.
    pub unready_hold: Millis,
    /// How often a registry is read and compared as a whole.
    pub reconcile_every: Millis,
    /// How often the state of a registry is reported.
    pub beat_every: Millis,
    /// How long another sidecar for the same registry and cluster may be silent before this one takes over.
    pub takeover_after: Millis,
    /// How old the heartbeat of a cluster may be for its endpoints to count as complete.
    pub cluster_stale_after: Millis,
    /// Share of the entries that may be removed at once though nobody said that their instances left.
    pub guard_percent: u8,
    /// As many may be removed in any case.
    pub guard_at_least: usize,
    /// What happens to the entries when the sidecar stops.
    pub on_stop: OnStop,
    /// How long it may take its entries out when it stops; a process has ten seconds to end.
    pub drain_within: Millis,
}

/// What happens to the entries when the sidecar stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnStop {
    /// They stay: the instances still run, and the next sidecar finds them.
    #[default]
    Keep,
    /// They are taken out: for a sidecar that lives and ends with its workload.
    Drain,
}

impl Default for Config {
    fn default() -> Self {
        let guard = guard::Limits::default();
        let process = ProcessConfig::default();
        Self {
            bus: process.bus,
            telemetry: process.telemetry,
            health_address: process.health_address,
            name: None,
            cluster: None,
            owner: None,
            beside: None,
            registries: Vec::new(),
            unready_hold: Millis::from_secs(1),
            reconcile_every: Millis::from_secs(300),
            beat_every: Millis::from_secs(2),
            takeover_after: Millis::from_secs(6),
            cluster_stale_after: Millis::from_secs(15),
            guard_percent: guard.percent,
            guard_at_least: guard.at_least,
            on_stop: OnStop::default(),
            drain_within: Millis::from_secs(8),
        }
    }
}

/// How long a transition may last before it is reported.
pub(crate) const REPORT_AFTER: Duration = Duration::from_millis(100);

impl Config {
    /// The settings that every process has.
    pub fn process(&self) -> ProcessConfig {
        ProcessConfig {
            bus: self.bus.clone(),
            telemetry: self.telemetry.clone(),
            health_address: self.health_address,
        }
    }

    /// Beside an instance, registries take only its application.
    pub(crate) fn narrowed(mut self) -> Self {
        if let Some(beside) = &self.beside {
            self.registries.iter_mut().for_each(|registry| beside.narrow(registry));
        }
        self
    }

    /// Filter of the endpoints that matter.
    pub(crate) fn instances(&self) -> String {
        match (&self.cluster, &self.beside) {
            (Some(cluster), Some(beside)) => beside.instances(cluster),
            (Some(cluster), None) => bucket::of_cluster(cluster),
            (None, _) => ">".to_owned(),
        }
    }

    /// What the types alone cannot tell.
    pub fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (i, registry) in self.registries.iter().enumerate() {
            errors.extend(self.registry_errors(i, registry));
        }
        errors.extend(self.doors());
        errors.extend(self.beside.iter().flat_map(|beside| beside.validate(self)));
        if self.registries.is_empty() && self.beside.is_none() {
            errors.push(FieldError::new("registries", "is empty: expected at least one Registry document"));
        }
        errors
    }

    fn registry_errors(&self, i: usize, registry: &Registry) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let at = format!("registries[{i}]");
        errors.extend(registry.spec.validate().into_iter().map(|e| e.under("spec").under(&at)));
        let name = &registry.metadata.name;
        if self.registries[..i].iter().any(|other| other.metadata.name == *name) {
            errors.push(FieldError::new(format!("{at}.metadata.name"), format!("{name} is there twice")));
        }
        let shares = |other: &&Registry| {
            let (one, other) = (registry.spec.rate.as_ref(), other.spec.rate.as_ref());
            one.zip(other).is_some_and(|(a, b)| a.account.is_some() && a.account == b.account && a != b)
        };
        if let Some(other) = self.registries[..i].iter().find(shares) {
            let other = &other.metadata.name;
            errors.push(FieldError::new(
                format!("{at}.spec.rate"),
                format!(
                    "differs from that of {other}, which has the same account: expected the same numbers"
                ),
            ));
        }
        if self.cluster.is_none()
            && registry.spec.driver.owns_names()
            && !registry.spec.name.contains("{cluster}")
        {
            errors.push(FieldError::new(
                format!("{at}.spec.name"),
                format!(
                    "{:?}: expected {{cluster}} in it, since a name in registry {name} has one owner and every cluster is written",
                    registry.spec.name
                ),
            ));
        }
        // Two installations with one name would take each other's entries for orphans of their own.
        if self.owner.is_none() && registry.spec.driver.is_shared() {
            errors.push(FieldError::new(
                "owner",
                format!("is missing: registry {name}, that others write to, needs a name that no other installation has"),
            ));
        }
        errors
    }
}

impl Config {
    /// Where others come to us: each at an address of its own. What an Envoy is served is whole, so it is for one cluster.
    fn doors(&self) -> Vec<FieldError> {
        let (mut errors, mut doors) = (Vec::new(), Vec::new());
        for (i, registry) in self.registries.iter().enumerate() {
            let envoy = match &registry.spec.driver {
                Driver::Envoy(envoy) => Some(("driver.envoy.listen", envoy.listen)),
                _ => None,
            };
            let external_dns = registry.spec.external_dns.as_ref();
            let external_dns = external_dns.map(|served| ("externalDns.listen", served.listen));
            for (field, listen) in envoy.into_iter().chain(external_dns) {
                if doors.contains(&listen) {
                    let at = format!("registries[{i}].spec.{field}");
                    errors.push(FieldError::new(at, format!("{listen} is there twice")));
                }
                doors.push(listen);
            }
            if envoy.is_some() && self.cluster.is_none() {
                let problem = format!("is missing: registry {} serves one cluster", registry.metadata.name);
                errors.push(FieldError::new("cluster", problem));
            }
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use bcs_schemas::resource::registry::Rate;

    use super::*;
    use crate::testing;

    fn config(driver: serde_json::Value, owner: Option<Name>) -> Config {
        let registry = serde_json::from_value(serde_json::json!({
            "apiVersion": "bcs/v1", "kind": "Registry", "metadata": { "name": "dns" }, "spec": { "driver": driver },
        }));
        Config { owner, registries: vec![registry.expect("a registry")], ..Config::default() }
    }

    #[test]
    fn a_registry_that_others_write_to_needs_an_owner_and_a_file_does_not() {
        let etcd = || serde_json::json!({ "etcd": { "endpoints": ["http://127.0.0.1:2379"] } });
        let errors = config(etcd(), None).validate();
        assert!(
            matches!(errors.as_slice(), [e] if e.to_string().contains("a name that no other installation has")),
            "{errors:?}"
        );
        assert_eq!(config(etcd(), Some(testing::name("eu1"))).validate(), []);
        let file = serde_json::json!({ "file": { "directory": "/x" } });
        assert_eq!(config(file, None).validate(), []);
    }

    #[test]
    fn registries_of_one_account_have_one_rate() {
        let mut config = config(serde_json::json!({ "file": { "directory": "/x" } }), None);
        let rate = |changes_per_second, account| {
            Some(Rate { changes_per_second, burst: None, account: Some(testing::name(account)) })
        };
        let mut second = config.registries[0].clone();
        second.metadata.name = testing::name("other");
        config.registries[0].spec.rate = rate(5, "cloud");
        for (theirs, errors) in
            [(rate(5, "cloud"), 0), (rate(9, "mine"), 0), (None, 0), (rate(9, "cloud"), 1)]
        {
            second.spec.rate = theirs;
            config.registries.truncate(1);
            config.registries.push(second.clone());
            assert_eq!(config.validate().len(), errors, "{:?}", config.validate());
        }
    }

    #[test]
    fn a_name_that_has_one_owner_tells_the_clusters_apart_when_all_are_written() {
        let webhook = || serde_json::json!({ "webhook": { "url": "http://127.0.0.1:8888" } });
        let all = config(webhook(), Some(testing::name("eu1")));
        let errors = all.validate();
        assert!(
            matches!(errors.as_slice(), [e] if e.to_string().starts_with("registries[0].spec.name: ")),
            "{errors:?}"
        );
        let one = Config { cluster: Some(testing::name("sim-a")), ..all.clone() };
        assert_eq!(one.validate(), []);
        let mut told = all;
        told.registries[0].spec.name = "{app}.{cluster}".to_owned();
        assert_eq!(told.validate(), []);
    }

    #[test]
    fn envoys_ask_at_an_address_for_the_endpoints_of_one_cluster() {
        let mut config = config(serde_json::json!({ "envoy": {} }), None);
        let mut second = config.registries[0].clone();
        second.metadata.name = testing::name("second");
        let words = |config: &Config| config.validate().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(words(&config), ["cluster: is missing: registry dns serves one cluster"]);
        config.cluster = Some(testing::name("sim-a"));
        assert_eq!(config.validate(), []);
        config.registries.push(second);
        assert_eq!(
            words(&config),
            ["registries[1].spec.driver.envoy.listen: 127.0.0.1:18000 is there twice"]
        );
    }

    #[test]
    fn every_external_dns_comes_at_an_address_of_its_own() {
        let powerdns =
            serde_json::json!({ "powerdns": { "url": "http://dns:8081", "key": { "file": "/k" } } });
        let mut config = config(powerdns, Some(testing::name("eu1")));
        config.cluster = Some(testing::name("sim-a"));
        let served = serde_json::from_value(serde_json::json!({})).expect("settings");
        config.registries[0].spec.external_dns = Some(served);
        assert_eq!(config.validate(), []);
        let mut second = config.registries[0].clone();
        second.metadata.name = testing::name("second");
        config.registries.push(second);
        let words: Vec<String> = config.validate().iter().map(ToString::to_string).collect();
        assert_eq!(words, ["registries[1].spec.externalDns.listen: 127.0.0.1:8888 is there twice"]);
    }

    const README: &str = include_str!("../README.md");

    #[test]
    fn the_examples_of_the_readme_are_settings_that_can_be_used() {
        let examples: Vec<&str> =
            README.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert_eq!(examples.len(), 5);
        for example in examples {
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), example).expect("writes");
            let config: Result<Config, _> = bcs_kit::config::load("readme", Some(file.path()));
            assert_eq!(
                config.map(|config| config.validate()).map_err(|e| e.to_string()),
                Ok(vec![]),
                "{example}"
            );
        }
    }

    #[test]
    fn the_readme_names_every_setting() {
        let schema = serde_json::to_value(schemars::schema_for!(Config)).expect("a schema");
        let keys = schema["properties"].as_object().expect("properties");
        assert!(keys.len() > 10);
        for key in keys.keys() {
            assert!(README.contains(&format!("`{key}`")), "{key} is missing");
        }
    }
}
