//! The list that people kept by hand: lines of a hosts file, of a table in CSV, or JSON as `bcs registry export` writes it.

use std::{
    io::Read,
    net::IpAddr,
    path::{Path, PathBuf},
};

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::Failure;

/// A list is read as a whole.
const LARGEST: u64 = 64 << 20;

/// Where the list lies.
#[derive(Debug, Args)]
pub(super) struct File {
    /// The list: hosts lines (10.0.0.1 web.shop.corp), CSV (name,address[,port]) or JSON of `bcs registry export`; - reads it from
    /// standard input
    #[arg(short = 'f', long = "file", value_name = "LIST")]
    pub(super) file: PathBuf,
}

/// One entry of the list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Line {
    /// Where in the file, counted from one.
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) address: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) port: Option<u16>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    address: Option<IpAddr>,
    port: Option<u16>,
    #[serde(default)]
    state: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Json {
    Exported { entries: Vec<Entry> },
    Bare(Vec<Entry>),
}

pub(super) fn load(file: &Path) -> Result<Vec<Line>, Failure> {
    let shown = file.display();
    let cannot = |e: std::io::Error| Failure::usage(format!("{shown} cannot be read: {e}"));
    let mut text = Vec::new();
    let mut limited: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(std::io::stdin().take(LARGEST + 1)),
        false => Box::new(std::fs::File::open(file).map_err(cannot)?.take(LARGEST + 1)),
    };
    limited.read_to_end(&mut text).map_err(cannot)?;
    if u64::try_from(text.len()).is_ok_and(|length| length > LARGEST) {
        return Err(Failure::usage(format!("{shown} is larger than {} MiB: cut it in parts", LARGEST >> 20)));
    }
    let text =
        String::from_utf8(text).map_err(|_| Failure::usage(format!("{shown} is not text in UTF-8")))?;
    read(&text).map_err(|problems| {
        let more = problems.len().saturating_sub(10);
        let mut words: Vec<String> = problems.into_iter().take(10).collect();
        if more > 0 {
            words.push(format!("and {more} more"));
        }
        Failure::usage(format!("{shown}: {}", words.join("\n  ")))
    })
}

/// The entries, each once; or every line that is none.
pub(super) fn read(text: &str) -> Result<Vec<Line>, Vec<String>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = match text.trim_start().starts_with(['{', '[']) {
        true => json(text)?,
        false => plain(text)?,
    };
    if lines.is_empty() {
        return Err(vec!["holds no entry: expected lines such as 10.0.0.1 web.shop.corp".to_owned()]);
    }
    let mut seen = std::collections::BTreeSet::new();
    lines.retain(|line| seen.insert((line.name.clone(), line.address, line.port)));
    Ok(lines)
}

fn json(text: &str) -> Result<Vec<Line>, Vec<String>> {
    let expected =
        "expected what `bcs registry export -o json` writes, or a list of {\"name\", \"address\", \"port\"}";
    let read: Json =
        serde_json::from_str(text).map_err(|e| match serde_json::from_str::<serde_json::Value>(text) {
            // Of the forms that it could have, none.
            Ok(_) => vec![format!("is JSON of another form: {expected}")],
            Err(_) => vec![format!("is no JSON: {e}")],
        })?;
    let (Json::Exported { entries } | Json::Bare(entries)) = read;
    let lines =
        entries.into_iter().enumerate().filter(|(_, entry)| entry.state.as_deref() != Some("missing"));
    let lines = lines.filter_map(|(at, entry)| {
        Some(Line { line: at + 1, name: spelt(&entry.name), address: entry.address?, port: entry.port })
    });
    Ok(lines.collect())
}

fn plain(text: &str) -> Result<Vec<Line>, Vec<String>> {
    let (mut lines, mut problems) = (Vec::new(), Vec::new());
    for (at, line) in text.lines().enumerate() {
        let content = line.split('#').next().unwrap_or_default().trim();
        if content.is_empty() {
            continue;
        }
        let read = match content.contains(',') {
            true => csv(content, at + 1, lines.is_empty() && problems.is_empty()),
            false => hosts(content, at + 1),
        };
        match read {
            Ok(found) => lines.extend(found),
            Err(problem) => {
                let shown: String = content.chars().take(80).collect();
                problems.push(format!("line {}: {shown:?} {problem}", at + 1));
            }
        }
    }
    if problems.is_empty() { Ok(lines) } else { Err(problems) }
}

/// `10.0.0.1 web.shop.corp web`.
fn hosts(content: &str, line: usize) -> Result<Vec<Line>, String> {
    let mut words = content.split_whitespace();
    let first = words.next().unwrap_or_default();
    let address = first.parse().map_err(|_| {
        format!("begins with {first:?}: expected an address and then a name, or name,address")
    })?;
    let names: Vec<String> = words.map(spelt).collect();
    if names.is_empty() {
        return Err("has no name behind its address".to_owned());
    }
    names.into_iter().map(|name| Ok(Line { line, name: named(name)?, address, port: None })).collect()
}

/// `web.shop.corp,10.0.0.1,8080`; the first line may be a heading.
fn csv(content: &str, line: usize, first: bool) -> Result<Vec<Line>, String> {
    let cells: Vec<&str> = content.split(',').map(|cell| cell.trim().trim_matches('"').trim()).collect();
    let (name, address, port) = match cells[..] {
        [name, address] => (name, address, ""),
        // What else export writes there.
        [name, address, port, ..] => (name, address, port),
        _ => return Err("has one column: expected name,address or name,address,port".to_owned()),
    };
    let parsed = address.parse::<IpAddr>();
    if first && name.eq_ignore_ascii_case("name") && parsed.is_err() {
        return Ok(Vec::new());
    }
    let address = parsed.map_err(|_| format!("has {address:?} in its second column: expected an address"))?;
    let port = match port {
        "" => None,
        port => Some(port.parse().map_err(|_| format!("has {port:?} in its third column: expected a port"))?),
    };
    Ok(vec![Line { line, name: named(spelt(name))?, address, port }])
}

fn spelt(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn named(name: String) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.*".contains(c);
    match !name.is_empty() && name.len() <= 253 && name.chars().all(good) {
        true => Ok(name),
        false => Err(format!("names {name:?}: expected a host name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let lines = read(text).expect(text);
        lines.iter().map(|l| format!("{} {} {} {:?}", l.line, l.name, l.address, l.port)).collect()
    }

    #[test]
    fn each_form_is_read() {
        let hosts =
            "# by hand\n10.0.0.1 Web.Shop.Corp. web\n\nfd00::1\tapi.corp # new\r\n10.0.0.1 web.shop.corp\n";
        assert_eq!(
            shown(hosts),
            ["2 web.shop.corp 10.0.0.1 None", "2 web 10.0.0.1 None", "4 api.corp fd00::1 None"]
        );
        let csv = "\u{feff}name,address,port\nweb.corp,10.0.0.1,8080\n\"api.corp\", 10.0.0.2\nx.corp,10.0.0.3,,owner\n";
        assert_eq!(
            shown(csv),
            ["2 web.corp 10.0.0.1 Some(8080)", "3 api.corp 10.0.0.2 None", "4 x.corp 10.0.0.3 None"]
        );
        let json = r#"{"owner":"eu1.a.b","entries":[{"state":"same","name":"web.corp","address":"10.0.0.1","port":80,"place":"x"},
            {"state":"missing","name":"web.corp","address":"10.0.0.9","place":"y"},{"state":"foreign","name":"mx.corp","place":"z"}]}"#;
        assert_eq!(shown(json), ["1 web.corp 10.0.0.1 Some(80)"]);
        assert_eq!(shown(r#"[{"name":"a.b","address":"::1"}]"#), ["1 a.b ::1 None"]);
    }

    #[test]
    fn what_is_no_list_is_refused_line_by_line() {
        for (text, words) in [
            ("", "holds no entry"),
            ("# nothing\n", "holds no entry"),
            ("web.corp 10.0.0.1", "expected an address and then a name"),
            ("10.0.0.1", "has no name"),
            ("10.0.0.256 web.corp", "expected an address"),
            ("web.corp,here", "expected an address"),
            ("web.corp,10.0.0.1,99999", "expected a port"),
            ("web.corp,10.0.0.1,-1", "expected a port"),
            ("we b.corp,10.0.0.1", "expected a host name"),
            (",10.0.0.1", "expected a host name"),
            ("10.0.0.1 we\u{7}b", "expected a host name"),
            ("{", "is no JSON"),
            ("{}", "another form"),
            ("[{\"name\":\"a\",\"address\":\"b\"}]", "another form"),
            ("[1]", "another form"),
        ] {
            let problems = read(text).expect_err(text);
            assert!(problems[0].contains(words), "{text:?}: {problems:?}");
        }
        let problems = read("10.0.0.1 a.b\nx\ny\n").expect_err("two lines are none");
        assert!(problems.len() == 2 && problems[0].starts_with("line 2: "), "{problems:?}");
    }
}
