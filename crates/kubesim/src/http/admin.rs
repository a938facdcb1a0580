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
        (Method::GET, "faults") => Ok(represent::json(StatusCode::OK, &json!(api.faults.current()))),
        (Method::POST, "faults") => {
            let wanted = body::optional(&call.headers, body).await?;
            let request = faults::Request::read(wanted)?;
            let crashed = api.faults.request(&request);
            let crashed = crashed.map_err(|error| Status::bad_request(format!("faults: {error}")))?;
            let mut set = json!(api.faults.current());
            set["crashed"] = json!(crashed);
            Ok(represent::json(StatusCode::OK, &set))
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
