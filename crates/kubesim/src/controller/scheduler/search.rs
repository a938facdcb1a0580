//! The search for a node: the emptiest that fits, or the best for who has preferences, or the reasons why there is none. Pure.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    cluster::Cluster,
    neighbours::Neighbours,
    node::{Node, Rank},
    refusal::{Reasons, Refusal},
    score,
    wish::Wish,
};

/// Why each node is none, for one pod.
#[derive(Debug, Default)]
pub(super) struct Refusals(pub Vec<(usize, Refusal)>);

/// One search for one pod.
pub(super) struct Search<'a> {
    pub cluster: &'a Cluster,
    pub wish: &'a Wish,
    pub neighbours: Arc<Neighbours>,
}

impl<'a> Search<'a> {
    pub(super) fn new(cluster: &'a Cluster, wish: &'a Wish) -> Self {
        Self { cluster, wish, neighbours: cluster.neighbours(wish) }
    }

    pub(super) fn refuse(&self, at: usize) -> Option<Refusal> {
        let node = self.cluster.node(at);
        if self.wish.names.as_ref().is_some_and(|names| !names.contains(&node.name)) {
            return Some(Refusal::Unnamed);
        }
        self.refuse_with(node, &self.neighbours)
    }

    /// The same if the node and the neighbourhood were like this.
    pub(super) fn refuse_with(&self, node: &Node, neighbours: &Neighbours) -> Option<Refusal> {
        let refusal = node.refuse(self.wish);
        let Some(facts) = node.facts.as_ref().filter(|_| refusal.is_none()) else { return refusal };
        neighbours.refuse(self.wish, facts, self.cluster.namespaces())
    }

    fn fits(&self, at: usize) -> bool {
        self.refuse(at).is_none()
    }

    /// The best node, or the best of some.
    pub(super) fn pick(&self, some: Option<&[usize]>) -> Option<usize> {
        if self.wish.picky() || !self.neighbours.liking.is_empty() {
            let fitting = self.fitting(some);
            let grades = self.grades(&fitting);
            return self.best(&fitting, &grades);
        }
        if let Some(some) = some {
            return self.emptiest(some);
        }
        if let Some(names) = &self.wish.names {
            let named: Vec<usize> = names.iter().filter_map(|name| self.cluster.named(name)).collect();
            return self.emptiest(&named);
        }
        let first = |list: &BTreeSet<Rank>| list.iter().find(|rank| self.fits(rank.3)).copied();
        let open = first(&self.cluster.open);
        let closed = if self.wish.tolerant { first(&self.cluster.closed) } else { None };
        open.into_iter().chain(closed).min().map(|rank| rank.3)
    }

    fn emptiest(&self, some: &[usize]) -> Option<usize> {
        let fitting = some.iter().copied().filter(|at| self.fits(*at));
        fitting.min_by_key(|at| self.cluster.node(*at).rank(*at))
    }

    /// All nodes that fit, or all of some, the emptiest first.
    pub(super) fn fitting(&self, some: Option<&[usize]>) -> Vec<usize> {
        let mut ranks: Vec<Rank> = match some {
            Some(some) => some.iter().map(|at| self.cluster.node(*at).rank(*at)).collect(),
            None => self.cluster.open.iter().chain(&self.cluster.closed).copied().collect(),
        };
        ranks.retain(|rank| self.fits(rank.3));
        ranks.sort_unstable();
        ranks.into_iter().map(|rank| rank.3).collect()
    }

    pub(super) fn grades(&self, fitting: &[usize]) -> Vec<f64> {
        let nodes: Vec<&Node> = fitting.iter().map(|at| self.cluster.node(*at)).collect();
        score::grades(self.wish, &nodes, &self.neighbours)
    }

    /// The one with the highest grade; of equals, the first.
    pub(super) fn best(&self, fitting: &[usize], grades: &[f64]) -> Option<usize> {
        let mut graded = fitting.iter().zip(grades);
        let first = graded.next()?;
        Some(*graded.fold(first, |best, next| if next.1 > best.1 { next } else { best }).0)
    }

    /// What every node has against the pod.
    pub(super) fn refusals(&self) -> Refusals {
        let all = self.cluster.numbers().filter_map(|at| Some((at, self.refuse(at)?)));
        Refusals(all.collect())
    }

    /// The same as a sentence, with what extenders have against the others.
    pub(super) fn sentence(&self, refusals: &Refusals, opinions: &[String]) -> String {
        let mut reasons = Reasons::default();
        opinions.iter().for_each(|opinion| reasons.count(opinion));
        for (at, refusal) in &refusals.0 {
            self.tell(&mut reasons, self.cluster.node(*at), *refusal);
        }
        reasons.sentence(self.cluster.size())
    }

    pub(super) fn tell(&self, reasons: &mut Reasons, node: &Node, refusal: Refusal) {
        match refusal {
            Refusal::Resources => node.shortages(self.wish).iter().for_each(|reason| reasons.count(reason)),
            other => reasons.count(other.words()),
        }
    }
}

#[cfg(test)]
mod tests;
