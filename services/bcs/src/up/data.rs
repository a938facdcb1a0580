//! The directory of `bcs up`: what lies where, and that only one process works on it.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use crate::Failure;

/// An open data directory; nobody else has it open.
pub(super) struct DataDir {
    root: PathBuf,
    /// Released by the operating system, whatever ends us.
    _lock: File,
}

impl DataDir {
    /// Opens `root`, or the standard place.
    pub(super) fn open(root: Option<PathBuf>) -> Result<Self, Failure> {
        let standard = || std::env::home_dir().map(|home| home.join(".local/share/bcs"));
        let root = root
            .or_else(standard)
            .ok_or_else(|| Failure::usage("there is no home directory: name one with --data DIR"))?;
        let failed = |e: std::io::Error| Failure::failed(format!("{} cannot be used: {e}", root.display()));
        fs::create_dir_all(&root).map_err(failed)?;
        let root = root.canonicalize().map_err(failed)?;
        let lock = File::create(root.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Failure::failed(format!(
                "another bcs up works on {}: stop it, or choose another directory with --data DIR --nats-port 0 --health 127.0.0.1:0",
                root.display()
            ))),
            Err(TryLockError::Error(e)) => Err(failed(e)),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The bus: its configuration, streams and log.
    pub(super) fn nats(&self) -> PathBuf {
        self.root.join("nats")
    }

    /// A journal, as the services want it named.
    pub(super) fn journal(&self, service: &str) -> String {
        format!("sqlite:{}", self.root.join("journal").join(format!("{service}.db")).display())
    }

    /// A simulated cluster.
    pub(super) fn cluster(&self, name: &str) -> PathBuf {
        self.root.join("clusters").join(name)
    }

    /// How a cluster is reached.
    pub(super) fn kubeconfig(&self, name: &str) -> PathBuf {
        self.cluster(name).join("kubeconfig")
    }

    /// What the file registry writes.
    pub(super) fn registry(&self) -> PathBuf {
        self.root.join("registry")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_worked_on_by_one_process_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = DataDir::open(Some(dir.path().join("deep/er"))).map_err(|f| f.message).expect("opens");
        let second = DataDir::open(Some(first.root().to_owned())).map(drop).expect_err("is taken");
        assert!(second.message.contains("another bcs up"), "{}", second.message);
        drop(first);
        assert!(DataDir::open(Some(dir.path().join("deep/er"))).is_ok());
    }
}
