//! What is wrong with one field of an input, in words that let its author mend it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// In bytes. Paths of our own documents stay below a hundred.
const LONGEST_FIELD: usize = 256;
/// In bytes. Enough for the names of every message of a service, which some errors list.
const LONGEST_PROBLEM: usize = 1024;

/// One field, and what was expected of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct FieldError {
    /// Path from the top of the document: `spec.ports[1].port`.
    pub field: String,
    /// What is wrong and what was expected.
    pub problem: String,
}

impl FieldError {
    /// An error of the field at `field`. Of long texts the middle is left out: an error goes back to the sender in a message
    /// of limited size, and what it quotes may be as large as what was sent.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        let field = match field.into() {
            // A key may be an empty text; an error that points nowhere helps nobody.
            nameless if nameless.is_empty() => "\"\"".to_owned(),
            named => abridged(named, LONGEST_FIELD),
        };
        Self { field, problem: abridged(problem.into(), LONGEST_PROBLEM) }
    }

    /// The same error seen from a document that holds this one under `prefix`.
    #[must_use]
    pub fn under(self, prefix: &str) -> Self {
        Self { field: format!("{prefix}.{}", self.field), ..self }
    }
}

/// The beginning and the end of a text that has more than so many bytes. At the end stands what was expected.
pub(crate) fn abridged(text: String, most: usize) -> String {
    if text.len() <= most {
        return text;
    }
    let half = most / 2;
    let (head, tail) = (text.floor_char_boundary(half), text.ceil_char_boundary(text.len() - half));
    format!("{}…{}", &text[..head], &text[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_loses_its_middle_and_keeps_what_was_expected() {
        let error = FieldError::new("é".repeat(9_000), format!("{:?}: expected a number", "ü".repeat(9_000)));
        assert!(error.field.len() < LONGEST_FIELD + 4 && error.field.contains('…'));
        assert!(error.problem.len() < LONGEST_PROBLEM + 4 && error.problem.ends_with("expected a number"));
        assert_eq!(FieldError::new("a", "b"), FieldError { field: "a".to_owned(), problem: "b".to_owned() });
    }

    #[test]
    fn a_field_without_a_name_is_shown_as_such() {
        assert_eq!(FieldError::new("", "is unknown").to_string(), "\"\": is unknown");
    }
}
