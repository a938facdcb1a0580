//! ZooKeeper.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::cluster::SecretRef;
use crate::FieldError;

/// How ZooKeeper is reached and where services lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ZookeeperDriver {
    /// Addresses of the servers: `zk-1:2181`.
    pub hosts: Vec<String>,
    /// Node below which everything lies, such as `/platform`; it has to be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chroot: Option<String>,
    /// Base path of Curator's service discovery.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// What the payload of an instance is.
    #[serde(default)]
    pub payload: ZookeeperPayload,
    /// Who we are, by the scheme `digest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<ZookeeperAuth>,
}

/// What the payload of an instance is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ZookeeperPayload {
    /// A map with `metadata`.
    #[default]
    Plain,
    /// What Spring Cloud reads.
    Spring,
}

/// A user of ZooKeeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ZookeeperAuth {
    /// Name.
    pub user: String,
    /// Password; a line break at the end does not count.
    pub password: SecretRef,
}

fn default_prefix() -> String {
    "/services".to_owned()
}

fn is_path(path: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.chars().all(|c| c.is_ascii_graphic() && c != ',')
    };
    path.strip_prefix('/').is_some_and(|path| path.split('/').all(plain))
}

impl ZookeeperDriver {
    pub(super) fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut refuse = |field: &str, problem: String| errors.push(FieldError::new(field, problem));
        if self.hosts.is_empty() {
            refuse("hosts", "is empty: expected at least one host:port".to_owned());
        }
        for (i, host) in self.hosts.iter().enumerate() {
            let port = host.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            let port = port.and_then(|(_, port)| port.parse::<u16>().ok());
            // The text itself is not repeated where it may hold a password.
            match host {
                host if host.contains('@') => {
                    refuse(
                        &format!("hosts[{i}]"),
                        "holds a user: give it as auth, with the password in a file".to_owned(),
                    );
                }
                host if host.contains(['/', ',', ' ']) || port.is_none_or(|port| port == 0) => {
                    refuse(&format!("hosts[{i}]"), format!("{host:?}: expected host:port"));
                }
                _ => (),
            }
        }
        if let Some(chroot) = self.chroot.as_ref().filter(|chroot| !is_path(chroot)) {
            refuse("chroot", format!("{chroot:?}: expected such as /platform"));
        }
        let taken = |root: &str| self.prefix == root || self.prefix.starts_with(&format!("{root}/"));
        if !is_path(&self.prefix) {
            refuse("prefix", format!("{:?}: expected such as /services", self.prefix));
        } else if taken("/bcs") || taken("/zookeeper") {
            refuse("prefix", format!("{:?}: /bcs and /zookeeper hold something else", self.prefix));
        }
        if let Some(auth) = &self.auth {
            if auth.user.is_empty() || auth.user.contains(':') {
                refuse("auth.user", "expected the name of a user, without a colon".to_owned());
            }
            errors.extend(auth.password.validate("auth.password"));
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_zookeeper_would_not_take_is_refused_with_the_field() {
        let file = |name: &str| serde_json::json!({ "file": format!("/etc/bcs/{name}") });
        let read = |more: serde_json::Value| {
            let mut settings = serde_json::json!({ "hosts": ["zk-1:2181", "[fd00::1]:2181"] });
            if let (Some(settings), Some(more)) = (settings.as_object_mut(), more.as_object()) {
                settings.extend(more.clone());
            }
            let driver: ZookeeperDriver = serde_json::from_value(settings).map_err(|e| e.to_string())?;
            let errors: Vec<String> = driver.validate().iter().map(ToString::to_string).collect();
            if errors.is_empty() { Ok(driver) } else { Err(errors.join("; ")) }
        };
        let whole = serde_json::json!({
            "chroot": "/a/b", "payload": "spring", "auth": { "user": "bcs", "password": file("password") },
        });
        assert_eq!(read(whole).expect("is read").prefix, "/services");
        for (more, words) in [
            (serde_json::json!({ "hosts": [] }), "hosts: is empty"),
            (serde_json::json!({ "hosts": ["zk-1"] }), "hosts[0]: \"zk-1\": expected host:port"),
            (serde_json::json!({ "hosts": ["zk-1:2181/x"] }), "hosts[0]"),
            (serde_json::json!({ "hosts": ["bcs:hunter2@zk-1:2181"] }), "hosts[0]: holds a user"),
            (serde_json::json!({ "chroot": "a" }), "chroot: \"a\""),
            (serde_json::json!({ "prefix": "/" }), "prefix: \"/\""),
            (serde_json::json!({ "prefix": "/a/../b" }), "prefix: "),
            (serde_json::json!({ "prefix": "/bcs/epoch" }), "hold something else"),
            (serde_json::json!({ "auth": { "user": "a:b", "password": file("p") } }), "auth.user: "),
            (serde_json::json!({ "auth": { "user": "a", "password": "hunter2" } }), "invalid type"),
            (serde_json::json!({ "tls": {} }), "unknown field `tls`"),
        ] {
            let error = read(more).expect_err(words);
            assert!(error.contains(words) && !error.contains("zk-1:hunter2@"), "{error}");
        }
    }
}
