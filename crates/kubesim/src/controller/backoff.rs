//! Waiting the longer the more often something has failed in a row.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::object::Key;

/// A quarter of a second, doubling up to half a minute: shorter than real, since tests wait for it.
const FIRST: Duration = Duration::from_millis(250);
const DOUBLINGS: u32 = 7;
/// After so long a quiet time a failure is the first one again.
const QUIET: Duration = Duration::from_secs(60);

/// Failures in a row, and when the last one was. An object may have several parts that fail on their own.
#[derive(Default)]
pub(crate) struct Backoff {
    failures: HashMap<(Key, String), (u32, Instant)>,
}

impl Backoff {
    pub(crate) fn failed(&mut self, object: &Key, part: &str, now: Instant) {
        let entry = self.failures.entry((object.clone(), part.to_owned())).or_insert((0, now));
        let count = if now.duration_since(entry.1) > QUIET { 0 } else { entry.0 };
        *entry = (count + 1, now);
    }

    pub(crate) fn succeeded(&mut self, object: &Key, part: &str) {
        self.failures.remove(&(object.clone(), part.to_owned()));
    }

    pub(crate) fn forget(&mut self, object: &Key) {
        self.failures.retain(|(known, _), _| known != object);
    }

    /// What is left of the time to wait.
    pub(crate) fn left(&self, object: &Key, part: &str, now: Instant) -> Duration {
        let known = self.failures.get(&(object.clone(), part.to_owned()));
        known.map_or(Duration::ZERO, |(count, at)| {
            let delay = FIRST * 2_u32.pow((count - 1).min(DOUBLINGS));
            delay.saturating_sub(now.duration_since(*at))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_in_a_row_doubles_the_wait() {
        let (mut backoff, job, start) = (Backoff::default(), Key::new("n", "job"), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(backoff.left(&job, "", at(0)), Duration::ZERO);
        for expected in [250, 500, 1000] {
            backoff.failed(&job, "", at(0));
            assert_eq!(backoff.left(&job, "", at(0)), Duration::from_millis(expected));
        }
        assert_eq!(backoff.left(&job, "", at(1)), Duration::ZERO);
        assert_eq!(backoff.left(&job, "other", at(0)), Duration::ZERO);
        backoff.failed(&job, "", at(100));
        assert_eq!(backoff.left(&job, "", at(100)), FIRST);
        backoff.succeeded(&job, "");
        assert_eq!(backoff.left(&job, "", at(100)), Duration::ZERO);
        backoff.failed(&job, "other", at(100));
        backoff.forget(&job);
        assert_eq!(backoff.left(&job, "other", at(100)), Duration::ZERO);
    }
}
