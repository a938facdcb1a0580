//! `pods/exec` and `pods/attach`: speaking to a container.

use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::Value;

use super::{
    super::{Api, Call, Reply, container, target::Target},
    channel::{self, Streams, Version},
    check_host, check_node, check_upgrade, refused,
    upgrade::{self, Upgrade},
    verdict,
};
use crate::{
    kind,
    kubelet::{
        session::{self, Command},
        stdio::{Ending, Stdio},
    },
    object::{self, Key, text},
    status::Status,
};

/// A container in one of its runs, and what is wanted of it.
struct Session {
    api: Arc<Api>,
    pod: Arc<Value>,
    container: String,
    run: String,
    streams: Streams,
    /// None to attach to what runs there.
    command: Option<Vec<String>>,
}

pub(super) fn serve(
    api: &Arc<Api>,
    target: &Target,
    call: &Call,
    upgrade: Upgrade,
    pod: &Arc<Value>,
) -> Reply {
    let container = container::named(pod, call.param("container"))?.to_owned();
    check_host(pod, &target.name)?;
    check_upgrade(&call.headers)?;
    let streams = streams(call)?;
    check_node(api, pod)?;
    let status = session::status(pod, &container);
    let runs = status["state"]["running"].is_object();
    let absent = format!("container not found ({container:?})");
    let words = call.all("command").map(str::to_owned).collect();
    let session = Session {
        api: Arc::clone(api),
        pod: Arc::clone(pod),
        run: text(status, "/containerID").to_owned(),
        container,
        streams,
        command: (target.subresource == "exec").then_some(words),
    };
    match upgrade {
        Upgrade::Nothing => Err(upgrade::not_spoken(&call.headers)),
        Upgrade::Spdy(_) if !runs => Ok(refused(StatusCode::INTERNAL_SERVER_ERROR, absent)),
        Upgrade::Spdy(on) => {
            let work = move |link| channel::streams::carry(link, streams, |stdio| session.verdict(stdio));
            upgrade::spdy(on, &call.headers, &channel::NAMES, api, work)
        }
        Upgrade::WebSocket(websocket) => {
            let websocket = websocket.protocols(channel::NAMES);
            match Version::agreed(&websocket) {
                None => Ok(upgrade::unknown(websocket.requested_protocols(), &channel::NAMES)),
                Some(version) if runs => Ok(upgrade::websocket(websocket, api, move |socket| {
                    channel::carry(socket, version, streams, |stdio| session.verdict(stdio))
                })),
                // The newer protocol is carried on to the node only after the client was let in.
                Some(Version::V5) => Ok(upgrade::websocket(websocket, api, move |socket| {
                    let why = verdict::internal(&format!("unable to upgrade connection: {absent}"));
                    channel::carry(socket, Version::V5, streams, |_| std::future::ready(Some(why)))
                })),
                Some(Version::V4) => Ok(refused(StatusCode::INTERNAL_SERVER_ERROR, absent)),
            }
        }
    }
}

fn streams(call: &Call) -> Result<Streams, Status> {
    let tty = call.flag("tty");
    // A terminal mixes both.
    let stderr = call.flag("stderr") && !tty;
    let streams = Streams { stdin: call.flag("stdin"), stdout: call.flag("stdout"), stderr, tty };
    if streams.stdin || streams.stdout || streams.stderr {
        return Ok(streams);
    }
    Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"))
}

impl Session {
    /// How it ends, in the words of the error channel; none when nobody is there any more to say it.
    async fn verdict(self, stdio: Stdio) -> Option<Value> {
        let ending = tokio::select! {
            ending = self.work(stdio) => Some(ending),
            cut = self.over() => cut,
        };
        ending.map(|ending| verdict::of(&ending))
    }

    async fn work(&self, stdio: Stdio) -> Ending {
        let container = session::container(&self.pod, &self.container);
        let Some(words) = self.command.clone() else {
            let log = self.api.logs.find(object::uid(&self.pod), &self.container, false);
            return match log {
                Some(log) => session::attach(log, container, stdio).await,
                // It has gone together with its log.
                None if session::is_process(&self.pod) => Ending::Exited(0),
                None => session::silence(stdio).await,
            };
        };
        let command = Command { words, stdin: self.streams.stdin, tty: self.streams.tty };
        session::exec(&self.api.store, &self.pod, container, command, stdio).await
    }

    /// Waits until the run of the container is over. When its node is lost, nobody is there to say how it ended.
    async fn over(&self) -> Option<Ending> {
        let (mut pods, mut down) = (self.api.store.signal(&kind::PODS), self.api.faults.nodes_down());
        let (key, node) = (Key::of(&self.pod), text(&self.pod, "/spec/nodeName"));
        loop {
            pods.mark_unchanged();
            if down.borrow_and_update().contains(node) {
                return None;
            }
            if !session::runs(&self.api.store, &key, &self.container, &self.run) {
                return match self.command {
                    Some(_) => Some(Ending::Exited(137)),
                    // Who is attached hears the rest of what it wrote first.
                    None if session::is_process(&self.pod) => std::future::pending().await,
                    None => Some(Ending::Exited(0)),
                };
            }
            tokio::select! { _ = pods.changed() => {}, _ = down.changed() => {} }
        }
    }
}
