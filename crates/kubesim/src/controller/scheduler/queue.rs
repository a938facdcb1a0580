//! The pods that wait for a place. Those of one class wait together: when the first of them cannot be placed, none can, and all are
//! quiet until something happens that may help. Pure.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::wish::Wish;
use crate::{clock, object::Key};

/// How long a class rests after a search in vain, before the next one; it doubles every time.
const REST: Duration = Duration::from_millis(100);
const REST_DOUBLINGS: u32 = 6;
/// After this time everything is tried again, whatever happened or not.
const FLUSH: Duration = Duration::from_secs(300);

/// Pods that wait together: those of a class, except that each for which others leave waits alone.
pub(super) type Group = u64;

/// The order of tries: important ones first, then those that waited longest.
type Turn = (Reverse<i64>, u64, Group);

/// What is written into a pod that waits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub reason: &'static str,
    pub message: String,
    /// The node that others leave for its sake.
    pub nominated: Option<usize>,
}

#[derive(Debug)]
struct Waiting {
    wish: Arc<Wish>,
    pods: BTreeMap<u64, Key>,
    /// Why the last search was in vain.
    verdict: Option<Arc<Verdict>>,
    /// Whether all nodes are to be looked at now.
    due: bool,
    /// Nodes that changed since the last search, and would do.
    hopes: BTreeSet<usize>,
    /// Whether something happened since that may help.
    stale: bool,
    searches: u32,
    rested_at: Instant,
    turn: Option<Turn>,
    timer: Option<Instant>,
}

impl Waiting {
    fn new(wish: Arc<Wish>, now: Instant) -> Self {
        Self {
            wish,
            pods: BTreeMap::new(),
            verdict: None,
            due: true,
            hopes: BTreeSet::new(),
            stale: false,
            searches: 0,
            rested_at: now,
            turn: None,
            timer: None,
        }
    }

    fn everywhere(&self, now: Instant) -> bool {
        self.due || (self.stale && self.rested_at <= now)
    }

    fn ready(&self, now: Instant) -> bool {
        self.everywhere(now) || !self.hopes.is_empty()
    }

    fn nominated(&self) -> Option<usize> {
        self.verdict.as_ref()?.nominated
    }
}

/// What to try next.
#[derive(Debug)]
pub(super) struct Attempt {
    pub group: Group,
    pub pod: Key,
    pub wish: Arc<Wish>,
    /// The only nodes that may do. None: all have to be looked at.
    pub hopes: Option<Vec<usize>>,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    groups: HashMap<Group, Waiting>,
    members: HashMap<Key, (Group, u64)>,
    ready: BTreeSet<Turn>,
    timers: BTreeSet<(Instant, Group)>,
    /// Pods that have not been told yet why they wait.
    untold: BTreeSet<Key>,
    count: u64,
}

impl Queue {
    /// A pod that waits from now on, or that wants something else from now on.
    pub(super) fn add(&mut self, pod: Key, wish: Arc<Wish>, now: Instant) {
        let group = self.members.get(&pod).and_then(|(group, _)| self.groups.get(group));
        if group.is_some_and(|waiting| waiting.wish.class == wish.class) {
            return;
        }
        self.remove(&pod, now);
        self.count += 1;
        let number = self.count;
        self.join(wish.class, wish, pod, number, now);
    }

    fn join(&mut self, group: Group, wish: Arc<Wish>, pod: Key, number: u64, now: Instant) {
        let waiting = self.groups.entry(group).or_insert_with(|| Waiting::new(wish, now));
        waiting.pods.insert(number, pod.clone());
        if waiting.verdict.is_some() {
            self.untold.insert(pod.clone());
        }
        self.members.insert(pod, (group, number));
        self.settle(group, now);
    }

    pub(super) fn remove(&mut self, pod: &Key, now: Instant) {
        let Some((group, number)) = self.members.remove(pod) else { return };
        self.untold.remove(pod);
        if let Some(waiting) = self.groups.get_mut(&group) {
            waiting.pods.remove(&number);
        }
        self.settle(group, now);
    }

    /// Puts a group where it belongs: among the ready ones, or where its rest ends.
    fn settle(&mut self, group: Group, now: Instant) {
        let Some(waiting) = self.groups.get_mut(&group) else { return };
        if let Some(turn) = waiting.turn.take() {
            self.ready.remove(&turn);
        }
        if let Some(at) = waiting.timer.take() {
            self.timers.remove(&(at, group));
        }
        let Some((first, _)) = waiting.pods.first_key_value() else {
            self.groups.remove(&group);
            return;
        };
        if waiting.ready(now) {
            let turn = (Reverse(waiting.wish.priority), *first, group);
            waiting.turn = Some(turn);
            self.ready.insert(turn);
        } else {
            let at = if waiting.stale { waiting.rested_at } else { waiting.rested_at + FLUSH };
            waiting.timer = Some(at);
            self.timers.insert((at, group));
        }
    }

    pub(super) fn next(&mut self, now: Instant) -> Option<Attempt> {
        while let Some((at, group)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, group));
            if let Some(waiting) = self.groups.get_mut(&group) {
                waiting.timer = None;
                waiting.stale = true;
            }
            self.settle(group, now);
        }
        let (_, number, group) = self.ready.first()?;
        let waiting = self.groups.get(group)?;
        Some(Attempt {
            group: *group,
            pod: waiting.pods.get(number)?.clone(),
            wish: Arc::clone(&waiting.wish),
            hopes: (!waiting.everywhere(now)).then(|| waiting.hopes.iter().copied().collect()),
        })
    }

    /// The first pod of a class got a place: the next one may get one as well.
    pub(super) fn placed(&mut self, pod: &Key, now: Instant) {
        if let Some((group, _)) = self.members.get(pod)
            && let Some(waiting) = self.groups.get_mut(group)
        {
            waiting.searches = 0;
        }
        self.remove(pod, now);
    }

    /// No hope came true.
    pub(super) fn disappointed(&mut self, group: Group, now: Instant) {
        if let Some(waiting) = self.groups.get_mut(&group) {
            waiting.hopes.clear();
        }
        self.settle(group, now);
    }

    /// No node does, for this reason. Whether that is to be asked `again` although nothing may have happened.
    pub(super) fn refused(&mut self, group: Group, why: Verdict, again: bool, now: Instant) {
        let Some(waiting) = self.groups.get_mut(&group) else { return };
        waiting.hopes.clear();
        waiting.due = false;
        waiting.stale = again;
        waiting.rested_at = now + REST * 2_u32.pow(waiting.searches.min(REST_DOUBLINGS));
        waiting.searches += 1;
        if waiting.verdict.as_deref() != Some(&why) {
            self.untold.extend(waiting.pods.values().cloned());
            waiting.verdict = Some(Arc::new(why));
        }
        self.settle(group, now);
    }

    /// Others leave a node for the sake of a pod: from now on it waits for that, alone.
    pub(super) fn nominated(&mut self, pod: &Key, why: Verdict, now: Instant) {
        let Some((group, number)) = self.members.get(pod).copied() else { return };
        let Some(wish) = self.groups.get(&group).map(|waiting| Arc::clone(&waiting.wish)) else { return };
        let alone = wish.class ^ clock::fnv(format!("{}/{}", pod.namespace, pod.name).as_bytes());
        if alone != group {
            self.remove(pod, now);
            self.join(alone, wish, pod.clone(), number, now);
        }
        self.refused(alone, why, false, now);
    }

    /// These nodes have more room: for whom?
    pub(super) fn hope(
        &mut self,
        nodes: &BTreeSet<usize>,
        fits: impl Fn(usize, &Wish) -> bool,
        now: Instant,
    ) {
        let mut better = Vec::new();
        for (group, waiting) in self.groups.iter_mut().filter(|(_, waiting)| !waiting.due) {
            let before = waiting.hopes.len();
            waiting.hopes.extend(nodes.iter().filter(|node| fits(**node, &waiting.wish)));
            // It may have what it waited for, or somebody else has it and it must look elsewhere.
            waiting.due = waiting.nominated().is_some_and(|node| nodes.contains(&node));
            if waiting.due || waiting.hopes.len() > before {
                better.push(*group);
            }
        }
        better.into_iter().for_each(|group| self.settle(group, now));
    }

    /// Something changed that may help these, or gives them another reason to wait.
    pub(super) fn stir(&mut self, concerns: impl Fn(&Wish) -> bool, now: Instant) {
        let mut stirred = Vec::new();
        for (group, waiting) in &mut self.groups {
            if !waiting.due && !waiting.stale && concerns(&waiting.wish) {
                waiting.stale = true;
                stirred.push(*group);
            }
        }
        stirred.into_iter().for_each(|group| self.settle(group, now));
    }

    /// A pod that has to be told why it waits.
    pub(super) fn tell(&mut self) -> Option<(Key, Arc<Verdict>)> {
        loop {
            let pod = self.untold.pop_first()?;
            let waiting = self.members.get(&pod).and_then(|(group, _)| self.groups.get(group));
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
