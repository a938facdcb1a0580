//! Ports over one WebSocket, with two channels for each of them: for what is carried, and for what goes wrong.

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, future};
use tokio::sync::mpsc;

use super::{
    super::{channel, socket},
    Goal,
};

pub(super) async fn hold(socket: WebSocket, goal: Goal, ports: Vec<u16>) {
    let (mut sink, mut messages) = socket.split();
    let (frames, mut outgoing) = mpsc::channel(16);
    let (inputs, receivers): (Vec<_>, Vec<_>) = ports.iter().map(|_| mpsc::channel::<Bytes>(16)).unzip();
    let done = {
        let reading = async {
            while let Some(Ok(message)) = messages.next().await {
                let Some(bytes) = socket::bytes(message) else { return };
                let input = bytes.first().filter(|channel| *channel % 2 == 0);
                if let Some(input) = input.and_then(|channel| inputs.get(usize::from(channel / 2))) {
                    // A port that is closed misses nothing.
                    let _ = input.send(bytes.slice(1..)).await;
                }
            }
        };
        let writing = socket::send_all(&mut sink, &mut outgoing, Some);
        let forwards = ports
            .into_iter()
            .zip(receivers)
            .zip((0_u8..).step_by(2))
            .map(|((port, input), channel)| one(&goal, port, input, channel, frames.clone()));
        let forwarding = future::join_all(forwards).map(Ok);
        drop(frames);
        tokio::select! { done = future::try_join(forwarding, writing) => done.is_ok(), () = reading => false }
    };
    if done {
        socket::close(sink, messages).await;
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
