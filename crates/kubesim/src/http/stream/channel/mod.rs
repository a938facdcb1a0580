//! Channels over one WebSocket: every frame begins with the number of its channel.

pub(super) mod streams;

use std::future::Future;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{FutureExt as _, SinkExt as _, StreamExt as _, future};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;

use super::socket;
use crate::kubelet::stdio::{Input, Said, Stdio, Voice};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// The second byte says which channel ends.
const CLOSE: u8 = 255;

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    /// It can close a channel.
    V5,
}

pub(super) const NAMES: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

impl Version {
    /// What client and server agreed on.
    pub(super) fn agreed(upgrade: &WebSocketUpgrade) -> Option<Self> {
        match upgrade.selected_protocol()?.as_bytes() {
            b"v5.channel.k8s.io" => Some(Self::V5),
            b"v4.channel.k8s.io" => Some(Self::V4),
            _ => None,
        }
    }

    fn read(self, frame: &Bytes) -> Option<Input> {
        match (frame.first()?, &frame[1..]) {
            (&STDIN, []) => None,
            (&STDIN, _) => Some(Input::Bytes(frame.slice(1..))),
            (&RESIZE, json) => serde_json::from_slice::<Measures>(json).ok().map(Measures::input),
            (&CLOSE, [STDIN]) if self == Self::V5 => Some(Input::End),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Measures {
    width: u16,
    height: u16,
}

impl Measures {
    fn input(self) -> Input {
        Input::Resize { columns: self.width, rows: self.height }
    }
}

/// What the client wants to be connected with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Streams {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

impl Streams {
    fn channel(self, voice: Voice) -> Option<u8> {
        match voice {
            Voice::Out => self.stdout.then_some(STDOUT),
            Voice::Err => self.stderr.then_some(STDERR),
        }
    }

    fn first(self) -> u8 {
        let channels = [Voice::Out, Voice::Err].into_iter().filter_map(|voice| self.channel(voice));
        channels.min().unwrap_or(ERROR)
    }

    fn takes(self, input: &Input) -> bool {
        match input {
            Input::Bytes(_) | Input::End => self.stdin,
            Input::Resize { .. } => self.tty,
        }
    }
}

pub(super) fn frame(channel: u8, bytes: &[u8]) -> Message {
    let mut frame = BytesMut::with_capacity(bytes.len() + 1);
    frame.put_u8(channel);
    frame.put_slice(bytes);
    Message::Binary(frame.freeze())
}

/// Connects the client with some work until either of them ends. The work is dropped when the client goes; when the work ends, the
/// client hears its verdict, or nothing at all if there is none.
pub(super) async fn carry<F>(
    socket: WebSocket,
    version: Version,
    streams: Streams,
    work: impl FnOnce(Stdio) -> F,
) where
    F: Future<Output = Option<Value>>,
{
    let (mut sink, mut frames) = socket.split();
    let (typed, input) = mpsc::channel(16);
    let (output, mut said) = mpsc::channel(16);
    // Says that the connection stands.
    if sink.send(frame(streams.first(), &[])).await.is_err() {
        return;
    }
    let verdict = {
        let reading = async {
            // Who can type nothing has come to the end already.
            let typed = Some(typed).filter(|_| streams.stdin || streams.tty);
            while let Some(Ok(message)) = frames.next().await {
                let Some(bytes) = socket::bytes(message) else { return };
                let input = version.read(&bytes).filter(|input| streams.takes(input));
                if let (Some(input), Some(typed)) = (input, &typed) {
                    // Who reads no more misses nothing.
                    let _ = typed.send(input).await;
                }
            }
        };
        let writing = socket::send_all(&mut sink, &mut said, |Said { voice, bytes }| {
            streams.channel(voice).map(|channel| frame(channel, &bytes))
        });
        let working = future::try_join(work(Stdio { input, output }).map(Ok), writing);
        tokio::select! { done = working => done, () = reading => return }
    };
    let Ok((Some(verdict), ())) = verdict else { return };
    if sink.send(frame(ERROR, verdict.to_string().as_bytes())).await.is_ok() {
        socket::close(sink, frames).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_say_what_their_first_byte_means() {
        let read = |version: Version, frame: &'static [u8]| version.read(&Bytes::from_static(frame));
        for version in [Version::V4, Version::V5] {
            assert_eq!(read(version, b"\0ls\n"), Some(Input::Bytes(Bytes::from_static(b"ls\n"))));
            let measures = Some(Input::Resize { columns: 80, rows: 24 });
            assert_eq!(read(version, b"\x04{\"Width\":80,\"Height\":24}"), measures);
            for nothing in [&b""[..], b"\0", b"\x04no", b"\x01x", b"\xff\x01"] {
                assert_eq!(read(version, nothing), None, "{nothing:?}");
            }
        }
        assert_eq!(read(Version::V5, b"\xff\0"), Some(Input::End));
        assert_eq!(read(Version::V4, b"\xff\0"), None, "it cannot close a channel");
    }
}
