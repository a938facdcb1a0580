use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    super::{cluster::Cluster, node::Facts},
    *,
};

fn node(cpu: &str) -> Facts {
    Facts::of(&Arc::new(json!({
        "metadata": {"labels": {}},
        "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "20"}, "conditions": [{"type": "Ready", "status": "True"}]},
    })))
}

fn wish(app: &str, priority: i64, cpu: i64) -> Arc<Wish> {
    Arc::new(Wish::of(&json!({
        "metadata": {"namespace": "default", "labels": {"app": app}},
        "spec": {"priority": priority, "containers": [{"resources": {"requests": {"cpu": format!("{cpu}m")}}}]},
    })))
}

fn budget(app: &str, allowed: i64) -> Budget {
    let pods = Labels::from_object(&json!({"matchLabels": {"app": app}}));
    Budget { namespace: "default".to_owned(), pods, allowed }
}

/// Nodes with two processors each, and the pods there: name, app, priority, thousandths of a processor.
fn cluster(nodes: &[&[(&str, &str, i64, i64)]]) -> Cluster {
    let mut cluster = Cluster::default();
    for (number, pods) in nodes.iter().enumerate() {
        let name = format!("n{number}");
        cluster.learn(&name, node("2"));
        for (pod, app, priority, cpu) in *pods {
            cluster.place(&Key::new("default", pod), wish(app, *priority, *cpu), &name, false);
        }
    }
    cluster
}

fn planned(cluster: &Cluster, wish: &Wish, budgets: &[Budget]) -> Result<(usize, Vec<String>), String> {
    let search = Search::new(cluster, wish);
    assert_eq!(search.pick(None), None, "there is room without that");
    // Who has a later name began later.
    let plan = plan(&search, &search.refusals(), budgets, &|pod| Some(pod.name.clone()))?;
    Ok((plan.node, plan.victims.into_iter().map(|pod| pod.name).collect()))
}

fn names(at: usize, names: &[&str]) -> Result<(usize, Vec<String>), String> {
    Ok((at, names.iter().map(|&name| name.to_owned()).collect()))
}

#[test]
fn only_those_go_who_must_and_where_it_does_the_least_harm() {
    type Nodes<'a> = &'a [&'a [(&'a str, &'a str, i64, i64)]];
    type Case<'a> = (&'a str, Nodes<'a>, &'a [Budget], Result<(usize, Vec<String>), String>);
    let cases: [Case<'_>; 7] = [
        ("one is enough", &[&[("a", "x", 1, 1000), ("b", "x", 1, 1000)]], &[], names(0, &["b"])),
        ("the important one stays", &[&[("a", "x", 1, 1000), ("b", "x", 5, 1000)]], &[], names(0, &["a"])),
        ("lower is better", &[&[("a", "x", 5, 2000)], &[("b", "x", 1, 2000)]], &[], names(1, &["b"])),
        (
            "fewer are better",
            &[&[("x", "x", 0, 600), ("y", "x", 0, 600), ("z", "x", 0, 800)], &[("d", "x", 0, 2000)]],
            &[],
            names(1, &["d"]),
        ),
        ("the younger one goes", &[&[("a", "x", 1, 2000)], &[("b", "x", 1, 2000)]], &[], names(1, &["b"])),
        (
            "a budget is respected",
            &[&[("a", "x", 1, 2000)], &[("b", "y", 5, 2000)]],
            &[budget("x", 0)],
            names(1, &["b"]),
        ),
        (
            "if that is possible",
            &[&[("a", "x", 1, 1000), ("b", "x", 1, 1000)]],
            &[budget("x", 0)],
            names(0, &["b"]),
        ),
    ];
    for (what, nodes, budgets, expected) in cases {
        assert_eq!(planned(&cluster(nodes), &wish("new", 10, 1000), budgets), expected, "{what}");
    }
}

#[test]
fn when_nobody_can_be_driven_out_the_reasons_are_told() {
    let mut cluster = cluster(&[&[("a", "x", 10, 2000)], &[("b", "x", 20, 1500), ("c", "x", 1, 500)]]);
    cluster.learn("small", node("1"));
    let found = planned(&cluster, &wish("new", 10, 1500), &[]);
    let words = "0/3 nodes are available: 1 Insufficient cpu, 1 No preemption victims found for incoming pod, \
                 1 Preemption is not helpful for scheduling.";
    assert_eq!(found, Err(words.to_owned()));
}

#[test]
fn a_place_that_was_made_for_one_is_not_for_others_of_less_priority() {
    let mut cluster = cluster(&[&[]]);
    let (one, less, more) = (wish("one", 10, 1500), wish("less", 5, 1000), wish("more", 20, 1000));
    cluster.nominate(&Key::new("default", "one"), 0, Arc::clone(&one));
    assert_eq!(Search::new(&cluster, &less).pick(None), None);
    assert_eq!(Search::new(&cluster, &more).pick(None), Some(0));
    assert_eq!(cluster.denominate(&Key::new("default", "one")), Some(0));
    assert_eq!(Search::new(&cluster, &less).pick(None), Some(0));
}

fn pods() -> impl Strategy<Value = Vec<(i64, i64)>> {
    proptest::collection::vec((0..20_i64, 100..900_i64), 1..8)
}

proptest! {
    #[test]
    fn nobody_goes_for_nothing_or_for_less_than_who_comes(nodes in proptest::collection::vec(pods(), 1..4), cpu in 500..2000_i64) {
        let mut cluster = Cluster::default();
        for (at, pods) in nodes.iter().enumerate() {
            let name = format!("n{at}");
            cluster.learn(&name, node("2"));
            for (number, (priority, cpu)) in pods.iter().enumerate() {
                let wish = wish("x", *priority, *cpu);
                if Search::new(&cluster, &wish).refuse(at).is_none() {
                    cluster.place(&Key::new("default", &format!("{name}-{number}")), wish, &name, false);
                }
            }
        }
        let wish = wish("new", 10, cpu);
        let search = Search::new(&cluster, &wish);
        if search.pick(None).is_some() {
            return Ok(());
        }
        let Ok(Plan { node, victims }) = plan(&search, &search.refusals(), &[], &|_| None) else { return Ok(()) };
        prop_assert!(!victims.is_empty());
        let going: Vec<_> = cluster.pods_of(node).filter(|(pod, ..)| victims.contains(pod)).collect();
        prop_assert!(going.iter().all(|(_, victim, _)| victim.priority < 10));
        let mut left = search.cluster.node(node).clone();
        going.iter().for_each(|(pod, victim, _)| left.remove(pod, victim));
        prop_assert_eq!(left.refuse(&wish), None, "it fits when they are gone");
        for (pod, victim, _) in going {
            left.add(pod, victim);
            prop_assert!(left.refuse(&wish).is_some(), "nobody goes for nothing");
            left.remove(pod, victim);
        }
    }
}

#[test]
fn what_no_pod_can_help_is_no_reason_to_drive_one_out() {
    let mut cluster = cluster(&[&[("a", "x", 1, 2000)]]);
    let mut cordoned: Value = json!({"spec": {"unschedulable": true}});
    cordoned["status"] = json!({"allocatable": {"cpu": "2", "pods": "20"}, "conditions": [{"type": "Ready", "status": "True"}]});
    cluster.learn("n0", Facts::of(&Arc::new(cordoned)));
    let words = "0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    assert_eq!(planned(&cluster, &wish("new", 10, 1000), &[]), Err(words.to_owned()));
}
