//! The one place that writes to the terminal. Colours appear only where a terminal shows them; a closed pipe is no
//! error, for whoever closed it has read enough.

use std::io::Write;

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

/// A line that was asked for.
pub fn line(text: impl AsRef<str>) {
    let _ = writeln!(anstream::stdout(), "{}", text.as_ref().trim_end_matches('\n'));
}

/// Bytes that were asked for, as they are.
pub fn raw(bytes: &[u8]) {
    let mut out = std::io::stdout();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// A line about what goes on.
pub fn note(text: impl AsRef<str>) {
    let _ = writeln!(anstream::stderr(), "{}", text.as_ref());
}

/// What went wrong and what to do.
pub fn error(text: &str) {
    note(format!("{} {text}", color::bad("error:")));
}

/// Whether somebody looks at what goes on.
pub fn terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr())
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
