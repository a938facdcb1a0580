//! What a StatefulSet does next. Pure: the set and its pods in, the steps out.

use std::ops::Range;

use jiff::Timestamp;
use serde_json::Value;

use super::Pods;
use crate::{
    controller::{
        percent::{self, Round},
        pod, revision,
    },
    object::{self, int, text},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Create(i64),
    Delete(i64),
}

pub(super) fn replicas(set: &Value) -> i64 {
    int(set, "/spec/replicas").unwrap_or(1)
}

pub(super) fn min_ready(set: &Value) -> i64 {
    int(set, "/spec/minReadySeconds").unwrap_or(0)
}

pub(super) fn rolls(set: &Value) -> bool {
    text(set, "/spec/updateStrategy/type") != "OnDelete"
}

/// The ordinals that are to be there.
pub(super) fn ordinals(set: &Value) -> Range<i64> {
    let start = int(set, "/spec/ordinals/start").unwrap_or(0);
    start..start + replicas(set)
}

/// The first ordinal that an update may touch.
fn first_updated(set: &Value) -> i64 {
    ordinals(set).start + int(set, "/spec/updateStrategy/rollingUpdate/partition").unwrap_or(0)
}

/// Pods below the partition come back as they were.
pub(super) fn keeps_current(set: &Value, ordinal: i64) -> bool {
    rolls(set) && ordinal < first_updated(set)
}

/// Runs and is ready.
pub(super) fn serves(pod: &Value) -> bool {
    text(pod, "/status/phase") == "Running" && pod::ready(pod)
}

fn healthy(pod: &Value) -> bool {
    serves(pod) && !object::deleting(pod)
}

/// One set with its pods at one moment.
struct View<'a> {
    set: &'a Value,
    pods: &'a Pods,
    now: Timestamp,
    /// One step at a time, and none before all pods before it are well.
    ordered: bool,
}

impl View<'_> {
    fn settled(&self, pod: &Value) -> bool {
        healthy(pod) && pod::available(pod, min_ready(self.set), self.now).is_ok()
    }
}

pub(super) fn next(set: &Value, update: &str, pods: &Pods, now: Timestamp) -> Vec<Step> {
    let ordered = text(set, "/spec/podManagementPolicy") != "Parallel";
    let view = View { set, pods, now, ordered };
    let mut steps = Vec::new();
    if fill(&view, &mut steps) && shrink(&view, &mut steps) && rolls(set) {
        roll(&view, update, &mut steps);
    }
    steps
}

/// Makes what is missing and takes away what has ended; true when the next phase may follow.
fn fill(view: &View<'_>, steps: &mut Vec<Step>) -> bool {
    for ordinal in ordinals(view.set) {
        match view.pods.get(&ordinal) {
            None => steps.push(Step::Create(ordinal)),
            Some(pod) if pod::ended(pod) && !object::deleting(pod) => steps.push(Step::Delete(ordinal)),
            Some(pod) if view.settled(pod) => continue,
            Some(_) => {}
        }
        if view.ordered {
            return false;
        }
    }
    true
}

/// Takes away surplus pods from the highest ordinal.
fn shrink(view: &View<'_>, steps: &mut Vec<Step>) -> bool {
    let wanted = ordinals(view.set);
    // An unhealthy pod may go even though it is not well: it is what holds up the others.
    let first_unhealthy = view.pods.iter().find(|(_, p)| !healthy(p)).map(|(ordinal, _)| *ordinal);
    for (ordinal, pod) in view.pods.iter().rev().filter(|(o, _)| !wanted.contains(o)) {
        let blocked = !view.settled(pod) && first_unhealthy != Some(*ordinal);
        if view.ordered && (object::deleting(pod) || blocked) {
            return false;
        }
        if !object::deleting(pod) {
            steps.push(Step::Delete(*ordinal));
            if view.ordered {
                return false;
            }
        }
    }
    true
}

/// Takes away pods of an older revision from the highest ordinal, as many as may be missing at once.
fn roll(view: &View<'_>, update: &str, steps: &mut Vec<Step>) {
    let rolling = &view.set["spec"]["updateStrategy"]["rollingUpdate"];
    let most = percent::of(&rolling["maxUnavailable"], replicas(view.set), Round::Up).max(1);
    let mut missing = 0;
    for (ordinal, pod) in
        view.pods.range(first_updated(view.set)..ordinals(view.set).end.max(first_updated(view.set))).rev()
    {
        if missing >= most {
            return;
        }
        if revision::of_pod(pod) != update && !object::deleting(pod) {
            if !steps.contains(&Step::Delete(*ordinal)) {
                steps.push(Step::Delete(*ordinal));
            }
            missing += 1;
        } else if !view.settled(pod) {
            missing += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    /// `r`: ready, `u`: unready, `f`: failed, `t`: on its way out; a capital letter is of the new revision.
    fn pods(letters: &str) -> Pods {
        let pod = |letter: char| {
            let revision = if letter.is_ascii_uppercase() { "new" } else { "old" };
            let letter = letter.to_ascii_lowercase();
            let ready = if matches!(letter, 'r' | 't') { "True" } else { "False" };
            let mut pod = json!({
                "metadata": {"labels": {"controller-revision-hash": revision}},
                "status": {
                    "phase": if letter == 'f' { "Failed" } else { "Running" },
                    "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                },
            });
            if letter == 't' {
                pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            Arc::new(pod)
        };
        (0..).zip(letters.chars()).filter(|(_, c)| *c != '-').map(|(at, c)| (at, pod(c))).collect()
    }

    fn steps(set: &Value, letters: &str) -> Vec<Step> {
        next(set, "new", &pods(letters), "2026-01-01T00:01:00Z".parse().expect("an instant"))
    }

    #[test]
    fn ordered_sets_take_one_step_at_a_time() {
        use Step::{Create, Delete};
        let set = json!({"spec": {"replicas": 3, "updateStrategy": {"type": "RollingUpdate"}}});
        for (what, pods, expected) in [
            ("the first pod", "", vec![Create(0)]),
            ("waits for it", "U", vec![]),
            ("then the second", "R", vec![Create(1)]),
            ("a gap is filled first", "R-R", vec![Create(1)]),
            ("a failed pod is taken away", "RFR", vec![Delete(1)]),
            ("what goes is waited for", "RTR", vec![]),
            ("all is well", "RRR", vec![]),
            ("surplus goes from the top", "RRRRR", vec![Delete(4)]),
            ("one after the other", "RRRRT", vec![]),
            ("not while one before it is unwell", "RRURR", vec![]),
            ("unless it is itself what is unwell", "RRRRU", vec![Delete(4)]),
            ("updates from the top", "rrr", vec![Delete(2)]),
            ("the next when the last one serves", "rrR", vec![Delete(1)]),
        ] {
            assert_eq!(steps(&set, pods), expected, "{what}");
        }
    }

    #[test]
    fn parallel_sets_do_everything_at_once_but_update_in_order() {
        use Step::{Create, Delete};
        let set = json!({"spec": {"replicas": 3, "podManagementPolicy": "Parallel"}});
        for (what, pods, expected) in [
            ("all at once", "", vec![Create(0), Create(1), Create(2)]),
            ("the unwell hold up nobody", "U-R", vec![Create(1)]),
            ("surplus", "RRURR", vec![Delete(4), Delete(3)]),
            ("updates one by one", "rrr", vec![Delete(2)]),
            ("waits for the updated one", "rrU", vec![]),
        ] {
            assert_eq!(steps(&set, pods), expected, "{what}");
        }
    }

    #[test]
    fn updates_keep_to_partition_strategy_and_number() {
        use Step::Delete;
        let set = |strategy: Value| json!({"spec": {"replicas": 4, "updateStrategy": strategy}});
        let rolling = |rules: Value| set(json!({"type": "RollingUpdate", "rollingUpdate": rules}));
        for (what, set, pods, expected) in [
            ("only by hand", set(json!({"type": "OnDelete"})), "rrrr", vec![]),
            ("partition", rolling(json!({"partition": 3})), "rrrr", vec![Delete(3)]),
            ("not below it", rolling(json!({"partition": 3})), "rrrR", vec![]),
            ("beyond all", rolling(json!({"partition": 9})), "rrrr", vec![]),
            ("two at once", rolling(json!({"maxUnavailable": 2})), "rrrr", vec![Delete(3), Delete(2)]),
            (
                "a part, rounded up",
                rolling(json!({"maxUnavailable": "30%"})),
                "rrrR",
                vec![Delete(2), Delete(1)],
            ),
        ] {
            assert_eq!(steps(&set, pods), expected, "{what}");
        }
        assert!(keeps_current(&rolling(json!({"partition": 2})), 1));
        assert!(!keeps_current(&rolling(json!({"partition": 2})), 2));
    }

    #[test]
    fn ordinals_may_start_anywhere() {
        let set = json!({"spec": {"replicas": 2, "ordinals": {"start": 1}}});
        assert_eq!(steps(&set, "-R"), [Step::Create(2)]);
        assert_eq!(steps(&set, "RRR"), [Step::Delete(0)]);
    }
}
