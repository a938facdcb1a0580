//! Reading and replacing files. A replaced file is whole and on disk, or it was not replaced.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    time::SystemTime,
};

/// Tells one state of a file from another without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    inode: u64,
}

/// None when there is no file.
pub(super) fn stamp(path: &Path) -> io::Result<Option<Stamp>> {
    match fs::metadata(path) {
        Ok(meta) => Ok(Some(Stamp {
            length: meta.len(),
            modified: meta.modified().ok(),
            #[cfg(unix)]
            inode: std::os::unix::fs::MetadataExt::ino(&meta),
        })),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// None when there is no file.
pub(super) fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read(path) {
        // What is no text is nobody's file of ours; it shows when it is parsed.
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Written beside, synced, renamed; then the directory is synced, so that the rename survives a power cut as well. The
/// file beside is of this epoch and process alone: two sidecars at a handover never write the same one.
pub(super) fn replace(path: &Path, text: &str, epoch: u64) -> io::Result<()> {
    let beside = path.with_added_extension(format!("{epoch}-{}.tmp", std::process::id()));
    if let Err(error) = write(&beside, text).and_then(|()| fs::rename(&beside, path)) {
        // What could not be written is of no use; that it cannot be removed either says nothing new.
        let _ = fs::remove_file(&beside);
        return Err(error);
    }
    match path.parent() {
        Some(directory) => fs::File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Removes what sidecars up to this epoch left beside a file. One of them that still writes fails to rename, as it should.
pub(super) fn sweep(path: &Path, epoch: u64) -> io::Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let files = match fs::read_dir(directory) {
        Ok(files) => files,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for file in files {
        let file = file?;
        if left_by(&file.file_name().to_string_lossy(), &name.to_string_lossy()).is_some_and(|e| e <= epoch) {
            fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

/// The epoch of the sidecar that wrote `file` beside `name`; none when it is something else.
fn left_by(file: &str, name: &str) -> Option<u64> {
    let rest = file.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".tmp")?;
    let (epoch, process) = rest.split_once('-')?;
    process.parse::<u32>().ok()?;
    epoch.parse().ok()
}
