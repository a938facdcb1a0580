//! Calls of the HTTP API, and what their answers mean.

use base64::{Engine, engine::general_purpose::STANDARD};
use bcs_schemas::resource::registry::{ConsulDriver, ConsulVia};
use hyper::{Method, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::layout::{Meta, Service, Spelling, whose};
use crate::{
    domain::Failure,
    driver::{
        http::{Answer, Http},
        secret,
    },
};

const TXN: &str = "/v1/txn";

/// Consul as we reached it, and our hold on the epoch key.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) http: Http,
    /// Of every call.
    query: String,
    pub(super) epoch: u64,
    /// Index at which we wrote the epoch.
    pub(super) index: u64,
}

/// What a transaction came to.
pub(super) enum Committed {
    /// The services that were written.
    Done(Vec<Service>),
    /// Nothing was done, for these operations failed.
    Refused(Vec<Problem>),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Problem {
    pub(super) op_index: usize,
    pub(super) what: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TxnAnswer {
    #[serde(default)]
    results: Option<Vec<TxnResult>>,
    #[serde(default)]
    errors: Option<Vec<Problem>>,
}

#[derive(Deserialize)]
struct TxnResult {
    #[serde(rename = "KV")]
    kv: Option<Pair>,
    #[serde(rename = "Service")]
    service: Option<Service>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Pair {
    key: String,
    value: Option<String>,
    modify_index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NodeServices {
    node: Option<Node>,
    services: Option<Vec<Service>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    meta: Option<Meta>,
}

impl Session {
    /// Claims the installation, raises the epoch, and makes the node or takes the agent for ours, all in one transaction.
    pub(super) async fn open(
        settings: &ConsulDriver,
        spelling: &Spelling,
        epoch: u64,
    ) -> Result<Self, Failure> {
        let mut http = Http::open("consul", &settings.url, settings.tls.as_ref()).await?;
        if let Some(token) = &settings.token {
            let field = "driver.consul.token";
            let held = secret::read(field, token).await.map_err(Failure::Unavailable)?;
            http = http.with_secret(field, "x-consul-token", secret::line(&held))?;
        }
        let datacenter = settings.datacenter.as_ref().map(|name| format!("dc={name}"));
        let mut session = Self { http, query: datacenter.unwrap_or_default(), epoch, index: 0 };
        let claim = session.claim(spelling).await?;
        let (held, index) = session.epoch_held(spelling).await?;
        if held > epoch {
            return Err(Failure::Fenced(held));
        }
        let ground = match settings.via {
            ConsulVia::Catalog => session.node_of_ours(spelling).await?,
            ConsulVia::Agent => session.agent(spelling).await?,
        };
        session.index = session.raise(spelling, [claim, ground], index).await?;
        Ok(session)
    }

    /// What has to hold, or to be written, for the name of the installation to be ours.
    async fn claim(&self, spelling: &Spelling) -> Result<Value, Failure> {
        let (key, ours) = (spelling.claim_key(), &spelling.installation);
        self.first(&key, ours, |other| {
            format!(
                "consul: the owner {} is another installation, {other}, and this one, {ours}, writes nothing: set another \
                 owner here, or delete the key {key} if the other one is gone for good",
                spelling.platform
            )
        })
        .await
    }

    /// What keeps a key ours that belongs to whoever comes first.
    pub(super) async fn first(
        &self,
        key: &str,
        ours: &str,
        refuse: impl FnOnce(&str) -> String,
    ) -> Result<Value, Failure> {
        match self.pair(key).await? {
            None => {
                Ok(json!({ "KV": { "Verb": "cas", "Key": key, "Value": STANDARD.encode(ours), "Index": 0 } }))
            }
            Some((held, index)) if held == ours => {
                Ok(json!({ "KV": { "Verb": "check-index", "Key": key, "Index": index } }))
            }
            Some((other, _)) => Err(Failure::Unavailable(refuse(&other))),
        }
    }

    /// Fails unless nobody raised the epoch since.
    pub(super) async fn fenced(&self, spelling: &Spelling) -> Result<(), Failure> {
        match self.epoch_held(spelling).await? {
            (_, index) if index == self.index => Ok(()),
            (held, _) if held > self.epoch => Err(Failure::Fenced(held)),
            _ => Err(Failure::Unavailable(format!(
                "consul: the key {} was moved by somebody",
                spelling.epoch_key()
            ))),
        }
    }

    /// The epoch that is written, and the index of its key.
    pub(super) async fn epoch_held(&self, spelling: &Spelling) -> Result<(u64, u64), Failure> {
        let held = self.pair(&spelling.epoch_key()).await?;
        let number = |text: &str| text.split(' ').next().and_then(|number| number.parse().ok());
        Ok(held.map_or((0, 0), |(text, index)| (number(&text).unwrap_or_default(), index)))
    }

    /// The node that stands for our instances, unless somebody else has it.
    async fn node_of_ours(&self, spelling: &Spelling) -> Result<Value, Failure> {
        let (node, _) = self.node(spelling).await?;
        match node {
            Some(node) if node.meta.as_ref() != Some(&spelling.node_meta()) => Err(self.http.failed(
                &format!("node {}", spelling.node),
                &format!(
                    "is not ours, it belongs to {}: set another driver.consul.node",
                    whose(node.meta.as_ref())
                ),
            )),
            _ => {
                // No agent runs there; nothing is ever sent to this address.
                let node =
                    json!({ "Node": spelling.node, "Address": "192.0.2.1", "Meta": spelling.node_meta() });
                Ok(json!({ "Node": { "Verb": "set", "Node": node } }))
            }
        }
    }

    async fn raise(&self, spelling: &Spelling, with: [Value; 2], index: u64) -> Result<u64, Failure> {
        let key = spelling.epoch_key();
        // Different each time: Consul does not move the index of a key that is written as it was.
        let value = format!("{} {:016x}", self.epoch, rand::random::<u64>());
        let raise =
            json!({ "KV": { "Verb": "cas", "Key": key, "Value": STANDARD.encode(value), "Index": index } });
        let operations: Value = std::iter::once(raise).chain(with).collect();
        let answer = self.transact(&operations).await?;
        if let Some(problem) = answer.errors.into_iter().flatten().next() {
            return Err(self.http.failed("raising the epoch", &format!("failed: {}", problem.what)));
        }
        let pairs = answer.results.into_iter().flatten().filter_map(|result| result.kv);
        let raised = pairs.into_iter().find(|pair| pair.key == key).map(|pair| pair.modify_index);
        raised.ok_or_else(|| self.http.failed("raising the epoch", "was answered without its index"))
    }

    /// All of them or none.
    pub(super) async fn commit(&self, operations: &Value) -> Result<Committed, Failure> {
        let answer = self.transact(operations).await?;
        match answer.errors {
            Some(problems) if !problems.is_empty() => Ok(Committed::Refused(problems)),
            _ => {
                Ok(Committed::Done(answer.results.into_iter().flatten().filter_map(|r| r.service).collect()))
            }
        }
    }

    async fn transact(&self, operations: &Value) -> Result<TxnAnswer, Failure> {
        let path = self.path(TXN, "");
        let answer =
            self.http.send(Method::PUT, &path, Some("application/json"), operations.to_string()).await?;
        match answer.status {
            StatusCode::OK | StatusCode::CONFLICT => self.json(TXN, &answer),
            // It read the batch and says what it does not want of it.
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::BAD_REQUEST => {
                Err(Failure::Rejected(self.http.said(&answer)))
            }
            _ => Err(self.refused(TXN, &answer)),
        }
    }

    async fn pair(&self, key: &str) -> Result<Option<(String, u64)>, Failure> {
        let path = format!("/v1/kv/{key}");
        let answer = self.http.get(&self.path(&path, "consistent")).await?;
        if answer.status == StatusCode::NOT_FOUND && answer.body.is_empty() {
            return Ok(None);
        }
        let found: Vec<Pair> = self.read(&path, &answer)?;
        let text = |pair: Pair| {
            let value = STANDARD.decode(pair.value.unwrap_or_default()).unwrap_or_default();
            (String::from_utf8_lossy(&value).into_owned(), pair.modify_index)
        };
        Ok(found.into_iter().next().map(text))
    }

    async fn node(&self, spelling: &Spelling) -> Result<(Option<Node>, Vec<Service>), Failure> {
        let path = format!("/v1/catalog/node-services/{}", spelling.node);
        let answer = self.http.get(&self.path(&path, "consistent")).await?;
        let found: Option<NodeServices> = self.read(&path, &answer)?;
        let found = found.unwrap_or(NodeServices { node: None, services: None });
        Ok((found.node, found.services.unwrap_or_default()))
    }

    /// Everything on our node.
    pub(super) async fn services(&self, spelling: &Spelling) -> Result<Vec<Service>, Failure> {
        Ok(self.node(spelling).await?.1)
    }

    fn path(&self, path: &str, more: &str) -> String {
        let query: Vec<&str> = [self.query.as_str(), more].into_iter().filter(|q| !q.is_empty()).collect();
        if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
    }

    pub(super) fn read<T: DeserializeOwned>(&self, doing: &str, answer: &Answer) -> Result<T, Failure> {
        match answer.status {
            StatusCode::OK => self.json(doing, answer),
            _ => Err(self.refused(doing, answer)),
        }
    }

    fn json<T: DeserializeOwned>(&self, doing: &str, answer: &Answer) -> Result<T, Failure> {
        serde_json::from_slice(&answer.body).map_err(|_| {
            self.http.failed(doing, &format!("is not the API of Consul: {}", self.http.said(answer)))
        })
    }

    pub(super) fn refused(&self, doing: &str, answer: &Answer) -> Failure {
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.http.failed(
                doing,
                &format!(
                    "is not allowed: {}: expected driver.consul.token to hold a token that may",
                    self.http.said(answer)
                ),
            ),
            _ => self.http.unexpected(doing, answer),
        }
    }

    /// Consul says within a transaction that a token may not do something: that is nobody's entry.
    pub(super) fn forbidden(&self, what: &str) -> Failure {
        self.http.failed(
            TXN,
            &format!("is not allowed: {what}: expected driver.consul.token to hold a token that may"),
        )
    }
}
