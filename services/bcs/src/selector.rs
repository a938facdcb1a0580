//! Label selectors as `-l` takes them: `tier=web,zone!=b,owner`.

use std::str::FromStr;

use bcs_schemas::resource::Labels;

/// All of these must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector(Vec<Term>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    Is(String, String),
    IsNot(String, String),
    Has(String),
}

impl FromStr for Selector {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let term = |part: &str| {
            let read = |key: &str, value: &str| (key.trim().to_owned(), value.trim().to_owned());
            let term = if let Some((key, value)) = part.split_once("!=") {
                let (key, value) = read(key, value);
                Term::IsNot(key, value)
            } else if let Some((key, value)) = part.split_once('=') {
                let (key, value) = read(key, value.trim_start_matches('='));
                Term::Is(key, value)
            } else {
                Term::Has(part.trim().to_owned())
            };
            let (Term::Is(key, _) | Term::IsNot(key, _) | Term::Has(key)) = &term;
            if key.is_empty() {
                return Err(format!("{text:?} is no selector: expected such as tier=web,zone!=b"));
            }
            Ok(term)
        };
        text.split(',').map(term).collect::<Result<_, _>>().map(Self)
    }
}

impl Selector {
    pub(crate) fn fits(&self, labels: &Labels) -> bool {
        self.0.iter().all(|term| match term {
            Term::Is(key, value) => labels.get(key) == Some(value),
            Term::IsNot(key, value) => labels.get(key) != Some(value),
            Term::Has(key) => labels.contains_key(key),
        })
    }
}

/// `key=value`, as labels and headers are given.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?}: expected key=value")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_asks_for_all_of_its_terms() {
        let labels =
            Labels::from([("tier".to_owned(), "web".to_owned()), ("zone".to_owned(), "a".to_owned())]);
        for (text, fits) in [
            ("tier=web", true),
            ("tier==web", true),
            ("tier=web,zone!=b", true),
            ("tier=web,zone!=a", false),
            ("zone", true),
            ("owner", false),
            ("owner!=ada", true),
        ] {
            assert_eq!(text.parse::<Selector>().map(|s| s.fits(&labels)), Ok(fits), "{text}");
        }
        assert!("=web".parse::<Selector>().is_err());
        assert!("tier=web,".parse::<Selector>().is_err());
    }
}
