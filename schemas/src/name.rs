//! Names of projects, applications and clusters: DNS labels (RFC 1123), so that a name is a subject token, a
//! Kubernetes name and a host name without any escaping.

use std::{borrow::Cow, fmt, str::FromStr};

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

/// A DNS label: 1 to 63 of `a-z`, `0-9` and `-`, beginning and ending with a letter or a digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(CompactString);

/// The text that was refused, and what was expected of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no DNS label: expected 1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit"
)]
pub struct Error(String);

impl Name {
    /// Checks `text` and wraps it.
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        if is_label(&text) { Ok(Self(text.into())) } else { Err(Error(abridged(text))) }
    }

    /// The project that owns what belongs to the platform and to no tenant.
    pub fn system() -> Self {
        Self(CompactString::const_new("system"))
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let edge = |b: Option<&u8>| b.is_some_and(|b| *b != b'-');
    let bytes = text.as_bytes();
    bytes.len() <= 63 && bytes.iter().all(|b| inner(*b)) && edge(bytes.first()) && edge(bytes.last())
}

/// A hostile name can be megabytes long; the error quotes only its beginning.
fn abridged(text: String) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Name {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl TryFrom<String> for Name {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.into_string()
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl schemars::JsonSchema for Name {
    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "a DNS label (RFC 1123)",
            "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_labels_are_accepted() {
        for text in ["a", "shop-web", "9lives", &"x".repeat(63)] {
            assert_eq!(Name::new(text).map(|n| n.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn everything_else_is_refused_with_the_rule() {
        for text in ["", "-a", "a-", "Shop", "a.b", "a_b", "a b", "é", "*", ">", &"x".repeat(64)] {
            let error = Name::new(text).expect_err(text).to_string();
            assert!(error.contains("expected 1 to 63"), "{error}");
        }
    }

    #[test]
    fn a_hostile_name_is_quoted_only_in_part() {
        assert!(Name::new("é".repeat(1_000_000)).expect_err("too long").to_string().len() < 400);
    }
}
