//! Which keys are to be looked at, and when. Pure: the time comes in. Nothing here costs more than a few comparisons,
//! however many keys wait.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

/// Pauses after failures, from first to longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Keys of each lane come out in the order in which they were asked for, and lanes take turns.
pub(super) struct Queue<K, L> {
    places: usize,
    keys: BTreeMap<K, Entry<L>>,
    due: BTreeSet<(Instant, K)>,
    lanes: BTreeMap<L, Lane<K>>,
    /// Lanes with a ready key and a free place, each once.
    open: VecDeque<L>,
}

struct Entry<L> {
    lane: L,
    state: State,
    /// How often it failed since it last went well.
    failures: u32,
}

#[derive(Clone, Copy)]
enum State {
    Ready,
    Later(Instant),
    Busy { woken: bool },
}

struct Lane<K> {
    ready: VecDeque<K>,
    busy: usize,
    open: bool,
}

impl<K: Ord + Clone, L: Ord + Clone> Queue<K, L> {
    /// `places`: how many keys of one lane are worked on at once.
    pub(super) fn new(places: usize) -> Self {
        Self {
            places,
            keys: BTreeMap::new(),
            due: BTreeSet::new(),
            lanes: BTreeMap::new(),
            open: VecDeque::new(),
        }
    }

    /// Asks for a look now.
    pub(super) fn wake(&mut self, lane: L, key: K) {
        let Some(entry) = self.keys.get_mut(&key) else {
            self.keys.insert(key.clone(), Entry { lane: lane.clone(), state: State::Ready, failures: 0 });
            return self.make_ready(lane, key);
        };
        match entry.state {
            State::Ready => (),
            State::Busy { .. } => entry.state = State::Busy { woken: true },
            // A failing key keeps its pause: news about it must not turn into a storm.
            State::Later(_) if entry.failures > 0 => (),
            State::Later(at) => {
                entry.state = State::Ready;
                let lane = entry.lane.clone();
                self.due.remove(&(at, key.clone()));
                self.make_ready(lane, key);
            }
        }
    }

    /// Asks for a look at that time, unless one comes sooner anyway.
    pub(super) fn look_by(&mut self, lane: L, key: K, at: Instant) {
        match self.keys.get_mut(&key) {
            None => {
                self.keys.insert(key.clone(), Entry { lane, state: State::Later(at), failures: 0 });
                self.due.insert((at, key));
            }
            Some(Entry { state: state @ State::Busy { .. }, .. }) => *state = State::Busy { woken: true },
            Some(Entry { state, failures: 0, .. }) => {
                if let State::Later(before) = *state
                    && at < before
                {
                    *state = State::Later(at);
                    self.due.remove(&(before, key.clone()));
                    self.due.insert((at, key));
                }
            }
            Some(_) => (),
        }
    }

    /// The next key to look at.
    pub(super) fn take(&mut self, now: Instant) -> Option<K> {
        while self.due.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, key)) = self.due.pop_first() else { break };
            let Some(entry) = self.keys.get_mut(&key) else { continue };
            entry.state = State::Ready;
            let lane = entry.lane.clone();
            self.make_ready(lane, key);
        }
        let name = self.open.pop_front()?;
        let lane = self.lanes.get_mut(&name)?;
        lane.open = false;
        let key = lane.ready.pop_front()?;
        lane.busy += 1;
        self.settle(name);
        if let Some(entry) = self.keys.get_mut(&key) {
            entry.state = State::Busy { woken: false };
        }
        Some(key)
    }

    /// It went well; `again` is when the next look is due at the latest.
    pub(super) fn done(&mut self, key: &K, again: Option<Instant>) {
        let Some(mut entry) = self.leave(key) else { return };
        entry.failures = 0;
        let woken = matches!(entry.state, State::Busy { woken: true });
        match again {
            _ if woken => {
                let lane = entry.lane.clone();
                entry.state = State::Ready;
                self.keys.insert(key.clone(), entry);
                self.make_ready(lane, key.clone());
            }
            Some(at) => self.wait(key, entry, at),
            None => (),
        }
    }

    /// It failed. The pause until the next try.
    pub(super) fn failed(&mut self, key: &K, now: Instant) -> Duration {
        let Some(mut entry) = self.leave(key) else { return PAUSES.0 };
        let pause = (PAUSES.0 * 2_u32.saturating_pow(entry.failures.min(16))).min(PAUSES.1);
        entry.failures += 1;
        self.wait(key, entry, now + pause);
        pause
    }

    /// When the next waiting key is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    fn leave(&mut self, key: &K) -> Option<Entry<L>> {
        let entry = self.keys.remove(key)?;
        if let Some(lane) = self.lanes.get_mut(&entry.lane) {
            lane.busy = lane.busy.saturating_sub(1);
        }
        self.settle(entry.lane.clone());
        Some(entry)
    }

    fn wait(&mut self, key: &K, mut entry: Entry<L>, at: Instant) {
        entry.state = State::Later(at);
        self.keys.insert(key.clone(), entry);
        self.due.insert((at, key.clone()));
    }

    fn make_ready(&mut self, name: L, key: K) {
        let empty = || Lane { ready: VecDeque::new(), busy: 0, open: false };
        self.lanes.entry(name.clone()).or_insert_with(empty).ready.push_back(key);
        self.settle(name);
    }

    /// Puts a lane among the open ones when it can give a key, and forgets one that holds nothing.
    fn settle(&mut self, name: L) {
        let Some(lane) = self.lanes.get_mut(&name) else { return };
        if lane.ready.is_empty() && lane.busy == 0 {
            self.lanes.remove(&name);
        } else if !lane.open && !lane.ready.is_empty() && lane.busy < self.places {
            lane.open = true;
            self.open.push_back(name);
        }
    }
}

#[cfg(test)]
mod tests;
