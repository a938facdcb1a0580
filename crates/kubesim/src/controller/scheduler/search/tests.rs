//! What neighbours, domains and preferences mean, over small clusters.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{super::node::Facts, *};
use crate::{
    object::{self, Key},
    patch::merge,
};

/// Six nodes, two in each of the zones a, b and c; the last has no zone.
fn cluster() -> Cluster {
    let mut cluster = Cluster::default();
    for (number, zone) in ["a", "a", "b", "b", "c", ""].into_iter().enumerate() {
        let name = format!("n{number}");
        let mut node = json!({
            "metadata": {"name": name, "labels": {"host": name, "zone": zone}},
            "status": {"allocatable": {"cpu": "8", "memory": "8Gi", "pods": "20"}, "conditions": [{"type": "Ready", "status": "True"}]},
        });
        if zone.is_empty() {
            node["metadata"]["labels"] = json!({"host": name});
        }
        cluster.learn(&name, Facts::of(&Arc::new(node)));
    }
    cluster.learn_namespace("shop", json!({"team": "x"}).as_object());
    cluster
}

fn pod(namespace: &str, app: &str, spec: &Value) -> Value {
    let base =
        json!({"metadata": {"namespace": namespace, "labels": {"app": app}}, "spec": {"containers": []}});
    merge(&base, &json!({"spec": spec}))
}

fn term(app: &str, topology: &str) -> Value {
    json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": topology})
}

fn requires(kind: &str, terms: &[Value]) -> Value {
    json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": terms}}})
}

fn prefers(kind: &str, weight: i64, term: &Value) -> Value {
    let term = json!([{"weight": weight, "podAffinityTerm": term}]);
    json!({"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": term}}})
}

fn place(cluster: &mut Cluster, pod: &Value, node: &str) {
    let name = format!("p{}", cluster.pods());
    cluster.place(&Key::new("", &name), Arc::new(Wish::of(pod)), node, object::deleting(pod));
}

/// The nodes where it fits, by their numbers.
fn fitting(cluster: &Cluster, pod: &Value) -> Vec<usize> {
    let wish = Wish::of(pod);
    let mut found = Search::new(cluster, &wish).fitting(None);
    found.sort_unstable();
    found
}

fn sentence(cluster: &Cluster, pod: &Value) -> String {
    let wish = Wish::of(pod);
    let search = Search::new(cluster, &wish);
    search.sentence(&search.refusals(), &[])
}

fn picked(cluster: &Cluster, pod: &Value) -> Option<usize> {
    Search::new(cluster, &Wish::of(pod)).pick(None)
}

#[test]
fn affinity_is_for_pods_of_the_namespaces_that_it_names() {
    let mut cluster = cluster();
    place(&mut cluster, &pod("default", "db", &json!({})), "n0");
    place(&mut cluster, &pod("shop", "db", &json!({})), "n2");
    let near =
        |more: Value| pod("default", "web", &requires("podAffinity", &[merge(&term("db", "zone"), &more)]));
    for (what, more, expected) in [
        ("its own namespace", json!({}), vec![0, 1]),
        ("a named one", json!({"namespaces": ["shop"]}), vec![2, 3]),
        ("one by its labels", json!({"namespaceSelector": {"matchLabels": {"team": "x"}}}), vec![2, 3]),
        (
            "both",
            json!({"namespaces": ["default"], "namespaceSelector": {"matchLabels": {"team": "x"}}}),
            vec![0, 1, 2, 3],
        ),
        ("all", json!({"namespaceSelector": {}, "namespaces": ["default"]}), vec![0, 1, 2, 3]),
        ("another topology", json!({"topologyKey": "host"}), vec![0]),
    ] {
        assert_eq!(fitting(&cluster, &near(more)), expected, "{what}");
    }
    let words = "0/6 nodes are available: 6 node(s) didn't match pod affinity rules.";
    assert_eq!(
        sentence(&cluster, &pod("default", "web", &requires("podAffinity", &[term("none", "zone")]))),
        words
    );
}

#[test]
fn the_first_of_its_kind_may_begin_where_it_likes() {
    let mut cluster = cluster();
    let own = pod("default", "db", &requires("podAffinity", &[term("db", "zone")]));
    assert_eq!(fitting(&cluster, &own), [0, 1, 2, 3, 4], "only where there is a zone");
    place(&mut cluster, &own, "n4");
    assert_eq!(fitting(&cluster, &own), [4]);
}

#[test]
fn anti_affinity_holds_in_both_directions() {
    let mut cluster = cluster();
    let shy = pod("default", "shy", &requires("podAntiAffinity", &[term("loud", "zone")]));
    let loud = pod("default", "loud", &json!({}));
    place(&mut cluster, &loud, "n0");
    assert_eq!(fitting(&cluster, &shy), [2, 3, 4, 5]);
    place(&mut cluster, &shy, "n2");
    assert_eq!(fitting(&cluster, &loud), [0, 1, 4, 5]);
    assert_eq!(
        fitting(&cluster, &pod("shop", "loud", &json!({}))),
        [0, 1, 2, 3, 4, 5],
        "that is another namespace"
    );
    let words = "2 node(s) didn't match pod anti-affinity rules";
    assert!(sentence(&cluster, &shy).contains(words), "{}", sentence(&cluster, &shy));
    let words = "2 node(s) didn't satisfy existing pods anti-affinity rules";
    assert!(sentence(&cluster, &loud).contains(words), "{}", sentence(&cluster, &loud));
}

#[test]
fn spread_keeps_the_skew_between_domains() {
    let constraint = |more: Value| {
        let base = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}});
        pod("default", "web", &json!({"topologySpreadConstraints": [merge(&base, &more)]}))
    };
    let mut cluster = cluster();
    let plain = pod("default", "web", &json!({}));
    place(&mut cluster, &plain, "n0");
    place(&mut cluster, &plain, "n2");
    place(&mut cluster, &pod("shop", "web", &json!({})), "n4");
    let leaving = merge(&plain, &json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
    place(&mut cluster, &leaving, "n4");
    assert_eq!(fitting(&cluster, &constraint(json!({}))), [4], "others and those that leave do not count");
    assert_eq!(fitting(&cluster, &constraint(json!({"maxSkew": 2}))), [0, 1, 2, 3, 4]);
    assert_eq!(fitting(&cluster, &constraint(json!({"minDomains": 4}))), [4]);
    assert_eq!(fitting(&cluster, &constraint(json!({"whenUnsatisfiable": "ScheduleAnyway"}))).len(), 6);
    assert_eq!(picked(&cluster, &constraint(json!({"whenUnsatisfiable": "ScheduleAnyway"}))), Some(4));
    place(&mut cluster, &plain, "n4");
    assert_eq!(fitting(&cluster, &constraint(json!({"minDomains": 4}))), Vec::<usize>::new());
    let words = "1 node(s) didn't match pod topology spread constraints (missing required label), \
                 5 node(s) didn't match pod topology spread constraints";
    let found = sentence(&cluster, &constraint(json!({"minDomains": 4})));
    assert_eq!(found, format!("0/6 nodes are available: {words}."));
    let keyed = constraint(json!({"minDomains": 4, "matchLabelKeys": ["hash"]}));
    assert_eq!(fitting(&cluster, &keyed).len(), 0, "it has no such label");
    let keyed = merge(&keyed, &json!({"metadata": {"labels": {"hash": "1"}}}));
    assert_eq!(fitting(&cluster, &keyed), [0, 1, 2, 3, 4], "the others have another revision");
}

#[test]
fn nodes_that_the_pod_cannot_have_count_as_the_policy_says() {
    let mut cluster = cluster();
    let plain = pod("default", "web", &json!({}));
    for node in ["n0", "n2"] {
        place(&mut cluster, &plain, node);
    }
    let selective = |policy: Option<&str>| {
        let in_zones = json!({"key": "zone", "operator": "In", "values": ["a", "b"]});
        let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [in_zones]}]}}});
        let constraint = json!({
            "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "nodeAffinityPolicy": policy,
            "labelSelector": {"matchLabels": {"app": "web"}},
        });
        pod("default", "web", &json!({"affinity": affinity, "topologySpreadConstraints": [constraint]}))
    };
    assert_eq!(fitting(&cluster, &selective(None)), [0, 1, 2, 3]);
    assert_eq!(fitting(&cluster, &selective(Some("Ignore"))), Vec::<usize>::new(), "zone c has none yet");
}

#[test]
fn preferences_are_weighed_against_each_other() {
    let mut cluster = cluster();
    place(&mut cluster, &pod("default", "db", &json!({})), "n3");
    let near = prefers("podAffinity", 50, &term("db", "host"));
    assert_eq!(picked(&cluster, &pod("default", "web", &near)), Some(3), "although it is not the emptiest");
    let far = prefers("podAntiAffinity", 50, &term("db", "zone"));
    assert!(matches!(picked(&cluster, &pod("default", "web", &far)), Some(0 | 1 | 4 | 5)));
    let zone = json!([{"weight": 1, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["c"]}]}}]);
    let zone =
        json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": zone}}});
    assert_eq!(picked(&cluster, &pod("default", "web", &zone)), Some(4));
    let host = json!({"weight": 80, "preference": {"matchExpressions": [{"key": "host", "operator": "In", "values": ["n0"]}]}});
    let terms = "/affinity/nodeAffinity/preferredDuringSchedulingIgnoredDuringExecution";
    let mut both = zone;
    both.pointer_mut(terms).and_then(Value::as_array_mut).expect("terms").push(host);
    assert_eq!(picked(&cluster, &pod("default", "web", &both)), Some(0));
    place(&mut cluster, &pod("default", "fan", &prefers("podAffinity", 1, &term("web", "host"))), "n1");
    assert_eq!(picked(&cluster, &pod("default", "web", &json!({}))), Some(1), "whom others like goes there");
}

#[test]
fn taints_that_would_rather_not_are_avoided() {
    let mut cluster = cluster();
    for number in 0..5 {
        let name = format!("n{number}");
        let mut node = (*cluster.node(number).facts.as_ref().expect("facts").object).clone();
        node["spec"] = json!({"taints": [{"key": "k", "effect": "PreferNoSchedule"}]});
        cluster.learn(&name, Facts::of(&Arc::new(node)));
    }
    let plain = pod("default", "web", &json!({}));
    place(&mut cluster, &plain, "n5");
    assert_eq!(picked(&cluster, &plain), Some(5));
    assert_eq!(fitting(&cluster, &plain).len(), 6, "they are still possible");
}

#[derive(Debug, Clone)]
enum Step {
    Come { app: usize, kind: usize, node: usize, leaving: bool },
    Go(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..3_usize, 0..5_usize, 0..6_usize, any::<bool>())
            .prop_map(|(app, kind, node, leaving)| Step::Come { app, kind, node, leaving }),
        1 => (0..40_usize).prop_map(Step::Go),
    ];
    proptest::collection::vec(step, 0..40)
}

fn sociable(app: &str, kind: usize) -> Value {
    let constraint =
        json!({"maxSkew": 1, "topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "b"}}});
    let spec = match kind {
        0 => json!({}),
        1 => requires("podAffinity", &[term("a", "zone")]),
        2 => requires("podAntiAffinity", &[term("a", "host"), term("b", "zone")]),
        3 => prefers("podAntiAffinity", 7, &term("b", "zone")),
        _ => json!({"topologySpreadConstraints": [constraint]}),
    };
    pod("default", app, &spec)
}

proptest! {
    #[test]
    fn what_is_remembered_of_the_neighbourhood_is_what_it_is(steps in steps(), app in 0..3_usize, kind in 1..5_usize) {
        let (mut cluster, apps) = (cluster(), ["a", "b", "c"]);
        let wish = Arc::new(Wish::of(&sociable(apps[app], kind)));
        cluster.remember(&wish);
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Come { app, kind, node, leaving } => {
                    let other = Arc::new(Wish::of(&sociable(apps[app], kind)));
                    cluster.place(&Key::new("", &number.to_string()), other, &format!("n{node}"), leaving);
                }
                Step::Go(number) => drop(cluster.remove(&Key::new("", &number.to_string()))),
            }
            let remembered = Search::new(&cluster, &wish);
            let neighbours = Arc::new(Neighbours::of(&cluster, &wish));
            let fresh = Search { cluster: &cluster, wish: &wish, neighbours };
            prop_assert_eq!(remembered.refusals().0, fresh.refusals().0);
            let all: Vec<usize> = cluster.numbers().collect();
            prop_assert_eq!(remembered.grades(&all), fresh.grades(&all));
        }
    }

    #[test]
    fn pods_that_spread_never_exceed_their_skew(skew in 1..3_i64, count in 1..40_usize, topology in prop_oneof![Just("zone"), Just("host")]) {
        let mut cluster = cluster();
        let constraint = json!({
            "maxSkew": skew, "topologyKey": topology, "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}},
        });
        let web = pod("default", "web", &json!({"topologySpreadConstraints": [constraint]}));
        let mut found = std::collections::BTreeMap::new();
        for _ in 0..count {
            let at = picked(&cluster, &web).expect("a place");
            let facts = Arc::clone(cluster.node(at).facts.as_ref().expect("facts"));
            *found.entry(facts.label(topology).expect("a domain").to_owned()).or_insert(0) += 1;
            let name = cluster.node(at).name.clone();
            place(&mut cluster, &web, &name);
            let domains = if topology == "zone" { 3 } else { 6 };
            let least = if found.len() < domains { 0 } else { *found.values().min().expect("some") };
            prop_assert!(found.values().max().expect("some") - least <= skew, "{found:?}");
        }
    }
}
