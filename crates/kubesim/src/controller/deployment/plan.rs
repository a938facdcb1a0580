//! Which ReplicaSet gets how many pods next. Pure: the deployment and its sets in, the steps out.

use std::{cmp::Reverse, sync::Arc};

use serde_json::Value;

use super::revision::{DESIRED, MAXIMUM};
use crate::{
    controller::percent::{self, Round},
    object::{self, Key, int, text},
};

/// A set, and the number of pods that it is to have.
pub(super) type Step = (Key, i64);

pub(super) fn wanted(deployment: &Value) -> i64 {
    int(deployment, "/spec/replicas").unwrap_or(1)
}

pub(super) fn replicas(set: &Value) -> i64 {
    int(set, "/spec/replicas").unwrap_or(0)
}

fn available(set: &Value) -> i64 {
    int(set, "/status/availableReplicas").unwrap_or(0)
}

fn to(set: &Value, count: i64) -> Option<Step> {
    (replicas(set) != count).then(|| (Key::of(set), count))
}

/// How far a rollout may go above and below the wanted number.
pub(super) fn bounds(deployment: &Value) -> (i64, i64) {
    if text(deployment, "/spec/strategy/type") == "Recreate" {
        return (0, 0);
    }
    let (wanted, rolling) = (wanted(deployment), &deployment["spec"]["strategy"]["rollingUpdate"]);
    let surge = percent::of(&rolling["maxSurge"], wanted, Round::Up);
    let unavailable = percent::of(&rolling["maxUnavailable"], wanted, Round::Down);
    // Both may be nothing only by rounding, and then nothing would ever move.
    if surge == 0 && unavailable == 0 { (0, 1.min(wanted)) } else { (surge, unavailable.min(wanted)) }
}

/// `Recreate` first takes all old pods away.
pub(super) fn stop_all(old: &[Arc<Value>]) -> Vec<Step> {
    old.iter().filter_map(|s| to(s, 0)).collect()
}

pub(super) fn start_all(deployment: &Value, new: &Value) -> Vec<Step> {
    to(new, wanted(deployment)).into_iter().collect()
}

/// The new set grows as far as the surge allows; only when it cannot, old ones shrink.
pub(super) fn rolling(deployment: &Value, new: &Value, old: &[Arc<Value>]) -> Vec<Step> {
    let wanted = wanted(deployment);
    let (surge, unavailable) = bounds(deployment);
    let total: i64 = old.iter().map(|s| replicas(s)).sum::<i64>() + replicas(new);
    let room = (wanted + surge - total).max(0);
    let target = if replicas(new) > wanted { wanted } else { (replicas(new) + room).min(wanted) };
    match to(new, target) {
        Some(step) => vec![step],
        None => shrink_old(wanted - unavailable, total, new, old),
    }
}

/// Old sets give up what is unhealthy first, then as much as the minimum leaves.
fn shrink_old(minimum: i64, total: i64, new: &Value, old: &[Arc<Value>]) -> Vec<Step> {
    let new_missing = (replicas(new) - available(new)).max(0);
    let mut budget = (total - minimum - new_missing).max(0);
    if budget == 0 {
        return Vec::new();
    }
    let mut left: Vec<(&Value, i64)> = old.iter().map(|s| (&**s, replicas(s))).collect();
    for (set, count) in &mut left {
        let sick = (*count - available(set)).max(0).min(budget);
        *count -= sick;
        budget -= sick;
    }
    let serving: i64 = available(new) + left.iter().map(|(s, c)| available(s).min(*c)).sum::<i64>();
    let mut healthy = (serving - minimum).max(0);
    for (_, count) in &mut left {
        let gone = (*count).min(healthy);
        *count -= gone;
        healthy -= gone;
    }
    left.into_iter().filter_map(|(s, c)| to(s, c)).collect()
}

fn noted(set: &Value, key: &str) -> Option<i64> {
    object::annotation(set, key)?.parse().ok()
}

/// True when the wanted number is not the one that the sets were last scaled for.
pub(super) fn number_changed(deployment: &Value, sets: &[&Value]) -> bool {
    let wanted = wanted(deployment);
    sets.iter().any(|s| replicas(s) > 0 && noted(s, DESIRED).is_some_and(|n| n != wanted))
}

/// A change of the number alone: a single set takes it all; several, in the middle of a rollout, share it.
pub(super) fn follow_number(deployment: &Value, new: Option<&Value>, old: &[Arc<Value>]) -> Vec<Step> {
    let wanted = wanted(deployment);
    let all: Vec<&Value> = old.iter().map(Arc::as_ref).chain(new).collect();
    let active: Vec<&Value> = all.iter().copied().filter(|s| replicas(s) > 0).collect();
    if active.len() < 2 {
        // Of sets without pods the new one, or the youngest.
        let single = active.first().copied().or_else(|| all.last().copied());
        return single.map(|s| (Key::of(s), wanted)).into_iter().collect();
    }
    let saturated = |s: &Value| replicas(s) == wanted && available(s) == wanted;
    if new.is_some_and(saturated) {
        return active.iter().map(|s| (Key::of(s), if Some(*s) == new { wanted } else { 0 })).collect();
    }
    if text(deployment, "/spec/strategy/type") == "Recreate" {
        return Vec::new();
    }
    proportional(deployment, active)
}

/// Every set gets its part of what is to be added or taken, the largest also what rounding leaves over.
fn proportional(deployment: &Value, mut sets: Vec<&Value>) -> Vec<Step> {
    let wanted = wanted(deployment);
    let allowed = if wanted > 0 { wanted + bounds(deployment).0 } else { 0 };
    let change = allowed - sets.iter().map(|s| replicas(s)).sum::<i64>();
    if change > 0 {
        // The sets come from old to young: of equal ones the younger grows, and the older shrinks.
        sets.reverse();
    }
    sets.sort_by_key(|s| Reverse(replicas(s)));
    let mut given = 0;
    let mut steps = Vec::new();
    for set in sets {
        let part = portion(deployment, set, allowed);
        let left = change - given;
        let part = if change > 0 { part.clamp(0, left) } else { part.clamp(left, 0) };
        given += part;
        steps.push((Key::of(set), replicas(set) + part));
    }
    if let Some((_, count)) = steps.first_mut() {
        *count = (*count + change - given).max(0);
    }
    steps
}

fn portion(deployment: &Value, set: &Value, allowed: i64) -> i64 {
    let before = noted(set, MAXIMUM).or_else(|| int(deployment, "/status/replicas")).unwrap_or(0);
    if allowed == 0 {
        return -replicas(set);
    }
    if before == 0 {
        return 0;
    }
    // Rounded to the nearest, half up.
    (2 * replicas(set) * allowed + before) / (2 * before) - replicas(set)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(name: &str, replicas: i64, available: i64) -> Arc<Value> {
        Arc::new(
            json!({"metadata": {"name": name}, "spec": {"replicas": replicas}, "status": {"replicas": replicas, "availableReplicas": available}}),
        )
    }

    fn deployment(replicas: i64, kind: &str, surge: Value, unavailable: Value) -> Value {
        json!({"spec": {"replicas": replicas, "strategy": {"type": kind, "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}})
    }

    fn named(steps: &[Step]) -> Vec<(&str, i64)> {
        steps.iter().map(|(key, count)| (key.name.as_str(), *count)).collect()
    }

    #[test]
    fn rollouts_stay_within_their_bounds() {
        let rolling_by = |s: i64, u: i64| deployment(4, "RollingUpdate", json!(s), json!(u));
        type Case = (&'static str, Value, (i64, i64), (i64, i64), Vec<(&'static str, i64)>);
        let cases: Vec<Case> = vec![
            ("first: as many as wanted", rolling_by(1, 0), (0, 0), (0, 0), vec![("new", 4)]),
            ("surge first", rolling_by(1, 0), (0, 0), (4, 4), vec![("new", 1)]),
            ("old waits for the new to be available", rolling_by(1, 0), (1, 0), (4, 4), vec![]),
            ("one available, one old goes", rolling_by(1, 0), (1, 1), (4, 4), vec![("old", 3)]),
            ("unavailable allowed: old goes at once", rolling_by(0, 2), (0, 0), (4, 4), vec![("old", 2)]),
            ("sick old pods go first", rolling_by(1, 1), (1, 0), (4, 0), vec![("old", 3)]),
            ("scale down", rolling_by(1, 0), (6, 6), (0, 0), vec![("new", 4)]),
        ];
        for (what, deployment, new, old, expected) in cases {
            let (new, old) = (set("new", new.0, new.1), [set("old", old.0, old.1)]);
            assert_eq!(named(&rolling(&deployment, &new, &old)), expected, "{what}");
        }
    }

    #[test]
    fn percentages_round_in_favour_of_progress() {
        for (replicas, surge, unavailable, expected) in [
            (10, "25%", "25%", (3, 2)),
            (1, "0%", "0%", (0, 1)),
            (0, "0%", "0%", (0, 0)),
            (2, "0%", "200%", (0, 2)),
        ] {
            let deployment = deployment(replicas, "RollingUpdate", json!(surge), json!(unavailable));
            assert_eq!(bounds(&deployment), expected, "{replicas} {surge} {unavailable}");
        }
    }

    #[test]
    fn a_change_of_number_in_the_middle_of_a_rollout_is_shared() {
        let sized = |name: &str, replicas: i64, available: i64| {
            let mut set = (*set(name, replicas, available)).clone();
            set["metadata"]["annotations"] = json!({MAXIMUM: "13", DESIRED: "10"});
            Arc::new(set)
        };
        // Ten wanted, three more allowed: eight old and five new.
        let (old, new) = ([sized("old", 8, 8)], sized("new", 5, 0));
        for (what, wanted, expected) in [
            ("up", 15, vec![("old", 11), ("new", 7)]),
            ("down", 5, vec![("old", 5), ("new", 3)]),
            ("to nothing", 0, vec![("old", 0), ("new", 0)]),
        ] {
            let deployment = deployment(wanted, "RollingUpdate", json!(3), json!(2));
            assert!(number_changed(&deployment, &[&old[0], &new]), "{what}");
            assert_eq!(named(&follow_number(&deployment, Some(&new), &old)), expected, "{what}");
        }
    }

    #[test]
    fn a_single_set_takes_the_whole_number() {
        let deployment = deployment(5, "RollingUpdate", json!(1), json!(1));
        let (old, new) = ([set("old", 3, 3)], set("new", 0, 0));
        assert_eq!(named(&follow_number(&deployment, Some(&new), &old)), [("old", 5)]);
        assert_eq!(named(&follow_number(&deployment, None, &[set("a", 0, 0), set("b", 0, 0)])), [("b", 5)]);
        assert_eq!(
            named(&follow_number(&deployment, Some(&set("new", 5, 5)), &old)),
            [("old", 0), ("new", 5)]
        );
    }
}
