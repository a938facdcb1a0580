//! Colours for the few words that people look for. The writer strips them where no terminal shows them.

use owo_colors::OwoColorize;

/// A phase or a state: green when all is well, yellow when it moves, red when it does not.
pub(crate) fn state(text: &str) -> String {
    match text {
        "Available" | "Healthy" | "Ready" | "Confirmed" | "yes" | "running" | "ok" => {
            text.green().to_string()
        }
        "Stalled" | "Failed" | "Degraded" | "no" | "down" | "problem" => text.red().to_string(),
        "Pending" | "Progressing" | "Deleting" | "Suspect" | "Starting" | "Draining" | "Cordoned"
        | "warning" | "unknown" => text.yellow().to_string(),
        _ => text.to_owned(),
    }
}

pub(crate) fn strong(text: &str) -> String {
    text.bold().to_string()
}

pub(crate) fn dim(text: &str) -> String {
    text.dimmed().to_string()
}

pub(crate) fn bad(text: &str) -> String {
    text.red().bold().to_string()
}

pub(crate) fn added(text: &str) -> String {
    text.green().to_string()
}

pub(crate) fn removed(text: &str) -> String {
    text.red().to_string()
}
