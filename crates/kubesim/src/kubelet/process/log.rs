//! What containers wrote, line by line; of each only the newest part is kept.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use tokio::sync::watch;

use super::console::Console;

const KEPT_BYTES: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub at: Timestamp,
    /// With its line feed, if it had one.
    pub text: Box<str>,
}

#[derive(Debug, Default)]
struct Lines {
    lines: VecDeque<Line>,
    bytes: usize,
    /// The number of the first line that is still there.
    first: u64,
}

/// The log of one run of one container.
#[derive(Debug, Default)]
pub(crate) struct Log {
    lines: Mutex<Lines>,
    /// Counts the lines, and ends when the container does.
    written: watch::Sender<u64>,
    closed: watch::Sender<bool>,
    /// For those who attach to the container, if it is a process.
    pub console: Console,
}

impl Log {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self, at: Timestamp, text: &str) {
        let mut lines = self.lines();
        lines.bytes += text.len();
        lines.lines.push_back(Line { at, text: text.into() });
        while lines.bytes > KEPT_BYTES
            && let Some(old) = lines.lines.pop_front()
        {
            lines.bytes -= old.text.len();
            lines.first += 1;
        }
        drop(lines);
        self.written.send_modify(|n| *n += 1);
    }

    pub(crate) fn close(&self) {
        self.console.close();
        self.closed.send_replace(true);
        self.written.send_modify(|_| {});
    }

    /// The lines from a number on that are still there, the number after them, and whether there will be more.
    pub(crate) fn since(&self, number: u64) -> (Vec<Line>, u64, bool) {
        // Asked before the lines are read, so that none comes between.
        let more = !*self.closed.borrow();
        let lines = self.lines();
        let skip = usize::try_from(number.saturating_sub(lines.first)).unwrap_or(usize::MAX);
        let found: Vec<Line> = lines.lines.iter().skip(skip).cloned().collect();
        (found, lines.first + lines.lines.len() as u64, more)
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// The end of the log, as the message of a container that failed.
    pub(crate) fn tail(&self, limit: usize) -> String {
        let all: String = self.lines().lines.iter().rev().take(80).rev().map(|l| &*l.text).collect();
        let start = all.len().saturating_sub(limit);
        let start = (start..=all.len()).find(|i| all.is_char_boundary(*i)).unwrap_or(0);
        all[start..].to_owned()
    }
}

/// The logs of a container: of its present or last run, and of the one before.
#[derive(Debug, Clone, Default)]
struct Runs {
    current: Option<Arc<Log>>,
    previous: Option<Arc<Log>>,
}

/// All logs, by the uid of the pod and the name of the container.
#[derive(Debug, Default)]
pub(crate) struct Logs(Mutex<HashMap<String, HashMap<String, Runs>>>);

impl Logs {
    fn pods(&self) -> MutexGuard<'_, HashMap<String, HashMap<String, Runs>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new run begins.
    pub(crate) fn begin(&self, uid: &str, container: &str) -> Arc<Log> {
        let mut pods = self.pods();
        let runs = pods.entry(uid.to_owned()).or_default().entry(container.to_owned()).or_default();
        let log = Arc::new(Log::default());
        runs.previous = runs.current.replace(Arc::clone(&log));
        log
    }

    pub(crate) fn find(&self, uid: &str, container: &str, previous: bool) -> Option<Arc<Log>> {
        let pods = self.pods();
        let runs = pods.get(uid)?.get(container)?;
        if previous { runs.previous.clone() } else { runs.current.clone() }
    }

    pub(crate) fn forget(&self, uid: &str) {
        self.pods().remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_part_is_kept_and_readers_miss_nothing_else() {
        let log = Log::default();
        let line = "x".repeat(KEPT_BYTES / 4 - 1) + "\n";
        for _ in 0..6 {
            log.write(Timestamp::UNIX_EPOCH, &line);
        }
        let (lines, next, more) = log.since(0);
        assert_eq!((lines.len(), next, more), (4, 6, true));
        log.write(Timestamp::UNIX_EPOCH, "end");
        log.close();
        let (lines, next, more) = log.since(next);
        assert_eq!((lines.len(), next, more), (1, 7, false));
        assert_eq!(log.tail(2), "nd");
    }

    #[test]
    fn the_run_before_is_kept_too() {
        let logs = Logs::default();
        logs.begin("u", "a").write(Timestamp::UNIX_EPOCH, "one");
        logs.begin("u", "a").write(Timestamp::UNIX_EPOCH, "two");
        let text = |previous| logs.find("u", "a", previous).expect("a log").tail(9);
        assert_eq!((text(false), text(true)), ("two".to_owned(), "one".to_owned()));
        logs.forget("u");
        assert!(logs.find("u", "a", false).is_none());
    }
}
