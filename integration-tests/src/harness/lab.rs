//! The place of one test: a directory, and the logs of everything that runs in it.

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// How much of each log is shown when a test fails.
const SHOWN_LINES: usize = 80;

/// A directory that goes with the test. When the test fails, the ends of all logs are written to standard error.
pub struct Lab {
    directory: TempDir,
    logs: Mutex<Vec<PathBuf>>,
    kept: AtomicBool,
}

/// Why a test failed, in words for people: no stack, the logs came before it.
pub struct Failed(String);

impl std::fmt::Debug for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Lab {
    /// An empty one.
    pub fn new() -> Result<Self> {
        let directory = TempDir::with_prefix("bcs-it-").context("no temporary directory")?;
        Ok(Self { directory, logs: Mutex::default(), kept: AtomicBool::default() })
    }

    /// Runs `test` in a lab of its own, and shows the logs when it fails by an error or a panic.
    pub async fn run(test: impl AsyncFnOnce(&Self) -> Result<()>) -> Result<(), Failed> {
        let lab = Self::new().map_err(|e| Failed(format!("{e:#}")))?;
        test(&lab).await.map_err(|error| {
            lab.show_logs();
            Failed(format!("{error:#}"))
        })
    }

    /// Where its files lie.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Leaves its files when it goes.
    pub fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    /// A file that is shown when the test fails.
    pub fn log(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        self.show(&path);
        path
    }

    /// Lets a file that somebody else writes be shown when the test fails.
    pub fn show(&self, path: &Path) {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        if !logs.iter().any(|known| known == path) {
            logs.push(path.to_owned());
        }
    }

    /// Writes the end of every log to standard error.
    pub fn show_logs(&self) {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        for path in logs.iter() {
            let text = std::fs::read(path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            let skipped = lines.len().saturating_sub(SHOWN_LINES);
            eprintln!("--- {} ({} lines, the last of them)", path.display(), lines.len());
            for line in &lines[skipped..] {
                eprintln!("{line}");
            }
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.directory.disable_cleanup(self.kept.load(Ordering::Relaxed));
        if std::thread::panicking() {
            self.show_logs();
        }
    }
}
