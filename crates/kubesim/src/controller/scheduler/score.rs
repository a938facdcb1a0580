//! How good a node is for a pod that has preferences, beside being empty: the weights are those of the real scheduler. Pure.

use super::{neighbours::Neighbours, node::Node, wish::Wish};

const TAINTS: f64 = 3.0;
const NODE_AFFINITY: f64 = 2.0;
const SPREAD: f64 = 2.0;
const POD_AFFINITY: f64 = 2.0;
const BEST: f64 = 100.0;

/// A grade for each of the nodes; the highest is the best.
pub(super) fn grades(wish: &Wish, nodes: &[&Node], neighbours: &Neighbours) -> Vec<f64> {
    let mut grades: Vec<f64> = nodes.iter().map(|node| BEST * node.idleness()).collect();
    let mut count = |weight: f64, marks: Vec<f64>| {
        grades.iter_mut().zip(marks).for_each(|(grade, mark)| *grade += weight * mark);
    };
    count(TAINTS, reversed(&nodes.iter().map(|node| node.unwelcome(wish)).collect::<Vec<_>>()));
    if !wish.nodes_liked.is_empty() {
        count(NODE_AFFINITY, upwards(&nodes.iter().map(|node| liked(wish, node)).collect::<Vec<_>>()));
    }
    if !neighbours.liking.is_empty() {
        let marks: Vec<f64> = nodes.iter().map(|node| welcome(node, neighbours)).collect();
        let (least, most) = bounds(&marks);
        let range = most - least;
        count(
            POD_AFFINITY,
            marks.iter().map(|m| if range > 0.0 { BEST * (m - least) / range } else { 0.0 }).collect(),
        );
    }
    if wish.spread.iter().any(|constraint| !constraint.hard) {
        count(SPREAD, even(wish, nodes, neighbours));
    }
    grades
}

fn liked(wish: &Wish, node: &Node) -> f64 {
    let Some(facts) = &node.facts else { return 0.0 };
    let terms = wish.nodes_liked.iter().filter(|(_, term)| term.admits(&facts.object));
    number(terms.map(|(weight, _)| weight).sum())
}

fn welcome(node: &Node, neighbours: &Neighbours) -> f64 {
    let Some(facts) = &node.facts else { return 0.0 };
    let at = |(label, counts): (&String, &std::collections::HashMap<String, i64>)| {
        facts.label(label).and_then(|value| counts.get(value)).copied().unwrap_or(0)
    };
    number(neighbours.liking.iter().map(at).sum())
}

/// The fewer of its like a domain has, the better. A domain that is one of few weighs less.
fn even(wish: &Wish, nodes: &[&Node], neighbours: &Neighbours) -> Vec<f64> {
    let soft = || wish.spread.iter().zip(&neighbours.domains).filter(|(constraint, _)| !constraint.hard);
    let mark = |node: &&Node| -> Option<f64> {
        let facts = node.facts.as_ref()?;
        soft()
            .map(|(constraint, domains)| {
                let found = domains.count(facts.label(&constraint.topology)?);
                let weight = (number(i64::try_from(domains.len()).unwrap_or(0)) + 2.0).ln();
                Some(number(found) * weight + number(constraint.skew - 1))
            })
            .sum()
    };
    let marks: Vec<Option<f64>> = nodes.iter().map(mark).collect();
    let (least, most) = bounds(&marks.iter().flatten().copied().collect::<Vec<_>>());
    let turned = |mark: f64| if most > 0.0 { BEST * (most + least - mark) / most } else { BEST };
    marks.into_iter().map(|mark| mark.map_or(0.0, turned)).collect()
}

fn upwards(marks: &[f64]) -> Vec<f64> {
    let (_, most) = bounds(marks);
    marks.iter().map(|mark| if most > 0.0 { BEST * mark / most } else { 0.0 }).collect()
}

fn reversed(marks: &[f64]) -> Vec<f64> {
    upwards(marks).into_iter().map(|mark| BEST - mark).collect()
}

fn bounds(marks: &[f64]) -> (f64, f64) {
    let least = marks.iter().copied().fold(f64::INFINITY, f64::min);
    (least, marks.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

#[expect(clippy::cast_precision_loss, reason = "marks are small")]
fn number(count: i64) -> f64 {
    count as f64
}
