//! The file of an audit: JSON lines in a chain. Each line begins with the SHA-256 of all that follows in it, and what
//! follows begins with that of the line before. A line says where the file begins, one where it ends, and those between
//! are decisions; so a byte that is changed anywhere, and a line that is taken out, put in or moved, is found.
//!
//! Whoever can write the whole file can write another chain. Against that helps the hash of the last line, kept elsewhere.

use std::io::BufRead;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What stands before the first line.
const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What a line says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Entry {
    /// The first line: what was asked for, and when.
    Begin(Value),
    /// A decision, and the service that made it.
    Event(Value),
    /// The last line: how many decisions stand before it.
    End {
        /// How many.
        events: u64,
    },
}

/// What follows the hash of a line.
#[derive(Serialize, Deserialize)]
struct Body {
    previous: String,
    entry: Entry,
}

/// Writes a chain, line by line.
#[derive(Debug)]
pub(crate) struct Chain {
    head: String,
    events: u64,
}

impl Chain {
    /// A chain of which nothing is written yet.
    pub(crate) fn new() -> Self {
        Self { head: NOTHING.to_owned(), events: 0 }
    }

    /// The next line, with its end.
    pub(crate) fn line(&mut self, entry: Entry) -> Result<String, serde_json::Error> {
        self.events += u64::from(matches!(entry, Entry::Event(_)));
        let body = serde_json::to_string(&Body { previous: self.head.clone(), entry })?;
        self.head = hash(body.as_bytes());
        Ok(format!("{{\"hash\":\"{}\",\"body\":{body}}}\n", self.head))
    }

    /// The last line.
    pub(crate) fn end(&mut self) -> Result<String, serde_json::Error> {
        self.line(Entry::End { events: self.events })
    }

    /// The hash of the last line: it stands for the whole file.
    pub(crate) fn head(&self) -> &str {
        &self.head
    }

    /// How many decisions it holds.
    pub(crate) const fn events(&self) -> u64 {
        self.events
    }
}

/// Reads a file to its end; the first line that does not fit is named.
pub(crate) fn verify(mut file: impl BufRead) -> Result<Chain, String> {
    let (mut chain, mut bytes, mut ended) = (Chain::new(), Vec::new(), false);
    for number in 1_u64.. {
        bytes.clear();
        let read = file.read_until(b'\n', &mut bytes).map_err(|e| format!("line {number}: {e}"))?;
        if read == 0 {
            let cut =
                || format!("the file ends after {} lines, before its last one: it was cut off", number - 1);
            return if ended { Ok(chain) } else { Err(cut()) };
        }
        if ended {
            return Err(format!("line {number}: stands behind the end: it was added"));
        }
        ended = follows(&mut chain, number, &bytes).map_err(|e| format!("line {number}: {e}"))?;
    }
    Ok(chain)
}

/// Whether a line is whole and follows the one before; says whether it is the last one.
fn follows(chain: &mut Chain, number: u64, line: &[u8]) -> Result<bool, String> {
    let changed = || "was changed: its hash is another one".to_owned();
    let line = line.strip_suffix(b"\n").ok_or("is not whole: it was cut off")?;
    let line = std::str::from_utf8(line).map_err(|_| changed())?;
    let inner =
        line.strip_prefix("{\"hash\":\"").and_then(|rest| rest.strip_suffix('}')).ok_or_else(changed)?;
    let (told, body) = inner.split_once("\",\"body\":").ok_or_else(changed)?;
    if hash(body.as_bytes()) != told {
        return Err(changed());
    }
    let Body { previous, entry } =
        serde_json::from_str(body).map_err(|e| format!("is no line of an audit: {e}"))?;
    if previous != chain.head {
        return Err("does not follow the line before: lines were taken out, put in or moved".to_owned());
    }
    if matches!(entry, Entry::Begin(_)) != (number == 1) {
        return Err("a file begins with its first line, and there is one".to_owned());
    }
    told.clone_into(&mut chain.head);
    match entry {
        Entry::Begin(_) => Ok(false),
        Entry::Event(_) => {
            chain.events += 1;
            Ok(false)
        }
        Entry::End { events } if events == chain.events => Ok(true),
        Entry::End { events } => Err(format!("tells of {events} decisions, and there are {}", chain.events)),
    }
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines() -> (Vec<String>, String) {
        let mut chain = Chain::new();
        let mut lines = vec![chain.line(Entry::Begin(json!({ "since": null }))).expect("a line")];
        for seq in 1..=4 {
            let event = json!({ "service": "deploy", "seq": seq, "payload": { "text": "ü\n\"" } });
            lines.push(chain.line(Entry::Event(event)).expect("a line"));
        }
        lines.push(chain.end().expect("a line"));
        (lines, chain.head().to_owned())
    }

    fn wrong(text: &[u8]) -> String {
        verify(text).expect_err("is found")
    }

    #[test]
    fn what_was_written_is_whole_and_every_line_is_json() {
        let (lines, head) = lines();
        let chain = verify(lines.concat().as_bytes()).expect("is whole");
        assert_eq!((chain.head(), chain.events()), (head.as_str(), 4));
        for line in &lines {
            serde_json::from_str::<Value>(line).expect("is JSON");
        }
    }

    #[test]
    fn any_changed_byte_is_found_at_its_line() {
        let (lines, _) = lines();
        let text = lines.concat().into_bytes();
        for place in 0..text.len() {
            for flip in [1, 0x20, 0x80] {
                let mut changed = text.clone();
                changed[place] ^= flip;
                let line = text[..place].iter().filter(|byte| **byte == b'\n').count() + 1;
                let words = wrong(&changed);
                assert!(words.starts_with(&format!("line {line}: ")), "byte {place} ^ {flip}: {words}");
            }
        }
    }

    #[test]
    fn lines_that_are_missing_added_or_moved_are_found() {
        let (lines, _) = lines();
        let without = |n: usize| [&lines[..n], &lines[n + 1..]].concat().concat();
        let mut moved = lines.clone();
        moved.swap(2, 3);
        let twice = [&lines[..3], &lines[2..]].concat().concat();
        let again = [&lines[..], &lines[1..2]].concat().concat();
        for (text, words) in [
            (without(2), "line 3: does not follow"),
            (without(0), "line 1: does not follow"),
            (without(5), "after 5 lines, before its last one"),
            (moved.concat(), "line 3: does not follow"),
            (twice, "line 4: does not follow"),
            (again, "line 7: stands behind the end"),
            (String::new(), "after 0 lines"),
            ("hello\n".to_owned(), "line 1: was changed"),
        ] {
            assert!(wrong(text.as_bytes()).contains(words), "{words}: {}", wrong(text.as_bytes()));
        }
        let text = lines.concat();
        for end in 0..text.len() {
            wrong(&text.as_bytes()[..end]);
        }
    }
}
