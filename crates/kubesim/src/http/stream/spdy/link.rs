//! What carries the frames of SPDY: a connection of their own, or the messages of a WebSocket.

use std::future::Future;

use axum::extract::ws::{Message, WebSocket};
use bytes::{Bytes, BytesMut};
use futures::{
    FutureExt as _, StreamExt as _, future,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
};

use super::{
    super::socket::{self, BEAT, GOODBYE},
    Opened, frame,
};

/// Pings of this side have even numbers.
const OURS: u32 = 2;

pub(crate) struct Link {
    /// What the client sends, however it is cut.
    pub incoming: BoxStream<'static, Bytes>,
    /// Where whole frames go.
    pub frames: mpsc::Sender<Bytes>,
    /// Writes the frames, until nobody takes them.
    pub writing: BoxFuture<'static, ()>,
}

impl Link {
    pub(super) fn new(
        incoming: BoxStream<'static, Bytes>,
        write: impl FnOnce(mpsc::Receiver<Bytes>) -> BoxFuture<'static, ()>,
    ) -> Self {
        let (frames, outgoing) = mpsc::channel(16);
        Self { incoming, frames, writing: write(outgoing) }
    }

    pub(crate) fn raw(connection: Upgraded) -> Self {
        let (from, mut to) = tokio::io::split(TokioIo::new(connection));
        let incoming = stream::unfold(from, |mut from| async {
            let mut piece = BytesMut::with_capacity(16 << 10);
            let read = from.read_buf(&mut piece).await.ok()?;
            (read > 0).then(|| (piece.freeze(), from))
        });
        let write = |mut outgoing: mpsc::Receiver<Bytes>| {
            async move {
                loop {
                    let frame = match tokio::time::timeout(BEAT, outgoing.recv()).await {
                        Ok(Some(frame)) => frame,
                        Ok(None) => return,
                        Err(_) => frame::ping(OURS),
                    };
                    // TLS keeps what is not flushed.
                    if to.write_all(&frame).await.is_err() || to.flush().await.is_err() {
                        return;
                    }
                }
            }
            .boxed()
        };
        Self::new(incoming.boxed(), write)
    }

    pub(crate) fn tunnel(socket: WebSocket) -> Self {
        let (mut sink, messages) = socket.split();
        let incoming = stream::unfold(messages, |mut messages| async {
            let message = messages.next().await?.ok()?;
            Some((socket::bytes(message)?, messages))
        });
        let write = |mut outgoing: mpsc::Receiver<Bytes>| {
            async move {
                // A client that has gone hears nothing more.
                let _ =
                    socket::send_all(&mut sink, &mut outgoing, |frame| Some(Message::Binary(frame))).await;
            }
            .boxed()
        };
        Self::new(incoming.boxed(), write)
    }
}

impl Link {
    /// Does some work with the streams that the client opens, until it is done or the client goes.
    pub(crate) async fn serve<F>(self, work: impl FnOnce(mpsc::Receiver<Opened>) -> F)
    where
        F: Future<Output = ()>,
    {
        let (sender, opened) = mpsc::channel(16);
        let reading = super::read(self.incoming, self.frames, sender).map(|done| {
            if let Err(error) = done {
                tracing::debug!(%error, "a client was not understood");
            }
        });
        let carrying = future::select(Box::pin(reading), self.writing).map(drop);
        tokio::pin!(carrying);
        let working = std::pin::pin!(work(opened));
        if let future::Either::Right(((), carrying)) = future::select(carrying, working).await {
            // What was said last is on its way; who closes first would break the connection before it was read.
            let _ = tokio::time::timeout(GOODBYE, carrying).await;
        }
    }
}
