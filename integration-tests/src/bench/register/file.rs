//! Files, read by somebody who looks every millisecond whether they have changed.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{sync::mpsc, time::Instant};

use super::{Sent, place::Place, seen::Seen};

pub(super) const CLUSTER: &str = "in-files";
/// Between two looks of the reader.
const LOOK: Duration = Duration::from_millis(1);

pub(super) struct Registry {
    ours: PathBuf,
    by_hand: Mutex<mpsc::UnboundedSender<String>>,
    place: (PathBuf, bcs_kit::Tasks),
    seen: Seen,
}

impl Registry {
    pub(super) fn open(place: &Place) -> Result<Self> {
        let ours = place.directory.join(format!("{CLUSTER}.json"));
        let floor = place.directory.with_extension("floor.json");
        let (seen, tasks) = (Seen::default(), place.tasks.clone());
        for path in [ours.clone(), floor.clone()] {
            let (seen, stopping) = (seen.clone(), tasks.stopping());
            tasks.spawn("file-reader", async move {
                tokio::select! {
                    () = stopping.cancelled() => (),
                    () = follow(&path, &seen) => (),
                }
            });
        }
        let by_hand = Mutex::new(writer(&floor, &tasks));
        Ok(Self { ours, by_hand, place: (floor, tasks), seen })
    }
}

/// A replaced file is another inode.
async fn follow(path: &Path, seen: &Seen) {
    use std::os::unix::fs::MetadataExt;
    let mut last = None;
    loop {
        let now = fs::metadata(path).ok().map(|meta| (meta.ino(), meta.mtime_nsec(), meta.len()));
        if now != last {
            let text = fs::read_to_string(path).unwrap_or_default();
            let at = Instant::now();
            uids(&text).for_each(|uid| seen.note(uid, at));
            last = now;
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn uids(text: &str) -> impl Iterator<Item = &str> {
    text.split("\"uid\":\"").skip(1).filter_map(|rest| rest.split('"').next())
}

/// Takes whatever is due into the file, which is whole and synced each time.
fn writer(path: &Path, tasks: &bcs_kit::Tasks) -> mpsc::UnboundedSender<String> {
    let (sender, mut due) = mpsc::unbounded_channel::<String>();
    let path = path.to_owned();
    tasks.spawn("floor-writer", async move {
        let mut text = String::new();
        let mut some = Vec::new();
        while due.recv_many(&mut some, 1024).await > 0 {
            text.extend(some.drain(..));
            let written = write(&path, &text);
            if let Err(error) = written {
                eprintln!("the floor cannot write its file: {error}");
            }
        }
    });
    sender
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_added_extension("tmp");
    let mut file = File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(path.parent().unwrap_or_else(|| Path::new("/")))?.sync_all()
}

impl super::Registry for Registry {
    const NAME: &'static str = "file";
    const CLUSTER: &'static str = CLUSTER;

    fn seen(&self) -> &Seen {
        &self.seen
    }

    async fn listed(&self) -> Result<Vec<String>> {
        let text = fs::read_to_string(&self.ours).context("the file registry")?;
        Ok(uids(&text).map(str::to_owned).collect())
    }

    async fn put(&self, uid: String) -> Result<Sent> {
        let rest = "x".repeat(300);
        let line = format!("{{\"host\":\"10.0.0.1\",\"port\":8080,\"uid\":\"{uid}\",\"rest\":\"{rest}\"}}\n");
        let at = Instant::now();
        self.by_hand.lock().unwrap_or_else(PoisonError::into_inner).send(line)?;
        Ok(Sent { uid, at, kept: at.elapsed() })
    }

    /// The next writer begins with nothing.
    async fn clear(&self) -> Result<()> {
        let (floor, tasks) = &self.place;
        *self.by_hand.lock().unwrap_or_else(PoisonError::into_inner) = writer(floor, tasks);
        Ok(())
    }
}
