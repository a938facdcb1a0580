//! Which simulated cluster is meant, and where its API is: read from the kubeconfig that was written for it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use clap::Args;
use reqwest::Url;
use serde_json::Value;

use super::server::Server;
use crate::{Failure, up};

/// Which cluster.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// A cluster of `bcs up`, such as sim-a
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// The directory of that `bcs up`, if it is not the standard one
    #[arg(long, value_name = "DIR", conflicts_with = "kubeconfig")]
    data: Option<PathBuf>,
    /// The kubeconfig of a cluster that runs by itself, as `bcs kubesim` wrote it
    #[arg(long, value_name = "FILE", conflicts_with = "cluster")]
    kubeconfig: Option<PathBuf>,
}

impl Place {
    /// The cluster that is named.
    pub(crate) fn one(&self) -> Result<Option<Server>, Failure> {
        if let Some(file) = &self.kubeconfig {
            return read(file).map(Some);
        }
        let Some(name) = &self.cluster else { return Ok(None) };
        let (root, known) = self.known()?;
        match known.get(name) {
            Some(file) => read(file).map(Some),
            None => Err(nobody(&format!("no simulated cluster {name:?}"), &root, &known)),
        }
    }

    /// The one that is named, which must be.
    pub(crate) fn named(&self) -> Result<Server, Failure> {
        if let Some(server) = self.one()? {
            return Ok(server);
        }
        let (root, known) = self.known()?;
        Err(nobody("no cluster named: say which with --cluster or --kubeconfig", &root, &known))
    }

    /// All clusters of `bcs up`.
    pub(crate) fn all(&self) -> Result<Vec<Server>, Failure> {
        let (root, known) = self.known()?;
        if known.is_empty() {
            return Err(nobody("no simulated cluster", &root, &known));
        }
        known.values().map(|file| read(file)).collect()
    }

    fn known(&self) -> Result<(PathBuf, BTreeMap<String, PathBuf>), Failure> {
        let root = up::root(self.data.clone())?;
        let known = up::kubeconfigs(&root);
        Ok((root, known))
    }
}

fn nobody(what: &str, root: &Path, known: &BTreeMap<String, PathBuf>) -> Failure {
    let root = root.display();
    if known.is_empty() {
        return Failure::usage(format!(
            "{what}: `bcs up` has made none in {root}\n  start it, name its directory with --data, or name a kubeconfig of `bcs \
             kubesim` with --kubeconfig"
        ));
    }
    let known: Vec<&str> = known.keys().map(String::as_str).collect();
    Failure::usage(format!("{what}: in {root} there are {}", known.join(", ")))
}

fn read(file: &Path) -> Result<Server, Failure> {
    let wrong = |why: String| Failure::usage(format!("{}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|e| wrong(e.to_string()))?;
    let (name, url, token) = target(&text).map_err(wrong)?;
    Server::new(name, url, token)
}

/// Name, address and token of the current context. A simulated cluster is always on this machine, and speaks plain HTTP:
/// whatever else is named there is not asked at all.
fn target(text: &str) -> Result<(String, Url, String), String> {
    let none = || "is no kubeconfig with a current context".to_owned();
    let config: Value = serde_saphyr::from_str(text).map_err(|_| none())?;
    let entry = |list: &str, kind: &str, name: &str| {
        let found = config[list].as_array()?.iter().find(|entry| entry["name"] == *name)?;
        Some(found[kind].clone())
    };
    let current = config["current-context"].as_str().ok_or_else(none)?;
    let context = entry("contexts", "context", current).ok_or_else(none)?;
    let name = context["cluster"].as_str().ok_or_else(none)?;
    let cluster = entry("clusters", "cluster", name).ok_or_else(none)?;
    let user = context["user"].as_str().and_then(|user| entry("users", "user", user)).unwrap_or_default();
    let mut url: Url = cluster["server"].as_str().and_then(|url| url.parse().ok()).ok_or_else(none)?;
    // Whoever may ask stands in it, too.
    let bare = url.set_username("").and_then(|()| url.set_password(None));
    if bare.is_err() || url.scheme() != "http" || url.host_str() != Some("127.0.0.1") {
        return Err(format!("points at {url}, which is no simulated cluster{ONLY}"));
    }
    Ok((name.to_owned(), url, user["token"].as_str().unwrap_or_default().to_owned()))
}

/// How it goes on when somebody names a real cluster.
pub(super) const ONLY: &str = ": `bcs sim` speaks only to those of `bcs up` and `bcs kubesim`";

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(server: &str) -> String {
        format!(
            "current-context: b\nclusters:\n- name: x\n  cluster: {{server: {server:?}}}\n- name: y\n  cluster: {{}}\nusers:\n- name: \
             u\n  user: {{token: hush}}\ncontexts:\n- name: a\n  context: {{cluster: y}}\n- name: b\n  context: {{cluster: x, user: u}}\n"
        )
    }

    #[test]
    fn a_kubeconfig_says_where_its_simulated_cluster_is() {
        let (name, url, token) = target(&kubeconfig("http://kubesim:hush@127.0.0.1:4711")).expect("is one");
        assert_eq!((name.as_str(), url.as_str(), token.as_str()), ("x", "http://127.0.0.1:4711/", "hush"));
    }

    #[test]
    fn a_real_cluster_is_none_and_its_credentials_are_not_told() {
        for server in ["https://hush:hush@10.0.0.1:6443", "http://example.org", "https://127.0.0.1:6443"] {
            let error = target(&kubeconfig(server)).expect_err(server);
            assert!(error.contains("no simulated cluster") && !error.contains("hush"), "{error}");
        }
        for text in ["", "a: [", "kind: Config", "current-context: a"] {
            assert!(target(text).expect_err(text).contains("no kubeconfig"), "{text}");
        }
    }
}
