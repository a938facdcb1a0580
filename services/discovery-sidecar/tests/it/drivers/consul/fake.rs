//! A FAKE of Consul, for no server of Consul can be had where this is tested: the part of its HTTP API that the driver and
//! these tests use, written after its published documentation and sources (1.2x). What it does is what they say, not
//! what a Consul was seen to do.

pub(crate) mod agent;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// The limit of operations, and of the bytes of a transaction, that Consul has.
const OPERATIONS: usize = 64;
const BYTES: usize = 512 * 1024;

#[derive(Clone, Default)]
pub(crate) struct Store {
    index: u64,
    /// Value and ModifyIndex.
    pairs: BTreeMap<String, (String, u64)>,
    /// By name.
    nodes: BTreeMap<String, Value>,
    /// By node and id.
    services: BTreeMap<(String, String), Value>,
    /// What is registered with the agent, by id.
    local: BTreeMap<String, Value>,
    /// The node of the agent, if it is not the usual one.
    agent: Option<String>,
}

#[derive(Clone)]
struct Shared {
    store: Arc<Mutex<Store>>,
    token: Option<String>,
}

pub(crate) struct Fake {
    pub(crate) port: u16,
    store: Arc<Mutex<Store>>,
    token: Option<String>,
    tasks: JoinSet<()>,
}

impl Fake {
    pub(crate) async fn start(token: Option<&str>) -> Self {
        let token = token.map(ToOwned::to_owned);
        let mut fake = Self { port: 0, store: Arc::default(), token, tasks: JoinSet::new() };
        fake.up().await;
        fake
    }

    /// On the same port as before, with what the store holds.
    pub(crate) async fn up(&mut self) {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", self.port)).await.expect("a port");
        self.port = listener.local_addr().expect("an address").port();
        let shared = Shared { store: self.store.clone(), token: self.token.clone() };
        let router = Router::new()
            .route("/v1/kv/{*key}", get(read_pair))
            .route("/v1/txn", put(transact))
            .route("/v1/catalog/node-services/{node}", get(node_services))
            .route("/v1/catalog/register", put(register))
            .route("/v1/health/service/{service}", get(healthy))
            .merge(agent::routes())
            .with_state(shared);
        self.tasks.spawn(async move { drop(axum::serve(listener, router).await) });
    }

    pub(crate) async fn down(&mut self) {
        self.tasks.shutdown().await;
    }

    /// As somebody who has the rights would.
    pub(crate) fn take_out(&self, address: &str) {
        let mut store = lock(&self.store);
        store.services.retain(|_, service| service["Address"] != address);
        store.local.retain(|_, service| service["Address"] != address);
    }

    /// Another agent of the same Consul answers from now on.
    pub(crate) fn moves_to(&self, node: &str) {
        let mut store = lock(&self.store);
        store.agent = Some(node.to_owned());
        store.local.clear();
    }

    pub(crate) fn forget(&self) {
        *lock(&self.store) = Store::default();
    }
}

fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn enter(&self, headers: &HeaderMap) -> Result<MutexGuard<'_, Store>, (StatusCode, &'static str)> {
        let given = headers.get("x-consul-token").and_then(|token| token.to_str().ok());
        match (&self.token, given) {
            (None, _) => Ok(lock(&self.store)),
            (Some(token), Some(given)) if token == given => Ok(lock(&self.store)),
            (Some(_), Some(_)) => Err((StatusCode::FORBIDDEN, "ACL not found")),
            (Some(_), None) => Err((StatusCode::FORBIDDEN, "Permission denied")),
        }
    }
}

async fn read_pair(State(shared): State<Shared>, Path(key): Path<String>, headers: HeaderMap) -> Response {
    let store = match shared.enter(&headers) {
        Ok(store) => store,
        Err(refused) => return refused.into_response(),
    };
    match store.pairs.get(&key) {
        None => StatusCode::NOT_FOUND.into_response(),
        Some((value, index)) => Json(json!([{
            "LockIndex": 0, "Key": key, "Flags": 0, "Value": value, "CreateIndex": 1, "ModifyIndex": index,
        }]))
        .into_response(),
    }
}

async fn node_services(
    State(shared): State<Shared>,
    Path(node): Path<String>,
    headers: HeaderMap,
) -> Response {
    let store = match shared.enter(&headers) {
        Ok(store) => store,
        Err(refused) => return refused.into_response(),
    };
    let services: Vec<&Value> =
        store.services.iter().filter(|((n, _), _)| *n == node).map(|(_, s)| s).collect();
    Json(json!({ "Node": store.nodes.get(&node), "Services": services })).into_response()
}

/// Nothing is checked on nodes without an agent, so every service counts as passing.
async fn healthy(State(shared): State<Shared>, Path(name): Path<String>, headers: HeaderMap) -> Response {
    let store = match shared.enter(&headers) {
        Ok(store) => store,
        Err(refused) => return refused.into_response(),
    };
    let found = store.services.iter().filter(|(_, service)| service["Service"] == name.as_str());
    let found: Vec<Value> = found
        .map(
            |((node, _), service)| json!({ "Node": store.nodes.get(node), "Service": service, "Checks": [] }),
        )
        .collect();
    Json(found).into_response()
}

async fn register(State(shared): State<Shared>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let mut store = match shared.enter(&headers) {
        Ok(store) => store,
        Err(refused) => return refused.into_response(),
    };
    let index = store.next();
    let node = body["Node"].as_str().unwrap_or_default().to_owned();
    store.nodes.entry(node.clone()).or_insert_with(|| json!({ "Node": node, "Meta": body["NodeMeta"] }));
    store.set_service(index, &node, &body["Service"]);
    Json(true).into_response()
}

async fn transact(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    if body.len() > BYTES {
        let words = format!("Request body too large, max size: {BYTES} bytes");
        return (StatusCode::PAYLOAD_TOO_LARGE, words).into_response();
    }
    let operations: Vec<Value> = match serde_json::from_slice(&body) {
        Ok(operations) => operations,
        Err(e) => return (StatusCode::BAD_REQUEST, format!("Failed to parse body: {e}")).into_response(),
    };
    if operations.len() > OPERATIONS {
        let words = format!("Transaction contains too many operations ({} > {OPERATIONS})", operations.len());
        return (StatusCode::PAYLOAD_TOO_LARGE, words).into_response();
    }
    let mut store = match shared.enter(&headers) {
        Ok(store) => store,
        Err(refused) => return refused.into_response(),
    };
    // On a copy, which is kept only if everything is done.
    let mut next = store.clone();
    let index = next.next();
    let (mut results, mut errors) = (Vec::new(), Vec::new());
    for (at, operation) in operations.iter().enumerate() {
        match next.operate(index, operation) {
            Ok(result) => results.extend(result),
            Err(what) => errors.push(json!({ "OpIndex": at, "What": what })),
        }
    }
    if !errors.is_empty() {
        return (StatusCode::CONFLICT, Json(json!({ "Results": null, "Errors": errors }))).into_response();
    }
    *store = next;
    Json(json!({ "Results": results, "Errors": null })).into_response()
}

impl Store {
    fn next(&mut self) -> u64 {
        self.index += 1;
        self.index
    }

    fn operate(&mut self, index: u64, operation: &Value) -> Result<Option<Value>, String> {
        if let Some(pair) = operation.get("KV") {
            return self.operate_pair(index, pair).map(Some);
        }
        if let Some(node) = operation.get("Node") {
            assert_eq!(node["Verb"], "set");
            let node = &node["Node"];
            let name = node["Node"].as_str().ok_or("node name is missing")?;
            self.nodes.insert(name.to_owned(), node.clone());
            return Ok(Some(json!({ "Node": node })));
        }
        self.operate_service(index, operation.get("Service").ok_or("no operation specified")?)
    }

    fn operate_pair(&mut self, index: u64, pair: &Value) -> Result<Value, String> {
        let key = pair["Key"].as_str().ok_or("a key is missing")?;
        let (found, wanted) =
            (self.pairs.get(key).map(|(_, index)| *index), pair["Index"].as_u64().unwrap_or(0));
        let fits = found.unwrap_or(0) == wanted;
        let modified = match pair["Verb"].as_str() {
            Some("cas") if fits => {
                let value = pair["Value"].as_str().unwrap_or_default();
                STANDARD.decode(value).map_err(|e| format!("failed to decode value: {e}"))?;
                // A pair that stays as it is keeps its index.
                let same = self.pairs.get(key).is_some_and(|(held, _)| held == value);
                let index = if same { wanted } else { index };
                self.pairs.insert(key.to_owned(), (value.to_owned(), index));
                index
            }
            Some("cas") => return Err(format!("failed to set key {key:?}, index is stale")),
            Some("check-index") => match found {
                None => return Err(format!("failed index check for key {key:?}, key doesn't exist")),
                Some(found) if found != wanted => {
                    return Err(format!(
                        "failed index check for key {key:?}, current modify index {found} != {wanted}"
                    ));
                }
                Some(found) => found,
            },
            verb => return Err(format!("unknown KV verb {verb:?}")),
        };
        Ok(json!({ "KV": { "Key": key, "Value": null, "CreateIndex": 1, "ModifyIndex": modified } }))
    }

    fn operate_service(&mut self, index: u64, operation: &Value) -> Result<Option<Value>, String> {
        let node = operation["Node"].as_str().ok_or("node is missing")?.to_owned();
        let service = &operation["Service"];
        let id = service["ID"].as_str().ok_or("service ID is missing")?.to_owned();
        let found =
            self.services.get(&(node.clone(), id.clone())).map(|s| s["ModifyIndex"].as_u64().unwrap_or(0));
        let wanted = service["ModifyIndex"].as_u64().unwrap_or(0);
        match operation["Verb"].as_str() {
            Some("cas") if found.unwrap_or(0) == wanted => {
                check_meta(&service["Meta"])?;
                if !self.nodes.contains_key(&node) {
                    return Err("Missing node registration".to_owned());
                }
                Ok(Some(json!({ "Service": self.set_service(index, &node, service) })))
            }
            Some("cas") => Err(format!("failed to set service {id:?} on node {node:?}, index is stale")),
            // One that is not there is deleted already.
            Some("delete-cas") if found.is_none_or(|found| found == wanted) => {
                self.services.remove(&(node, id));
                Ok(None)
            }
            Some("delete-cas") => {
                Err(format!("failed to delete service {id:?} on node {node:?}, index is stale"))
            }
            verb => Err(format!("unknown Service verb {verb:?}")),
        }
    }

    fn set_service(&mut self, index: u64, node: &str, service: &Value) -> Value {
        let id = service["ID"].as_str().unwrap_or_default().to_owned();
        let mut kept = service.clone();
        kept["CreateIndex"] = json!(1);
        kept["ModifyIndex"] = json!(index);
        if kept["Weights"].is_null() {
            kept["Weights"] = json!({ "Passing": 1, "Warning": 1 });
        }
        self.services.insert((node.to_owned(), id), kept.clone());
        kept
    }
}

fn check_meta(meta: &Value) -> Result<(), String> {
    for (key, value) in meta.as_object().into_iter().flatten() {
        let letters = key.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        if !letters || key.len() > 128 {
            return Err(format!("Couldn't load metadata pair ({key:?}): Key contains invalid characters"));
        }
        if value.as_str().is_none_or(|value| value.len() > 512) {
            return Err(format!(
                "Couldn't load metadata pair ({key:?}): Value is too long (limit: 512 characters)"
            ));
        }
    }
    Ok(())
}
