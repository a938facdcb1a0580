//! Which simulated cluster is meant, and where its API is: read from the kubeconfig that was written for it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use clap::Args;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

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
    pub(crate) async fn one(&self) -> Result<Option<Server>, Failure> {
        if let Some(file) = &self.kubeconfig {
            return read(file).await.map(Some);
        }
        let Some(name) = &self.cluster else { return Ok(None) };
        let (root, known) = self.known()?;
        match known.get(name) {
            Some(file) => read(file).await.map(Some),
            None => Err(nobody(&format!("no simulated cluster {name:?}"), &root, &known)),
        }
    }

    /// The one that is named, which must be.
    pub(crate) async fn named(&self) -> Result<Server, Failure> {
        if let Some(server) = self.one().await? {
            return Ok(server);
        }
        let (root, known) = self.known()?;
        Err(nobody("no cluster named: say which with --cluster or --kubeconfig", &root, &known))
    }

    /// All clusters of `bcs up`.
    pub(crate) async fn all(&self) -> Result<Vec<Server>, Failure> {
        let (root, known) = self.known()?;
        if known.is_empty() {
            return Err(nobody("no simulated cluster", &root, &known));
        }
        futures::future::try_join_all(known.values().map(|file| read(file))).await
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

async fn read(file: &Path) -> Result<Server, Failure> {
    let wrong = |why: String| Failure::usage(format!("{}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|e| wrong(e.to_string()))?;
    let (name, config) = target(&text).await.map_err(wrong)?;
    let url = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let client = Client::try_from(config).map_err(|e| wrong(e.to_string()))?;
    Ok(Server::new(name, url, client))
}

/// The current context, and how its cluster is reached. A simulated cluster is always on this machine, and has an authority of its
/// own: whatever else is named there is not asked at all.
async fn target(text: &str) -> Result<(String, Config), String> {
    let none = || "is no kubeconfig with a current context".to_owned();
    let kubeconfig = Kubeconfig::from_yaml(text).map_err(|_| none())?;
    let current = kubeconfig.current_context.clone().ok_or_else(none)?;
    let context = kubeconfig.contexts.iter().find(|context| context.name == current);
    let name = context.and_then(|context| context.context.as_ref()).map(|context| context.cluster.clone());
    let name = name.ok_or_else(none)?;
    let read = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let mut config = read.map_err(|_| none())?;
    let simulated = config.root_cert.iter().flatten().any(|authority| is_ours(authority));
    if config.cluster_url.host() != Some("127.0.0.1") || !simulated {
        let server = bare(&config.cluster_url.to_string());
        return Err(format!("points at {server}, which is no simulated cluster{ONLY}"));
    }
    // It is on this machine: no proxy has to do with it.
    config.proxy_url = None;
    Ok((name, config))
}

/// Without who asks there.
fn bare(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit('@').next().unwrap_or(rest)),
        None => url.to_owned(),
    }
}

/// As kubesim names the authority of a cluster.
fn is_ours(authority: &[u8]) -> bool {
    let parsed = X509Certificate::from_der(authority);
    parsed.is_ok_and(|(_, authority)| {
        let name = authority.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        name.is_some_and(|name| name.starts_with("kubesim "))
    })
}

/// How it goes on when somebody names a real cluster.
pub(super) const ONLY: &str = ": `bcs sim` speaks only to those of `bcs up` and `bcs kubesim`";

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn authority(name: &str) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        STANDARD.encode(params.self_signed(&key).expect("signed").pem().as_bytes())
    }

    fn kubeconfig(server: &str, authority: &str) -> String {
        format!(
            "current-context: b\nclusters:\n- name: x\n  cluster: {{server: {server:?}, certificate-authority-data: {authority:?}}}\n\
             - name: y\n  cluster: {{server: 'https://10.0.0.1'}}\nusers:\n- name: u\n  user: {{token: hush}}\ncontexts:\n\
             - name: a\n  context: {{cluster: y, user: u}}\n- name: b\n  context: {{cluster: x, user: u}}\n"
        )
    }

    #[tokio::test]
    async fn a_kubeconfig_says_where_its_simulated_cluster_is() {
        let text = kubeconfig("https://127.0.0.1:4711", &authority("kubesim sim-a"));
        let (name, config) = target(&text).await.expect("is one");
        assert_eq!(
            (name.as_str(), config.cluster_url.to_string().as_str()),
            ("x", "https://127.0.0.1:4711/")
        );
    }

    #[tokio::test]
    async fn a_real_cluster_is_none_and_its_credentials_are_not_told() {
        let (ours, theirs) = (authority("kubesim sim-a"), authority("kubernetes"));
        for (server, authority) in [
            ("https://hush:hush@10.0.0.1:6443", &ours),
            ("https://example.org", &ours),
            ("https://127.0.0.1:6443", &theirs),
        ] {
            let error = target(&kubeconfig(server, authority)).await.expect_err(server);
            assert!(error.contains("no simulated cluster") && !error.contains("hush"), "{error}");
        }
        for text in ["", "a: [", "kind: Config", "current-context: a"] {
            assert!(target(text).await.expect_err(text).contains("no kubeconfig"), "{text}");
        }
    }
}
