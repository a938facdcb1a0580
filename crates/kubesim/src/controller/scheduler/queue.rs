//! The pods that wait for a place. Those of one class wait together: when the first of them cannot be placed, none can, and all are
//! quiet until something happens that may help. Pure.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::wish::{Class, Wish};
use crate::object::Key;

/// How long a class rests after a search in vain, before the next one; it doubles every time.
const REST: Duration = Duration::from_millis(100);
const REST_DOUBLINGS: u32 = 6;
/// After this time everything is tried again, whatever happened or not.
const FLUSH: Duration = Duration::from_secs(300);

/// The order of tries: important ones first, then those that waited longest.
type Turn = (Reverse<i64>, u64, Class);

#[derive(Debug)]
struct Waiting {
    wish: Arc<Wish>,
    pods: BTreeMap<u64, Key>,
    /// Why the last search was in vain. None: not tried yet.
    verdict: Option<Arc<str>>,
    /// Nodes that changed since, and would do.
    hopes: BTreeSet<usize>,
    /// Whether something happened since that may help.
    stale: bool,
    searches: u32,
    rested_at: Instant,
    turn: Option<Turn>,
    timer: Option<Instant>,
}

impl Waiting {
    fn ready(&self, now: Instant) -> bool {
        self.verdict.is_none() || !self.hopes.is_empty() || (self.stale && self.rested_at <= now)
    }
}

/// What to try next.
#[derive(Debug)]
pub(super) struct Attempt {
    pub pod: Key,
    pub wish: Arc<Wish>,
    /// The only nodes that may do. None: all have to be looked at.
    pub hopes: Option<Vec<usize>>,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    classes: HashMap<Class, Waiting>,
    members: HashMap<Key, (Class, u64)>,
    ready: BTreeSet<Turn>,
    timers: BTreeSet<(Instant, Class)>,
    /// Pods that have not been told yet why they wait.
    untold: BTreeSet<Key>,
    count: u64,
}

impl Queue {
    /// A pod that waits from now on, or that wants something else from now on.
    pub(super) fn add(&mut self, pod: Key, wish: Arc<Wish>, now: Instant) {
        let class = wish.class;
        if self.members.get(&pod).is_some_and(|(known, _)| *known == class) {
            return;
        }
        self.remove(&pod, now);
        self.count += 1;
        let waiting = self.classes.entry(class).or_insert_with(|| Waiting {
            wish,
            pods: BTreeMap::new(),
            verdict: None,
            hopes: BTreeSet::new(),
            stale: false,
            searches: 0,
            rested_at: now,
            turn: None,
            timer: None,
        });
        waiting.pods.insert(self.count, pod.clone());
        if waiting.verdict.is_some() {
            self.untold.insert(pod.clone());
        }
        self.members.insert(pod, (class, self.count));
        self.settle(class, now);
    }

    pub(super) fn remove(&mut self, pod: &Key, now: Instant) {
        let Some((class, number)) = self.members.remove(pod) else { return };
        self.untold.remove(pod);
        if let Some(waiting) = self.classes.get_mut(&class) {
            waiting.pods.remove(&number);
        }
        self.settle(class, now);
    }

    /// Puts a class where it belongs: among the ready ones, or where its rest ends.
    fn settle(&mut self, class: Class, now: Instant) {
        let Some(waiting) = self.classes.get_mut(&class) else { return };
        if let Some(turn) = waiting.turn.take() {
            self.ready.remove(&turn);
        }
        if let Some(at) = waiting.timer.take() {
            self.timers.remove(&(at, class));
        }
        let Some((first, _)) = waiting.pods.first_key_value() else {
            self.classes.remove(&class);
            return;
        };
        if waiting.ready(now) {
            let turn = (Reverse(waiting.wish.priority), *first, class);
            waiting.turn = Some(turn);
            self.ready.insert(turn);
        } else {
            let at = if waiting.stale { waiting.rested_at } else { waiting.rested_at + FLUSH };
            waiting.timer = Some(at);
            self.timers.insert((at, class));
        }
    }

    pub(super) fn next(&mut self, now: Instant) -> Option<Attempt> {
        while let Some((at, class)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, class));
            if let Some(waiting) = self.classes.get_mut(&class) {
                waiting.timer = None;
                waiting.stale = true;
            }
            self.settle(class, now);
        }
        let (_, number, class) = self.ready.first()?;
        let waiting = self.classes.get(class)?;
        let everywhere = waiting.verdict.is_none() || (waiting.stale && waiting.rested_at <= now);
        Some(Attempt {
            pod: waiting.pods.get(number)?.clone(),
            wish: Arc::clone(&waiting.wish),
            hopes: (!everywhere).then(|| waiting.hopes.iter().copied().collect()),
        })
    }

    /// The first pod of a class got a place: the next one may get one as well.
    pub(super) fn placed(&mut self, pod: &Key, now: Instant) {
        if let Some((class, _)) = self.members.get(pod)
            && let Some(waiting) = self.classes.get_mut(class)
        {
            waiting.searches = 0;
        }
        self.remove(pod, now);
    }

    /// No hope came true.
    pub(super) fn disappointed(&mut self, class: Class, now: Instant) {
        if let Some(waiting) = self.classes.get_mut(&class) {
            waiting.hopes.clear();
        }
        self.settle(class, now);
    }

    /// No node does, for this reason.
    pub(super) fn refused(&mut self, class: Class, why: String, now: Instant) {
        let Some(waiting) = self.classes.get_mut(&class) else { return };
        waiting.hopes.clear();
        waiting.stale = false;
        waiting.rested_at = now + REST * 2_u32.pow(waiting.searches.min(REST_DOUBLINGS));
        waiting.searches += 1;
        if waiting.verdict.as_deref() != Some(why.as_str()) {
            self.untold.extend(waiting.pods.values().cloned());
            waiting.verdict = Some(why.into());
        }
        self.settle(class, now);
    }

    /// These nodes have more room: for whom?
    pub(super) fn hope(
        &mut self,
        nodes: &BTreeSet<usize>,
        fits: impl Fn(usize, &Wish) -> bool,
        now: Instant,
    ) {
        let mut better = Vec::new();
        for (class, waiting) in self.classes.iter_mut().filter(|(_, waiting)| waiting.verdict.is_some()) {
            let before = waiting.hopes.len();
            waiting.hopes.extend(nodes.iter().filter(|node| fits(**node, &waiting.wish)));
            if waiting.hopes.len() > before {
                better.push(*class);
            }
        }
        better.into_iter().for_each(|class| self.settle(class, now));
    }

    /// Something changed that may help these, or gives them another reason to wait.
    pub(super) fn stir(&mut self, concerns: impl Fn(&Wish) -> bool, now: Instant) {
        let mut stirred = Vec::new();
        for (class, waiting) in &mut self.classes {
            if waiting.verdict.is_some() && !waiting.stale && concerns(&waiting.wish) {
                waiting.stale = true;
                stirred.push(*class);
            }
        }
        stirred.into_iter().for_each(|class| self.settle(class, now));
    }

    /// A pod that has to be told why it waits.
    pub(super) fn tell(&mut self) -> Option<(Key, Arc<str>)> {
        loop {
            let pod = self.untold.pop_first()?;
            let waiting = self.members.get(&pod).and_then(|(class, _)| self.classes.get(class));
            if let Some(why) = waiting.and_then(|waiting| waiting.verdict.clone()) {
                return Some((pod, why));
            }
        }
    }

    /// How long until there is something to do.
    pub(super) fn pause(&self, now: Instant) -> Option<Duration> {
        if !self.ready.is_empty() || !self.untold.is_empty() {
            return Some(Duration::ZERO);
        }
        self.timers.first().map(|(at, _)| at.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests;
