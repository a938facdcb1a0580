use serde_json::json;

use super::*;
use crate::view::sample;

fn event(type_name: &str, payload: Value) -> Expected {
    let type_name = format!("bcs.{type_name}.v1").parse().expect("is a type");
    Expected { object: "demo/app/shop-web".to_owned(), type_name, payload }
}

fn shop() -> Object {
    let mut view = sample::app("shop-web");
    view.status.observed_generation = view.generation;
    Object::app(&view)
}

fn rollout(view: &AppView, restarts: u64) -> Expected {
    let template = view.spec.template(restarts);
    event("deploy.app.rollout-started", json!({ "revision": template.revision(), "template": template }))
}

#[test]
fn another_number_is_told_by_cluster() {
    let scaled = event("deploy.app.scaled", json!({ "generation": 2, "replicas": 9, "remove": ["i1"] }));
    for (shares, words) in [
        (json!({ "sim-a": 6, "sim-b": 3 }), "6 → 9 instances: sim-a +2, sim-b +1"),
        (json!({ "sim-a": 9 }), "6 → 9 instances: sim-a +5, sim-b -2"),
        (json!({ "sim-b": 1 }), "6 → 1 instance: sim-a -4, sim-b -1"),
        (json!({ "sim-a": 3, "sim-c": 3, "sim-b": 0 }), "6 → 6 instances: sim-a -1, sim-b -2, sim-c +3"),
    ] {
        let placed = event("deploy.app.placed", json!({ "shares": shares }));
        let change = change(Some(&shop()), &[scaled.clone(), placed]);
        assert_eq!(change.kind, Kind::Changed);
        assert_eq!(change.after.expect("stays")["spec"]["replicas"], 9);
        assert_eq!(change.effects, ["removes first: i1", words]);
    }
}

#[test]
fn where_the_status_is_behind_only_what_comes_is_told() {
    let behind = Object::app(&{
        let mut view = sample::app("shop-web");
        view.generation = 2;
        view
    });
    let placed = event("deploy.app.placed", json!({ "shares": { "sim-a": 6, "sim-b": 3 } }));
    assert_eq!(change(Some(&behind), &[placed]).effects, ["9 instances: sim-a 6, sim-b 3"]);
    let gone = event("deploy.app.deletion-requested", json!({ "generation": 3 }));
    let effects = change(Some(&behind), &[gone]).effects;
    assert_eq!(effects, ["drains and stops every instance, then forgets the application"]);
}

#[test]
fn what_becomes_of_an_application_is_one_word_and_its_effects() {
    let view = sample::app("shop-web");
    let applied = event(
        "deploy.app.applied",
        json!({ "generation": 1, "labels": { "tier": "web" }, "spec": view.spec }),
    );
    let placed = event("deploy.app.placed", json!({ "shares": { "sim-a": 4, "sim-b": 2 } }));
    let created = change(None, &[applied, placed, rollout(&view, 0)]);
    assert_eq!(created.kind, Kind::Created);
    assert_eq!(created.after.expect("comes")["labels"], json!({ "tier": "web" }));
    let begins = format!("begins with revision {}", view.spec.template(0).revision());
    assert_eq!(created.effects, ["starts 6 instances: sim-a 4, sim-b 2", &begins]);

    let restarted = event("deploy.app.restarted", json!({ "generation": 2, "restarts": 1 }));
    let changed = change(Some(&shop()), &[restarted, rollout(&view, 1)]);
    let (old, new) = (view.spec.template(0).revision(), view.spec.template(1).revision());
    let replaces = format!("replaces every instance, surge first: revision {old} → {new}");
    assert_eq!((changed.kind, changed.after), (Kind::Changed, Some(shop().wanted)));
    assert_eq!(changed.effects, [replaces]);

    let gone = event("deploy.app.deletion-requested", json!({ "generation": 2, "force": true }));
    let deleted = change(Some(&shop()), &[gone]);
    assert_eq!((deleted.kind, deleted.after), (Kind::Deleted, None));
    let words = "drains and stops 6 instances (sim-a 4, sim-b 2), then forgets the application; drains go on at their deadline";
    assert_eq!(deleted.effects, [words]);

    assert_eq!(change(Some(&shop()), &[]).kind, Kind::Unchanged);
}

#[test]
fn what_becomes_of_a_cluster_is_told_too_and_what_is_unknown_as_it_stands() {
    let spec = json!({ "engine": "kubernetes", "kubeconfig": { "file": "/k" }, "agent": "direct" });
    let before = Object {
        revision: 3,
        wanted: json!({ "labels": { "zone": "a" }, "spec": spec }),
        shares: None,
        template: None,
    };
    for (fact, payload, kind, after, words) in [
        ("labelled", json!({ "labels": { "zone": "b" } }), Kind::Changed, Some(json!("b")), "follow"),
        ("removed", json!({}), Kind::Deleted, None, "nobody looks after it"),
        (
            "node-cordoned",
            json!({ "node": "n1", "generation": 2 }),
            Kind::Changed,
            Some(json!("a")),
            "node n1",
        ),
        (
            "melted",
            json!({ "heat": 9 }),
            Kind::Changed,
            Some(json!("a")),
            "bcs.cluster.cluster.melted.v1: {\"heat\":9}",
        ),
    ] {
        let change = change(Some(&before), &[event(&format!("cluster.cluster.{fact}"), payload)]);
        let zone = change.after.as_ref().map(|after| after["labels"]["zone"].clone());
        assert_eq!((change.kind, zone), (kind, after), "{fact}");
        assert!(change.after.as_ref().is_none_or(|after| after["spec"] == spec), "{fact}");
        assert!(change.effects.len() == 1 && change.effects[0].ends_with(words), "{:?}", change.effects);
    }
}
