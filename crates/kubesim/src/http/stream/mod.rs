//! The subresources of a pod that stream: a command or an attached container over channels, and ports.

mod channel;
mod forward;
mod socket;
mod spdy;
mod speech;
mod upgrade;
mod verdict;

use std::sync::Arc;

use axum::{
    body::Body,
    http::{HeaderMap, Method, Response, StatusCode, header},
};
use serde_json::Value;

pub(crate) use self::upgrade::Upgrade;
use super::{Api, Call, Reply, target::Target};
use crate::{access, object::text, status::Status};

pub(crate) fn serve(api: &Arc<Api>, target: &Target, call: Call) -> Reply {
    if !matches!(call.method, Method::GET | Method::POST) {
        return Err(Status::method_not_allowed());
    }
    // Whoever opens a stream does something, also by GET, as which WebSockets begin.
    let acts = access::Attributes { verb: "create".to_owned(), ..access::of_request(target, &call) };
    access::authorize(&api.store, &call.who, &acts)?;
    let pod = api.store.get(target.kind, &target.key());
    let pod = pod.ok_or_else(|| Status::not_found(target.kind, &target.name))?;
    match target.subresource.as_str() {
        "portforward" => forward::serve(api, target, call, &pod),
        _ => speech::serve(api, target, call, &pod),
    }
}

/// What the API server itself refuses, before it asks the node.
fn check_host(pod: &Value, name: &str) -> Result<(), Status> {
    if text(pod, "/spec/nodeName").is_empty() {
        return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
    }
    Ok(())
}

fn check_upgrade(headers: &HeaderMap) -> Result<(), Status> {
    let words = |value: &str| value.split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    if headers.get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok()).any(words) {
        return Ok(());
    }
    Err(Status::bad_request("Upgrade request required"))
}

fn check_node(api: &Api, pod: &Value) -> Result<(), Status> {
    if api.faults.nodes_down().borrow().contains(text(pod, "/spec/nodeName")) {
        let host = text(pod, "/status/hostIP");
        let why = format!("error dialing backend: dial tcp {host}:10250: connect: no route to host");
        return Err(Status::new(500, "InternalError", why));
    }
    Ok(())
}

/// What a node answers that cannot do what it was asked: plain text.
fn refused(code: StatusCode, why: String) -> Response<Body> {
    let mut response = Response::new(Body::from(why));
    *response.status_mut() = code;
    response
}
