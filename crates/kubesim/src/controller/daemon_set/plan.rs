//! What a DaemonSet does next. Pure: the set and its places in, the steps out.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::place::{Place, Places};
use crate::{
    controller::{
        percent::{self, Round},
        pod, revision,
    },
    object::{self, int, text},
};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// A pod for the node of this name.
    Create(String),
    Delete(Arc<Value>),
}

pub(super) fn min_ready(set: &Value) -> i64 {
    int(set, "/spec/minReadySeconds").unwrap_or(0)
}

/// One set at one moment.
struct View<'a> {
    hash: &'a str,
    min_ready: i64,
    now: Timestamp,
    surge: i64,
    unavailable: i64,
}

impl View<'_> {
    fn available(&self, pod: &Value) -> bool {
        pod::available(pod, self.min_ready, self.now).is_ok()
    }

    /// The pods of a place that are to stay: of the new revision, and of older ones.
    fn split<'p>(&self, place: &'p Place) -> (Vec<&'p Arc<Value>>, Vec<&'p Arc<Value>>) {
        place.pods.iter().filter(|p| pod::active(p)).partition(|p| revision::of_pod(p) == self.hash)
    }
}

pub(super) fn next(set: &Value, hash: &str, places: &Places, now: Timestamp) -> Vec<Step> {
    let rolls = text(set, "/spec/updateStrategy/type") != "OnDelete";
    let rolling = &set["spec"]["updateStrategy"]["rollingUpdate"];
    let wanted = i64::try_from(places.values().filter(|p| p.should_run).count()).unwrap_or(i64::MAX);
    // Both round up here, unlike those of a Deployment.
    let surge = if rolls { percent::of(&rolling["maxSurge"], wanted, Round::Up) } else { 0 };
    let unavailable = percent::of(&rolling["maxUnavailable"], wanted, Round::Up);
    let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
    let view = View { hash, min_ready: min_ready(set), now, surge, unavailable };
    let steps: Vec<Step> = places.iter().flat_map(|(node, place)| keep(&view, node, place)).collect();
    if !steps.is_empty() || !rolls {
        return steps;
    }
    if surge > 0 { roll_by_surge(&view, places) } else { roll_in_place(&view, places) }
}

/// One pod where one should be, none where none may stay, and no more than that.
fn keep(view: &View<'_>, node: &str, place: &Place) -> Vec<Step> {
    if place.should_run && place.pods.is_empty() {
        return vec![Step::Create(node.to_owned())];
    }
    let delete = |pods: &[&Arc<Value>]| pods.iter().map(|p| Step::Delete(Arc::clone(p))).collect::<Vec<_>>();
    let (new, old) = view.split(place);
    if !place.may_stay {
        return delete(&[new, old].concat());
    }
    let ended: Vec<&Arc<Value>> =
        place.pods.iter().filter(|p| pod::ended(p) && !object::deleting(p)).collect();
    let surplus = if view.surge == 0 {
        // The oldest stays, whatever it is made from.
        let all: Vec<&Arc<Value>> = place.pods.iter().filter(|p| pod::active(p)).collect();
        all.into_iter().skip(1).collect()
    } else {
        let mut surplus = [new.get(1..).unwrap_or(&[]), old.get(1..).unwrap_or(&[])].concat();
        if let (Some(new), Some(old)) = (new.first(), old.first())
            && (!pod::ready(old) || view.available(new))
        {
            surplus.push(old);
        }
        surplus
    };
    delete(&[ended, surplus].concat())
}

/// Takes old pods away, as many as may be missing at once; those that do not serve anyway all at once.
fn roll_in_place(view: &View<'_>, places: &Places) -> Vec<Step> {
    let (mut missing, mut useless, mut serving) = (0, Vec::new(), Vec::new());
    for place in places.values().filter(|p| p.should_run || !p.pods.is_empty()) {
        match view.split(place) {
            (new, old) if new.is_empty() && old.len() == 1 => {
                if view.available(old[0]) {
                    serving.push(old[0]);
                } else {
                    missing += 1;
                    useless.push(old[0]);
                }
            }
            (new, old) if old.is_empty() && new.len() == 1 && view.available(new[0]) => {}
            _ => missing += 1,
        }
    }
    let room = usize::try_from(view.unavailable - missing).unwrap_or(0);
    useless.into_iter().chain(serving.into_iter().take(room)).map(|p| Step::Delete(Arc::clone(p))).collect()
}

/// Puts new pods beside old ones, as many as may be too many at once.
fn roll_by_surge(view: &View<'_>, places: &Places) -> Vec<Step> {
    let (mut surging, mut useless, mut serving) = (0, Vec::new(), Vec::new());
    for (node, place) in places.iter().filter(|(_, p)| p.should_run) {
        let (new, old) = view.split(place);
        match (new.first(), old.first()) {
            (None, Some(old)) if view.available(old) => serving.push(node),
            (None, Some(_)) => useless.push(node),
            (Some(_), Some(_)) => surging += 1,
            _ => {}
        }
    }
    let room = usize::try_from(view.surge - surging).unwrap_or(0);
    useless.into_iter().chain(serving.into_iter().take(room)).cloned().map(Step::Create).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `r`: ready, `u`: unready, `f`: failed, `t`: on its way out; a capital letter is of the new revision.
    fn pod(node: &str, letter: char) -> Arc<Value> {
        let hash = if letter.is_ascii_uppercase() { "new" } else { "old" };
        let ready = if letter.eq_ignore_ascii_case(&'r') { "True" } else { "False" };
        let mut pod = json!({
            "metadata": {"name": format!("{node}{letter}"), "labels": {"controller-revision-hash": hash}},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
        });
        if letter.eq_ignore_ascii_case(&'t') {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        if letter.eq_ignore_ascii_case(&'f') {
            pod["status"]["phase"] = json!("Failed");
        }
        Arc::new(pod)
    }

    /// `nodes` names the pods of each node; a node with `!` may keep none, one with `?` needs none.
    fn steps(rules: &Value, nodes: &[&str]) -> Vec<String> {
        let place = |(at, text): (usize, &&str)| {
            let node = format!("n{at}");
            let pods = text.chars().filter(char::is_ascii_alphabetic).map(|c| pod(&node, c)).collect();
            let place = Place { should_run: !text.contains(['!', '?']), may_stay: !text.contains('!'), pods };
            (node, place)
        };
        let places = nodes.iter().enumerate().map(place).collect();
        let set = json!({"spec": {"updateStrategy": rules}});
        let steps = next(&set, "new", &places, "2026-01-01T00:01:00Z".parse().expect("an instant"));
        let word = |step: &Step| match step {
            Step::Create(node) => format!("+{node}"),
            Step::Delete(pod) => format!("-{}", object::name(pod)),
        };
        steps.iter().map(word).collect()
    }

    #[test]
    fn every_node_has_the_one_pod_that_it_should_have() {
        let rules = json!({"type": "OnDelete"});
        for (what, nodes, expected) in [
            ("missing", vec!["R", "", "?"], vec!["+n1"]),
            ("what goes is waited for", vec!["T"], vec![]),
            ("a failed pod is taken away", vec!["F"], vec!["-n0F"]),
            ("one too many", vec!["rR"], vec!["-n0R"]),
            ("may stay", vec!["R?"], vec![]),
            ("must go", vec!["R!"], vec!["-n0R"]),
            ("old ones wait for somebody to delete them", vec!["r", "u"], vec![]),
        ] {
            assert_eq!(steps(&rules, &nodes), expected, "{what}");
        }
    }

    #[test]
    fn updates_in_place_keep_to_what_may_be_missing() {
        let rules = |n: Value| json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": n, "maxSurge": 0}});
        for (what, unavailable, nodes, expected) in [
            ("one by one", json!(1), vec!["r", "r", "r"], vec!["-n0r"]),
            ("waits for what goes", json!(1), vec!["t", "r", "r"], vec![]),
            ("waits for the new one", json!(1), vec!["U", "r", "r"], vec![]),
            ("goes on", json!(1), vec!["R", "r", "r"], vec!["-n1r"]),
            ("what does not serve is not missed", json!(1), vec!["r", "u", "u"], vec!["-n1u", "-n2u"]),
            ("a part, rounded up", json!("50%"), vec!["r", "r", "r"], vec!["-n0r", "-n1r"]),
        ] {
            assert_eq!(steps(&rules(unavailable), &nodes), expected, "{what}");
        }
    }

    #[test]
    fn updates_by_surge_put_the_new_pod_beside_the_old_one() {
        let rules = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}});
        for (what, nodes, expected) in [
            ("first beside", vec!["r", "r"], vec!["+n0"]),
            ("waits for it", vec!["rU", "r"], vec![]),
            ("then away with the old one", vec!["rR", "r"], vec!["-n0r"]),
            ("the next", vec!["R", "r"], vec!["+n1"]),
            ("an old one that does not serve goes at once", vec!["uU", "r"], vec!["-n0u"]),
        ] {
            assert_eq!(steps(&rules, &nodes), expected, "{what}");
        }
    }
}
