//! Subjects, and the texts that are parts of them or stand beside them. An input is one such text.

use std::{
    fmt::{Debug, Display},
    str::FromStr,
};

use bcs_schemas::{
    CommandId, EventId, Millis, Name, Service, TypeName,
    codec::ContentType,
    subject::{Subject, Target},
};
use jiff::Timestamp;

use crate::legible;

/// Reads the text as everything that it might be.
pub fn subjects(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let text = text.as_ref();
    // These are compared as texts, by us and by servers: one thing has one of them.
    for token in [
        one_text::<Name>(text).map(|name| name.to_string()),
        one_text::<Service>(text).map(|service| service.to_string()),
        one_text::<Subject>(text).map(|subject| subject.to_string()),
        one_text::<Target>(text).map(|target| target.to_string()),
        one_text::<TypeName>(text).map(|name| name.to_string()),
    ] {
        let token = token.unwrap_or_default();
        assert!(token.chars().all(|c| c.is_ascii_graphic() && !"*>".contains(c)), "{token:?}");
    }
    reads_back::<CommandId>(text);
    reads_back::<EventId>(text);
    reads_back::<Millis>(text);
    reads_back::<Timestamp>(text);
    if let Ok(form) = ContentType::parse(text) {
        assert_eq!(ContentType::parse(form.as_str()), Ok(form));
    }
    if let Err(error) = text.parse::<Subject>() {
        legible(&error);
    }
}

/// What is read of a text is written as the same text.
fn one_text<T>(text: &str) -> Option<T>
where
    T: FromStr<Err: Display> + Display + PartialEq + Debug,
{
    let value = reads_back::<T>(text)?;
    assert_eq!(value.to_string(), text);
    Some(value)
}

/// What is read is the same after it was written.
fn reads_back<T>(text: &str) -> Option<T>
where
    T: FromStr<Err: Display> + Display + PartialEq + Debug,
{
    let value: T = text.parse().ok()?;
    let written = value.to_string();
    match written.parse::<T>() {
        Ok(again) => assert_eq!(again, value, "{written:?} reads back as something else"),
        Err(error) => panic!("{written:?} does not read back: {error}"),
    }
    Some(value)
}
