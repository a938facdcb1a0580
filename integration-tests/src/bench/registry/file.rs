//! Files, read by somebody who looks every millisecond whether they have changed.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs::{self, File},
    io::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::Result;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{App, Instance, PORT, Style};
use crate::harness::Lab;

pub(super) struct Registry {
    directory: PathBuf,
    /// Of the sidecar, and of the hand.
    files: [Reader; 2],
    /// What stands in the file by hand.
    by_hand: Mutex<BTreeSet<Instance>>,
}

/// Inode, nanosecond and length: a replaced file is another inode.
type Stamp = (u64, i64, u64);

/// Reads a file again when it was replaced.
struct Reader {
    path: PathBuf,
    /// As it was, and what it held.
    last: Mutex<(Option<Stamp>, BTreeSet<u32>)>,
}

impl Registry {
    pub(super) fn start(lab: &Lab, cluster: &str) -> Result<Self> {
        let directory = super::directory(lab, "files", crate::harness::free_port()?)?;
        let files = [format!("{cluster}.json"), "floor.json".to_owned()]
            .map(|name| Reader { path: directory.join(name), last: Mutex::default() });
        Ok(Self { directory, files, by_hand: Mutex::default() })
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<Instance>)) -> Result<()> {
        let mut there = lock(&self.by_hand);
        change(&mut there);
        let mut text = String::new();
        for one in there.iter() {
            let (address, uid, rest) = (one.address(), one.uid(), "x".repeat(300));
            writeln!(text, r#"{{"host":"{address}","port":{PORT},"uid":"{uid}","rest":"{rest}"}}"#)?;
        }
        replace(&self.files[1].path, &text)
    }
}

/// The file is whole and synced each time.
fn replace(path: &Path, text: &str) -> Result<()> {
    let beside = path.with_added_extension("tmp");
    let mut file = File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    Ok(File::open(path.parent().unwrap_or_else(|| Path::new("/")))?.sync_all()?)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reader {
    fn read(&self) -> BTreeSet<u32> {
        let mut last = lock(&self.last);
        let now = fs::metadata(&self.path).ok().map(|meta| (meta.ino(), meta.mtime_nsec(), meta.len()));
        if now != last.0 {
            let text = fs::read_to_string(&self.path).unwrap_or_default();
            let uids = text.split("\"uid\":\"uid-").skip(1).filter_map(|rest| rest.split('"').next());
            *last = (now, uids.filter_map(|uid| uid.parse().ok()).collect());
        }
        last.1.clone()
    }
}

impl super::Registry for Registry {
    fn driver(&self) -> Value {
        json!({ "file": { "directory": self.directory } })
    }

    fn pid(&self) -> Option<u32> {
        None
    }

    /// Whatever is due is written at once.
    fn style(&self) -> Style {
        Style { together: 10_000, bulk: 1_000_000, at_once: 1 }
    }

    fn look<'a>(&'a self, _: &'a BTreeSet<App>) -> BoxFuture<'a, Result<BTreeSet<u32>>> {
        Box::pin(async { Ok(self.files.iter().flat_map(Reader::read).collect()) })
    }

    fn put<'a>(&'a self, some: &'a [Instance]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.change(|there| there.extend(some)) })
    }

    fn delete<'a>(&'a self, some: &'a [Instance]) -> BoxFuture<'a, Result<()>> {
        let gone: BTreeSet<Instance> = some.iter().copied().collect();
        Box::pin(async move { self.change(|there| there.retain(|one| !gone.contains(one))) })
    }
}
