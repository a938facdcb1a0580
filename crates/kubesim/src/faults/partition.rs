//! Times in which nobody reaches the API: which connections there are, and how they are cut.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// All connections, and until when none may be used but for `/sim/`.
#[derive(Default)]
pub(crate) struct Partition {
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    until: Option<Instant>,
    next: u64,
    lines: HashMap<u64, Line>,
}

/// One connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    cut: CancellationToken,
    /// It is used for `/sim/` at the moment.
    admin: Arc<AtomicBool>,
}

impl Line {
    pub(crate) fn cut(&self) -> CancellationToken {
        self.cut.clone()
    }
}

impl Partition {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection, and under which number it is known until it is closed.
    pub(crate) fn open(&self) -> (u64, Line) {
        let (mut open, line) = (self.lock(), Line::default());
        open.next += 1;
        let number = open.next;
        open.lines.insert(number, line.clone());
        (number, line)
    }

    pub(crate) fn closed(&self, number: u64) {
        self.lock().lines.remove(&number);
    }

    pub(super) fn begin(&self, length: Duration, now: Instant) {
        let mut open = self.lock();
        open.until = (!length.is_zero()).then(|| now + length);
        if open.until.is_some() {
            let lines = open.lines.values().filter(|line| !line.admin.load(Ordering::Relaxed));
            lines.for_each(|line| line.cut.cancel());
        }
    }

    /// How long it lasts yet.
    pub(super) fn left(&self, now: Instant) -> Duration {
        let until = self.lock().until;
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// Whether a request that came over this connection got through. If not, the connection is cut, and nothing that is
    /// answered leaves.
    pub(crate) fn passes(&self, line: &Line, path: &str, now: Instant) -> bool {
        // Under the lock, so that no partition begins in between.
        let open = self.lock();
        let admin = path.starts_with("/sim/");
        line.admin.store(admin, Ordering::Relaxed);
        let passes = admin || open.until.is_none_or(|until| until <= now);
        if !passes {
            line.cut.cancel();
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_cuts_everything_but_its_own_door_until_it_ends() {
        let (partition, start) = (Partition::default(), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let [(_, idle), (_, busy), (_, admin), (gone, closed)] = std::array::from_fn(|_| partition.open());
        assert!(partition.passes(&busy, "/api/v1/pods", start));
        assert!(partition.passes(&admin, "/sim/faults", start));
        partition.closed(gone);
        partition.begin(Duration::from_secs(60), start);
        let cut = [&idle, &busy, &admin, &closed].map(|line| line.cut.is_cancelled());
        assert_eq!(cut, [true, true, false, false]);
        let (_, new) = partition.open();
        assert!(partition.passes(&new, "/sim/stats", start) && !new.cut.is_cancelled());
        assert!(!partition.passes(&new, "/api", start) && new.cut.is_cancelled());
        assert_eq!(partition.left(at(59)), Duration::from_secs(1));
        let healthy = |seconds| partition.passes(&partition.open().1, "/readyz", at(seconds));
        assert!(!healthy(59) && healthy(60));
        partition.begin(Duration::from_secs(60), at(60));
        assert!(!healthy(61));
        partition.begin(Duration::ZERO, at(61));
        assert!(healthy(61));
    }
}
