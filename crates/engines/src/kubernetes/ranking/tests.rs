use serde_json::json;

use super::*;

/// `name`, whether it has a node, its phase, whether it is ready.
fn candidate(name: &str, assigned: bool, phase: &str, ready: bool) -> Candidate {
    let pod = json!({
        "metadata": { "name": name, "uid": format!("uid-{name}") },
        "spec": { "containers": [], "nodeName": assigned.then_some("n1") },
        "status": {
            "phase": phase,
            "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }],
        },
    });
    Candidate::of(&serde_json::from_value(pod).expect("is a pod")).expect("counts")
}

fn serving(name: &str) -> Candidate {
    candidate(name, true, "Running", true)
}

fn names(found: &[&Candidate]) -> Vec<String> {
    found.iter().map(|c| c.instance.name.clone()).collect()
}

#[test]
fn the_controller_takes_readiness_before_cost() {
    let victim = serving("victim").cheapest();
    let cases = [
        (
            "the cost decides among ready ones",
            vec![serving("a"), victim.clone(), serving("b")],
            vec!["victim"],
        ),
        (
            "an unready one goes first",
            vec![victim.clone(), candidate("sick", true, "Running", false)],
            vec!["sick"],
        ),
        ("a pending one goes first", vec![victim, candidate("new", true, "Pending", false)], vec!["new"]),
        (
            "one without a node goes before a pending one",
            vec![candidate("new", true, "Pending", false), candidate("lost", false, "Pending", false)],
            vec!["lost"],
        ),
        ("either of two equals may go", vec![serving("a"), serving("b")], vec!["a", "b"]),
    ];
    for (why, candidates, expected) in cases {
        assert_eq!(names(&doomed(&candidates, candidates.len() - 1)), expected, "{why}");
    }
}

#[test]
fn nothing_is_doomed_when_all_are_kept() {
    assert!(doomed(&[serving("a")], 1).is_empty());
    assert!(doomed(&[serving("a")], 9).is_empty());
    assert!(doomed(&[], 0).is_empty());
}

#[test]
fn only_what_has_run_may_be_in_service() {
    let cases = [
        (serving("ready"), true),
        (candidate("sick", true, "Running", false), true),
        (candidate("silent", true, "Unknown", false), true),
        (candidate("new", true, "Pending", false), false),
        (candidate("lost", false, "Pending", false), false),
    ];
    for (one, expected) in cases {
        assert_eq!(one.may_serve(), expected, "{one:?}");
    }
}

#[test]
fn what_has_ended_or_is_being_deleted_is_not_counted() {
    for (phase, deleted) in [("Failed", false), ("Succeeded", false), ("Running", true)] {
        let mut pod = json!({ "metadata": { "name": "a", "uid": "u" }, "status": { "phase": phase } });
        if deleted {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        let pod = serde_json::from_value(pod).expect("is a pod");
        assert_eq!(Candidate::of(&pod), None, "{phase} {deleted}");
    }
}
