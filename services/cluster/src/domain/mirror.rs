//! What an agent knows to stand in a bucket, and what must be written there when it sees something. Only a change of
//! substance is written; only a positive fact (a deletion, absence from a complete list) removes.

use std::collections::{BTreeMap, BTreeSet};

use bcs_schemas::{
    bucket::Keyed,
    observation::{Capacity, Endpoint, EndpointPhase, Node, Workload},
};
use jiff::Timestamp;

use super::zones::Zones;

/// Something that is observed again and again.
pub trait Observation: Keyed + PartialEq {
    /// When it was seen.
    fn observed_at(&mut self) -> &mut Timestamp;

    /// What to make of it, given what was known before.
    #[must_use]
    fn following(self, _before: &Self) -> Self {
        self
    }
}

impl Observation for Workload {
    fn observed_at(&mut self) -> &mut Timestamp {
        &mut self.observed_at
    }
}

impl Observation for Node {
    fn observed_at(&mut self) -> &mut Timestamp {
        &mut self.observed_at
    }
}

impl Observation for Endpoint {
    fn observed_at(&mut self) -> &mut Timestamp {
        &mut self.observed_at
    }

    /// A drain is for good: news that was on its way when the mark was set must not put the instance back. An instance that
    /// outlives its node stays in its zone.
    fn following(mut self, before: &Self) -> Self {
        if (&self.uid, &self.node) == (&before.uid, &before.node) {
            self.zone = self.zone.or_else(|| before.zone.clone());
        }
        let leaving = before.uid == self.uid && before.phase == EndpointPhase::Draining;
        if leaving && matches!(self.phase, EndpointPhase::Starting | EndpointPhase::Ready) {
            let (phase, reason, since) = (before.phase, before.reason.clone(), before.since);
            return Self { phase, reason, since, ..self };
        }
        self
    }
}

/// The bucket as it is once everything is written.
#[derive(Clone, Debug)]
pub struct Mirror<T> {
    known: BTreeMap<String, T>,
    /// Keys seen in the list that is being read.
    listing: Option<BTreeSet<String>>,
    complete: bool,
}

impl<T: Observation> Mirror<T> {
    /// Begins with what stands in the bucket: an agent that restarts removes what went away meanwhile.
    pub fn new(known: BTreeMap<String, T>) -> Self {
        Self { known, listing: None, complete: false }
    }

    /// Whether a complete list was seen.
    pub const fn complete(&self) -> bool {
        self.complete
    }

    /// Everything that is known.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.known.values()
    }

    /// One value.
    pub fn get(&self, key: &str) -> Option<&T> {
        self.known.get(key)
    }

    /// A complete list begins. One that was cut off before counts for nothing.
    pub fn list_began(&mut self) {
        self.listing = Some(BTreeSet::new());
    }

    /// The thing is there; what to write, if it changed.
    pub fn seen(&mut self, value: T) -> Option<T> {
        let key = value.key();
        if let Some(listing) = &mut self.listing {
            listing.insert(key.clone());
        }
        let mut value = match self.known.get(&key) {
            Some(before) => value.following(before),
            None => value,
        };
        if let Some(before) = self.known.get(&key) {
            let now = std::mem::replace(value.observed_at(), *before.clone().observed_at());
            if value == *before {
                return None;
            }
            *value.observed_at() = now;
        }
        self.known.insert(key, value.clone());
        Some(value)
    }

    /// The thing was deleted; whether there is a key to remove.
    pub fn gone(&mut self, key: &str) -> bool {
        self.known.remove(key).is_some()
    }

    /// What must be written so that the bucket, of which this was found, holds what is known: values to put, and none to
    /// delete. Nothing is deleted before a complete list said what there is.
    pub fn differing(&self, found: &BTreeMap<String, T>) -> Vec<(String, Option<T>)> {
        let lost = self.known.iter().filter(|(key, value)| found.get(*key) != Some(value));
        let unknown = found.keys().filter(|key| self.complete && !self.known.contains_key(*key));
        let put = lost.map(|(key, value)| (key.clone(), Some(value.clone())));
        put.chain(unknown.map(|key| (key.clone(), None))).collect()
    }

    /// The list is complete: the keys to remove.
    pub fn list_ended(&mut self) -> Vec<String> {
        let Some(listed) = self.listing.take() else { return Vec::new() };
        self.complete = true;
        let lost: Vec<String> = self.known.keys().filter(|key| !listed.contains(*key)).cloned().collect();
        for key in &lost {
            self.known.remove(key);
        }
        lost
    }
}

/// Marks an instance that was drained just now, ahead of the watch; what to write, if that is news.
pub fn drained(mirror: &mut Mirror<Endpoint>, key: &str, uid: &str, now: Timestamp) -> Option<Endpoint> {
    let known = mirror.get(key).filter(|known| known.uid == uid)?;
    if matches!(known.phase, EndpointPhase::Draining | EndpointPhase::Gone) {
        return None;
    }
    let reason = Some("taken out of service".to_owned());
    let marked =
        Endpoint { phase: EndpointPhase::Draining, reason, since: now, observed_at: now, ..known.clone() };
    mirror.known.insert(key.to_owned(), marked.clone());
    Some(marked)
}

/// The instances on a node are where it is now known to be; what to write of them.
pub fn placed(mirror: &mut Mirror<Endpoint>, zones: &Zones, node: &str) -> Vec<Endpoint> {
    let there = mirror.known.values_mut().filter(|endpoint| endpoint.node.as_deref() == Some(node));
    let moved = there.filter_map(|endpoint| {
        let now = zones.place(endpoint.clone());
        (now != *endpoint).then(|| endpoint.clone_from(&now)).map(|()| now)
    });
    moved.collect()
}

/// Nodes in numbers: all, ready, and what they hold together.
pub fn sum<'a>(nodes: impl Iterator<Item = &'a Node>) -> (u32, u32, Capacity) {
    nodes.fold((0, 0, Capacity::default()), |(all, ready, sum), node| {
        let capacity = Capacity {
            cpu_millis: sum.cpu_millis.saturating_add(node.capacity.cpu_millis),
            memory_bytes: sum.memory_bytes.saturating_add(node.capacity.memory_bytes),
            instances: sum.instances.saturating_add(node.capacity.instances),
        };
        (all + 1, ready + u32::from(node.ready), capacity)
    })
}

#[cfg(test)]
mod tests;
