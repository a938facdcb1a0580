//! Groups of processes: what is started together is stopped together.

use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal};
use tokio::process::Child;

/// A process group that ends, with all its members, when this goes.
#[derive(Debug, Clone)]
pub(super) struct Group(Arc<Mutex<Option<Pid>>>);

impl Group {
    pub(super) fn of(child: &Child) -> Self {
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Self(Arc::new(Mutex::new(pid)))
    }

    fn signal(&self, signal: Signal) {
        let pid = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A group that has gone already needs no signal.
        let _ = pid.map(|pid| rustix::process::kill_process_group(pid, signal));
    }

    /// The leader ended: its number may soon be somebody else's, so the others end now.
    pub(super) fn end(&self) {
        self.signal(Signal::KILL);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A running container; it is killed when this goes.
pub(crate) struct Process(pub(super) Group);

impl Process {
    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        self.0.signal(Signal::TERM);
    }

    pub(crate) fn kill(&self) {
        self.0.signal(Signal::KILL);
    }

    /// Its node is cut off from the world: it does nothing that anybody could see.
    pub(crate) fn freeze(&self) {
        self.0.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.0.signal(Signal::CONT);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.signal(Signal::KILL);
    }
}
