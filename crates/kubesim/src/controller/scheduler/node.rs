//! What the scheduler knows of a node: what its object says, and what the pods there take. Pure.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use serde_json::{Value, json};

use super::{
    super::{fit, request},
    refusal::Refusal,
    wish::{Port, Wish, clash},
};
use crate::object::{self, Key, items, text};

/// Nodes in the order in which they are tried: without unwelcoming taints, by load, by pods, by age.
pub(super) type Rank = (usize, i128, usize, usize);

/// What an object says about its node.
#[derive(Debug)]
pub(super) struct Facts {
    pub object: Arc<Value>,
    capacity: HashMap<String, i128>,
    cordoned: bool,
    /// The taints that keep pods away, and those that would rather.
    hard: Vec<Value>,
    pub soft: Vec<Value>,
}

impl Facts {
    pub(super) fn of(object: &Arc<Value>) -> Self {
        let (soft, mut hard): (Vec<Value>, Vec<Value>) =
            items(object, "/spec/taints").iter().cloned().partition(|t| t["effect"] == "PreferNoSchedule");
        if let Some(key) = unready(object)
            && !hard.iter().any(|taint| taint["key"] == key)
        {
            hard.push(json!({"key": key, "effect": "NoSchedule"}));
        }
        Self {
            object: Arc::clone(object),
            capacity: request::read(&object["status"]["allocatable"]).into_iter().collect(),
            cordoned: object["spec"]["unschedulable"] == true,
            hard,
            soft,
        }
    }

    /// Whether every pod could go there as far as the object says.
    fn open(&self) -> bool {
        !self.cordoned && self.hard.is_empty()
    }

    /// Whether it says the same to the scheduler.
    fn like(&self, other: &Self) -> bool {
        self.capacity == other.capacity
            && self.cordoned == other.cordoned
            && self.hard == other.hard
            && self.soft == other.soft
            && object::labels(&self.object) == object::labels(&other.object)
    }

    pub(super) fn label(&self, key: &str) -> Option<&str> {
        object::label(&self.object, key)
    }

    /// Whether a taint keeps a pod away.
    pub(super) fn repels(&self, wish: &Wish) -> bool {
        self.hard.iter().any(|taint| !wish.tolerates(taint))
    }

    fn capacity(&self, name: &str) -> i128 {
        self.capacity.get(name).copied().unwrap_or(0)
    }
}

/// The taint that follows from the state of a node. It is put there a moment later; no pod is to slip in before.
fn unready(node: &Value) -> Option<&'static str> {
    match object::condition(node, "Ready").map(|ready| text(ready, "/status")) {
        Some("True") => None,
        Some("Unknown") => Some("node.kubernetes.io/unreachable"),
        _ => Some("node.kubernetes.io/not-ready"),
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    pub name: String,
    /// None while pods are there of which nobody knows the node.
    pub facts: Option<Arc<Facts>>,
    pub pods: BTreeSet<Key>,
    used: HashMap<String, i128>,
    load: (i128, i128),
    ports: Vec<Port>,
    /// Pods for which room is kept.
    expected: Vec<(Key, Arc<Wish>)>,
}

impl Node {
    pub(super) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Takes over what the object says; whether that is news.
    pub(super) fn learn(&mut self, facts: Facts) -> bool {
        let news = !self.facts.as_ref().is_some_and(|known| known.like(&facts));
        self.facts = Some(Arc::new(facts));
        news
    }

    pub(super) fn open(&self) -> bool {
        self.facts.as_ref().is_some_and(|facts| facts.open())
    }

    pub(super) fn rank(&self, at: usize) -> Rank {
        let share = |used: i128, name: &str| {
            let capacity = self.facts.as_ref().map_or(0, |facts| facts.capacity(name));
            used * 1_000_000 / capacity.max(1)
        };
        let soft = self.facts.as_ref().map_or(0, |facts| facts.soft.len());
        (soft, share(self.load.0, "cpu") + share(self.load.1, "memory"), self.pods.len(), at)
    }

    pub(super) fn keep_room(&mut self, pod: &Key, wish: Arc<Wish>) {
        self.expected.push((pod.clone(), wish));
    }

    pub(super) fn keep_no_room(&mut self, pod: &Key) {
        self.expected.retain(|(expected, _)| expected != pod);
    }

    /// Those for whom a pod has to leave room.
    fn before(&self, wish: &Wish) -> impl Iterator<Item = &Wish> {
        let priority = wish.priority;
        self.expected.iter().map(|(_, expected)| &**expected).filter(move |e| e.priority >= priority)
    }

    /// What share of the node nobody asked for.
    pub(super) fn idleness(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a share of a million")]
        let load = self.rank(0).1 as f64;
        (1.0 - load / 2_000_000.0).max(0.0)
    }

    /// How many taints would rather not have the pod.
    pub(super) fn unwelcome(&self, wish: &Wish) -> f64 {
        let soft = self.facts.iter().flat_map(|facts| &facts.soft);
        soft.filter(|taint| !wish.tolerates(taint)).map(|_| 1.0).sum()
    }

    pub(super) fn add(&mut self, pod: &Key, wish: &Wish) {
        self.pods.insert(pod.clone());
        self.ports.extend_from_slice(&wish.ports);
        self.count(wish, 1);
    }

    pub(super) fn remove(&mut self, pod: &Key, wish: &Wish) {
        self.pods.remove(pod);
        for port in &wish.ports {
            if let Some(at) = self.ports.iter().position(|known| known == port) {
                self.ports.swap_remove(at);
            }
        }
        self.count(wish, -1);
    }

    fn count(&mut self, wish: &Wish, sign: i128) {
        for (name, amount) in &wish.requests {
            match self.used.get_mut(name) {
                Some(used) => *used += sign * amount,
                None => drop(self.used.insert(name.clone(), sign * amount)),
            }
        }
        self.load.0 += sign * wish.load.0;
        self.load.1 += sign * wish.load.1;
    }

    /// What stands against a pod here, beside other pods.
    pub(super) fn refuse(&self, wish: &Wish) -> Option<Refusal> {
        let Some(facts) = &self.facts else { return Some(Refusal::Unknown) };
        let cordon = || json!({"key": fit::UNSCHEDULABLE, "effect": "NoSchedule"});
        if facts.cordoned && !wish.tolerates(&cordon()) {
            Some(Refusal::Cordoned)
        } else if facts.repels(wish) {
            Some(Refusal::Taint)
        } else if !wish.choice.admits(&facts.object) {
            Some(Refusal::Choice)
        } else if wish.ports.iter().any(|port| self.taken(port, wish)) {
            Some(Refusal::Ports)
        } else if self.full(facts, wish) || wish.requests.iter().any(|(n, a)| self.lacks(facts, wish, n, *a))
        {
            Some(Refusal::Resources)
        } else {
            None
        }
    }

    fn taken(&self, port: &Port, wish: &Wish) -> bool {
        let expected = self.before(wish).flat_map(|expected| &expected.ports);
        self.ports.iter().chain(expected).any(|taken| clash(port, taken))
    }

    fn full(&self, facts: &Facts, wish: &Wish) -> bool {
        let pods = i128::try_from(self.pods.len() + self.before(wish).count()).unwrap_or(i128::MAX);
        (pods + 1) * 1000 > facts.capacity("pods")
    }

    fn lacks(&self, facts: &Facts, wish: &Wish, name: &str, more: i128) -> bool {
        let asked = |expected: &Wish| -> i128 {
            expected.requests.iter().filter(|(n, _)| n == name).map(|(_, amount)| amount).sum()
        };
        let expected: i128 = self.before(wish).map(asked).sum();
        self.used.get(name).unwrap_or(&0) + expected + more > facts.capacity(name)
    }

    /// Whether there were too little even if nobody else was there.
    pub(super) fn too_small(&self, wish: &Wish) -> bool {
        let Some(facts) = &self.facts else { return true };
        wish.requests.iter().any(|(name, more)| *more > facts.capacity(name))
    }

    /// What there is too little of.
    pub(super) fn shortages(&self, wish: &Wish) -> Vec<String> {
        let Some(facts) = &self.facts else { return Vec::new() };
        let pods = self.full(facts, wish).then(|| "Too many pods".to_owned());
        let short = wish.requests.iter().filter(|(name, more)| self.lacks(facts, wish, name, *more));
        pods.into_iter().chain(short.map(|(name, _)| format!("Insufficient {name}"))).collect()
    }

    /// Whether there is less than was given of what a pod asks for.
    #[cfg(test)]
    pub(super) fn overfull(&self, wish: &Wish) -> bool {
        let Some(facts) = &self.facts else { return false };
        let pods = i128::try_from(self.pods.len()).unwrap_or(i128::MAX);
        pods * 1000 > facts.capacity("pods")
            || wish.requests.iter().any(|(name, _)| self.lacks(facts, wish, name, 0))
    }
}
