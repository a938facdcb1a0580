//! Preemption: which pods of less priority would have to go for one to fit, and on which node that does the least harm. Pure.

use std::cmp::Reverse;

use super::{
    neighbours::Neighbours,
    node::Node,
    refusal::{Reasons, Refusal},
    search::{Refusals, Search},
    wish::Wish,
};
use crate::{object::Key, selector::Labels};

pub(super) const NEVER: &str = "not eligible due to preemptionPolicy=Never.";
pub(super) const UNDER_WAY: &str = "not eligible due to a terminating pod on the nominated node.";

/// When so many nodes, or this share of all, would do, no others are looked at.
const ENOUGH: usize = 100;
const ENOUGH_SHARE: usize = 10;

/// Makes all priorities positive, so that every pod more counts more than its priority.
const ABOVE_ALL: i64 = 1 << 31;

/// How many pods of a budget may still be disturbed.
pub(super) struct Budget {
    pub namespace: String,
    pub pods: Labels,
    pub allowed: i64,
}

/// Where to make room, and who has to go.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub node: usize,
    pub victims: Vec<Key>,
}

/// A pod that could go.
struct Victim<'a> {
    pod: &'a Key,
    wish: &'a Wish,
    leaving: bool,
    started: String,
}

/// A node where it would work.
struct Candidate {
    plan: Plan,
    /// The smaller, the better: broken budgets, the highest priority, the sum of priorities; and that those with the highest priority
    /// began late.
    harm: (usize, i64, i64, Reverse<String>),
}

/// The best plan, or why there is none. What a pod's start was is asked only where it matters; none is later than any.
pub(super) fn plan(
    search: &Search<'_>,
    refusals: &Refusals,
    budgets: &[Budget],
    started: &dyn Fn(&Key) -> Option<String>,
) -> Result<Plan, String> {
    let enough = ENOUGH.max(search.cluster.size() / ENOUGH_SHARE);
    let (mut candidates, mut reasons): (Vec<Candidate>, _) = (Vec::new(), Reasons::default());
    for (at, refusal) in &refusals.0 {
        if candidates.len() >= enough {
            break;
        }
        if !helps(search, *at, *refusal) {
            reasons.count("Preemption is not helpful for scheduling");
            continue;
        }
        match on_node(search, *at, budgets, started, &mut reasons) {
            Some(candidate) => candidates.push(candidate),
            None => continue,
        }
    }
    let best = candidates.into_iter().min_by(|a, b| a.harm.cmp(&b.harm));
    best.map(|candidate| candidate.plan).ok_or_else(|| reasons.sentence(search.cluster.size()))
}

/// Whether what stands against the pod could be other pods.
pub(super) fn helps(search: &Search<'_>, at: usize, refusal: Refusal) -> bool {
    match refusal {
        Refusal::Resources => !search.cluster.node(at).too_small(search.wish),
        Refusal::Ports | Refusal::Spread | Refusal::AntiAffinity | Refusal::Shunned => true,
        _ => false,
    }
}

fn on_node(
    search: &Search<'_>,
    at: usize,
    budgets: &[Budget],
    started: &dyn Fn(&Key) -> Option<String>,
    reasons: &mut Reasons,
) -> Option<Candidate> {
    let mut victims: Vec<Victim<'_>> = search
        .cluster
        .pods_of(at)
        .filter(|(_, wish, _)| wish.priority < search.wish.priority)
        .map(|(pod, wish, leaving)| Victim { pod, wish, leaving, started: String::new() })
        .collect();
    if victims.is_empty() {
        reasons.count("No preemption victims found for incoming pod");
        return None;
    }
    let mut trial =
        Trial { search, node: search.cluster.node(at).clone(), neighbours: (*search.neighbours).clone() };
    victims.iter().for_each(|victim| trial.shift(victim, -1));
    if let Some(refusal) = trial.refusal() {
        search.tell(reasons, &trial.node, refusal);
        return None;
    }
    for victim in &mut victims {
        victim.started = started(victim.pod).unwrap_or_else(|| "~".to_owned());
    }
    victims.sort_by(|a, b| (b.wish.priority, &a.started).cmp(&(a.wish.priority, &b.started)));
    let (protected, free) = by_budgets(victims, budgets);
    // Everybody who can stay does: those first whom a budget protects, and then the important ones.
    let broken = trial.spare(protected);
    let violations = broken.len();
    let mut going = broken;
    going.extend(trial.spare(free));
    let highest = going.iter().map(|victim| victim.wish.priority).max().unwrap_or(i64::MIN);
    let first = going.iter().filter(|victim| victim.wish.priority == highest).map(|victim| &victim.started);
    let harm = (
        violations,
        highest,
        going.iter().map(|victim| victim.wish.priority + ABOVE_ALL).sum(),
        Reverse(first.min().cloned().unwrap_or_default()),
    );
    Some(Candidate { plan: Plan { node: at, victims: going.iter().map(|v| v.pod.clone()).collect() }, harm })
}

/// A node as it were if some pods went.
struct Trial<'a> {
    search: &'a Search<'a>,
    node: Node,
    neighbours: Neighbours,
}

impl Trial<'_> {
    fn shift(&mut self, victim: &Victim<'_>, sign: i64) {
        if sign > 0 {
            self.node.add(victim.pod, victim.wish);
        } else {
            self.node.remove(victim.pod, victim.wish);
        }
        if let Some(facts) = &self.node.facts {
            let count = (sign, if victim.leaving { 0 } else { sign });
            let namespaces = self.search.cluster.namespaces();
            self.neighbours.shift(self.search.wish, victim.wish, facts, count, namespaces);
        }
    }

    fn refusal(&self) -> Option<Refusal> {
        self.search.refuse_with(&self.node, &self.neighbours)
    }

    /// Brings back whom it can; the others are returned.
    fn spare<'v>(&mut self, victims: Vec<Victim<'v>>) -> Vec<Victim<'v>> {
        let mut going = Vec::new();
        for victim in victims {
            self.shift(&victim, 1);
            if self.refusal().is_some() {
                self.shift(&victim, -1);
                going.push(victim);
            }
        }
        going
    }
}

/// Those whose going would break a budget, if all went, and the others.
fn by_budgets<'a>(victims: Vec<Victim<'a>>, budgets: &[Budget]) -> (Vec<Victim<'a>>, Vec<Victim<'a>>) {
    let mut allowed: Vec<i64> = budgets.iter().map(|budget| budget.allowed).collect();
    victims.into_iter().partition(|victim| {
        let mut violates = false;
        for (budget, allowed) in budgets.iter().zip(&mut allowed) {
            if budget.namespace == victim.wish.namespace && budget.pods.matches(Some(&victim.wish.labels)) {
                *allowed -= 1;
                violates |= *allowed < 0;
            }
        }
        violates
    })
}

#[cfg(test)]
mod tests;
