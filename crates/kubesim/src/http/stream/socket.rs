//! One WebSocket: its messages, whether anybody is there still, and a farewell.

use std::time::Duration;

use axum::{
    Error,
    extract::ws::{CloseFrame, Message, WebSocket, close_code},
};
use bytes::Bytes;
use futures::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use tokio::sync::mpsc;

/// How often something is sent at least: that somebody has gone who is not read just now shows only by what cannot be sent.
pub(super) const BEAT: Duration = Duration::from_secs(5);

/// How long a client may take to say good-bye.
pub(super) const GOODBYE: Duration = Duration::from_secs(5);

/// The bytes of a message that has some; none when it is the last one.
pub(super) fn bytes(message: Message) -> Option<Bytes> {
    match message {
        Message::Binary(bytes) => Some(bytes),
        Message::Text(text) => Some(text.into()),
        Message::Ping(_) | Message::Pong(_) => Some(Bytes::new()),
        Message::Close(_) => None,
    }
}

/// Sends everything that comes, as `pack` makes messages of it; an error when the client has gone.
pub(super) async fn send_all<T>(
    sink: &mut SplitSink<WebSocket, Message>,
    from: &mut mpsc::Receiver<T>,
    pack: impl Fn(T) -> Option<Message>,
) -> Result<(), Error> {
    loop {
        let message = match tokio::time::timeout(BEAT, from.recv()).await {
            Ok(Some(next)) => pack(next),
            Ok(None) => return Ok(()),
            Err(_) => Some(Message::Ping(Bytes::new())),
        };
        if let Some(message) = message {
            sink.send(message).await?;
        }
    }
}

/// Closes in order: who closes while the other one still writes breaks the connection before everything was read.
pub(super) async fn close(mut sink: SplitSink<WebSocket, Message>, mut messages: SplitStream<WebSocket>) {
    let close = CloseFrame { code: close_code::NORMAL, reason: "".into() };
    if sink.send(Message::Close(Some(close))).await.is_ok() {
        let farewell = async { while let Some(Ok(_)) = messages.next().await {} };
        let _ = tokio::time::timeout(GOODBYE, farewell).await;
    }
}
