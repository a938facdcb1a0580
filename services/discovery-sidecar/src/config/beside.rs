//! Settings of a sidecar that runs beside an instance.

use bcs_schemas::{
    FieldError, Millis, Name, bucket,
    resource::{
        Registry,
        registry::{AppSelector, Driver},
    },
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Config, OnStop};

/// Beside which instance a sidecar runs. On Kubernetes the downward API knows all of it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Beside {
    /// Project of its application (the pod's namespace).
    pub project: Name,
    /// Its application.
    pub app: Name,
    /// Its name in the cluster (the pod's name).
    pub instance: String,
    /// How long its end may be held up.
    #[serde(default = "hold_within")]
    pub hold_within: Millis,
}

const fn hold_within() -> Millis {
    Millis::from_secs(60)
}

impl Beside {
    /// Filter of the application's instances.
    pub(crate) fn instances(&self, cluster: &Name) -> String {
        bucket::app_prefix(cluster, &self.project, &self.app) + ">"
    }

    /// Key of the instance.
    pub(crate) fn key(&self, cluster: &Name) -> String {
        bucket::app_prefix(cluster, &self.project, &self.app) + &self.instance
    }

    pub(super) fn validate(&self, config: &Config) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut refuse = |field: String, problem: &str| errors.push(FieldError::new(field, problem));
        if config.cluster.is_none() {
            refuse("cluster".into(), "is missing: expected the cluster that runs the instance");
        }
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if self.instance.is_empty() || !self.instance.chars().all(known) {
            refuse(
                "beside.instance".into(),
                "is no name of an instance: expected letters, digits and dashes",
            );
        }
        if config.on_stop == OnStop::Drain {
            let problem = "is \"drain\": expected \"keep\" beside an instance, since one of its siblings goes on with the registries";
            refuse("on_stop".into(), problem);
        }
        for (i, registry) in config.registries.iter().enumerate() {
            let at = format!("registries[{i}].spec");
            if is_of_one_process(&registry.spec.driver) {
                let problem = "is kept by one sidecar of the host, and there are many beside instances: expected a registry that \
                     all of them reach";
                refuse(format!("{at}.driver"), problem);
            }
            let only = registry.spec.only_if.clone().unwrap_or_default();
            let without = |names: &[Name], name| !names.is_empty() && !names.contains(name);
            if without(&only.projects, &self.project) || without(&only.apps, &self.app) {
                refuse(
                    format!("{at}.onlyIf"),
                    "does not take the application of the instance: expected that it does",
                );
            }
        }
        errors
    }

    /// The registry takes this application and no other.
    pub(super) fn narrow(&self, registry: &mut Registry) {
        let only = registry.spec.only_if.take().unwrap_or_default();
        let (projects, apps) = (vec![self.project.clone()], vec![self.app.clone()]);
        registry.spec.only_if = Some(AppSelector { projects, apps, ..only });
    }
}

/// Whether it is there for one host or one sidecar alone.
fn is_of_one_process(driver: &Driver) -> bool {
    match driver {
        Driver::File(_) | Driver::Envoy(_) | Driver::Nftables(_) => true,
        Driver::Haproxy(haproxy) => haproxy.socket.starts_with('/'),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn config(more: serde_json::Value) -> Config {
        let beside = serde_json::json!({ "project": "shop", "app": "web", "instance": "web-1" });
        let mut settings = serde_json::json!({ "cluster": "sim-a", "owner": "eu1", "beside": beside });
        settings.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        serde_json::from_value(settings).expect("settings")
    }

    fn with(spec: serde_json::Value) -> Config {
        config(serde_json::json!({ "registries": [
            { "apiVersion": "bcs/v1", "kind": "Registry", "metadata": { "name": "own" }, "spec": spec },
        ] }))
    }

    fn words(config: &Config) -> String {
        config.validate().iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn beside_an_instance_registries_are_those_that_its_siblings_reach_too() {
        let etcd = serde_json::json!({ "etcd": { "endpoints": ["http://etcd:2379"] } });
        for (config, said) in [
            (config(serde_json::json!({})), ""),
            (with(serde_json::json!({ "driver": etcd })), ""),
            (
                with(
                    serde_json::json!({ "driver": etcd, "onlyIf": { "projects": ["shop"], "apps": ["api", "web"] } }),
                ),
                "",
            ),
            (
                with(serde_json::json!({ "driver": etcd, "onlyIf": { "projects": ["bank"] } })),
                "registries[0].spec.onlyIf: does not take",
            ),
            (
                with(serde_json::json!({ "driver": { "envoy": {} } })),
                "registries[0].spec.driver: is kept by one",
            ),
            (
                with(serde_json::json!({ "driver": { "haproxy": { "socket": "/run/haproxy.sock" } } })),
                "registries[0].spec.driver: is kept by one",
            ),
            (with(serde_json::json!({ "driver": { "haproxy": { "socket": "lb:9999" } } })), ""),
            (config(serde_json::json!({ "cluster": null })), "cluster: is missing"),
            (config(serde_json::json!({ "on_stop": "drain" })), "on_stop: is \"drain\""),
            (
                config(
                    serde_json::json!({ "beside": { "project": "shop", "app": "web", "instance": "a.b" } }),
                ),
                "beside.instance: is no name",
            ),
        ] {
            let told = words(&config);
            assert!(if said.is_empty() { told.is_empty() } else { told.starts_with(said) }, "{said}: {told}");
        }
    }

    #[test]
    fn its_registries_take_its_application_alone() {
        let etcd = serde_json::json!({ "etcd": { "endpoints": ["http://etcd:2379"] } });
        let spec = serde_json::json!({ "driver": etcd, "onlyIf": { "matchLabels": { "tier": "front" } } });
        let narrowed = with(spec).narrowed();
        let only = narrowed.registries[0].spec.only_if.clone().expect("is narrowed");
        assert_eq!((only.projects, only.apps), (vec![testing::name("shop")], vec![testing::name("web")]));
        assert_eq!(only.match_labels.len(), 1);
    }
}
