//! A provider of ExternalDNS that was WRITTEN FOR THESE TESTS after the published protocol: neither ExternalDNS nor one of
//! its providers can be had where this is tested. It is as strict as any of them: what is replaced or deleted must be
//! named as it is, and one bad record spoils the request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const MEDIA: &str = "application/external.dns.webhook+json;version=1";

type Shared = Arc<Mutex<Vec<Value>>>;

pub(crate) struct Provider {
    pub(crate) port: u16,
    records: Shared,
    include: &'static str,
    tasks: JoinSet<()>,
}

impl Provider {
    pub(crate) async fn start(include: &'static str) -> Self {
        let mut provider = Self { port: 0, records: Shared::default(), include, tasks: JoinSet::new() };
        provider.up().await;
        provider
    }

    /// On the same port as before, with the records that it has.
    pub(crate) async fn up(&mut self) {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", self.port)).await.expect("a port");
        self.port = listener.local_addr().expect("an address").port();
        let filter =
            json!({ "include": [self.include], "exclude": [], "regexInclude": "", "regexExclude": "" });
        let router = Router::new()
            .route("/", get(move |headers: HeaderMap| async move { told(&headers, &filter) }))
            .route("/records", get(records).post(change))
            .route("/adjustendpoints", post(adjust))
            .with_state(self.records.clone());
        self.tasks.spawn(async move { drop(axum::serve(listener, router).await) });
    }

    pub(crate) async fn down(&mut self) {
        self.tasks.shutdown().await;
    }

    pub(crate) fn records(&self) -> MutexGuard<'_, Vec<Value>> {
        lock(&self.records)
    }

    /// Targets of one record set.
    pub(crate) fn targets(&self, name: &str, kind: &str) -> Vec<String> {
        let records = self.records();
        let found = records.iter().find(|r| r["dnsName"] == name && r["recordType"] == kind);
        let targets = found.and_then(|r| r["targets"].as_array()).cloned().unwrap_or_default();
        targets.iter().filter_map(|target| target.as_str().map(ToOwned::to_owned)).collect()
    }
}

fn lock(records: &Mutex<Vec<Value>>) -> MutexGuard<'_, Vec<Value>> {
    records.lock().unwrap_or_else(PoisonError::into_inner)
}

fn told(headers: &HeaderMap, body: &Value) -> Response {
    match headers.get("accept").is_some_and(|accept| accept == MEDIA) {
        true => ([("content-type", MEDIA)], body.to_string()).into_response(),
        false => (StatusCode::NOT_ACCEPTABLE, format!("expected accept: {MEDIA}")).into_response(),
    }
}

fn posted(headers: &HeaderMap, body: &Bytes) -> Result<Value, (StatusCode, String)> {
    if headers.get("content-type").is_none_or(|content| content != MEDIA) {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("expected content-type: {MEDIA}")));
    }
    serde_json::from_slice(body).map_err(|e| (StatusCode::BAD_REQUEST, e.to_string()))
}

async fn records(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let records = lock(&shared).clone();
    told(&headers, &json!(records))
}

/// This one keeps nothing for less than a minute.
async fn adjust(headers: HeaderMap, body: Bytes) -> Response {
    let mut endpoints = match posted(&headers, &body) {
        Ok(endpoints) => endpoints,
        Err(refused) => return refused.into_response(),
    };
    for endpoint in endpoints.as_array_mut().into_iter().flatten() {
        endpoint["recordTTL"] = json!(endpoint["recordTTL"].as_i64().unwrap_or(0).max(60));
    }
    told(&headers, &endpoints)
}

async fn change(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let changes = match posted(&headers, &body) {
        Ok(changes) => changes,
        Err(refused) => return refused.into_response(),
    };
    let mut records = lock(&shared);
    let mut next = records.clone();
    match make(&mut next, &changes) {
        Ok(()) => {
            *records = next;
            StatusCode::NO_CONTENT.into_response()
        }
        Err(words) => (StatusCode::INTERNAL_SERVER_ERROR, words).into_response(),
    }
}

fn make(records: &mut Vec<Value>, changes: &Value) -> Result<(), String> {
    let of = |what: &str| changes[what].as_array().cloned().unwrap_or_default();
    for old in of("updateOld").into_iter().chain(of("delete")) {
        let at = records.iter().position(|record| *record == old);
        records.remove(at.ok_or_else(|| format!("{old} is not there"))?);
    }
    for new in of("updateNew").into_iter().chain(of("create")) {
        let same = |r: &Value| r["dnsName"] == new["dnsName"] && r["recordType"] == new["recordType"];
        if records.iter().any(same) {
            return Err(format!("{new} is there already"));
        }
        for target in new["targets"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let good = match new["recordType"].as_str() {
                Some("A") => target.parse::<std::net::Ipv4Addr>().is_ok(),
                Some("TXT") => target.trim_matches('"').len() <= 255,
                _ => false,
            };
            if !good {
                return Err(format!("{} does not take {target:.40}", new["dnsName"]));
            }
        }
        records.push(new);
    }
    Ok(())
}
