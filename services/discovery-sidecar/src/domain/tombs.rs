//! Incarnations that left. Once an instance was draining, no late or repeated observation brings it back.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use super::entry::fingerprint;

/// How long a uid is remembered. Observations are repeated within seconds; an hour is for a bus that was away.
const KEPT: Duration = Duration::from_secs(3600);

/// Uids that left, by fingerprint: eight bytes each, since a busy cluster has many.
#[derive(Debug, Default)]
pub struct Tombs {
    known: HashSet<u64>,
    order: VecDeque<(Duration, u64)>,
}

impl Tombs {
    /// Remembers that the incarnation left.
    pub fn insert(&mut self, uid: &str, now: Duration) {
        let uid = fingerprint(&uid);
        if self.known.insert(uid) {
            self.order.push_back((now, uid));
        }
    }

    /// Whether it left.
    pub fn contains(&self, uid: &str) -> bool {
        self.known.contains(&fingerprint(&uid))
    }

    /// Forgets what is too old to be repeated. `alive` says which uids are still observed as leaving.
    pub fn prune(&mut self, now: Duration) {
        while let Some((at, uid)) = self.order.front().copied() {
            if now < at + KEPT {
                break;
            }
            self.order.pop_front();
            self.known.remove(&uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_remembered_for_an_hour() {
        let mut tombs = Tombs::default();
        tombs.insert("u1", Duration::ZERO);
        tombs.prune(KEPT - Duration::from_secs(1));
        assert!(tombs.contains("u1") && !tombs.contains("u2"));
        tombs.prune(KEPT);
        assert!(!tombs.contains("u1"));
    }
}
