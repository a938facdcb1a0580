//! How a request goes on in another protocol: by WebSocket, or by SPDY as older clients do it.

use std::future::Future;

use axum::{
    body::Body,
    extract::{
        FromRequestParts as _,
        ws::{WebSocket, WebSocketUpgrade},
    },
    http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts},
};
use hyper::upgrade::OnUpgrade;

use super::{
    super::{Api, Reply},
    refused,
    spdy::Link,
};
use crate::status::Status;

/// What the client wants to go on with.
pub(crate) enum Upgrade {
    Nothing,
    WebSocket(Box<WebSocketUpgrade>),
    Spdy(OnUpgrade),
}

const SPDY: &str = "SPDY/3.1";

/// With which protocol the streams of SPDY are used.
const USE: &str = "x-stream-protocol-version";

impl Upgrade {
    pub(crate) async fn of(parts: &mut Parts) -> Self {
        if let Ok(upgrade) = WebSocketUpgrade::from_request_parts(parts, &()).await {
            return Self::WebSocket(Box::new(upgrade));
        }
        let wanted = parts.headers.get(header::UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or("");
        match parts.extensions.remove() {
            Some(upgrade) if wanted.eq_ignore_ascii_case(SPDY) => Self::Spdy(upgrade),
            _ => Self::Nothing,
        }
    }
}

/// Neither of the two.
pub(super) fn not_spoken(headers: &HeaderMap) -> Status {
    let wanted = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or("");
    Status::bad_request(format!(
        "unable to upgrade: {wanted:?} is neither a whole request for a websocket nor {SPDY}"
    ))
}

/// None of the protocols that the client offers is known.
pub(super) fn unknown<'a>(offered: impl Iterator<Item = &'a HeaderValue>, known: &[&str]) -> Response<Body> {
    let offered: Vec<&str> = offered.filter_map(|name| name.to_str().ok()).collect();
    let (offered, known) = (offered.join(" "), known.join(" "));
    let why = format!(
        "unable to upgrade: unable to negotiate protocol: client supports [{offered}], server accepts [{known}]"
    );
    refused(StatusCode::FORBIDDEN, why)
}

/// Goes on by WebSocket, until the work is done or the simulator stops.
pub(super) fn websocket<F>(
    upgrade: WebSocketUpgrade,
    api: &Api,
    work: impl FnOnce(WebSocket) -> F + Send + 'static,
) -> Response<Body>
where
    F: Future<Output = ()> + Send + 'static,
{
    let tasks = api.tasks.clone();
    upgrade.on_upgrade(move |socket| {
        tasks.spawn(work(socket));
        std::future::ready(())
    })
}

/// Goes on by SPDY, with the first use that both sides know, until the work is done or the simulator stops.
pub(super) fn spdy<F>(
    upgrade: OnUpgrade,
    headers: &HeaderMap,
    known: &[&'static str],
    api: &Api,
    work: impl FnOnce(Link) -> F + Send + 'static,
) -> Reply
where
    F: Future<Output = ()> + Send + 'static,
{
    let offered = || headers.get_all(USE).iter();
    let words = offered().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let Some(chosen) = words.map(str::trim).find_map(|word| known.iter().find(|name| **name == word)) else {
        return Ok(unknown(offered(), known));
    };
    api.tasks.spawn(async move {
        match upgrade.await {
            Ok(connection) => work(Link::raw(connection)).await,
            Err(error) => tracing::debug!(%error, "a client does not go on"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in [("connection", "Upgrade"), ("upgrade", SPDY), (USE, chosen)] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}
