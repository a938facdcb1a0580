//! All nodes with all pods that have a place, and the search for a place for one more. Pure.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    node::{Facts, Node, Rank},
    refusal::{Reasons, Refusal},
    wish::Wish,
};
use crate::object::Key;

/// A pod that has a place.
#[derive(Debug)]
struct Placed {
    node: usize,
    wish: Arc<Wish>,
}

#[derive(Debug, Default)]
pub(super) struct Cluster {
    /// Numbers of nodes stay theirs.
    nodes: Vec<Node>,
    names: HashMap<String, usize>,
    known: usize,
    pods: HashMap<Key, Placed>,
    /// The nodes that are open to every pod, the emptiest first, and the others.
    open: BTreeSet<Rank>,
    closed: BTreeSet<Rank>,
}

impl Cluster {
    pub(super) fn node(&self, at: usize) -> &Node {
        &self.nodes[at]
    }

    fn number(&mut self, name: &str) -> usize {
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
            self.known = self.known + usize::from(after.2) - usize::from(before.2);
        }
        answer
    }

    /// Takes over what an object says; the number of its node, if that is news.
    pub(super) fn learn(&mut self, name: &str, facts: Facts) -> Option<usize> {
        let at = self.number(name);
        self.change(at, |node| node.learn(facts)).then_some(at)
    }

    pub(super) fn forget(&mut self, name: &str) {
        let at = self.number(name);
        self.change(at, |node| node.facts = None);
    }

    /// Gives a pod a place; the number of the node where it had another one, or another wish.
    pub(super) fn place(&mut self, pod: &Key, wish: Arc<Wish>, node: &str) -> Option<usize> {
        let at = self.number(node);
        if self.pods.get(pod).is_some_and(|known| known.node == at && known.wish.class == wish.class) {
            return None;
        }
        let left = self.remove(pod);
        self.change(at, |node| node.add(pod, &wish));
        self.pods.insert(pod.clone(), Placed { node: at, wish });
        left
    }

    /// Takes a pod away; the number of its node.
    pub(super) fn remove(&mut self, pod: &Key) -> Option<usize> {
        let Placed { node, wish } = self.pods.remove(pod)?;
        self.change(node, |node| node.remove(pod, &wish));
        Some(node)
    }

    pub(super) fn refuse(&self, at: usize, wish: &Wish) -> Option<Refusal> {
        self.nodes[at].refuse(wish)
    }

    /// The emptiest node that fits.
    pub(super) fn pick(&self, wish: &Wish) -> Option<usize> {
        let fits = |at: usize| self.refuse(at, wish).is_none();
        if let Some(names) = &wish.names {
            let named = names.iter().filter_map(|name| self.names.get(name)).copied();
            return self.emptiest(named.filter(|at| fits(*at)));
        }
        let first = |list: &BTreeSet<Rank>| list.iter().find(|rank| fits(rank.3)).copied();
        let open = first(&self.open);
        let closed = if wish.tolerant { first(&self.closed) } else { None };
        open.into_iter().chain(closed).min().map(|rank| rank.3)
    }

    /// The emptiest of some that fits.
    pub(super) fn pick_of(&self, wish: &Wish, some: &[usize]) -> Option<usize> {
        self.emptiest(some.iter().copied().filter(|at| self.refuse(*at, wish).is_none()))
    }

    /// The emptiest of some.
    pub(super) fn emptiest(&self, some: impl Iterator<Item = usize>) -> Option<usize> {
        some.min_by_key(|at| self.nodes[*at].rank(*at))
    }

    /// Why no node fits.
    pub(super) fn explain(&self, wish: &Wish) -> String {
        let mut reasons = Reasons::default();
        for (at, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.facts.is_some()) {
            let named = wish.names.as_ref().is_none_or(|names| names.contains(&node.name));
            match if named { self.refuse(at, wish) } else { Some(Refusal::Unnamed) } {
                Some(Refusal::Resources) => {
                    node.shortages(wish).iter().for_each(|reason| reasons.count(reason));
                }
                Some(refusal) => reasons.count(refusal.words()),
                None => {}
            }
        }
        reasons.sentence(self.known)
    }
}

#[cfg(test)]
mod tests;
