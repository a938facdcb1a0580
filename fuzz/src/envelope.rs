//! Headers of commands and events. An input is lines `name: value`.

use std::collections::BTreeMap;

use bcs_schemas::{
    FieldError,
    envelope::{CommandHeaders, EventHeaders, header},
};

use crate::legible;

const NAMES: [&str; 15] = [
    header::MESSAGE_ID,
    header::TYPE,
    header::TIME,
    header::CONTENT_TYPE,
    header::REPLY_TO,
    header::MODE,
    header::EXPECTED_REVISION,
    header::NOT_AFTER,
    header::ACTOR,
    header::SEQ,
    header::SHARD,
    header::CAUSATION,
    header::CORRELATION,
    header::TRACEPARENT,
    header::REPLAY_OF,
];

/// Reads the headers as those of a command, and as those of an event.
pub fn envelope(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let found: BTreeMap<&str, &str> = text.split('\n').filter_map(|line| line.split_once(": ")).collect();
    match CommandHeaders::read(|name| found.get(name).copied()) {
        Ok(headers) => {
            let written = headers.write();
            assert_eq!(CommandHeaders::read(again(&written)).as_ref(), Ok(&headers));
            // What was taken from a stranger goes into events, databases and other messages.
            for (name, value) in &written {
                assert!(!value.chars().any(char::is_control), "{name}: {value:?}");
            }
            let inbox = headers.reply_to.as_deref().unwrap_or("_INBOX");
            assert!(inbox.starts_with("_INBOX") && !inbox.contains(['*', '>', ' ']), "{inbox:?}");
        }
        Err(error) => named(&error),
    }
    match EventHeaders::read(|name| found.get(name).copied()) {
        Ok(headers) => assert_eq!(EventHeaders::read(again(&headers.write())), Ok(headers)),
        Err(error) => named(&error),
    }
}

fn again<'a>(written: &'a [(&'static str, String)]) -> impl Fn(&str) -> Option<&'a str> {
    move |name| written.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
}

fn named(error: &FieldError) {
    legible(error);
    assert!(NAMES.contains(&error.field.as_str()), "is no header: {error}");
}
