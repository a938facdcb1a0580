//! All nodes, with all pods that have a place. Pure.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    neighbours::Neighbours,
    node::{Facts, Node, Rank},
    term::Namespaces,
    wish::{Class, Wish},
};
use crate::{object::Key, selector};

/// A pod that has a place.
#[derive(Debug)]
struct Placed {
    node: usize,
    wish: Arc<Wish>,
    leaving: bool,
}

/// The placed pods of one class.
#[derive(Debug)]
struct Crowd {
    wish: Arc<Wish>,
    nodes: HashMap<usize, Count>,
}

#[derive(Debug, Default)]
struct Count {
    all: i64,
    leaving: i64,
}

/// What a new place changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Placement {
    pub news: bool,
    pub roomier: Option<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Cluster {
    /// Numbers of nodes stay theirs.
    nodes: Vec<Node>,
    names: HashMap<String, usize>,
    size: usize,
    pods: HashMap<Key, Placed>,
    crowds: HashMap<Class, Crowd>,
    /// The classes of placed pods that ask for neighbours.
    asking: BTreeSet<Class>,
    /// Where room is kept for pods that have no place yet.
    nominated: HashMap<Key, usize>,
    namespaces: Namespaces,
    /// What the neighbourhood means for the pods of one class, kept up to date: many of a class come one after the other.
    memory: Option<(Arc<Wish>, Arc<Neighbours>)>,
    /// The nodes that are open to every pod, the emptiest first, and the others.
    pub open: BTreeSet<Rank>,
    pub closed: BTreeSet<Rank>,
}

impl Cluster {
    pub(super) fn node(&self, at: usize) -> &Node {
        &self.nodes[at]
    }

    /// The number of a node, known or not.
    pub(super) fn number(&mut self, name: &str) -> usize {
        if let Some(at) = self.names.get(name) {
            return *at;
        }
        self.nodes.push(Node::named(name));
        self.names.insert(name.to_owned(), self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    /// Changes a node and keeps it in its place of the order.
    fn change<T>(&mut self, at: usize, change: impl FnOnce(&mut Node) -> T) -> T {
        let node = &mut self.nodes[at];
        let before = (node.rank(at), node.open(), node.facts.is_some());
        let answer = change(node);
        let after = (node.rank(at), node.open(), node.facts.is_some());
        if before != after {
            let list = |open: bool| if open { 0 } else { 1 };
            let lists = [&mut self.open, &mut self.closed];
            lists[list(before.1)].remove(&before.0);
            if after.2 {
                lists[list(after.1)].insert(after.0);
            }
            self.size = self.size + usize::from(after.2) - usize::from(before.2);
        }
        answer
    }

    /// Takes over what an object says; the number of its node, if that is news.
    pub(super) fn learn(&mut self, name: &str, facts: Facts) -> Option<usize> {
        let at = self.number(name);
        let news = self.change(at, |node| node.learn(facts));
        if news {
            self.memory = None;
        }
        news.then_some(at)
    }

    pub(super) fn forget(&mut self, name: &str) {
        let at = self.number(name);
        self.memory = None;
        self.change(at, |node| node.facts = None);
    }

    /// Gives a pod a place, or other wishes, or lets it leave soon; whether that is news, and on which node there is more room now.
    pub(super) fn place(&mut self, pod: &Key, wish: Arc<Wish>, node: &str, leaving: bool) -> Placement {
        let at = self.number(node);
        let same =
            |known: &Placed| known.node == at && known.wish.class == wish.class && known.leaving == leaving;
        if self.pods.get(pod).is_some_and(same) {
            return Placement::default();
        }
        let left = self.remove(pod);
        let roomier = left.filter(|(node, old)| *node != at || old.class != wish.class).map(|(node, _)| node);
        self.change(at, |node| node.add(pod, &wish));
        let placed = Placed { node: at, wish, leaving };
        self.crowd(&placed, 1);
        self.pods.insert(pod.clone(), placed);
        Placement { news: true, roomier }
    }

    pub(super) fn has(&self, pod: &Key) -> bool {
        self.pods.contains_key(pod)
    }

    /// Takes a pod away; the number of its node, and what it wanted there.
    pub(super) fn remove(&mut self, pod: &Key) -> Option<(usize, Arc<Wish>)> {
        let placed = self.pods.remove(pod)?;
        self.change(placed.node, |node| node.remove(pod, &placed.wish));
        self.crowd(&placed, -1);
        Some((placed.node, placed.wish))
    }

    /// Keeps room on a node for a pod that waits for others to leave it.
    pub(super) fn nominate(&mut self, pod: &Key, node: usize, wish: Arc<Wish>) {
        self.denominate(pod);
        self.nodes[node].keep_room(pod, wish);
        self.nominated.insert(pod.clone(), node);
    }

    /// The node on which room was kept for a pod until now.
    pub(super) fn denominate(&mut self, pod: &Key) -> Option<usize> {
        let node = self.nominated.remove(pod)?;
        self.nodes[node].keep_no_room(pod);
        Some(node)
    }

    /// The pods of a node, what they want, and whether they leave.
    pub(super) fn pods_of(&self, at: usize) -> impl Iterator<Item = (&Key, &Wish, bool)> {
        let placed = |pod| self.pods.get(pod).map(|placed| (pod, &*placed.wish, placed.leaving));
        self.nodes[at].pods.iter().filter_map(placed)
    }

    pub(super) fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// Notes the labels of a namespace, or that it is gone; whether that is news.
    pub(super) fn learn_namespace(&mut self, name: &str, labels: Option<&selector::Map>) -> bool {
        if self.namespaces.get(name) == labels {
            return false;
        }
        match labels {
            Some(labels) => drop(self.namespaces.insert(name.to_owned(), labels.clone())),
            None => drop(self.namespaces.remove(name)),
        }
        self.memory = None;
        true
    }

    /// Keeps in mind what the neighbourhood means for pods of this class.
    pub(super) fn remember(&mut self, wish: &Arc<Wish>) {
        let known = self.memory.as_ref().is_some_and(|(other, _)| other.class == wish.class);
        if wish.sociable() && !known {
            self.memory = Some((Arc::clone(wish), Arc::new(Neighbours::of(self, wish))));
        }
    }

    pub(super) fn neighbours(&self, wish: &Wish) -> Arc<Neighbours> {
        match &self.memory {
            Some((other, neighbours)) if other.class == wish.class => Arc::clone(neighbours),
            _ => Arc::new(Neighbours::of(self, wish)),
        }
    }

    fn crowd(&mut self, placed: &Placed, more: i64) {
        if let Some((wish, neighbours)) = &mut self.memory
            && let Some(facts) = self.nodes[placed.node].facts.as_deref()
        {
            let staying = if placed.leaving { 0 } else { more };
            Arc::make_mut(neighbours).shift(wish, &placed.wish, facts, (more, staying), &self.namespaces);
        }
        let class = placed.wish.class;
        let crowd = self.crowds.entry(class).or_insert_with(|| {
            if !placed.wish.terms.is_empty() {
                self.asking.insert(class);
            }
            Crowd { wish: Arc::clone(&placed.wish), nodes: HashMap::new() }
        });
        let count = crowd.nodes.entry(placed.node).or_default();
        count.all += more;
        count.leaving += more * i64::from(placed.leaving);
        if count.all == 0 {
            crowd.nodes.remove(&placed.node);
        }
        if crowd.nodes.is_empty() {
            self.crowds.remove(&class);
            self.asking.remove(&class);
        }
    }

    /// The nodes that there are, by their numbers.
    pub(super) fn numbers(&self) -> impl Iterator<Item = usize> {
        self.nodes.iter().enumerate().filter(|(_, node)| node.facts.is_some()).map(|(at, _)| at)
    }

    pub(super) fn known(&self) -> impl Iterator<Item = &Facts> {
        self.nodes.iter().filter_map(|node| node.facts.as_deref())
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    #[cfg(test)]
    pub(super) fn pods(&self) -> usize {
        self.pods.len()
    }

    pub(super) fn named(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// The classes of placed pods that may mean something to a pod, with the nodes where they are: how many in all, and how many of them
    /// stay.
    pub(super) fn crowds<'a>(
        &'a self,
        wish: &Wish,
    ) -> impl Iterator<Item = (&'a Wish, impl Iterator<Item = (&'a Facts, i64, i64)>)> {
        let asks = !wish.terms.is_empty() || !wish.spread.is_empty();
        let everyone = asks.then(|| self.crowds.values()).into_iter().flatten();
        let asking = (!asks).then(|| self.asking.iter()).into_iter().flatten();
        everyone.chain(asking.filter_map(|class| self.crowds.get(class))).map(|crowd| {
            let at = |(at, count): (&usize, &Count)| {
                Some((self.nodes[*at].facts.as_deref()?, count.all, count.all - count.leaving))
            };
            (&*crowd.wish, crowd.nodes.iter().filter_map(at))
        })
    }
}

#[cfg(test)]
mod tests;
