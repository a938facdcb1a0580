//! The directory of `bcs up`: what lies where, and that only one process works on it.

use std::{
    fs::{self, File, TryLockError},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use bcs_kit::Clock;
use bcs_schemas::Name;

use crate::{
    Failure,
    home::{self, KUBECONFIG, clusters},
};

/// An open data directory; nobody else has it open.
pub(super) struct DataDir {
    root: PathBuf,
    /// Released by the operating system, whatever ends us.
    _lock: File,
}

impl DataDir {
    /// Opens `root`, or the standard place.
    pub(super) fn open(root: Option<PathBuf>) -> Result<Self, Failure> {
        let root = home::root(root)?;
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

    /// Keys for the bus, and what it knows of them.
    pub(super) fn keys(&self) -> PathBuf {
        self.root.join("bus")
    }

    /// A journal, as the services want it named.
    pub(super) fn journal(&self, service: &str) -> String {
        format!("sqlite:{}", self.root.join("journal").join(format!("{service}.db")).display())
    }

    /// A simulated cluster.
    pub(super) fn cluster(&self, name: &str) -> PathBuf {
        clusters(&self.root).join(name)
    }

    /// How a cluster is reached.
    pub(super) fn kubeconfig(&self, name: &str) -> PathBuf {
        self.cluster(name).join(KUBECONFIG)
    }

    /// Mark of a cluster that was removed on purpose.
    pub(super) fn removed(&self, name: &Name) -> PathBuf {
        self.cluster(name.as_str()).join("removed")
    }

    /// What the file registry writes.
    pub(super) fn registry(&self) -> PathBuf {
        self.root.join("registry")
    }

    /// Who this installation is in registries that others write to: made once and kept, so that the next start finds
    /// what this one wrote.
    pub(super) fn owner(&self, clock: &Clock) -> Result<Name, Failure> {
        let path = self.root.join("owner");
        let failed = |e: &dyn std::fmt::Display| Failure::failed(format!("{}: {e}", path.display()));
        match fs::read_to_string(&path) {
            Ok(text) => return Name::new(text.trim()).map_err(|e| failed(&e)),
            Err(e) if e.kind() == ErrorKind::NotFound => (),
            Err(e) => return Err(failed(&e)),
        }
        // The end of an id is random, its beginning is the time.
        let id = clock.fresh_id().simple().to_string();
        let owner = Name::new(format!("up-{}", &id[id.len() - 8..])).map_err(|e| failed(&e))?;
        // Files of the time before there was an owner belong to nobody now; they are made again from what runs.
        let former = self.root.join("registry.former");
        match fs::rename(self.registry(), &former) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(failed(&e)),
            _ => (),
        }
        // Renamed into place: an owner that is half written would be another one.
        let beside = self.root.join("owner.tmp");
        let written = fs::write(&beside, format!("{owner}\n")).and_then(|()| fs::rename(&beside, &path));
        written.map_err(|e| failed(&e))?;
        Ok(owner)
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

    #[test]
    fn an_owner_is_made_once_and_no_other_directory_has_it() {
        let (one, two) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let owner = |root: &Path| {
            let data = DataDir::open(Some(root.to_owned())).map_err(|f| f.message).expect("opens");
            data.owner(&Clock::system()).map_err(|f| f.message).expect("an owner")
        };
        let first = owner(one.path());
        assert!(first.as_str().starts_with("up-"), "{first}");
        assert_eq!(owner(one.path()), first);
        assert_ne!(owner(two.path()), first);
    }
}
