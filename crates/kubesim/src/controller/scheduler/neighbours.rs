//! What the pods that have a place mean for one that wants one: affinity in both directions, and spread. Only who asks for
//! neighbours, or is shunned by some, pays for it. Pure.

use std::collections::{BTreeMap, HashMap};

use super::{
    cluster::Cluster,
    node::Facts,
    refusal::Refusal,
    spread::Domains,
    term::{Namespaces, Term},
    wish::Wish,
};

/// Numbers by the values of a label of nodes.
type Counts = HashMap<String, i64>;

/// What a pod that requires neighbours counts for with them, when it had not been asked for.
const HARD_WEIGHT: i64 = 1;

#[derive(Debug, Clone, Default)]
pub(super) struct Neighbours {
    /// For each required term, the pods that are meant by all of them.
    near: Vec<Counts>,
    far: Vec<Counts>,
    /// Pods that do not want this one near, by label.
    shunning: BTreeMap<String, Counts>,
    /// How welcome the neighbourhood is, by label.
    pub liking: BTreeMap<String, Counts>,
    pub domains: Vec<Domains>,
}

impl Neighbours {
    pub(super) fn of(cluster: &Cluster, wish: &Wish) -> Self {
        let mut found = Self {
            near: vec![Counts::new(); wish.terms.near.len()],
            far: vec![Counts::new(); wish.terms.far.len()],
            domains: vec![Domains::default(); wish.spread.len()],
            ..Self::default()
        };
        if !wish.spread.is_empty() {
            for facts in cluster.known() {
                for (constraint, domains) in wish.spread.iter().zip(&mut found.domains) {
                    if let Some(domain) = constraint.domain(wish, facts) {
                        domains.add(domain, 0);
                    }
                }
            }
        }
        for (other, places) in cluster.crowds(wish) {
            for (facts, all, staying) in places {
                found.shift(wish, other, facts, (all, staying), cluster.namespaces());
            }
        }
        found
    }

    /// So many pods of a class come to a node, or go; those that stay are the ones that spread counts.
    pub(super) fn shift(
        &mut self,
        wish: &Wish,
        other: &Wish,
        node: &Facts,
        (all, staying): (i64, i64),
        namespaces: &Namespaces,
    ) {
        let count = |counts: &mut Counts, term: &Term, more: i64| {
            if let Some(value) = node.label(&term.topology) {
                *counts.entry(value.to_owned()).or_default() += more;
            }
        };
        let means = |term: &Term| term.means(other, namespaces);
        let meant = |term: &Term| term.means(wish, namespaces);
        if !wish.terms.near.is_empty() && wish.terms.near.iter().all(means) {
            wish.terms.near.iter().zip(&mut self.near).for_each(|(term, counts)| count(counts, term, all));
        }
        for (term, counts) in wish.terms.far.iter().zip(&mut self.far).filter(|(term, _)| means(term)) {
            count(counts, term, all);
        }
        for term in other.terms.far.iter().filter(|term| meant(term)) {
            count(self.shunning.entry(term.topology.clone()).or_default(), term, all);
        }
        let own = wish.terms.liked.iter().filter(|(_, term)| means(term));
        let theirs = other.terms.liked.iter().filter(|(_, term)| meant(term));
        let required = other.terms.near.iter().filter(|term| meant(term)).map(|term| (HARD_WEIGHT, term));
        for (weight, term) in own.chain(theirs).map(|(weight, term)| (*weight, term)).chain(required) {
            count(self.liking.entry(term.topology.clone()).or_default(), term, weight * all);
        }
        for (constraint, domains) in wish.spread.iter().zip(&mut self.domains) {
            if constraint.means(wish, other)
                && let Some(domain) = constraint.domain(wish, node)
            {
                domains.add(domain, staying);
            }
        }
    }

    /// What stands against a pod on a node because of others.
    pub(super) fn refuse(&self, wish: &Wish, node: &Facts, namespaces: &Namespaces) -> Option<Refusal> {
        for (constraint, domains) in wish.spread.iter().zip(&self.domains).filter(|(one, _)| one.hard) {
            let Some(domain) = node.label(&constraint.topology) else { return Some(Refusal::NoDomain) };
            if domains.exceeded(constraint, wish, domain) {
                return Some(Refusal::Spread);
            }
        }
        let there = |counts: &Counts, label: &str| {
            node.label(label).and_then(|value| counts.get(value)).is_some_and(|count| *count > 0)
        };
        let near = &wish.terms.near;
        let all_near = near.iter().zip(&self.near).all(|(term, counts)| there(counts, &term.topology));
        if !all_near && !self.first_of_its_kind(wish, node, namespaces) {
            return Some(Refusal::Affinity);
        }
        if wish.terms.far.iter().zip(&self.far).any(|(term, counts)| there(counts, &term.topology)) {
            return Some(Refusal::AntiAffinity);
        }
        self.shunning.iter().any(|(label, counts)| there(counts, label)).then_some(Refusal::Shunned)
    }

    /// A pod that wants to be near its like must begin somewhere.
    fn first_of_its_kind(&self, wish: &Wish, node: &Facts, namespaces: &Namespaces) -> bool {
        self.near.iter().all(|counts| counts.values().all(|count| *count == 0))
            && wish.terms.near.iter().all(|term| term.means(wish, namespaces))
            && wish.terms.near.iter().all(|term| node.label(&term.topology).is_some())
    }
}
