//! `pods/portforward`: connections to the address of a pod.

mod pair;
mod tunnel;

use std::{net::Ipv4Addr, sync::Arc};

use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use futures::future;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
};

use super::{
    super::{Api, Call, Reply, target::Target},
    check_host, check_node, check_upgrade, refused,
    spdy::Link,
    upgrade::{self, Upgrade},
};
use crate::{
    object::{self, text},
    status::Status,
};

/// SPDY inside of a WebSocket, as kubectl forwards; and two channels for each port, as other clients do.
const NAMES: [&str; 2] = [TUNNEL, "v4.channel.k8s.io"];
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// Where connections go.
#[derive(Debug, Clone)]
struct Goal {
    address: Ipv4Addr,
    pod: String,
    uid: String,
}

pub(super) fn serve(
    api: &Arc<Api>,
    target: &Target,
    call: &Call,
    upgrade: Upgrade,
    pod: &Arc<Value>,
) -> Reply {
    check_host(pod, &target.name)?;
    check_upgrade(&call.headers)?;
    check_node(api, pod)?;
    let address = text(pod, "/status/podIP").parse().ok().filter(|_| text(pod, "/status/phase") == "Running");
    let Some(address) = address else {
        let name = format!("{}_{}", target.name, target.namespace);
        return Ok(refused(StatusCode::INTERNAL_SERVER_ERROR, format!("pod not found ({name:?})")));
    };
    let goal = Goal { address, pod: target.name.clone(), uid: object::uid(pod).to_owned() };
    match upgrade {
        Upgrade::Nothing => Err(upgrade::not_spoken(&call.headers)),
        Upgrade::Spdy(on) => {
            let work = |link: Link| link.serve(|opened| tunnel::hold(goal, opened));
            upgrade::spdy(on, &call.headers, &["portforward.k8s.io"], api, work)
        }
        Upgrade::WebSocket(websocket) => {
            let websocket = websocket.protocols(NAMES);
            match websocket.selected_protocol().map(|name| name.as_bytes() == TUNNEL.as_bytes()) {
                Some(true) => Ok(upgrade::websocket(websocket, api, |socket| {
                    Link::tunnel(socket).serve(|opened| tunnel::hold(goal, opened))
                })),
                Some(false) => {
                    let ports = ports(call)?;
                    Ok(upgrade::websocket(websocket, api, |socket| pair::hold(socket, goal, ports)))
                }
                None => Ok(upgrade::unknown(websocket.requested_protocols(), &NAMES)),
            }
        }
    }
}

fn ports(call: &Call) -> Result<Vec<u16>, Status> {
    let mut ports = Vec::new();
    for given in call.all("ports").flat_map(|given| given.split(',')) {
        match given.parse() {
            Ok(port) if port > 0 => ports.push(port),
            _ => return Err(Status::bad_request(format!("unable to parse {given:?} as a port"))),
        }
    }
    if ports.is_empty() {
        return Err(Status::bad_request("query parameter \"ports\" is required"));
    }
    Ok(ports)
}

impl Goal {
    /// Connects to a port of the pod, and carries bytes there and back until the pod closes. What the pod sends goes to `frames`,
    /// as `wrap` packs it.
    async fn forward<T>(
        &self,
        port: u16,
        mut input: mpsc::Receiver<Bytes>,
        frames: &mpsc::Sender<T>,
        wrap: impl Fn(&[u8]) -> T,
    ) -> Result<(), String> {
        let connection = TcpStream::connect((self.address, port)).await;
        let (mut from, mut to) = connection.map_err(|error| self.failure(port, &error))?.into_split();
        let there = async {
            while let Some(bytes) = input.recv().await {
                // A pod that reads no more may still have something to say.
                if to.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            let _ = to.shutdown().await;
        };
        let back = async {
            let mut piece = BytesMut::with_capacity(16 << 10);
            while matches!(from.read_buf(&mut piece).await, Ok(read) if read > 0) {
                if frames.send(wrap(&piece)).await.is_err() {
                    return;
                }
                piece.clear();
            }
        };
        tokio::pin!(there, back);
        if let future::Either::Right(((), back)) = future::select(back, there).await {
            back.await;
        }
        Ok(())
    }

    fn failure(&self, port: u16, error: &std::io::Error) -> String {
        let Self { address, pod, uid } = self;
        let why = match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
            _ => error.to_string(),
        };
        format!("error forwarding port {port} to pod {pod}, uid {uid}: dial tcp {address}:{port}: {why}")
    }
}
