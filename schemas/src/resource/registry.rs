//! `Registry`: a place outside BCS that must know the address of every ready instance. A sidecar keeps it; the sidecar
//! reads these documents from its configuration.

mod consul;
pub mod dns;
mod envoy;
mod etcd;
mod external_dns;
mod file;
mod haproxy;
mod member;
mod metadata;
mod nacos;
mod nftables;
mod postgres;
mod powerdns;
mod redis;
mod scope;
mod tls;
mod url;
mod webhook;
mod zookeeper;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    consul::{ConsulDriver, ConsulVia},
    dns::{DnsDriver, TsigAlgorithm, TsigKey},
    envoy::EnvoyDriver,
    etcd::{EtcdAuth, EtcdDriver},
    external_dns::ExternalDns,
    file::FileDriver,
    haproxy::HaproxyDriver,
    member::Member,
    metadata::{key_of, value_of},
    nacos::{NacosAuth, NacosDriver},
    nftables::NftablesDriver,
    postgres::PostgresDriver,
    powerdns::PowerDnsDriver,
    redis::{RedisAuth, RedisDriver},
    scope::{AppSelector, Applicant, Scope},
    tls::{Identity, ServerTls, Tls},
    webhook::WebhookDriver,
    zookeeper::{ZookeeperAuth, ZookeeperDriver, ZookeeperPayload},
};
use super::{ApiVersion, Metadata};
use crate::{FieldError, Millis, Name};

/// The kind of a registry document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RegistryKind {
    /// `Registry`.
    #[default]
    Registry,
}

/// A registry document. Registries belong to the platform: their project is `system`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Registry {
    /// `bcs/v1`.
    pub api_version: ApiVersion,
    /// `Registry`.
    pub kind: RegistryKind,
    /// Who it is.
    pub metadata: Metadata,
    /// What is wanted of it.
    pub spec: RegistrySpec,
}

/// How a registry is reached and what is written there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RegistrySpec {
    /// What it is.
    pub driver: Driver,
    /// Domain below which names are written.
    #[serde(default = "default_zone")]
    pub zone: String,
    /// Name of an instance in the registry: `{app}`, `{project}`, `{cluster}` and `{instance}` stand for themselves. Without
    /// `{instance}`, all instances of an application have one name.
    #[serde(default = "default_name")]
    pub name: String,
    /// Life time that clients may cache an entry for.
    #[serde(default = "default_ttl")]
    pub ttl: Millis,
    /// What is entered with instances, where the registry has a place for it: labels of their application by their keys, and `{zone}`,
    /// `{node}`, `{revision}` and `{instance}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<String>,
    /// How long clients may still use an entry that is out: so much later its instance counts as drained. When absent, the
    /// `ttl` (25 s at most) where clients resolve names, and nothing elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deregistration_delay: Option<Millis>,
    /// How many changes it may be asked for; as many as it takes when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Takes only applications that name it in their `register`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub opt_in: bool,
    /// Takes only these applications, whether they name it or not; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_if: Option<AppSelector>,
    /// Records that an ExternalDNS hands in are kept in the same zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_dns: Option<ExternalDns>,
}

/// How many changes a registry may be asked for. Removals of instances that leave go before everything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Rate {
    /// In the long run.
    pub changes_per_second: u32,
    /// At once, after a pause; as many as in one second when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Registries of one account share its rate, also those of several clusters; by itself, every registry has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Name>,
}

fn default_zone() -> String {
    "bcs.local".to_owned()
}

fn default_name() -> String {
    "{app}.{project}".to_owned()
}

const fn default_ttl() -> Millis {
    Millis::from_secs(30)
}

/// A kind of registry and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Driver {
    /// Files that other programs read, in JSON, in hosts format and for nginx, replaced atomically.
    File(FileDriver),
    /// etcd in the SkyDNS layout, as CoreDNS reads it.
    Etcd(EtcdDriver),
    /// A zone of a DNS server that takes updates: BIND, Knot, PowerDNS and others that keep to RFC 2136.
    Dns(DnsDriver),
    /// Sets of Redis: a name is a set of addresses, such as an allow-list.
    Redis(RedisDriver),
    /// A table of PostgreSQL with a row for each instance.
    Postgres(PostgresDriver),
    /// Servers of HAProxy, by its runtime API.
    Haproxy(HaproxyDriver),
    /// Address records of a zone of PowerDNS, over its HTTP API.
    Powerdns(PowerDnsDriver),
    /// Instances of services of Nacos.
    Nacos(NacosDriver),
    /// Services in the catalog of Consul, on a node that stands for our instances, or of an agent of it.
    Consul(ConsulDriver),
    /// Whatever a provider of ExternalDNS keeps, over the webhook protocol.
    Webhook(WebhookDriver),
    /// Clusters of Envoys, which ask the sidecar for their endpoints (EDS).
    Envoy(EnvoyDriver),
    /// Sets of the packet filter of this host, such as allow-lists.
    Nftables(NftablesDriver),
    /// Nodes of ZooKeeper, as Curator's service discovery reads them.
    Zookeeper(ZookeeperDriver),
}

impl Driver {
    /// Whether others write there as well, so that entries need an owner that no other installation has.
    pub const fn is_shared(&self) -> bool {
        !matches!(self, Self::File(_) | Self::Envoy(_))
    }

    /// Whether clients ask a resolver, which remembers what it was told.
    pub const fn is_resolved(&self) -> bool {
        matches!(self, Self::Etcd(_) | Self::Dns(_) | Self::Powerdns(_) | Self::Webhook(_))
    }

    /// Whether everything under one name has one owner, so that no two clusters can write the same name.
    pub const fn owns_names(&self) -> bool {
        matches!(self, Self::Powerdns(_) | Self::Webhook(_))
    }
}

impl RegistrySpec {
    /// Whose instances it takes.
    pub fn scope(&self) -> Scope {
        Scope { opt_in: self.opt_in, only_if: self.only_if.clone() }
    }

    /// How long after an entry is out its instance counts as drained. What nobody set stays below the drain deadline that
    /// applications have when they set none (30 s): two defaults must not make every drain overdue.
    pub fn deregistration_delay(&self) -> Millis {
        let resolved =
            if self.driver.is_resolved() { self.ttl.min(Millis::from_secs(25)) } else { Millis::ZERO };
        self.deregistration_delay.unwrap_or(resolved)
    }

    /// What the types alone cannot tell.
    pub fn validate(&self) -> Vec<FieldError> {
        let mut errors = match &self.driver {
            Driver::File(file) => under("driver.file", file.validate()),
            Driver::Envoy(envoy) => under("driver.envoy", envoy.validate()),
            Driver::Etcd(etcd) => under("driver.etcd", etcd.validate()),
            Driver::Dns(dns) => under("driver.dns", dns.validate()),
            Driver::Haproxy(haproxy) => under("driver.haproxy", haproxy.validate()),
            Driver::Nftables(nftables) => under("driver.nftables", nftables.validate()),
            Driver::Postgres(postgres) => under("driver.postgres", postgres.validate()),
            Driver::Redis(redis) => under("driver.redis", redis.validate()),
            Driver::Consul(consul) => under("driver.consul", consul.validate()),
            Driver::Nacos(nacos) => under("driver.nacos", nacos.validate()),
            Driver::Webhook(webhook) => under("driver.webhook", webhook.validate()),
            Driver::Zookeeper(zookeeper) => under("driver.zookeeper", zookeeper.validate()),
            Driver::Powerdns(dns) => under("driver.powerdns", dns.validate(&self.zone)),
        };
        if let Some(external_dns) = &self.external_dns {
            errors.extend(match self.hosting_zone() {
                Some(zone) => under("externalDns", external_dns.validate(zone)),
                None => vec![FieldError::new(
                    "externalDns",
                    "is not for this driver: expected it only with dns or powerdns, which can keep records of others",
                )],
            });
        }
        let mut refuse = |field: &str, problem: String| errors.push(FieldError::new(field, problem));
        if self.rate.as_ref().is_some_and(|rate| rate.changes_per_second == 0 || rate.burst == Some(0)) {
            refuse("rate", "is zero: expected at least one change".to_owned());
        }
        if self.rate.is_some() && matches!(self.driver, Driver::Envoy(_)) {
            refuse(
                "rate",
                "is not for envoy: expected none, since Envoys are told everything at once".to_owned(),
            );
        }
        let labels = |text: &str| text.split('.').all(|label| crate::Name::new(label).is_ok());
        if !labels(&self.zone) {
            refuse("zone", format!("{:?} is no domain: expected DNS labels joined by dots", self.zone));
        }
        if let Driver::Dns(dns) = &self.driver
            && !dns.holds(&self.zone)
        {
            refuse(
                "zone",
                format!("{:?}: expected {:?}, driver.dns.zone, or a domain below it", self.zone, dns.zone),
            );
        }
        let rendered = ["{app}", "{project}", "{cluster}", "{instance}"]
            .iter()
            .fold(self.name.clone(), |name, part| name.replace(part, "x"));
        let tells_apart = self.name.contains("{app}") || self.name.contains("{instance}");
        if !labels(&rendered) || !tells_apart {
            refuse("name", format!("{:?}: expected a template such as {{app}}.{{project}}", self.name));
        }
        errors.extend(metadata::validate(&self.metadata, &self.driver));
        errors
    }
}

fn under(field: &str, errors: Vec<FieldError>) -> Vec<FieldError> {
    errors.into_iter().map(|error| error.under(field)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(spec: serde_json::Value) -> Result<RegistrySpec, String> {
        let spec: RegistrySpec = serde_json::from_value(spec).map_err(|e| e.to_string())?;
        let errors: Vec<String> = spec.validate().iter().map(ToString::to_string).collect();
        if errors.is_empty() { Ok(spec) } else { Err(errors.join("; ")) }
    }

    #[test]
    fn drivers_are_told_apart_by_their_name() {
        let etcd =
            read(serde_json::json!({ "driver": { "etcd": { "endpoints": ["http://127.0.0.1:2379"] } } }));
        assert!(
            matches!(etcd, Ok(RegistrySpec { driver: Driver::Etcd(EtcdDriver { prefix, .. }), .. }) if prefix == "/skydns")
        );
        let file = read(serde_json::json!({ "driver": { "file": { "directory": "/tmp/x" } } }));
        assert!(matches!(file, Ok(RegistrySpec { driver: Driver::File(_), .. })));
    }

    #[test]
    fn secrets_are_named_as_files_and_what_contradicts_itself_is_refused() {
        let etcd = |more: serde_json::Value| {
            let mut etcd = serde_json::json!({ "endpoints": ["https://etcd:2379"] });
            if let (Some(etcd), Some(more)) = (etcd.as_object_mut(), more.as_object()) {
                etcd.extend(more.clone());
            }
            read(serde_json::json!({ "driver": { "etcd": etcd } }))
        };
        let file = |name: &str| serde_json::json!({ "file": format!("/etc/bcs/{name}") });
        let client = serde_json::json!({ "certificate": file("crt"), "key": file("key") });
        let whole = etcd(serde_json::json!({
            "auth": { "user": "bcs", "password": file("password") }, "tls": { "ca": file("ca"), "client": client },
        }));
        assert!(matches!(
            whole,
            Ok(RegistrySpec { driver: Driver::Etcd(EtcdDriver { auth: Some(_), tls: Some(_), .. }), .. })
        ));
        for (more, words) in [
            (serde_json::json!({ "auth": { "user": "bcs", "password": "secret" } }), "invalid type"),
            (serde_json::json!({ "auth": { "user": "bcs" } }), "missing field `password`"),
            (
                serde_json::json!({ "auth": { "user": "", "password": file("p") } }),
                "driver.etcd.auth.user: is empty",
            ),
            (
                serde_json::json!({ "tls": { "ca": { "file": "ca.pem" } } }),
                "driver.etcd.tls.ca.file: ca.pem is relative",
            ),
            (
                serde_json::json!({ "tls": { "client": { "certificate": file("crt") } } }),
                "missing field `key`",
            ),
            (serde_json::json!({ "tls": { "CA": file("ca") } }), "unknown field `CA`"),
            (
                serde_json::json!({ "tls": {}, "endpoints": ["http://e:2379"] }),
                "endpoints[0]: \"http://e:2379\": expected https://",
            ),
            (
                serde_json::json!({ "endpoints": ["https://bcs:hunter2@e:2379"] }),
                "endpoints[0]: holds a user",
            ),
        ] {
            let error = etcd(more).expect_err(words);
            assert!(error.contains(words) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_zone_of_dns_holds_the_domain_and_its_key_is_named() {
        let dns = |more: serde_json::Value, zone: &str| {
            let key = serde_json::json!({ "name": "bcs_key.", "secret": { "file": "/etc/bcs/tsig" } });
            let mut dns = serde_json::json!({ "servers": ["ns1"], "zone": "corp.test", "key": key });
            if let (Some(dns), Some(more)) = (dns.as_object_mut(), more.as_object()) {
                dns.extend(more.clone());
            }
            read(serde_json::json!({ "driver": { "dns": dns }, "zone": zone }))
        };
        for zone in ["corp.test", "bcs.corp.test"] {
            let spec = dns(serde_json::json!({}), zone).expect("can be used");
            assert!(matches!(spec.driver, Driver::Dns(DnsDriver { srv: false, .. })));
        }
        let key = |algorithm: &str, file: &str| serde_json::json!({ "key": { "name": "bcs", "algorithm": algorithm, "secret": { "file": file } } });
        assert!(dns(key("hmac-sha512", "/etc/key"), "corp.test").is_ok());
        for (more, zone, words) in [
            (serde_json::json!({}), "bcs.local", "zone: \"bcs.local\": expected \"corp.test\""),
            (serde_json::json!({}), "anticorp.test", "driver.dns.zone, or a domain below it"),
            (serde_json::json!({ "servers": [] }), "corp.test", "driver.dns.servers: is empty"),
            (serde_json::json!({ "servers": ["a", "udp://b"] }), "corp.test", "driver.dns.servers[1]"),
            (serde_json::json!({ "zone": "" }), "corp.test", "driver.dns.zone"),
            (
                serde_json::json!({ "key": { "name": "a b", "secret": { "file": "/k" } } }),
                "corp.test",
                "driver.dns.key.name",
            ),
            (key("hmac-md5", "/etc/key"), "corp.test", "unknown variant `hmac-md5`"),
            (key("hmac-sha256", "key"), "corp.test", "driver.dns.key.secret.file: key is relative"),
        ] {
            let error = dns(more, zone).expect_err(words);
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (spec, words) in [
            (serde_json::json!({ "driver": { "eureka": {} } }), "unknown variant `eureka`"),
            (
                serde_json::json!({ "driver": { "etcd": { "endpoints": [] } } }),
                "driver.etcd.endpoints: is empty",
            ),
            (serde_json::json!({ "driver": { "etcd": { "endpoints": ["tcp://x"] } } }), "endpoints[0]"),
            (serde_json::json!({ "driver": { "file": { "directory": "/x" } }, "zone": "a..b" }), "zone"),
            (serde_json::json!({ "driver": { "file": { "directory": "/x" } }, "name": "{service}" }), "name"),
        ] {
            let error = read(spec).expect_err(words);
            assert!(error.contains(words), "{error}");
        }
    }
}
