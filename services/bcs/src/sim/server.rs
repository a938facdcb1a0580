//! The part of a simulated cluster that no real one has: `/sim/`.

use std::collections::BTreeMap;

use bcs_kubesim::{CurrentFaults, Remote};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{place::ONLY, words::Asked};
use crate::{Exit, Failure};

/// A simulated cluster, by its authority.
pub(crate) struct Server(Remote);

/// What is set now, and what that has done.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    #[serde(flatten)]
    pub(crate) set: CurrentFaults,
    /// The pods whose containers crash, as `namespace/name`.
    pub(crate) crashed: Vec<String>,
}

/// What there is, and how much was asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) resource_version: u64,
    pub(crate) requests: u64,
    pub(crate) watches: u64,
    /// By the plural of the kind.
    pub(crate) objects: BTreeMap<String, u64>,
}

impl Server {
    pub(super) fn new(remote: Remote) -> Self {
        Self(remote)
    }

    pub(crate) fn name(&self) -> &str {
        self.0.name()
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> &str {
        self.0.url()
    }

    /// What is set.
    pub(crate) async fn faults(&self) -> Result<CurrentFaults, Failure> {
        self.ask("GET", "/sim/faults", None).await
    }

    pub(crate) async fn counts(&self) -> Result<Counts, Failure> {
        self.ask("GET", "/sim/stats", None).await
    }

    /// Lets this go wrong.
    pub(crate) async fn set(&self, asked: &Asked) -> Result<Done, Failure> {
        self.ask("POST", "/sim/faults", Some(asked)).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Option<&Asked>,
    ) -> Result<T, Failure> {
        let body = body.map(|body| Value::Object(body.clone()));
        let (code, text) = self.0.send(method, path, body.as_ref()).await.map_err(|error| {
            Failure::failed(format!(
                "cluster {} does not answer at {}: is `bcs up` (or `bcs kubesim`) running? ({error})",
                self.name(),
                self.url()
            ))
        })?;
        if (200..300).contains(&code) {
            return serde_json::from_str(&text).map_err(|_| self.real());
        }
        let said: Value = serde_json::from_str(&text).unwrap_or_default();
        let said = said["message"].as_str().unwrap_or("no reason is given");
        let cluster = self.name();
        Err(match code {
            400 => Failure { exit: Exit::Rejected, message: format!("cluster {cluster} refuses: {said}") },
            401 | 403 => Failure::failed(format!(
                "cluster {cluster} does not take the token of this kubeconfig ({said}): it is of an earlier start, or of another cluster"
            )),
            404 => self.real(),
            _ => Failure::failed(format!("cluster {cluster} answers with {code}: {said}")),
        })
    }

    fn real(&self) -> Failure {
        Failure::usage(format!("{} is no simulated cluster{ONLY}", self.url()))
    }
}
