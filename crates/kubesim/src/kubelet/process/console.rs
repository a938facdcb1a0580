//! The two ends of a running container that clients attach to: what it writes, as it writes it, and what it reads.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, mpsc};

use crate::kubelet::stdio::{Input, Said};

/// So many pieces wait for a client that is slow; it misses those that are older.
const BEHIND: usize = 1024;

#[derive(Debug, Default)]
struct Ends {
    /// There from the first client on.
    said: Option<broadcast::Sender<Said>>,
    /// None of a container that reads nothing.
    typed: Option<mpsc::Sender<Input>>,
    closed: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Console(Mutex<Ends>);

impl Console {
    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hear(&self, typed: mpsc::Sender<Input>) {
        self.ends().typed = Some(typed);
    }

    pub(super) fn say(&self, said: Said) {
        // It says so whether anybody listens or not.
        let _ = self.ends().said.as_ref().map(|listeners| listeners.send(said));
    }

    /// What is written from now on; none when the container has ended.
    pub(crate) fn listen(&self) -> Option<broadcast::Receiver<Said>> {
        let mut ends = self.ends();
        (!ends.closed).then(|| ends.said.get_or_insert_with(|| broadcast::Sender::new(BEHIND)).subscribe())
    }

    pub(crate) fn typed(&self) -> Option<mpsc::Sender<Input>> {
        self.ends().typed.clone()
    }

    pub(super) fn close(&self) {
        *self.ends() = Ends { closed: true, ..Ends::default() };
    }
}
