//! Which simulated cluster is meant, and where its API is: read from the kubeconfig that was written for it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use bcs_kubesim::{Remote, RemoteError};
use clap::Args;

use super::server::Server;
use crate::{Failure, home};

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
        let root = home::root(self.data.clone())?;
        let known = home::kubeconfigs(&root);
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
    Remote::of_kubeconfig(&text).map(Server::new).map_err(|error| match error {
        RemoteError::NotSimulated(_) => wrong(format!("{error}{ONLY}")),
        error => wrong(error.to_string()),
    })
}

/// How it goes on when somebody names a real cluster.
pub(super) const ONLY: &str = ": `bcs sim` speaks only to those of `bcs up` and `bcs kubesim`";
