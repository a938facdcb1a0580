//! A small disk that can be filled: a tmpfs. Only root may mount one.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

/// Mounted until it is dropped.
pub(super) struct Disk(PathBuf);

/// More than a short run writes.
const SIZE: &str = "size=8m";
/// What is written at a time to fill it.
const BLOCK: [u8; 4096] = [0; 4096];

impl Disk {
    /// Mounts one at `path`.
    pub(super) fn mount(path: &Path) -> Result<Self> {
        fs::create_dir_all(path)?;
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(path).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "no tmpfs can be mounted, which needs root: {said}");
        Ok(Self(path.to_owned()))
    }

    /// Leaves no room on it.
    pub(super) fn fill(&self) -> Result<()> {
        let mut file = fs::File::create(self.filler()).context("the disk is full already")?;
        loop {
            match file.write(&BLOCK) {
                Ok(0) => return Ok(()),
                Ok(_) => (),
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => bail!("the disk cannot be filled: {error}"),
            }
        }
    }

    /// Makes room again. When two faults overlap, the first to end has done so for both.
    pub(super) fn clear(&self) -> Result<()> {
        match fs::remove_file(self.filler()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).context("the disk cannot be cleared")
            }
            _ => Ok(()),
        }
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Disk {
    /// What lies on it lies in its folder afterwards, for whoever looks into what went wrong.
    fn drop(&mut self) {
        let kept = files(&self.0).unwrap_or_default();
        // Programs may have it open still: it goes with the last of them.
        let ended = Command::new("umount").arg("--lazy").arg(&self.0).status();
        if !ended.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.0.display());
            return;
        }
        for (path, bytes) in kept {
            if let Err(error) = fs::write(&path, bytes) {
                eprintln!("{}: {error}", path.display());
            }
        }
    }
}

fn files(folder: &Path) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let paths = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    paths.map(|path| path.and_then(|path| fs::read(&path).map(|bytes| (path, bytes)))).collect()
}
