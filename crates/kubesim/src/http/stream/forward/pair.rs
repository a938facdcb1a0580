//! Ports over one WebSocket, with two channels for each of them: for what is carried, and for what goes wrong.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _, future};
use tokio::sync::mpsc;

use super::{super::channel, Goal};

/// How long a client may take to say good-bye.
const GOODBYE: Duration = Duration::from_secs(5);

pub(super) async fn hold(socket: WebSocket, goal: Goal, ports: Vec<u16>) {
    let (mut sink, mut messages) = socket.split();
    let (frames, mut outgoing) = mpsc::channel(16);
    let (inputs, receivers): (Vec<_>, Vec<_>) = ports.iter().map(|_| mpsc::channel::<Bytes>(16)).unzip();
    let done = {
        let reading = async {
            while let Some(Ok(message)) = messages.next().await {
                let Some(bytes) = channel::bytes(message) else { return };
                let input = bytes.first().filter(|channel| *channel % 2 == 0);
                if let Some(input) = input.and_then(|channel| inputs.get(usize::from(channel / 2))) {
                    // A port that is closed misses nothing.
                    let _ = input.send(bytes.slice(1..)).await;
                }
            }
        };
        let writing = async {
            while let Some(message) = outgoing.recv().await {
                if sink.send(message).await.is_err() {
                    return;
                }
            }
        };
        let forwards = ports
            .into_iter()
            .zip(receivers)
            .zip((0_u8..).step_by(2))
            .map(|((port, input), channel)| one(&goal, port, input, channel, frames.clone()));
        let forwarding = future::join_all(forwards);
        drop(frames);
        tokio::select! { _ = future::join(forwarding, writing) => true, () = reading => false }
    };
    let close = CloseFrame { code: close_code::NORMAL, reason: "".into() };
    if done && sink.send(Message::Close(Some(close))).await.is_ok() {
        // Who closes first, while the other one still writes, breaks the connection before everything was read.
        let farewell = async { while let Some(Ok(_)) = messages.next().await {} };
        let _ = tokio::time::timeout(GOODBYE, farewell).await;
    }
}

async fn one(
    goal: &Goal,
    port: u16,
    input: mpsc::Receiver<Bytes>,
    channel: u8,
    frames: mpsc::Sender<Message>,
) {
    // Both channels begin by telling their port.
    for channel in [channel, channel + 1] {
        let _ = frames.send(channel::frame(channel, &port.to_le_bytes())).await;
    }
    let done = goal.forward(port, input, &frames, |bytes| channel::frame(channel, bytes)).await;
    if let Err(why) = done {
        // A client that has gone hears nothing.
        let _ = frames.send(channel::frame(channel + 1, why.as_bytes())).await;
    }
}
