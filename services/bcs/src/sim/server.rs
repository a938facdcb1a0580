//! The part of a simulated cluster that no real one has: `/sim/`.

use std::{collections::BTreeMap, time::Duration};

use bcs_kubesim::CurrentFaults;
use hyper::{Method, Request, StatusCode, header};
use kube::client::Body;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{place::ONLY, words::Asked};
use crate::{Exit, Failure};

/// Nothing there takes long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A cluster that says that it is simulated, once it was asked.
pub(crate) struct Server {
    pub(crate) name: String,
    /// Where it answers.
    pub(crate) url: String,
    client: kube::Client,
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
    pub(super) fn new(name: String, url: String, client: kube::Client) -> Self {
        Self { name, url, client }
    }

    /// What is set.
    pub(crate) async fn faults(&self) -> Result<CurrentFaults, Failure> {
        self.ask(Method::GET, "/sim/faults", None).await
    }

    pub(crate) async fn counts(&self) -> Result<Counts, Failure> {
        self.ask(Method::GET, "/sim/stats", None).await
    }

    /// Lets this go wrong, if it is a simulated cluster.
    pub(crate) async fn set(&self, asked: &Asked) -> Result<Done, Failure> {
        self.faults().await?;
        self.ask(Method::POST, "/sim/faults", Some(asked)).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Asked>,
    ) -> Result<T, Failure> {
        let body = body.map(serde_json::to_vec).transpose().map_err(|e| Failure::failed(e.to_string()))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.unwrap_or_default()))
            .map_err(|e| Failure::failed(format!("{}: {e}", self.url)))?;
        let asked = async {
            let answer = self.client.send(request).await?;
            Ok::<_, kube::Error>((answer.status(), answer.into_body().collect_bytes().await?))
        };
        let answer = tokio::time::timeout(PATIENCE, asked).await.map_err(|_| self.silent("in time"))?;
        let (status, bytes) = answer.map_err(|_| self.silent("at all"))?;
        let text = String::from_utf8_lossy(&bytes);
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

    fn silent(&self, how: &str) -> Failure {
        let (cluster, url) = (&self.name, &self.url);
        Failure::failed(format!(
            "cluster {cluster} does not answer {how} at {url}: is `bcs up` (or `bcs kubesim`) running?"
        ))
    }

    fn real(&self) -> Failure {
        Failure::usage(format!("{} is no simulated cluster{ONLY}", self.url))
    }
}
