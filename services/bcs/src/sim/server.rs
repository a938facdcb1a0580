//! The part of a simulated cluster that no real one has: `/sim/`.

use std::{collections::BTreeMap, time::Duration};

use bcs_kubesim::CurrentFaults;
use reqwest::{Method, StatusCode, Url};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{place::ONLY, words::Asked};
use crate::{Exit, Failure};

/// Nothing there takes long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A cluster that says that it is simulated, once it was asked.
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) url: Url,
    token: String,
    http: reqwest::Client,
}

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
    pub(super) fn new(name: String, url: Url, token: String) -> Result<Self, Failure> {
        // It is on this machine: no proxy has to do with it.
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build();
        let http = http.map_err(|e| Failure::failed(format!("no HTTP client: {e}")))?;
        Ok(Self { name, url, token, http })
    }

    /// What is set.
    pub(crate) async fn faults(&self) -> Result<CurrentFaults, Failure> {
        self.ask(Method::GET, "sim/faults", None).await
    }

    pub(crate) async fn counts(&self) -> Result<Counts, Failure> {
        self.ask(Method::GET, "sim/stats", None).await
    }

    /// Lets this go wrong, if it is a simulated cluster.
    pub(crate) async fn set(&self, asked: &Asked) -> Result<Done, Failure> {
        self.faults().await?;
        self.ask(Method::POST, "sim/faults", Some(asked)).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Asked>,
    ) -> Result<T, Failure> {
        let url = self.url.join(path).map_err(|e| Failure::failed(format!("{}: {e}", self.url)))?;
        let mut request = self.http.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| self.silent(&error))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| self.silent(&error))?;
        if status.is_success() {
            return serde_json::from_str(&text).map_err(|_| self.real());
        }
        let said: Value = serde_json::from_str(&text).unwrap_or_default();
        let said = said["message"].as_str().unwrap_or("no reason is given");
        let cluster = &self.name;
        Err(match status {
            StatusCode::BAD_REQUEST => {
                Failure { exit: Exit::Rejected, message: format!("cluster {cluster} refuses: {said}") }
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::failed(format!(
                "cluster {cluster} does not take the token of this kubeconfig ({said}): it is of an earlier start, or of another cluster"
            )),
            StatusCode::NOT_FOUND => self.real(),
            _ => Failure::failed(format!("cluster {cluster} answers with {status}: {said}")),
        })
    }

    fn silent(&self, error: &reqwest::Error) -> Failure {
        let (cluster, url) = (&self.name, self.url.as_str().trim_end_matches('/'));
        let why = if error.is_timeout() { "in time" } else { "at all" };
        Failure::failed(format!(
            "cluster {cluster} does not answer {why} at {url}: is `bcs up` (or `bcs kubesim`) running?"
        ))
    }

    fn real(&self) -> Failure {
        let url = self.url.as_str().trim_end_matches('/');
        Failure::usage(format!("{url} is no simulated cluster{ONLY}"))
    }
}
