//! Whether an agent still sees its cluster. One watch can be refused while the others work (rights are given by kind), so
//! each is judged alone.

use std::collections::BTreeMap;

use bcs_engines::Kind;
use jiff::{SignedDuration, Timestamp};

/// A watch that fails for longer than this, with no success in between, sees nothing.
const PATIENCE: SignedDuration = SignedDuration::from_secs(20);
/// A watch that works may have nothing to tell. One that fails says so again well within this time.
const FORGET: SignedDuration = SignedDuration::from_secs(90);

#[derive(Clone, Debug)]
struct Failing {
    first: Timestamp,
    last: Timestamp,
    reason: String,
}

/// The watches that fail.
#[derive(Clone, Debug, Default)]
pub struct Eyesight(BTreeMap<Kind, Failing>);

impl Eyesight {
    /// The watch of this kind broke.
    pub fn failed(&mut self, kind: Kind, reason: String, now: Timestamp) {
        let begun = self.0.get(&kind).filter(|failing| failing.last + FORGET > now);
        let first = begun.map_or(now, |failing| failing.first);
        self.0.insert(kind, Failing { first, last: now, reason });
    }

    /// There was good news of this kind.
    pub fn works(&mut self, kind: Kind) {
        self.0.remove(&kind);
    }

    /// Why something is not seen any more.
    pub fn blind(&self, now: Timestamp) -> Option<String> {
        let lasting = |f: &&Failing| f.last + FORGET > now && f.last.duration_since(f.first) > PATIENCE;
        self.0.iter().find(|(_, f)| lasting(f)).map(|(kind, f)| told(*kind, f))
    }

    /// Why something was not seen yet, however young the failure is.
    pub fn obstacle(&self) -> Option<String> {
        self.0.iter().next().map(|(kind, failing)| told(*kind, failing))
    }
}

fn told(kind: Kind, failing: &Failing) -> String {
    format!("{kind:?} cannot be listed: {}", failing.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    fn failing(kind: Kind, seconds: &[i64]) -> Eyesight {
        let mut eyes = Eyesight::default();
        seconds.iter().for_each(|s| eyes.failed(kind, "forbidden".to_owned(), at(*s)));
        eyes
    }

    #[test]
    fn a_watch_that_fails_for_long_is_blind_though_others_work() {
        let mut eyes = failing(Kind::Endpoints, &[0, 5, 15]);
        eyes.works(Kind::Nodes);
        assert_eq!(eyes.blind(at(16)), None, "not for long enough");
        eyes.failed(Kind::Endpoints, "forbidden".to_owned(), at(30));
        assert_eq!(eyes.blind(at(31)).as_deref(), Some("Endpoints cannot be listed: forbidden"));
        eyes.works(Kind::Endpoints);
        assert_eq!(eyes.blind(at(32)), None);
    }

    #[test]
    fn failures_far_apart_and_a_quiet_watch_are_no_blindness() {
        assert_eq!(failing(Kind::Nodes, &[0]).blind(at(60)), None, "one failure, and then nothing to tell");
        assert_eq!(failing(Kind::Nodes, &[0, 100, 200]).blind(at(201)), None);
        assert_eq!(failing(Kind::Nodes, &[0, 30]).blind(at(130)), None, "long over");
    }
}
