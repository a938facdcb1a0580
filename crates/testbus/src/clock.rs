//! The clock of one process, moved from outside while it runs: libfaketime answers in place of the system. Only the time of
//! day moves; what a process waits for by the monotonic clock is not touched, as when somebody sets a real clock.

use std::{
    fs,
    io::{Error, ErrorKind, Result},
    path::{Path, PathBuf},
};

/// A clock that is right until it is moved.
#[derive(Clone, Debug)]
pub struct MovableClock {
    library: PathBuf,
    file: PathBuf,
}

impl MovableClock {
    /// A clock that is kept in `file`.
    pub fn new(file: PathBuf) -> Result<Self> {
        let clock = Self { library: library()?, file };
        clock.set(0)?;
        Ok(clock)
    }

    /// What a process needs in its environment to live by this clock.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            // Otherwise the file is read every ten seconds only.
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
            // A killed process would leave its shared memory behind, for whoever gets its number next.
            ("FAKETIME_DISABLE_SHM", "1".to_owned()),
            // Files keep their real times.
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
    }

    /// From now on it is so many seconds fast, or slow when negative.
    pub fn set(&self, seconds: i64) -> Result<()> {
        // Replaced whole: it is read at any moment.
        let fresh = self.file.with_extension("fresh");
        fs::write(&fresh, format!("{seconds:+}\n"))?;
        fs::rename(&fresh, &self.file)
    }
}

/// Where Debian puts the library; another one when `BCS_LIBFAKETIME` names it.
fn library() -> Result<PathBuf> {
    const NAME: &str = "faketime/libfaketimeMT.so.1";
    if let Some(named) = std::env::var_os("BCS_LIBFAKETIME") {
        return Ok(named.into());
    }
    let below = |directory: &Path| {
        let inner = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
        std::iter::once(directory.to_owned()).chain(inner).map(|path| path.join(NAME)).find(|p| p.is_file())
    };
    ["/usr/lib", "/usr/local/lib", "/usr/lib64"]
        .iter()
        .find_map(|directory| below(Path::new(directory)))
        .ok_or_else(|| {
            let words = "libfaketime is missing: install Debian's libfaketime, or name it in BCS_LIBFAKETIME";
            Error::new(ErrorKind::NotFound, words)
        })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_lives_by_the_clock_that_it_was_given() {
        let directory = tempfile::tempdir().expect("a directory");
        let clock = MovableClock::new(directory.path().join("clock")).expect("a clock");
        let now = |environment: Vec<(&'static str, String)>| -> i64 {
            let said = Command::new("date").arg("+%s").envs(environment).output().expect("date runs");
            String::from_utf8_lossy(&said.stdout).trim().parse().expect("seconds")
        };
        for (set, least, most) in [(0, 0, 600), (90_000, 90_000, 90_600), (-90_000, -90_000, -89_400)] {
            let begin = now(Vec::new());
            clock.set(set).expect("is set");
            let ahead = now(clock.environment()) - begin;
            assert!((least..most).contains(&ahead), "set to {set}, it is {ahead} s ahead");
        }
    }
}
