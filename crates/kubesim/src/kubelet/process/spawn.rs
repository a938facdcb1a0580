//! A child process with its ends: three pipes, or one terminal.

use std::{io, process::Stdio, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _, stream};
use pty_process::OwnedWritePty;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, Command},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use super::Launch;
use crate::kubelet::stdio::{Input, Voice};

pub(super) struct Spawned {
    pub child: Child,
    /// None of a process that reads nothing.
    pub feed: Option<Feed>,
    pub voices: Vec<(Voice, Source)>,
}

pub(super) type Source = Box<dyn AsyncRead + Send + Unpin>;

/// What carries input to a process.
pub(super) enum Feed {
    Pipe(ChildStdin),
    Terminal(OwnedWritePty),
}

pub(super) fn spawn(launch: &Launch) -> io::Result<Spawned> {
    if launch.tty {
        return in_terminal(launch);
    }
    let mut command = piped(launch)?;
    let mut child = command.spawn()?;
    let feed = child.stdin.take().map(Feed::Pipe);
    let out = child.stdout.take().map(|from| (Voice::Out, Box::new(from) as Source));
    let err = child.stderr.take().map(|from| (Voice::Err, Box::new(from) as Source));
    Ok(Spawned { child, feed, voices: out.into_iter().chain(err).collect() })
}

/// The leader of a process group of its own.
pub(super) fn piped(launch: &Launch) -> io::Result<Command> {
    let (program, arguments) = launch.words()?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(launch.variables.iter().map(|(k, v)| (k, v)))
        .current_dir(&launch.directory)
        .stdin(if launch.stdin { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    Ok(command)
}

/// The leader of a session of its own, and so of a process group; the terminal mixes what it writes.
fn in_terminal(launch: &Launch) -> io::Result<Spawned> {
    let (program, arguments) = launch.words()?;
    let plain = |error| match error {
        pty_process::Error::Io(error) => error,
        other => io::Error::other(other),
    };
    let (terminal, inner) = pty_process::open().map_err(plain)?;
    let child = pty_process::Command::new(program)
        .args(arguments)
        .env_clear()
        .env("TERM", "xterm")
        .envs(launch.variables.iter().map(|(k, v)| (k, v)))
        .current_dir(&launch.directory)
        .kill_on_drop(true)
        .spawn(inner)
        .map_err(plain)?;
    let (read, write) = terminal.into_split();
    Ok(Spawned {
        child,
        feed: Some(Feed::Terminal(write)),
        voices: vec![(Voice::Out, Box::new(read) as Source)],
    })
}

/// Hands on what is typed, until there is no more or nobody reads it.
pub(super) async fn feed(mut feed: Feed, mut input: mpsc::Receiver<Input>) {
    while let Some(input) = input.recv().await {
        let done = match (&mut feed, input) {
            (Feed::Pipe(pipe), Input::Bytes(bytes)) => pipe.write_all(&bytes).await,
            (Feed::Terminal(terminal), Input::Bytes(bytes)) => terminal.write_all(&bytes).await,
            (Feed::Terminal(terminal), Input::Resize { columns, rows }) => {
                terminal.resize(pty_process::Size::new(rows, columns)).map_err(io::Error::other)
            }
            (Feed::Pipe(_), Input::End) => return,
            // A terminal has no end, and a pipe no measures.
            (Feed::Terminal(_), Input::End) | (Feed::Pipe(_), Input::Resize { .. }) => Ok(()),
        };
        if done.is_err() {
            return;
        }
    }
}

/// Somebody who left the group of a process that ended may hold its pipes open; nobody waits longer for more of that.
const LINGERING: Duration = Duration::from_secs(1);

/// What a process writes, as it comes; `ended` says that it did.
pub(super) fn pieces(from: Source, ended: CancellationToken) -> impl Stream<Item = Bytes> + Send {
    let next = |(mut from, ended): (Source, CancellationToken)| async move {
        let mut piece = BytesMut::with_capacity(8 << 10);
        let silent = async {
            ended.cancelled().await;
            tokio::time::sleep(LINGERING).await;
        };
        // A terminal that nobody holds any more reports an error instead of an end.
        let read = tokio::select! { read = from.read_buf(&mut piece) => read.unwrap_or(0), () = silent => 0 };
        (read > 0).then(|| (piece.freeze(), (from, ended)))
    };
    stream::unfold((from, ended), next).boxed()
}
