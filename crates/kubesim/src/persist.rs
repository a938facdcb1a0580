//! The log on disk: one line per change, written behind the store's back, compacted at every start.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, BufReader, BufWriter, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    custom,
    kind::{self, Kind},
    kinds::Kinds,
    object::Key,
    store::{Change, Event},
    tls::Authority,
};

#[derive(Serialize, Deserialize)]
struct Line {
    rv: u64,
    kind: String,
    ns: String,
    name: String,
    /// Absent: the object is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<Arc<Value>>,
}

/// What a start needs to know of the last one.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub token: String,
    pub port: u16,
    #[serde(default)]
    pub network: String,
    #[serde(default)]
    pub authority: Option<Authority>,
}

const SKIP: u64 = 10_000;
const LOG: &str = "objects.jsonl";
const IDENTITY: &str = "identity.json";

pub(crate) struct Loaded {
    pub kinds: Kinds,
    pub version: u64,
    pub objects: Vec<(&'static Kind, Arc<Value>)>,
    pub identity: Identity,
}

pub(crate) fn load(dir: &Path) -> io::Result<Loaded> {
    fs::create_dir_all(dir)?;
    let identity = match fs::read(dir.join(IDENTITY)) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Identity::default(),
        Err(error) => return Err(error),
    };
    let (version, mut objects) = (&mut 0, HashMap::new());
    match File::open(dir.join(LOG)) {
        Ok(file) => replay(BufReader::new(file), version, &mut objects)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let kinds = Kinds::default();
    for ((_, key), definition) in
        objects.iter().filter(|((id, _), _)| id == kind::CUSTOM_RESOURCE_DEFINITIONS.id)
    {
        kinds.serve(&key.name, custom::kinds(definition));
    }
    let known =
        objects.into_iter().filter_map(|((id, _), object)| Some((kinds.by_id(&id)?, object))).collect();
    // A crash may have lost versions that clients saw; none of them may ever be given twice.
    let version = if *version == 0 { 0 } else { *version + SKIP };
    Ok(Loaded { kinds, version, objects: known, identity })
}

type Objects = HashMap<(String, Key), Arc<Value>>;

/// A line that cannot be read ends the log: a crash tears only the last one.
fn replay(mut file: impl io::BufRead, version: &mut u64, objects: &mut Objects) -> io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if file.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(());
        }
        let Ok(line) = serde_json::from_slice::<Line>(&bytes) else {
            tracing::warn!(version, "the log ends in a torn line, which is left out");
            return Ok(());
        };
        *version = line.rv.max(*version);
        let key = (line.kind, Key::new(&line.ns, &line.name));
        match line.object {
            Some(object) => objects.insert(key, object),
            None => objects.remove(&key),
        };
    }
}

/// Both files are replaced whole, so that a crash leaves the old or the new one.
fn replace(
    dir: &Path,
    name: &str,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<File> {
    let (new, place) = (dir.join(format!("{name}.new")), dir.join(name));
    // The identity holds the token, and the objects may hold secrets.
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    let mut file = BufWriter::new(file);
    write(&mut file)?;
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    fs::rename(&new, &place)?;
    Ok(file)
}

pub(crate) fn save_identity(dir: &Path, identity: &Identity) -> io::Result<()> {
    replace(dir, IDENTITY, |file| Ok(serde_json::to_writer(file, identity)?)).map(|_| ())
}

/// Starts a fresh log with what was loaded; what comes later is appended to the file it answers.
pub(crate) fn compact(dir: &Path, loaded: &Loaded) -> io::Result<File> {
    replace(dir, LOG, |file| {
        for (kind, object) in &loaded.objects {
            append(file, loaded.version, kind, object, false)?;
        }
        Ok(())
    })
}

fn append(
    file: &mut BufWriter<File>,
    rv: u64,
    kind: &Kind,
    object: &Arc<Value>,
    gone: bool,
) -> io::Result<()> {
    let key = Key::of(object);
    let object = (!gone).then(|| Arc::clone(object));
    let line = Line { rv, kind: kind.id.to_owned(), ns: key.namespace, name: key.name, object };
    serde_json::to_writer(&mut *file, &line)?;
    file.write_all(b"\n")
}

/// Appends changes until the simulator stops and nothing is left to write.
pub(crate) async fn follow(
    file: File,
    mut feed: mpsc::UnboundedReceiver<Arc<Event>>,
    stop: CancellationToken,
) {
    let mut file = BufWriter::new(file);
    let mut batch = Vec::new();
    loop {
        let count = tokio::select! {
            biased;
            count = feed.recv_many(&mut batch, 1024) => count,
            () = stop.cancelled() => 0,
        };
        if count == 0 {
            return;
        }
        // Nobody else works on this file, and the batch is small enough not to hold up the runtime.
        let written = batch.drain(..).try_for_each(|event| {
            append(&mut file, event.version, event.kind, &event.object, event.change == Change::Deleted)
        });
        if let Err(error) = written.and_then(|()| file.flush()) {
            tracing::error!(%error, "the log cannot be written; the cluster will not survive a restart");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_torn_last_line_is_left_out() {
        let dir = tempfile::tempdir().expect("directory");
        let object = Arc::new(json!({"metadata": {"name": "a", "namespace": "n", "uid": "1"}}));
        let loaded = Loaded {
            kinds: Kinds::default(),
            version: 7,
            objects: vec![(&kind::CONFIG_MAPS, object)],
            identity: Identity::default(),
        };
        let mut file = compact(dir.path(), &loaded).expect("written");
        file.write_all(b"{\"rv\":8,\"kind\":\"config").expect("torn");
        let again = load(dir.path()).expect("loaded");
        assert_eq!((again.version, again.objects.len()), (7 + SKIP, 1));
    }
}
