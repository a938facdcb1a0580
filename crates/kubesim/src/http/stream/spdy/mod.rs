//! SPDY/3.1 as Kubernetes uses it: many streams over one connection, all of them opened by the client.
//!
//! Windows are not kept: the clients know none. A stream that nobody reads holds up the others, as it does there.

mod frame;
mod header;
mod link;

use std::collections::HashMap;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::{
    frame::{Decoder, Frame},
    header::Writer,
};
pub(super) use self::{header::Headers, link::Link};

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("version {0} is not spoken")]
    Version(u8),
    #[error("a frame is too short")]
    Short,
    #[error("headers cannot be read")]
    Headers,
    #[error("nobody is there any more")]
    Closed,
}

/// A stream that a client has opened.
pub(super) struct Opened {
    pub headers: Headers,
    /// What the client sends, until it says that there is no more.
    pub input: mpsc::Receiver<Bytes>,
    /// The client gave the stream up.
    pub gone: CancellationToken,
    pub output: Output,
}

impl Opened {
    pub(super) fn new(
        stream: u32,
        headers: Headers,
        input: mpsc::Receiver<Bytes>,
        gone: CancellationToken,
        frames: mpsc::Sender<Bytes>,
    ) -> Self {
        Self { headers, input, gone, output: Output { stream, frames } }
    }
}

/// What goes back on one stream.
#[derive(Debug, Clone)]
pub(super) struct Output {
    pub stream: u32,
    frames: mpsc::Sender<Bytes>,
}

impl Output {
    /// False when the connection has gone.
    pub(super) async fn send(&self, bytes: &[u8]) -> bool {
        self.frames.send(self.pack(bytes)).await.is_ok()
    }

    pub(super) fn frames(&self) -> &mpsc::Sender<Bytes> {
        &self.frames
    }

    /// A frame of this stream.
    pub(super) fn pack(&self, bytes: &[u8]) -> Bytes {
        frame::data(self.stream, bytes, false)
    }

    /// Nothing more goes back.
    pub(super) async fn finish(&self) {
        // A connection that has gone needs no end of its streams.
        let _ = self.frames.send(frame::data(self.stream, &[], true)).await;
    }

    /// Nothing is served any more: the whole connection comes to its end.
    pub(super) async fn say_goodbye(&self) {
        let _ = self.frames.send(frame::goodbye(self.stream)).await;
    }

    /// The client may not use the stream.
    pub(super) async fn refuse(&self) {
        let _ = self.frames.send(frame::reset(self.stream, frame::REFUSED)).await;
    }
}

/// A stream as long as the client may say something about it.
struct Sending {
    /// None when it said that there is no more.
    input: Option<mpsc::Sender<Bytes>>,
    gone: CancellationToken,
}

struct Connection {
    writer: Writer,
    streams: HashMap<u32, Sending>,
    frames: mpsc::Sender<Bytes>,
    opened: mpsc::Sender<Opened>,
}

/// Reads what the client sends until that ends or makes no sense: the streams that it opens are handed on.
async fn read(
    mut incoming: impl Stream<Item = Bytes> + Unpin,
    frames: mpsc::Sender<Bytes>,
    opened: mpsc::Sender<Opened>,
) -> Result<(), Error> {
    let mut connection = Connection { writer: Writer::new()?, streams: HashMap::new(), frames, opened };
    let mut decoder = Decoder::new();
    while let Some(bytes) = incoming.next().await {
        decoder.feed(&bytes);
        while let Some(frame) = decoder.next()? {
            connection.take(frame).await?;
        }
    }
    Ok(())
}

impl Connection {
    async fn take(&mut self, frame: Frame) -> Result<(), Error> {
        match frame {
            Frame::Open { stream, headers, last } => self.open(stream, headers, last).await?,
            Frame::Data { stream, bytes, last } => {
                let Some(sending) = self.streams.get_mut(&stream) else { return Ok(()) };
                if let Some(input) = sending.input.as_ref().filter(|_| !bytes.is_empty()) {
                    // Who reads no more misses nothing.
                    let _ = input.send(bytes).await;
                }
                if last {
                    sending.input = None;
                }
            }
            Frame::Reset(stream) => {
                if let Some(sending) = self.streams.remove(&stream) {
                    sending.gone.cancel();
                }
            }
            // Those of the client have odd numbers.
            Frame::Ping(number) if number % 2 == 1 => self.answer(frame::ping(number)).await?,
            Frame::Ping(_) | Frame::Other => {}
        }
        Ok(())
    }

    async fn open(&mut self, stream: u32, headers: Headers, last: bool) -> Result<(), Error> {
        let reply = frame::reply(stream, &mut self.writer)?;
        self.answer(reply).await?;
        let (sender, input) = mpsc::channel(64);
        let gone = CancellationToken::new();
        self.streams.insert(stream, Sending { input: (!last).then_some(sender), gone: gone.clone() });
        let opened = Opened::new(stream, headers, input, gone, self.frames.clone());
        self.opened.send(opened).await.map_err(|_| Error::Closed)
    }

    async fn answer(&self, frame: Bytes) -> Result<(), Error> {
        self.frames.send(frame).await.map_err(|_| Error::Closed)
    }
}
