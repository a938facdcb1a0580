//! Ports over SPDY: the client opens two streams for every connection, and says by headers to which port it goes.

use std::collections::HashMap;

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures::{
    SinkExt as _, Stream, StreamExt as _, future,
    stream::{self, FuturesUnordered},
};
use tokio::sync::mpsc;

use super::{
    super::{
        channel,
        spdy::{self, Opened},
    },
    Goal,
};

/// SPDY inside of the messages of a WebSocket.
pub(super) async fn hold(socket: WebSocket, goal: Goal) {
    let (mut sink, messages) = socket.split();
    let (frames, mut outgoing) = mpsc::channel::<Bytes>(16);
    let incoming = stream::unfold(messages, |mut messages| async {
        let message = messages.next().await?.ok()?;
        Some((channel::bytes(message)?, messages))
    });
    let writing = async {
        while let Some(frame) = outgoing.recv().await {
            if sink.send(Message::Binary(frame)).await.is_err() {
                return;
            }
        }
    };
    future::select(Box::pin(serve(incoming, frames, goal)), Box::pin(writing)).await;
}

/// Until the client goes.
async fn serve(incoming: impl Stream<Item = Bytes>, frames: mpsc::Sender<Bytes>, goal: Goal) {
    let (sender, mut opened) = mpsc::channel(16);
    let reading = spdy::read(Box::pin(incoming), frames, sender);
    let forwarding = async {
        let (mut half, mut running) = (HashMap::<String, Opened>::new(), FuturesUnordered::new());
        loop {
            tokio::select! {
                Some(stream) = opened.recv() => {
                    let Some(port) = port(&stream) else {
                        stream.output.refuse().await;
                        continue;
                    };
                    let request = request(&stream);
                    match half.remove(&request) {
                        Some(other) => running.push(one(&goal, port, stream, other)),
                        None => { half.insert(request, stream); }
                    }
                }
                Some(()) = running.next(), if !running.is_empty() => {}
                else => return,
            }
        }
    };
    let done = future::select(Box::pin(reading), Box::pin(forwarding)).await;
    if let future::Either::Left((Err(error), _)) = done {
        tracing::debug!(%error, "a client that forwards ports was not understood");
    }
}

/// The port that a stream goes to, if it is one of those that are known.
fn port(stream: &Opened) -> Option<u16> {
    let known = matches!(stream.headers.get("streamtype"), "data" | "error");
    stream.headers.get("port").parse().ok().filter(|port| known && *port > 0)
}

/// What the two streams of a connection have in common: old clients say nothing, and open them one after the other.
fn request(stream: &Opened) -> String {
    match (stream.headers.get("requestid"), stream.headers.get("streamtype")) {
        ("", "data") => stream.output.stream.saturating_sub(2).to_string(),
        ("", _) => stream.output.stream.to_string(),
        (given, _) => given.to_owned(),
    }
}

async fn one(goal: &Goal, port: u16, a: Opened, b: Opened) {
    let (data, error) = if a.headers.get("streamtype") == "data" { (a, b) } else { (b, a) };
    let output = data.output;
    let forwarding = goal.forward(port, data.input, output.frames(), |bytes| output.pack(bytes));
    let done = data.gone.run_until_cancelled(forwarding).await;
    if let Some(Err(why)) = done {
        error.output.send(why.as_bytes()).await;
    }
    output.finish().await;
    error.output.finish().await;
}
