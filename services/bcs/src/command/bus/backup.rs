//! `bcs bus backup` and `bcs bus restore`: what lies on the bus and nobody could say again, in a directory.

use std::{fs, path::Path};

use bcs_kit::{Bus, bus::backup::irreplaceable};
use serde_json::{Value, json};

use crate::{Failure, output, session::Session};

/// What the directory says of itself.
const MANIFEST: &str = "streams.json";

fn failed(path: &Path) -> impl Fn(std::io::Error) -> Failure {
    let shown = path.display().to_string();
    move |e| Failure::failed(format!("{shown}: {e}"))
}

/// Saves into a directory that does not exist or is empty.
pub(super) async fn backup(session: &Session, out: &Path) -> Result<(), Failure> {
    let _log = session.log()?;
    fs::create_dir_all(out).map_err(failed(out))?;
    if fs::read_dir(out).map_err(failed(out))?.next().is_some() {
        return Err(Failure::usage(format!(
            "--out {}: expected a directory that is empty or new",
            out.display()
        )));
    }
    let client = session.connect().await?;
    let (mut saved, mut lines) = (Vec::new(), Vec::new());
    for stream in irreplaceable() {
        let file = out.join(format!("{stream}.snapshot"));
        let Some(about) = client.bus().save_stream(&stream, &file).await? else {
            return Err(Failure::failed(format!(
                "stream {stream} does not exist: nothing was saved that could be restored; see `bcs doctor`"
            )));
        };
        let messages = about["state"]["messages"].as_u64().unwrap_or_default();
        lines.push(format!("{stream}: {messages} messages"));
        saved.push(json!({ "stream": stream, "file": format!("{stream}.snapshot"), "about": about }));
    }
    let manifest =
        json!({ "version": env!("CARGO_PKG_VERSION"), "saved_at": client.clock().now(), "streams": saved });
    let path = out.join(MANIFEST);
    fs::write(&path, output::text(output::Format::Json, &manifest)?).map_err(failed(&path))?;
    tell(session, &lines)
}

/// Loads all of a directory onto a bus that has none of it; with `check` it only looks.
pub(super) async fn restore(session: &Session, from: &Path, check: bool) -> Result<(), Failure> {
    let _log = session.log()?;
    let path = from.join(MANIFEST);
    let text = fs::read_to_string(&path).map_err(failed(&path))?;
    let manifest: Value =
        serde_json::from_str(&text).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?;
    let streams = manifest["streams"].as_array().filter(|streams| !streams.is_empty());
    let streams = streams
        .ok_or_else(|| Failure::usage(format!("{}: expected a list named streams", path.display())))?;
    let client = session.connect().await?;
    let mut parts = Vec::new();
    for saved in streams {
        let (stream, file) = (saved["stream"].as_str(), saved["file"].as_str());
        let known = stream.filter(|stream| irreplaceable().iter().any(|known| known == stream));
        let (Some(stream), Some(file)) = (known, file.filter(|file| !file.contains('/'))) else {
            return Err(Failure::usage(format!(
                "{}: streams: {stream:?} in {file:?} is no stream of ours",
                path.display()
            )));
        };
        parts.push((stream, &saved["about"], from.join(file)));
    }
    empty(client.bus(), parts.iter().map(|(stream, ..)| *stream)).await?;
    let mut lines = Vec::new();
    for (stream, about, file) in parts {
        if !check {
            client.bus().load_stream(stream, about, &file).await?;
        }
        lines.push(format!("{stream}: {} messages", about["state"]["messages"]));
    }
    tell(session, &lines)
}

/// Before anything is loaded: a bus that has some of it keeps all of that.
async fn empty(bus: &Bus, streams: impl Iterator<Item = &str>) -> Result<(), Failure> {
    let parts = bcs_kit::bus::survey::catalogue();
    let mut there = Vec::new();
    for stream in streams {
        if let Some(part) = parts.iter().find(|part| part.stream() == stream)
            && bus.examine(part, 1).await?.is_some()
        {
            there.push(stream.to_owned());
        }
    }
    if there.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "{} exist on this bus, and nothing was changed: a restore is for a bus without streams. Stop the services, and start \
         nats-server on an empty store_dir",
        there.join(", ")
    )))
}

fn tell(session: &Session, lines: &[String]) -> Result<(), Failure> {
    if session.format().for_people() {
        lines.iter().for_each(output::line);
        return Ok(());
    }
    output::answer(session.format(), lines.iter().cloned(), &json!({ "streams": lines }))
}
