//! The simulator's own API under `/sim/`: faults and statistics.

use std::sync::atomic::Ordering;

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use serde_json::json;

use super::{Api, Call, Reply, body, represent};
use crate::{faults, status::Status};

pub(crate) async fn handle(api: &Api, action: &str, call: Call, body: Body) -> Reply {
    match (call.method.clone(), action) {
        (Method::GET, "stats") => Ok(represent::json(StatusCode::OK, &stats(api))),
        (Method::POST, "faults") => {
            let wanted = body::optional(&call.headers, body).await?;
            let request: faults::Request =
                serde_json::from_value(wanted).map_err(|e| Status::bad_request(format!("faults: {e}")))?;
            api.faults.request(request);
            Ok(represent::json(StatusCode::OK, &json!({"ok": true})))
        }
        _ => Err(Status::no_such_path()),
    }
}

fn stats(api: &Api) -> serde_json::Value {
    let objects: serde_json::Map<_, _> =
        api.store.kinds().stored().iter().map(|k| (k.id.to_owned(), json!(api.store.count(k)))).collect();
    json!({
        "resource_version": api.store.version(), "objects": objects,
        "requests": api.requests.load(Ordering::Relaxed), "watches": api.watches.load(Ordering::Relaxed),
    })
}
