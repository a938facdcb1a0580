//! Files for programs that read files: `<cluster>.json` with everything, `<cluster>.hosts` for resolvers, `<cluster>.nginx.conf`
//! for nginx. Each is replaced atomically; then a program is run, if one has to be told. A file that is not ours is never overwritten: the sidecar says what it expected, and waits.

mod disk;
mod format;
mod row;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bcs_schemas::resource::registry::FileDriver;
use futures::{future::BoxFuture, stream::BoxStream};

use self::{
    disk::Stamp,
    format::{Format, is_ours},
    row::{Document, Header, Row},
};
use super::{Able, Capabilities, Drift, Driver, Fence, Listing, Owner, OwnerSlot, look, program};
use crate::domain::{Change, Entry, Failure, Layout, Outcome, Place};

/// How often it is looked whether somebody else changed the file.
const LOOK: Duration = Duration::from_secs(1);
/// How long the command may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(10);

/// The driver.
pub struct File(Arc<Inner>);

struct Inner {
    json: PathBuf,
    texts: Vec<(PathBuf, Format)>,
    /// Run when the files are replaced; none when empty.
    command: Vec<String>,
    owner: String,
    state: Mutex<State>,
}

/// What the files hold, as we left or found them.
#[derive(Default)]
struct State {
    epoch: u64,
    generation: u64,
    rows: BTreeMap<Place, Row>,
    stamps: Stamps,
    /// A text does not say what the JSON file says.
    torn: bool,
    /// Generation of which the command was told.
    told: u64,
}

/// JSON, and the texts.
type Stamps = Vec<Option<Stamp>>;

impl File {
    /// Files of the owner's cluster in this directory.
    pub fn new(settings: &FileDriver, owner: &Owner) -> Self {
        let path = |extension| settings.directory.join(format!("{}.{extension}", owner.cluster));
        let formats = [Some(Format::Hosts), settings.nginx.then_some(Format::Nginx)];
        Self(Arc::new(Inner {
            json: path("json"),
            texts: formats.into_iter().flatten().map(|format| (path(format.extension()), format)).collect(),
            command: settings.command.clone(),
            owner: owner.to_string(),
            state: Mutex::default(),
        }))
    }

    /// Runs the command, unless it knows of what the files hold. Nothing counts as done before it succeeded.
    async fn tell(&self) -> Result<(), Failure> {
        let generation = |told: Option<u64>| {
            let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.told = told.unwrap_or(state.told);
            (state.told != state.generation).then_some(state.generation)
        };
        let (command, Some(current)) = (&self.0.command, generation(None)) else { return Ok(()) };
        if !command.is_empty() {
            let ended = program::run(command, &[], Vec::new(), COMMAND_WITHIN).await;
            let words =
                ended.and_then(|ended| ended.map_err(|words| format!("{}: {words}", command.join(" "))));
            words.map_err(|words| Failure::Unavailable(format!("the files are written, but {words}")))?;
        }
        generation(Some(current));
        Ok(())
    }

    /// Disks can be slow: not on the threads that everybody shares.
    fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner, &mut State) -> Result<T, Failure> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, Failure>> {
        let inner = self.0.clone();
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(move || {
                let mut state = inner.state.lock().unwrap_or_else(PoisonError::into_inner);
                work(&inner, &mut state)
            });
            done.await.unwrap_or_else(|e| Err(Failure::Unavailable(format!("file: writing broke off: {e}"))))
        })
    }
}

impl Inner {
    /// Reads the file into the state. Refuses what is not ours.
    fn load(&self, state: &mut State) -> Result<(), Failure> {
        let stamps = self.stamps()?;
        let document = self.document()?;
        let mut torn = false;
        for (path, format) in &self.texts {
            let text = disk::read(path).map_err(|e| failed(path, &e))?;
            if text.as_ref().is_some_and(|text| !is_ours(text, &self.owner)) {
                return Err(foreign(path, &format!("a first line with owner={}", self.owner)));
            }
            torn |= document.as_ref().is_some_and(|document| text != Some(format.render(document)));
        }
        let held = document.as_ref().map_or(0, |d| d.header.epoch);
        if held > state.epoch {
            return Err(Failure::Fenced(held));
        }
        state.torn = torn;
        state.generation = document.as_ref().map_or(0, |d| d.header.generation);
        let rows = document.map(|d| d.entries).unwrap_or_default();
        state.rows = rows.into_iter().map(|row| (Place::from(row.id.as_str()), row)).collect();
        state.stamps = stamps;
        Ok(())
    }

    /// Whether somebody else changed a file.
    fn has_drifted(&self) -> Result<bool, Failure> {
        let known = self.state.lock().unwrap_or_else(PoisonError::into_inner).stamps.clone();
        Ok(self.stamps()? != known)
    }

    fn stamps(&self) -> Result<Stamps, Failure> {
        let stamp = |path: &Path| disk::stamp(path).map_err(|e| failed(path, &e));
        self.paths().map(stamp).collect()
    }

    /// The JSON file, and the texts.
    fn paths(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&*self.json).chain(self.texts.iter().map(|(path, _)| &**path))
    }

    fn document(&self) -> Result<Option<Document>, Failure> {
        let Some(text) = disk::read(&self.json).map_err(|e| failed(&self.json, &e))? else { return Ok(None) };
        let expected = format!("JSON with \"owner\":{:?}", self.owner);
        let document: Document =
            serde_json::from_str(&text).map_err(|e| foreign(&self.json, &format!("{expected} ({e})")))?;
        if document.header.owner != self.owner {
            return Err(foreign(&self.json, &format!("{expected}, found {:?}", document.header.owner)));
        }
        let Document { header, entries } = document;
        Ok(Some(Document::of(header, entries)))
    }

    fn save(&self, state: &mut State) -> Result<(), Failure> {
        let header =
            Header { owner: self.owner.clone(), epoch: state.epoch, generation: state.generation + 1 };
        let document = Document::of(header, state.rows.values().cloned().collect());
        let json = document.json().map_err(|e| Failure::Rejected(e.to_string()))?;
        if let Some(directory) = self.json.parent() {
            std::fs::create_dir_all(directory).map_err(|e| failed(directory, &e))?;
        }
        // The JSON file comes last: it is the one that is read back, so it says no more than all of them hold.
        for (path, format) in &self.texts {
            disk::replace(path, &format.render(&document), state.epoch).map_err(|e| failed(path, &e))?;
        }
        disk::replace(&self.json, &json, state.epoch).map_err(|e| failed(&self.json, &e))?;
        state.generation += 1;
        state.stamps = self.stamps()?;
        state.torn = false;
        Ok(())
    }

    fn apply(&self, state: &mut State, changes: Vec<Change>) -> Result<Vec<Outcome>, Failure> {
        if self.stamps()? != state.stamps {
            self.load(state)?;
            return Err(Failure::Unavailable(format!("{} was changed by somebody", self.json.display())));
        }
        let outcomes = changes.iter().map(|_| Outcome::Done(0)).collect();
        for change in changes {
            match change {
                Change::Put { place, entry, .. } => drop(state.rows.insert(place, Row::of(&entry))),
                Change::Remove { place, .. } => drop(state.rows.remove(&place)),
            }
        }
        self.save(state)?;
        Ok(outcomes)
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::Unavailable(format!("{}: {error}", path.display()))
}

fn foreign(path: &Path, expected: &str) -> Failure {
    Failure::Unavailable(format!("{} is not ours and stays as it is: expected {expected}", path.display()))
}

impl Layout for File {
    fn place(&self, entry: &Entry) -> Place {
        Place::from(entry.id.as_str())
    }

    fn digest(&self, entry: &Entry) -> u64 {
        Row::of(entry).digest()
    }
}

impl Driver for File {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: "file",
            // The whole file is written each time, so a batch takes whatever has accumulated.
            batch: 100_000,
            at_once: 1,
            atomic: true,
            compare_and_set: false,
            owner: OwnerSlot::Container,
            fence: Fence::ReadBefore,
            expires: false,
            drain_state: false,
            weight: true,
            metadata: true,
            list: true,
            watch: true,
            shows: Able::No("is written as a whole and holds nothing of others"),
            adopts: Able::No("is written as a whole: what others wrote there was never kept"),
            purges: Able::No("holds one owner alone: remove its directory"),
        }
    }

    fn fence(&self, epoch: u64) -> BoxFuture<'_, Result<(), Failure>> {
        self.on_disk(move |inner, state| {
            state.epoch = epoch;
            inner.load(state)?;
            for path in inner.paths() {
                disk::sweep(path, epoch).map_err(|e| failed(path, &e))?;
            }
            // A file that does not exist yet is not created empty: its readers would believe it.
            if state.stamps.first().is_some_and(Option::is_some) { inner.save(state) } else { Ok(()) }
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, Failure>> {
        let read = self.on_disk(|inner, state| {
            inner.load(state)?;
            if state.torn {
                // Nobody reads it back: it is written again from the JSON file.
                inner.save(state)?;
            }
            Ok(Listing { items: state.rows.values().map(Row::item).collect(), at: state.generation })
        });
        Box::pin(async move {
            let listing = read.await?;
            self.tell().await?;
            Ok(listing)
        })
    }

    fn apply<'a>(&'a self, changes: &'a [Change]) -> BoxFuture<'a, Result<Vec<Outcome>, Failure>> {
        let changes = changes.to_vec();
        let applied = self.on_disk(move |inner, state| inner.apply(state, changes));
        Box::pin(async move {
            let outcomes = applied.await?;
            self.tell().await?;
            Ok(outcomes)
        })
    }

    fn drift(&self, _: u64) -> BoxFuture<'_, Result<BoxStream<'static, Result<Drift, Failure>>, Failure>> {
        let inner = self.0.clone();
        let looks = look::every(LOOK, move || std::future::ready(inner.has_drifted()));
        Box::pin(async { Ok(looks) })
    }
}
