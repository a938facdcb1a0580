//! Connections to the API that can be cut in the middle of anything.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::{
    faults::{Line, Partition},
    tls::Subject,
};

/// The other end of a connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peer {
    /// Whom its certificate names.
    pub subject: Option<Subject>,
    pub line: Line,
}

impl<L: Listener> Connected<IncomingStream<'_, Cuttable<L>>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Cuttable<L>>) -> Self {
        stream.remote_addr().clone()
    }
}

/// A listener whose connections can be cut.
pub(crate) struct Cuttable<L: Listener> {
    listener: L,
    lines: Arc<Partition>,
    subject: fn(L::Addr) -> Option<Subject>,
}

impl<L: Listener> Cuttable<L> {
    pub(crate) fn new(listener: L, lines: Arc<Partition>, subject: fn(L::Addr) -> Option<Subject>) -> Self {
        Self { listener, lines, subject }
    }
}

impl<L: Listener> Listener for Cuttable<L> {
    type Io = Wire<L::Io>;
    type Addr = Peer;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (io, address) = self.listener.accept().await;
        let (number, line) = self.lines.open();
        let cut = || Box::pin(line.cut().cancelled_owned());
        let wire = Wire { io, reads: cut(), writes: cut(), number, lines: Arc::clone(&self.lines) };
        (wire, Peer { subject: (self.subject)(address), line })
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(Peer::default())
    }
}

/// Bytes that pass until the line is cut. Reading and writing wait apart: they may be done by different tasks.
pub(crate) struct Wire<T> {
    io: T,
    reads: Pin<Box<WaitForCancellationFutureOwned>>,
    writes: Pin<Box<WaitForCancellationFutureOwned>>,
    number: u64,
    lines: Arc<Partition>,
}

impl<T> Drop for Wire<T> {
    fn drop(&mut self) {
        self.lines.closed(self.number);
    }
}

/// An error once the line is cut; until then, the task is woken when that happens.
fn whole(cut: &mut Pin<Box<WaitForCancellationFutureOwned>>, cx: &mut Context<'_>) -> io::Result<()> {
    match cut.as_mut().poll(cx) {
        Poll::Ready(()) => Err(io::ErrorKind::ConnectionReset.into()),
        Poll::Pending => Ok(()),
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        whole(&mut self.reads, cx)?;
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        whole(&mut self.writes, cx)?;
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        whole(&mut self.writes, cx)?;
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        whole(&mut self.writes, cx)?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        whole(&mut self.writes, cx)?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
