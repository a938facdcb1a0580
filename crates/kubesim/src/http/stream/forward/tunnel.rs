//! Ports over SPDY: the client opens two streams for every connection, and says by headers to which port it goes.

use std::collections::HashMap;

use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::mpsc;

use super::{super::spdy::Opened, Goal};

/// Forwards for as long as the client opens streams.
pub(super) async fn hold(goal: Goal, mut opened: mpsc::Receiver<Opened>) {
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
