//! The same channels as streams of SPDY: one for each, named by a header.

use std::{collections::HashMap, future::Future, time::Duration};

use futures::future;
use serde_json::Value;
use tokio::sync::mpsc;

use super::{
    super::spdy::{Link, Opened},
    Measures, Streams,
};
use crate::kubelet::stdio::{Input, Said, Stdio, Voice};

/// How long a client may take to open its streams.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connects the client with some work until either of them ends, as over a WebSocket.
pub(crate) async fn carry<F>(link: Link, streams: Streams, work: impl FnOnce(Stdio) -> F)
where
    F: Future<Output = Option<Value>>,
{
    link.serve(|mut opened| async move {
        let Ok(Some(all)) = tokio::time::timeout(PATIENCE, wait(&mut opened, streams)).await else { return };
        speak(all, work).await;
    })
    .await;
}

type All = HashMap<String, Opened>;

/// Until every stream is there that the client announced.
async fn wait(opened: &mut mpsc::Receiver<Opened>, streams: Streams) -> Option<All> {
    let Streams { stdin, stdout, stderr, tty } = streams;
    let mut all = All::new();
    let wanted = [("error", true), ("stdin", stdin), ("stdout", stdout), ("stderr", stderr), ("resize", tty)];
    while wanted.iter().any(|(name, wanted)| *wanted && !all.contains_key(*name)) {
        let stream = opened.recv().await?;
        all.insert(stream.headers.get("streamtype").to_owned(), stream);
    }
    Some(all)
}

async fn speak<F>(mut all: All, work: impl FnOnce(Stdio) -> F)
where
    F: Future<Output = Option<Value>>,
{
    let (typed, input) = mpsc::channel(16);
    let (output, mut said) = mpsc::channel(16);
    let reading =
        future::join(type_in(all.remove("stdin"), typed.clone()), resize(all.remove("resize"), typed));
    let writing = async {
        while let Some(Said { voice, bytes }) = said.recv().await {
            let name = if voice == Voice::Out { "stdout" } else { "stderr" };
            if let Some(stream) = all.get(name) {
                stream.output.send(&bytes).await;
            }
        }
    };
    let working = future::join(work(Stdio { input, output }), writing);
    let (verdict, ()) = {
        tokio::pin!(reading, working);
        match future::select(working, reading).await {
            future::Either::Left((done, _)) => done,
            future::Either::Right((_, working)) => working.await,
        }
    };
    let Some(verdict) = verdict else { return };
    let Some(error) = all.get("error") else { return };
    error.output.send(verdict.to_string().as_bytes()).await;
    for stream in all.values() {
        stream.output.finish().await;
    }
    error.output.say_goodbye().await;
}

async fn type_in(stream: Option<Opened>, typed: mpsc::Sender<Input>) {
    let Some(mut stream) = stream else { return };
    while let Some(bytes) = stream.input.recv().await {
        if typed.send(Input::Bytes(bytes)).await.is_err() {
            return;
        }
    }
    // Who reads no more misses nothing.
    let _ = typed.send(Input::End).await;
}

/// So much text that still means nothing never will.
const NONSENSE: usize = 1 << 10;

/// Measures come one after the other, however they are cut.
async fn resize(stream: Option<Opened>, typed: mpsc::Sender<Input>) {
    let Some(mut stream) = stream else { return };
    let mut text = Vec::new();
    while let Some(bytes) = stream.input.recv().await.filter(|_| text.len() < NONSENSE) {
        text.extend_from_slice(&bytes);
        let mut measures = serde_json::Deserializer::from_slice(&text).into_iter::<Measures>();
        let found: Vec<Input> = measures.by_ref().map_while(Result::ok).map(Measures::input).collect();
        let used = measures.byte_offset();
        text.drain(..used);
        for input in found {
            if typed.send(input).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn measures_of_a_terminal_are_read_however_they_are_cut() {
        let ((sender, input), (frames, _outgoing)) = (mpsc::channel(8), mpsc::channel(8));
        let (typed, mut read) = mpsc::channel(8);
        let stream = Opened::new(1, Default::default(), input, CancellationToken::new(), frames);
        for piece in ["{\"Width\":80,\"Hei", "ght\":24}\n{\"Width\":97,", "\"Height\":31}"] {
            sender.send(Bytes::from(piece)).await.expect("sent");
        }
        drop(sender);
        resize(Some(stream), typed).await;
        for (columns, rows) in [(80, 24), (97, 31)] {
            assert_eq!(read.recv().await, Some(Input::Resize { columns, rows }));
        }
        assert_eq!(read.recv().await, None);
    }
}
