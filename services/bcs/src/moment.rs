//! A moment in the past, as people say it: a revision, an instant, or how long ago.

use std::str::FromStr;

use bcs_schemas::{Millis, Name, query::PastQuery};
use jiff::{Timestamp, civil, tz::TimeZone};

/// A moment, as it was typed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Moment {
    /// A position of the journal.
    Revision(u64),
    /// An instant.
    Time(Timestamp),
    /// This long ago.
    Ago(Millis),
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(seq) = text.parse() {
            return Ok(Self::Revision(seq));
        }
        if let Ok(at) = text.parse() {
            return Ok(Self::Time(at));
        }
        // Without a zone it is what all our answers show: UTC.
        if let Some(at) = text.parse::<civil::DateTime>().ok().and_then(|at| at.to_zoned(TimeZone::UTC).ok())
        {
            return Ok(Self::Time(at.timestamp()));
        }
        text.parse().map(Self::Ago).map_err(|_| {
            format!("{text:?} is no moment: expected a revision (17), a time (2026-11-22T10:00, in UTC) or an age (10m)")
        })
    }
}

impl Moment {
    /// The instant, unless a revision was named.
    pub(crate) fn time(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Revision(_) => None,
            Self::Time(at) => Some(at),
            Self::Ago(age) => Some(now - age.signed()),
        }
    }

    /// The question how an object was at that moment.
    pub(crate) fn of(self, project: Option<Name>, name: Name, now: Timestamp) -> PastQuery {
        let revision = match self {
            Self::Revision(seq) => Some(seq),
            _ => None,
        };
        PastQuery { project, name, revision, time: self.time(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_revision_a_time_or_an_age() {
        let at = |text: &str| Moment::Time(text.parse().expect("an instant"));
        for (text, meant) in [
            ("17", Moment::Revision(17)),
            ("2026-11-22T10:00", at("2026-11-22T10:00:00Z")),
            ("2026-11-22", at("2026-11-22T00:00:00Z")),
            ("2026-11-22T10:00:00.5Z", at("2026-11-22T10:00:00.5Z")),
            ("2026-11-22T10:00:00+02:00", at("2026-11-22T08:00:00Z")),
            ("10m", Moment::Ago(Millis::from_secs(600))),
        ] {
            assert_eq!(text.parse(), Ok(meant), "{text}");
        }
        for text in ["", "yesterday", "-3", "2026-13-01", "10:00"] {
            let words = text.parse::<Moment>().expect_err(text);
            assert!(words.contains("expected a revision"), "{words}");
        }
    }
}
