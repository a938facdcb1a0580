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
use serde_json::{Value, json};

pub(crate) use self::upgrade::Upgrade;
use super::{Api, Call, Reply, target::Target, write};
use crate::{access, admission::Operation, object::text, status::Status};

pub(crate) async fn serve(api: &Arc<Api>, target: &Target, call: Call, upgrade: Upgrade) -> Reply {
    if !matches!(call.method, Method::GET | Method::POST) {
        return Err(Status::method_not_allowed());
    }
    // Whoever opens a stream does something, also by GET, as which WebSockets begin.
    let acts = access::Attributes { verb: "create".to_owned(), ..access::of_request(target, &call) };
    access::authorize(&api.store, &call.who, &acts)?;
    let pod = api.store.get(target.kind, &target.key());
    let pod = pod.ok_or_else(|| Status::not_found(target.kind, &target.name))?;
    let what = write::attributes(target, &call, Operation::Connect);
    api.gate.admit(&what, Some(&options(&target.subresource, &call)), None, &mut Vec::new()).await?;
    match target.subresource.as_str() {
        "portforward" => forward::serve(api, target, &call, upgrade, &pod),
        _ => speech::serve(api, target, &call, upgrade, &pod),
    }
}

/// What is wanted of the pod, as webhooks are shown it.
fn options(subresource: &str, call: &Call) -> Value {
    let mut options = match subresource {
        "portforward" => {
            let ports: Vec<i64> = call.all("ports").filter_map(|port| port.parse().ok()).collect();
            return json!({"kind": "PodPortForwardOptions", "apiVersion": "v1", "ports": ports});
        }
        "exec" => {
            let command: Vec<&str> = call.all("command").collect();
            json!({"kind": "PodExecOptions", "apiVersion": "v1", "command": command})
        }
        _ => json!({"kind": "PodAttachOptions", "apiVersion": "v1"}),
    };
    for name in ["stdin", "stdout", "stderr", "tty"] {
        if call.flag(name) {
            options[name] = json!(true);
        }
    }
    if !call.param("container").is_empty() {
        options["container"] = json!(call.param("container"));
    }
    options
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
