//! What each line of a list kept by hand is: an instance of ours, or not, and what the registry holds of it. Pure.

use std::{collections::HashMap, fmt, net::IpAddr};

use bcs_schemas::adoption::{EntryState, RegistryEntry};
use serde::Serialize;

use super::list::Line;

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    /// A ready instance, and the registry holds it as ours.
    Ours,
    /// A ready instance, and the registry holds it as nobody's.
    Adoptable,
    /// A ready instance that the registry does not hold.
    Unwritten,
    /// Held as ours, and no ready instance any more.
    Leaving,
    /// A ready instance has this address, but another name or port.
    Differs,
    /// The registry holds it as somebody else's, and no instance has this address.
    Foreign,
    /// Neither BCS nor the registry knows it.
    Unknown,
    /// A ready instance that is not on the list.
    Unlisted,
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ours => "ours",
            Self::Adoptable => "adoptable",
            Self::Unwritten => "unwritten",
            Self::Leaving => "leaving",
            Self::Differs => "differs",
            Self::Foreign => "foreign",
            Self::Unknown => "unknown",
            Self::Unlisted => "unlisted",
        })
    }
}

/// A line, and what it is.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Verdict<'a> {
    /// None: something that is not on the list.
    #[serde(flatten)]
    pub(super) line: Option<&'a Line>,
    pub(super) word: Word,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) entry: Option<&'a RegistryEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<String>,
}

/// A verdict for each line.
pub(super) fn judge<'a>(lines: &'a [Line], entries: &'a [RegistryEntry]) -> Vec<Verdict<'a>> {
    let mut at = HashMap::<IpAddr, Vec<&RegistryEntry>>::new();
    for entry in entries {
        entry.address.into_iter().for_each(|address| at.entry(address).or_default().push(entry));
    }
    let verdict = |line: &'a Line| {
        let here = at.get(&line.address).map(Vec::as_slice).unwrap_or_default();
        of_line(line, here)
    };
    lines.iter().map(verdict).collect()
}

/// Ready instances that no line is of.
pub(super) fn unlisted<'a>(lines: &[Line], entries: &'a [RegistryEntry]) -> Vec<Verdict<'a>> {
    let wanted = |entry: &&RegistryEntry| {
        matches!(
            entry.state,
            EntryState::Same | EntryState::Changed | EntryState::Missing | EntryState::Adoptable
        )
    };
    let missing = |entry: &&RegistryEntry| {
        !lines.iter().any(|line| Some(line.address) == entry.address && is_named(entry, &line.name))
    };
    let left = entries.iter().filter(wanted).filter(missing);
    left.map(|entry| Verdict { line: None, word: Word::Unlisted, entry: Some(entry), note: None }).collect()
}

/// A registry may hold an entry one label below the name that clients ask for.
fn is_named(entry: &RegistryEntry, name: &str) -> bool {
    entry.name == name || entry.name.split_once('.').is_some_and(|(_, above)| above == name)
}

fn of_line<'a>(line: &'a Line, here: &[&'a RegistryEntry]) -> Verdict<'a> {
    let fits = |entry: &&&RegistryEntry| {
        is_named(entry, &line.name)
            && (line.port.is_none() || entry.port.is_none() || line.port == entry.port)
    };
    let rank = |entry: &&&RegistryEntry| match entry.state {
        // Beside one of ours it can still be taken over.
        EntryState::Adoptable => 0,
        EntryState::Same | EntryState::Changed => 1,
        EntryState::Missing => 2,
        EntryState::Extra => 3,
        EntryState::Foreign | EntryState::Unknown => 4,
    };
    let entry = here.iter().filter(fits).min_by_key(rank).copied();
    let other = here.iter().filter(|entry| entry.instance.is_some()).min_by_key(rank).copied();
    let (word, entry, note) = match (entry, other) {
        (Some(entry), _) if entry.state != EntryState::Foreign => {
            (word_of(entry.state), Some(entry), entry.note.clone())
        }
        (_, Some(other)) => (Word::Differs, Some(other), Some(difference(line, other))),
        (Some(entry), None) => (Word::Foreign, Some(entry), entry.note.clone()),
        (None, None) => match here.first() {
            Some(entry) => {
                let note = format!("there under the name {}", entry.name);
                (Word::Foreign, Some(*entry), Some(note))
            }
            None => (Word::Unknown, None, None),
        },
    };
    Verdict { line: Some(line), word, entry, note }
}

const fn word_of(state: EntryState) -> Word {
    match state {
        EntryState::Same | EntryState::Changed => Word::Ours,
        EntryState::Adoptable => Word::Adoptable,
        EntryState::Missing => Word::Unwritten,
        EntryState::Extra => Word::Leaving,
        EntryState::Foreign | EntryState::Unknown => Word::Foreign,
    }
}

fn difference(line: &Line, entry: &RegistryEntry) -> String {
    match (&entry.note, is_named(entry, &line.name), line.port, entry.port) {
        (_, false, ..) => format!("its name here is {}", entry.name),
        (_, true, Some(listed), Some(port)) if listed != port => format!("its port here is {port}"),
        (Some(note), ..) => note.clone(),
        (None, ..) => "the registry holds another port".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(state: EntryState, name: &str, number: u8, port: Option<u16>, instance: bool) -> RegistryEntry {
        RegistryEntry {
            state,
            name: name.to_owned(),
            address: Some(IpAddr::from([10, 0, 0, number])),
            port,
            owner: None,
            instance: instance.then(|| format!("a.shop.web.web-{number}")),
            place: format!("{state}-{number}"),
            note: None,
        }
    }

    fn line(name: &str, number: u8, port: Option<u16>) -> Line {
        Line { line: 1, name: name.to_owned(), address: IpAddr::from([10, 0, 0, number]), port }
    }

    #[test]
    fn each_line_is_told_what_it_is() {
        let web = "web.shop.corp";
        let entries = [
            entry(EntryState::Same, web, 1, Some(80), true),
            entry(EntryState::Adoptable, web, 2, None, true),
            entry(EntryState::Missing, web, 3, Some(80), true),
            entry(EntryState::Extra, web, 4, None, true),
            entry(EntryState::Foreign, web, 5, None, false),
            entry(EntryState::Foreign, "x6.web.shop.corp", 6, None, false),
            entry(EntryState::Same, web, 7, Some(80), true),
            entry(EntryState::Adoptable, web, 7, Some(80), true),
        ];
        for (listed, word) in [
            (line(web, 1, None), Word::Ours),
            (line(web, 1, Some(80)), Word::Ours),
            (line(web, 1, Some(81)), Word::Differs),
            (line("api.corp", 1, None), Word::Differs),
            (line(web, 2, Some(9)), Word::Adoptable),
            (line(web, 3, None), Word::Unwritten),
            (line(web, 4, None), Word::Leaving),
            (line(web, 5, None), Word::Foreign),
            (line(web, 6, None), Word::Foreign),
            (line("mx.corp", 5, None), Word::Foreign),
            (line(web, 7, None), Word::Adoptable),
            (line(web, 9, None), Word::Unknown),
        ] {
            let lines = [listed];
            assert_eq!(judge(&lines, &entries)[0].word, word, "{:?}", lines[0]);
        }
    }

    #[test]
    fn instances_that_are_not_on_the_list_are_told_too() {
        let entries = [
            entry(EntryState::Same, "web.corp", 1, None, true),
            entry(EntryState::Missing, "web.corp", 2, None, true),
            entry(EntryState::Foreign, "web.corp", 3, None, false),
        ];
        let lines = [line("web.corp", 1, None)];
        let left = unlisted(&lines, &entries);
        assert_eq!(left.iter().map(|v| v.entry.map(|e| &*e.place)).collect::<Vec<_>>(), [Some("missing-2")]);
    }
}
