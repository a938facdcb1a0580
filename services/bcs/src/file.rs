//! Files that are written whole or not at all.

use std::{fs, io, io::Write, path::Path};

/// Puts these bytes in the place of a file, readable by its owner alone. A link to it stays one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Some keep their settings elsewhere and only link to them.
    let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = place.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(directory)?;
    let mut draft = tempfile::NamedTempFile::new_in(directory)?;
    draft.write_all(bytes)?;
    draft.as_file().sync_all()?;
    draft.persist(&place)?;
    Ok(())
}
