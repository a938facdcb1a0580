//! Whether somebody is alive, by when its heartbeat last changed on our own clock: two machines need not agree on the time.

use std::time::Duration;

use jiff::Timestamp;

/// A heartbeat, as we heard it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pulse {
    beat: Option<Timestamp>,
    changed: Option<Duration>,
}

impl Pulse {
    /// What the heartbeat says at this moment of ours. The first one may be as old as it likes: only a change is a sign of
    /// life.
    pub fn hear(&mut self, beat: Timestamp, up: Duration) {
        if self.beat.replace(beat).is_some_and(|before| before != beat) {
            self.changed = Some(up);
        }
    }

    /// How long the last sign of life is ago; nothing when there was none yet.
    pub fn age(&self, up: Duration) -> Option<Duration> {
        self.changed.map(|at| up.saturating_sub(at))
    }

    /// Whether there was a sign of life within this time.
    pub fn fresh(&self, up: Duration, within: Duration) -> bool {
        self.age(up).is_some_and(|age| age <= within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_is_a_sign_of_life_whatever_its_clock_says() {
        let (second, within) = (Duration::from_secs, Duration::from_secs(15));
        let ahead = Timestamp::from_second(9_000_000_000).expect("a time");
        let mut pulse = Pulse::default();
        pulse.hear(ahead, second(1));
        assert!(!pulse.fresh(second(1), within), "it may be of last year");
        pulse.hear(Timestamp::UNIX_EPOCH, second(3));
        assert!(pulse.fresh(second(18), within), "a clock that is behind is alive all the same");
        pulse.hear(Timestamp::UNIX_EPOCH, second(19));
        assert!(!pulse.fresh(second(19), within));
    }
}
