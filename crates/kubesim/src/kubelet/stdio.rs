//! What goes in and out of a program that somebody speaks to, whatever carries it and whatever runs.

use bytes::Bytes;
use tokio::sync::mpsc;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    Bytes(Bytes),
    /// Nothing more is going to be typed.
    End,
    /// The terminal of the client has other measures.
    Resize {
        columns: u16,
        rows: u16,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    Out,
    Err,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub voice: Voice,
    pub bytes: Bytes,
}

/// The ends of a program that its client holds the other ends of.
pub(crate) struct Stdio {
    pub input: mpsc::Receiver<Input>,
    pub output: mpsc::Sender<Said>,
}

impl Stdio {
    /// False when nobody listens any more.
    pub(crate) async fn say(&self, voice: Voice, text: impl Into<Bytes>) -> bool {
        self.output.send(Said { voice, bytes: text.into() }).await.is_ok()
    }
}

/// How a program came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    Exited(i32),
    /// It could not be run at all, for this reason.
    Failed(String),
}
