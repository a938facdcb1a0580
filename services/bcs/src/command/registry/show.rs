//! How entries look, to people and as lists.

use bcs_schemas::adoption::RegistryEntry;

use super::{list::Line, verdict::Verdict};
use crate::view::table;

const NOTHING: &str = "–";

fn cell(text: Option<impl ToString>) -> String {
    text.map_or_else(|| NOTHING.to_owned(), |text| text.to_string())
}

/// `10.0.0.1:8080`.
fn address(address: Option<std::net::IpAddr>, port: Option<u16>) -> String {
    match (address, port) {
        (Some(address), Some(port)) => std::net::SocketAddr::new(address, port).to_string(),
        (address, _) => cell(address),
    }
}

pub(super) fn entries<'a>(entries: impl Iterator<Item = &'a RegistryEntry>) -> String {
    let row = |entry: &RegistryEntry| {
        vec![
            entry.state.to_string(),
            cell(Some(&entry.name).filter(|name| !name.is_empty())),
            address(entry.address, entry.port),
            cell(entry.owner.as_ref()),
            cell(entry.instance.as_ref()),
            // Where nothing else says which it is.
            match &entry.note {
                Some(note) => note.clone(),
                None if entry.name.is_empty() || entry.address.is_none() => entry.place.clone(),
                None => String::new(),
            },
        ]
    };
    table(&["STATE", "NAME", "ADDRESS", "OWNER", "INSTANCE", "NOTE"], entries.map(row))
}

pub(super) fn verdicts<'a>(verdicts: impl Iterator<Item = &'a Verdict<'a>>) -> String {
    let row = |verdict: &Verdict<'_>| {
        let Verdict { line, word, entry, note } = verdict;
        let (name, shown) = match (line, entry) {
            (Some(Line { name, address: its, port, .. }), _) => (name.clone(), address(Some(*its), *port)),
            (None, Some(entry)) => (entry.name.clone(), address(entry.address, entry.port)),
            (None, None) => (NOTHING.to_owned(), NOTHING.to_owned()),
        };
        vec![
            cell(line.map(|line| line.line)),
            word.to_string(),
            name,
            shown,
            cell(entry.and_then(|entry| entry.instance.as_ref())),
            note.clone().unwrap_or_default(),
        ]
    };
    table(&["LINE", "STATE", "NAME", "ADDRESS", "INSTANCE", "NOTE"], verdicts.map(row))
}

/// As `/etc/hosts` has it; what has no address is left out.
pub(super) fn hosts<'a>(entries: impl Iterator<Item = &'a RegistryEntry>) -> String {
    let line = |entry: &RegistryEntry| {
        let name = Some(&entry.name).filter(|name| !name.is_empty())?;
        Some(format!("{}\t{name}\n", entry.address?))
    };
    entries.filter_map(line).collect()
}

/// With a heading; `import` reads the first three columns.
pub(super) fn csv<'a>(entries: impl Iterator<Item = &'a RegistryEntry>) -> String {
    let mut text = String::from("name,address,port,state,owner,instance,place\n");
    for entry in entries.filter(|entry| entry.address.is_some()) {
        let cells = [
            entry.name.clone(),
            entry.address.map(|address| address.to_string()).unwrap_or_default(),
            entry.port.map(|port| port.to_string()).unwrap_or_default(),
            entry.state.to_string(),
            entry.owner.clone().unwrap_or_default(),
            entry.instance.clone().unwrap_or_default(),
            entry.place.clone(),
        ];
        text.push_str(&cells.map(|cell| quoted(&cell)).join(","));
        text.push('\n');
    }
    text
}

fn quoted(cell: &str) -> String {
    match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use bcs_schemas::adoption::EntryState;

    use super::{super::list::read, *};

    #[test]
    fn what_is_exported_can_be_imported() {
        let entry = RegistryEntry {
            state: EntryState::Foreign,
            name: "web.corp".into(),
            address: Some("fd00::1".parse().expect("an address")),
            port: Some(8080),
            owner: Some("a \"b\", c".into()),
            instance: None,
            place: "/skydns/corp/web,x".into(),
            note: None,
        };
        let all = [entry.clone(), RegistryEntry { address: None, ..entry }];
        let csv = csv(all.iter());
        assert_eq!(csv.lines().count(), 2, "{csv}");
        let back = read(&csv).expect("is a list");
        assert_eq!((back[0].name.as_str(), back[0].port), ("web.corp", Some(8080)));
        assert_eq!(hosts(all.iter()), "fd00::1\tweb.corp\n");
        assert_eq!(read(&hosts(all.iter())).expect("is a list")[0].address, back[0].address);
    }
}
