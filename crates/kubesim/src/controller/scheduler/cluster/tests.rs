use proptest::prelude::*;
use serde_json::{Value, json};

use super::{super::search::Search, *};

fn node(more: &Value) -> Facts {
    let base = json!({
        "metadata": {"name": "n", "labels": {"disk": "ssd"}},
        "status": {
            "allocatable": {"cpu": "2", "memory": "4Gi", "pods": "3", "gpu": "1"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    Facts::of(&Arc::new(crate::patch::merge(&base, more)))
}

fn wish(pod: &Value) -> Arc<Wish> {
    Arc::new(Wish::of(pod))
}

fn asks(requests: &Value) -> Value {
    json!({"spec": {"containers": [{"resources": {"requests": requests}}]}})
}

/// The number of the node that is found, or why none is.
fn look(cluster: &Cluster, wish: &Wish) -> Result<usize, String> {
    let search = Search::new(cluster, wish);
    search.pick(None).ok_or_else(|| search.sentence(&search.refusals(), &[]))
}

fn key(name: &str) -> Key {
    Key::new("default", name)
}

#[test]
fn a_pod_goes_only_where_it_fits() {
    let taint = json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
    let tolerant = json!({"spec": {"tolerations": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
    let on = |name: &str| {
        let field = json!({"key": "metadata.name", "operator": "In", "values": [name]});
        let terms = json!({"nodeSelectorTerms": [{"matchFields": [field]}]});
        json!({"spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}})
    };
    let port = |ip: &str, number: u32| json!({"spec": {"containers": [{"ports": [{"hostIP": ip, "hostPort": number}]}]}});
    let cordon = json!({"spec": {"unschedulable": true}});
    let pressed =
        json!({"spec": {"tolerations": [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]}});
    let cases: Vec<(&str, Value, Value, Option<&str>)> = vec![
        ("fits", json!({}), asks(&json!({"cpu": "1", "memory": "4Gi"})), None),
        ("cpu", json!({}), asks(&json!({"cpu": "1001m"})), Some("1 Insufficient cpu")),
        ("gpu", json!({}), asks(&json!({"gpu": "2"})), Some("1 Insufficient gpu")),
        ("unheard of", json!({}), asks(&json!({"example.com/a": "1"})), Some("1 Insufficient example.com/a")),
        (
            "two",
            json!({}),
            asks(&json!({"cpu": "3", "memory": "1Ti"})),
            Some("1 Insufficient cpu, 1 Insufficient memory"),
        ),
        ("pods", json!({"status": {"allocatable": {"pods": "1"}}}), json!({}), Some("1 Too many pods")),
        ("cordon", cordon.clone(), asks(&json!({})), Some("1 node(s) were unschedulable")),
        ("cordon that is tolerated", cordon, pressed, None),
        ("taint", taint.clone(), json!({}), Some("1 node(s) had untolerated taint(s)")),
        ("toleration", taint, tolerant, None),
        (
            "selector",
            json!({}),
            json!({"spec": {"nodeSelector": {"disk": "hdd"}}}),
            Some("1 node(s) didn't match Pod's node affinity/selector"),
        ),
        (
            "not ready",
            json!({"status": {"conditions": []}}),
            json!({}),
            Some("1 node(s) had untolerated taint(s)"),
        ),
        ("by name", json!({}), on("n"), None),
        ("by another", json!({}), on("m"), Some("1 node(s) didn't satisfy plugin(s) [NodeAffinity]")),
        ("free port", json!({}), port("10.0.0.2", 80), None),
        (
            "network of the node",
            json!({}),
            json!({"spec": {"hostNetwork": true, "containers": [{"ports": [{"containerPort": 80}]}]}}),
            Some("1 node(s) didn't have free ports for the requested pod ports"),
        ),
        (
            "taken port",
            json!({}),
            port("", 80),
            Some("1 node(s) didn't have free ports for the requested pod ports"),
        ),
    ];
    for (what, more, pod, refused) in cases {
        let mut cluster = Cluster::default();
        cluster.learn("n", node(&more));
        let resident = patched(&port("10.0.0.1", 80), &json!({"cpu": "1"}));
        cluster.place(&key("resident"), wish(&resident), "n", false);
        let expected = refused.map(|reasons| format!("0/1 nodes are available: {reasons}."));
        assert_eq!(look(&cluster, &wish(&pod)), expected.map_or(Ok(0), Err), "{what}");
    }
}

fn patched(pod: &Value, requests: &Value) -> Value {
    let mut pod = pod.clone();
    pod["spec"]["containers"][0]["resources"] = json!({"requests": requests});
    pod
}

#[test]
fn what_changes_nothing_for_pods_is_no_news() {
    let mut cluster = Cluster::default();
    assert_eq!(cluster.learn("n", node(&json!({}))), Some(0));
    assert_eq!(cluster.learn("n", node(&json!({"metadata": {"annotations": {"a": "b"}}}))), None);
    assert_eq!(cluster.learn("n", node(&json!({"status": {"allocatable": {"cpu": "3"}}}))), Some(0));
    let pod = wish(&asks(&json!({"cpu": "1"})));
    let news = |news: bool, roomier: Option<usize>| Placement { news, roomier };
    assert_eq!(cluster.place(&key("a"), Arc::clone(&pod), "n", false), news(true, None));
    assert_eq!(cluster.place(&key("a"), Arc::clone(&pod), "n", false), news(false, None), "the same again");
    assert_eq!(
        cluster.place(&key("a"), pod, "n", true),
        news(true, None),
        "it takes as much while it leaves"
    );
    assert_eq!(cluster.place(&key("a"), wish(&asks(&json!({}))), "n", false), news(true, Some(0)));
    cluster.forget("n");
    let found = look(&cluster, &wish(&json!({})));
    assert_eq!(found, Err("no nodes available to schedule pods".to_owned()));
}

#[derive(Debug, Clone)]
enum Step {
    Place { cpu: u16, gpu: bool, tolerant: bool },
    Remove(usize),
    Node { at: usize, cpu: u16, cordoned: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..1500_u16, any::<bool>(), any::<bool>()).prop_map(|(cpu, gpu, tolerant)| Step::Place { cpu, gpu, tolerant }),
        2 => (0..40_usize).prop_map(Step::Remove),
        2 => (0..5_usize, 0..6_u16, any::<bool>()).prop_map(|(at, cpu, cordoned)| Step::Node { at, cpu, cordoned }),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn the_place_that_is_picked_fits_and_is_as_empty_as_any_that_fits(steps in steps()) {
        let mut cluster = Cluster::default();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Node { at, cpu, cordoned } => {
                    let more = json!({
                        "spec": {"unschedulable": cordoned}, "status": {"allocatable": {"cpu": cpu.to_string()}},
                    });
                    cluster.learn(&format!("n{at}"), node(&more));
                }
                Step::Remove(number) => drop(cluster.remove(&key(&number.to_string()))),
                Step::Place { cpu, gpu, tolerant } => {
                    let mut pod = asks(&json!({"cpu": format!("{cpu}m"), "gpu": if gpu { "1" } else { "0" }}));
                    if tolerant {
                        pod["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
                    }
                    let wish = wish(&pod);
                    let search = Search::new(&cluster, &wish);
                    let fitting: Vec<usize> =
                        (0..cluster.nodes.len()).filter(|at| search.refuse(*at).is_none()).collect();
                    let best = fitting.iter().map(|at| cluster.nodes[*at].rank(*at)).min();
                    let found = search.pick(None);
                    prop_assert_eq!(found.map(|at| cluster.nodes[at].rank(at)), best);
                    if let Some(at) = found {
                        let name = cluster.nodes[at].name.clone();
                        cluster.place(&key(&number.to_string()), Arc::clone(&wish), &name, false);
                        prop_assert!(!cluster.nodes[at].overfull(&wish), "nothing is placed beyond capacity");
                    }
                }
            }
        }
        for (at, node) in cluster.nodes.iter().enumerate() {
            let listed = [&cluster.open, &cluster.closed].map(|list| list.contains(&node.rank(at)));
            prop_assert_eq!(listed, [node.open(), !node.open() && node.facts.is_some()]);
        }
    }
}
