//! The one place that writes to the terminal. Colours appear only where a terminal shows them; a closed pipe is no
//! error, for whoever closed it has read enough.

use std::{
    io::{self, ErrorKind, Write},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::ValueEnum;
use serde::Serialize;

use crate::{Failure, color};

/// How answers look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For people with wide screens.
    Wide,
    /// For programs.
    Json,
    /// For files.
    Yaml,
    /// Only kind and name, for scripts.
    Name,
}

impl Format {
    /// Whether it is for people.
    pub const fn for_people(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

/// Settles whether colours are written at all; `NO_COLOR` and pipes are respected anyway.
pub fn no_color() {
    anstream::ColorChoice::Never.write_global();
}

/// Nobody reads what we write any more.
static CLOSED: AtomicBool = AtomicBool::new(false);
/// Why an answer could not be written.
static LOST: OnceLock<String> = OnceLock::new();

fn written(done: io::Result<()>) {
    match done {
        Ok(()) => (),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => CLOSED.store(true, Ordering::Relaxed),
        Err(e) => drop(LOST.set(e.to_string())),
    }
}

/// Whether whoever read our answers has gone, so that further ones are in vain.
pub fn closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// An answer that could not be written is none: a full disk must not look like success.
pub fn complete() -> Result<(), Failure> {
    match LOST.get() {
        None => Ok(()),
        Some(why) => Err(Failure::failed(format!("the answer could not be written: {why}"))),
    }
}

/// A line that was asked for.
pub fn line(text: impl AsRef<str>) {
    written(writeln!(anstream::stdout(), "{}", text.as_ref().trim_end_matches('\n')));
}

/// Bytes that were asked for, as they are.
pub fn raw(bytes: &[u8]) {
    let mut out = io::stdout();
    written(out.write_all(bytes).and_then(|()| out.flush()));
}

/// A line about what goes on.
pub fn note(text: impl AsRef<str>) {
    let _ = writeln!(anstream::stderr(), "{}", text.as_ref());
}

/// What went wrong and what to do.
pub fn error(text: &str) {
    note(format!("{} {text}", color::bad("error:")));
}

/// Whether somebody looks at what goes on, on a terminal that can draw over what it shows.
pub fn terminal() -> bool {
    io::IsTerminal::is_terminal(&io::stderr()) && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether what goes on is shown in colours.
pub fn colors() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

/// An answer for programs: only the names, or all of it as one document.
pub fn answer<T: Serialize>(
    format: Format,
    names: impl IntoIterator<Item = String>,
    value: &T,
) -> Result<(), Failure> {
    if format == Format::Name {
        names.into_iter().for_each(line);
        return Ok(());
    }
    data(format, value)
}

/// A value as a program or a file wants it.
pub fn data<T: Serialize>(format: Format, value: &T) -> Result<(), Failure> {
    line(text(format, value)?);
    Ok(())
}

/// The text that [`data`] writes.
pub fn text<T: Serialize>(format: Format, value: &T) -> Result<String, Failure> {
    let failed = |e: String| Failure::failed(format!("the answer cannot be shown: {e}"));
    match format {
        Format::Yaml => {
            // Through JSON, so that both show the same.
            let value = serde_json::to_value(value).map_err(|e| failed(e.to_string()))?;
            serde_saphyr::to_string(&value).map_err(|e| failed(e.to_string()))
        }
        _ => serde_json::to_string_pretty(value).map_err(|e| failed(e.to_string())),
    }
}
