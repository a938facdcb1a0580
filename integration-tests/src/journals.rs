//! Journals of released versions: `journals/<version>/<service>.jsonl` holds the whole database of a service as that version
//! wrote it, and what each event changed in the state; `<service>.state.json` is what `bcs replay` said of it in the end.
//! What is here makes such a recording, and puts it into a database again.

pub mod cover;
pub mod recording;
pub mod state;
mod story;
mod table;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use bcs_schemas::Service;

use crate::harness::Lab;
use recording::Recording;

/// Services that decide something.
pub const SERVICES: [Service; 2] = [Service::Cluster, Service::Deploy];

/// The version that is built here.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where the recordings of all versions lie.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("journals")
}

/// Every version of which there is a recording, the oldest first.
pub fn versions() -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder()).context("there are no recordings")? {
        let entry = entry?;
        if entry.path().is_dir() {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    let numbers =
        |version: &String| version.split('.').map(|n| n.parse::<u32>().unwrap_or(0)).collect::<Vec<_>>();
    found.sort_by_key(numbers);
    Ok(found)
}

/// The program `bcs-journals`: records the version that is built here.
pub fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(record()),
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Tells the story to the real platform, and keeps what it wrote.
async fn record() -> Result<()> {
    let place = folder().join(VERSION);
    let released = folder().join("../../schemas/released").join(VERSION);
    if place.exists() && released.exists() {
        bail!("{VERSION} was released, and its journals stay as they are: raise the version in Cargo.toml");
    }
    let lab = Lab::new()?;
    let told = story::tell(&lab).await.inspect_err(|_| lab.show_logs())?;
    fs::create_dir_all(&place)?;
    for (service, recording, state) in &told {
        fs::write(place.join(format!("{service}.jsonl")), recording.text()?)?;
        fs::write(place.join(format!("{service}.state.json")), state)?;
        eprintln!("{}: {} events of {service}", place.display(), recording.events()?.len());
    }
    let missing = cover::missing(told.iter().map(|(_, recording, _)| recording))?;
    if !missing.is_empty() {
        bail!("the story leaves something out, tell it in src/journals/story.rs: {missing:#?}");
    }
    Ok(())
}

/// The recording of a service by a version, and the state that it told in the end.
pub fn read(version: &str, service: Service) -> Result<(Recording, String)> {
    let place = folder().join(version);
    let (journal, state) =
        (place.join(format!("{service}.jsonl")), place.join(format!("{service}.state.json")));
    let text = fs::read_to_string(&journal).with_context(|| journal.display().to_string())?;
    let recording = Recording::read(&text).with_context(|| journal.display().to_string())?;
    Ok((recording, fs::read_to_string(&state).with_context(|| state.display().to_string())?))
}
