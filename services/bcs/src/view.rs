//! How answers are shown: one row type for each kind, and one way to list any of them.

mod age;
pub(crate) mod detail;
pub(crate) mod event;
mod fleet;
mod instance;
mod past;
#[cfg(test)]
pub(crate) mod sample;
mod table;

use bcs_schemas::{Name, resource::Labels};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use crate::{Failure, output, output::Format};

pub(crate) use age::{age, ago};
pub(crate) use table::table;

/// A kind of thing that can be listed.
pub(crate) trait Listed: Serialize {
    /// The kind, as `-o name` writes it.
    const KIND: &'static str;
    /// Columns, and those that only wide tables have.
    const COLUMNS: (&'static [&'static str], &'static [&'static str]);
    /// Cells of the columns, against the time of the answer.
    fn cells(&self, as_of: Timestamp) -> Vec<String>;
    /// Cells of the further columns.
    fn more(&self, as_of: Timestamp) -> Vec<String>;
    /// Its name.
    fn name(&self) -> String;
    /// Whether a name on the command line means this one.
    fn answers_to(&self, name: &str) -> bool {
        self.name() == name
    }
    /// Its project, if it belongs to one.
    fn project(&self) -> Option<&Name> {
        None
    }
    /// Its labels, if it can have any.
    fn labels(&self) -> Option<&Labels> {
        None
    }
}

/// An answer that is a list.
pub(crate) struct Listing<T> {
    pub(crate) items: Vec<T>,
    pub(crate) as_of: Timestamp,
    /// Position of the journal that it reflects; none for observations.
    pub(crate) revision: Option<u64>,
    /// Whether rows name their project.
    pub(crate) with_project: bool,
    /// Whether one was asked for by its name.
    pub(crate) single: bool,
}

impl<T: Listed> Listing<T> {
    /// Writes it.
    pub(crate) fn show(&self, format: Format) -> Result<(), Failure> {
        if self.items.is_empty() && (format.for_people() || format == Format::Name) {
            output::note(format!("no {} found", T::KIND));
            return Ok(());
        }
        output::line(self.text(format)?);
        Ok(())
    }

    /// The text that [`Self::show`] writes.
    pub(crate) fn text(&self, format: Format) -> Result<String, Failure> {
        match format {
            Format::Table | Format::Wide => Ok(self.rows(format == Format::Wide)),
            Format::Name => {
                let names: Vec<String> =
                    self.items.iter().map(|item| format!("{}/{}", T::KIND, item.name())).collect();
                Ok(names.join("\n"))
            }
            Format::Json | Format::Yaml => match (self.single, self.items.as_slice()) {
                (true, [item]) => output::text(format, item),
                (_, items) => output::text(
                    format,
                    &json!({ "revision": self.revision, "as_of": self.as_of, "items": items }),
                ),
            },
        }
    }

    fn rows(&self, wide: bool) -> String {
        let with_project = self.with_project && self.items.iter().any(|item| item.project().is_some());
        let mut head: Vec<&str> = if with_project { vec!["PROJECT"] } else { Vec::new() };
        head.extend(T::COLUMNS.0);
        if wide {
            head.extend(T::COLUMNS.1);
        }
        let row = |item: &T| {
            let project = with_project.then(|| item.project().map(ToString::to_string).unwrap_or_default());
            let mut cells: Vec<String> = project.into_iter().collect();
            cells.extend(item.cells(self.as_of));
            if wide {
                cells.extend(item.more(self.as_of));
            }
            cells
        };
        table(&head, self.items.iter().map(row))
    }
}

/// An optional text, or a dash.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// A snake-case word as people write it.
pub(crate) fn word<T: Serialize>(value: &T) -> String {
    let text = serde_json::to_value(value).ok();
    let text = text.as_ref().and_then(serde_json::Value::as_str).unwrap_or("unknown");
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
