//! Topology spread: how many of its like a pod finds in the domains of the cluster. Pure.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::{node::Facts, term, wish::Wish};
use crate::{
    object::{int, items, text},
    selector::Labels,
};

#[derive(Debug)]
pub(super) struct Constraint {
    pub skew: i64,
    pub topology: String,
    pods: Option<Labels>,
    least_domains: usize,
    by_affinity: bool,
    by_taints: bool,
    /// Whether a pod had rather wait than break it.
    pub hard: bool,
}

impl Constraint {
    pub(super) fn all(pod: &Value) -> Vec<Self> {
        items(pod, "/spec/topologySpreadConstraints").iter().map(|one| Self::of(pod, one)).collect()
    }

    fn of(pod: &Value, constraint: &Value) -> Self {
        let least = int(constraint, "/minDomains").and_then(|least| usize::try_from(least).ok());
        Self {
            skew: int(constraint, "/maxSkew").unwrap_or(1),
            topology: text(constraint, "/topologyKey").to_owned(),
            pods: term::pods(pod, constraint),
            least_domains: least.unwrap_or(1),
            by_affinity: constraint["nodeAffinityPolicy"] != "Ignore",
            by_taints: constraint["nodeTaintsPolicy"] == "Honor",
            hard: constraint["whenUnsatisfiable"] != "ScheduleAnyway",
        }
    }

    pub(super) fn means(&self, wish: &Wish, other: &Wish) -> bool {
        wish.namespace == other.namespace && self.matches(other)
    }

    fn matches(&self, wish: &Wish) -> bool {
        self.pods.as_ref().is_some_and(|pods| pods.matches(Some(&wish.labels)))
    }

    /// The domain of a node, if what is there counts: it has all labels that count for the pod, and is not excluded.
    pub(super) fn domain<'a>(&self, wish: &Wish, node: &'a Facts) -> Option<&'a str> {
        let all = wish.spread.iter().filter(|other| other.hard == self.hard);
        let complete = all.into_iter().all(|other| node.label(&other.topology).is_some());
        let excluded =
            (self.by_affinity && !wish.choice.admits(&node.object)) || (self.by_taints && node.repels(wish));
        if complete && !excluded { node.label(&self.topology) } else { None }
    }
}

/// How many pods of a constraint each domain has.
#[derive(Debug, Clone, Default)]
pub(super) struct Domains {
    counts: HashMap<String, i64>,
    /// How many domains have how many.
    levels: BTreeMap<i64, usize>,
}

impl Domains {
    pub(super) fn add(&mut self, domain: &str, more: i64) {
        let count = match self.counts.get_mut(domain) {
            Some(count) => count,
            None => {
                *self.levels.entry(0).or_default() += 1;
                self.counts.entry(domain.to_owned()).or_default()
            }
        };
        if more == 0 {
            return;
        }
        let before = *count;
        *count += more;
        *self.levels.entry(*count).or_default() += 1;
        if let Some(level) = self.levels.get_mut(&before) {
            *level -= 1;
            if *level == 0 {
                self.levels.remove(&before);
            }
        }
    }

    pub(super) fn count(&self, domain: &str) -> i64 {
        self.counts.get(domain).copied().unwrap_or(0)
    }

    pub(super) fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether one more pod in a domain, if it counts there, were too many.
    pub(super) fn exceeded(&self, constraint: &Constraint, wish: &Wish, domain: &str) -> bool {
        let least = self.levels.first_key_value().map_or(0, |(least, _)| *least);
        let least = if self.len() < constraint.least_domains { 0 } else { least };
        self.count(domain) + i64::from(constraint.matches(wish)) - least > constraint.skew
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_emptiest_domain_is_known_whatever_comes_and_goes() {
        let mut domains = Domains::default();
        let least = |domains: &Domains| domains.levels.first_key_value().map(|(least, _)| *least);
        for (domain, more, expected) in [
            ("a", 0, 0),
            ("a", 2, 2),
            ("b", 3, 2),
            ("a", 2, 3),
            ("c", 0, 0),
            ("c", 1, 1),
            ("c", -1, 0),
            ("c", 9, 3),
        ] {
            domains.add(domain, more);
            assert_eq!(least(&domains), Some(expected), "{domain} {more}");
        }
        assert_eq!((domains.count("a"), domains.len()), (4, 3));
    }
}
