//! How long certificates of the webhook hold, and when they are made anew.

use jiff::{SignedDuration, Timestamp};

/// How long an authority holds.
pub const AUTHORITY_HOLDS: SignedDuration = SignedDuration::from_hours(365 * 24);
/// How long what a replica shows holds.
pub const SERVER_HOLDS: SignedDuration = SignedDuration::from_hours(90 * 24);

/// From when until when a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// From then on.
    pub from: Timestamp,
    /// Not any more then.
    pub until: Timestamp,
}

impl Life {
    /// Whether it holds now.
    pub fn holds(self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }

    /// Whether it is time for another: half of its life is over, or it has not begun, as when a clock was set back.
    pub fn is_due(self, now: Timestamp) -> bool {
        let half = self.until.duration_since(self.from) / 2;
        now < self.from || now.duration_since(self.from) >= half
    }
}

/// What is shown to API servers, beside what they are told to believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// What is shown already.
    Same,
    /// Something new.
    Anew,
    /// Something new, as soon as API servers have read whom to believe now.
    Soon,
}

/// What a replica shows next. `shown` is what it shows: how long that holds, and whether the present authority signed it;
/// `told` says that the API server was told just now whom to believe, which takes it a moment to hear.
pub fn show(shown: Option<(Life, bool)>, told: bool, now: Timestamp) -> Show {
    match shown {
        Some((life, true)) if !life.is_due(now) => Show::Same,
        // The authority before is still believed.
        Some((life, _)) if told && life.holds(now) => Show::Soon,
        _ => Show::Anew,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
    }

    #[test]
    fn another_is_made_when_half_of_its_life_is_over() {
        let life = Life { from: at(10), until: at(30) };
        for (now, due, holds) in
            [(9, true, false), (10, false, true), (19, false, true), (20, true, true), (30, true, false)]
        {
            assert_eq!((life.is_due(at(now)), life.holds(at(now))), (due, holds), "{now}");
        }
    }

    #[test]
    fn nothing_new_is_shown_before_api_servers_can_believe_it_unless_there_is_nothing_else() {
        let life = Life { from: at(0), until: at(20) };
        for (shown, told, now, expected) in [
            (None, true, 1, Show::Anew),
            (None, false, 1, Show::Anew),
            (Some((life, true)), false, 1, Show::Same),
            (Some((life, true)), true, 1, Show::Same),
            (Some((life, true)), false, 11, Show::Anew),
            (Some((life, false)), true, 1, Show::Soon),
            (Some((life, false)), false, 1, Show::Anew),
            (Some((life, false)), true, 21, Show::Anew),
        ] {
            assert_eq!(show(shown, told, at(now)), expected, "{shown:?} {told} {now}");
        }
    }
}
