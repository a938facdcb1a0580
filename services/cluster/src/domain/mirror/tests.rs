use bcs_schemas::Name;
use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

fn endpoint(instance: &str, uid: &str, phase: EndpointPhase, seconds: i64) -> Endpoint {
    serde_json::from_value(json!({
        "cluster": "sim-a", "project": "demo", "app": "shop", "revision": "r1", "instance": instance, "uid": uid,
        "weight": 100, "phase": phase, "since": at(seconds), "generation": 1, "observed_at": at(seconds),
    }))
    .expect("is an endpoint")
}

fn node(name: &str, ready: bool, seconds: i64) -> Node {
    Node {
        cluster: Name::new("sim-a").expect("is a name"),
        name: name.to_owned(),
        ready,
        cordoned: false,
        capacity: Capacity { cpu_millis: 1000, memory_bytes: 1 << 30, instances: 10 },
        version: String::new(),
        os: String::new(),
        arch: String::new(),
        zone: None,
        labels: Default::default(),
        reason: None,
        observed_at: at(seconds),
    }
}

#[test]
fn only_a_change_of_substance_is_written() {
    let mut mirror = Mirror::new(BTreeMap::new());
    assert!(mirror.seen(node("n1", true, 1)).is_some());
    assert_eq!(mirror.seen(node("n1", true, 2)), None);
    let changed = mirror.seen(node("n1", false, 3)).expect("is news");
    assert_eq!((changed.ready, changed.observed_at), (false, at(3)));
}

#[test]
fn a_complete_list_removes_what_it_does_not_hold_and_nothing_else_does() {
    let known = ["a", "b", "c"].map(|n| (format!("sim-a.{n}"), node(n, true, 0)));
    let mut mirror = Mirror::new(known.into());
    assert_eq!(mirror.list_ended(), Vec::<String>::new(), "no list had begun");
    mirror.list_began();
    mirror.seen(node("a", true, 1));
    // Cut off: the next list begins anew.
    mirror.list_began();
    assert!(!mirror.complete());
    mirror.seen(node("b", true, 1));
    mirror.seen(node("d", true, 1));
    assert_eq!(mirror.list_ended(), ["sim-a.a", "sim-a.c"]);
    assert!(mirror.complete());
    assert!(mirror.gone("sim-a.b"));
    assert!(!mirror.gone("sim-a.b"), "it is gone already");
    assert_eq!(sum(mirror.values()).0, 1);
}

#[test]
fn a_bucket_that_lost_or_kept_something_is_mended() {
    let mut mirror = Mirror::new(BTreeMap::new());
    for name in ["a", "b", "c"] {
        mirror.seen(node(name, true, 1));
    }
    let stored = |name: &str, ready| (format!("sim-a.{name}"), node(name, ready, 1));
    let found = BTreeMap::from([stored("a", true), stored("b", false), stored("d", true)]);
    let (lost, old) = (stored("c", true), stored("b", true));
    let put = vec![(old.0, Some(old.1)), (lost.0, Some(lost.1))];
    assert_eq!(mirror.differing(&found), put, "no complete list has said that d is gone");
    mirror.list_began();
    for name in ["a", "b", "c"] {
        mirror.seen(node(name, true, 2));
    }
    mirror.list_ended();
    let all = [put, vec![("sim-a.d".to_owned(), None)]].concat();
    assert_eq!(mirror.differing(&found), all);
    let whole = BTreeMap::from(["a", "b", "c"].map(|name| stored(name, true)));
    assert_eq!(mirror.differing(&whole), []);
}

#[test]
fn a_drain_is_for_good_and_for_one_incarnation() {
    use EndpointPhase::{Draining, Gone, Ready, Starting};
    let mut mirror = Mirror::new(BTreeMap::new());
    let ready = endpoint("x", "u1", Ready, 1);
    let key = ready.key();
    mirror.seen(ready.clone());
    assert_eq!(drained(&mut mirror, &key, "other", at(2)), None);
    let marked = drained(&mut mirror, &key, "u1", at(2)).expect("is news");
    assert_eq!((marked.phase, marked.since), (Draining, at(2)));
    assert_eq!(drained(&mut mirror, &key, "u1", at(3)), None);
    // What was on its way when the mark was set.
    assert_eq!(mirror.seen(Endpoint { observed_at: at(4), ..ready }), None);
    let stopping = Endpoint { stopping: true, ..endpoint("x", "u1", Starting, 5) };
    let news = mirror.seen(stopping).expect("is news");
    assert_eq!((news.phase, news.since, news.stopping), (Draining, at(2), true));
    assert_eq!(mirror.seen(endpoint("x", "u1", Gone, 6)).map(|e| e.phase), Some(Gone));
    assert_eq!(mirror.seen(endpoint("x", "u2", Starting, 7)).map(|e| e.phase), Some(Starting));
}

#[test]
fn nodes_are_summed_up() {
    let nodes = [node("a", true, 0), node("b", false, 0)];
    let capacity = Capacity { cpu_millis: 2000, memory_bytes: 2 << 30, instances: 20 };
    assert_eq!(sum(nodes.iter()), (2, 1, capacity));
}

#[derive(Clone, Debug)]
enum Act {
    See(u8, bool),
    Lose(u8),
    Relist(Vec<(u8, bool)>),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let one = || (0_u8..6, any::<bool>());
    let act = prop_oneof![
        one().prop_map(|(n, ready)| Act::See(n, ready)),
        (0_u8..6).prop_map(Act::Lose),
        prop::collection::vec(one(), 0..6).prop_map(Act::Relist),
    ];
    prop::collection::vec(act, 0..40)
}

proptest! {
    /// Whoever applies every write to the bucket has in it what the cluster holds.
    #[test]
    fn the_bucket_follows_the_cluster(acts in acts()) {
        let mut mirror = Mirror::new(BTreeMap::new());
        let mut bucket: BTreeMap<String, bool> = BTreeMap::new();
        let mut cluster: BTreeMap<String, bool> = BTreeMap::new();
        let write = |bucket: &mut BTreeMap<String, bool>, news: Option<Node>| {
            if let Some(node) = news {
                bucket.insert(node.key(), node.ready);
            }
        };
        for (time, act) in (0_i64..).zip(acts) {
            match act {
                Act::See(n, ready) => {
                    let node = node(&n.to_string(), ready, time);
                    cluster.insert(node.key(), ready);
                    write(&mut bucket, mirror.seen(node));
                }
                Act::Lose(n) => {
                    let key = format!("sim-a.{n}");
                    cluster.remove(&key);
                    if mirror.gone(&key) {
                        bucket.remove(&key);
                    }
                }
                Act::Relist(all) => {
                    cluster.clear();
                    mirror.list_began();
                    for (n, ready) in all {
                        let node = node(&n.to_string(), ready, time);
                        cluster.insert(node.key(), ready);
                        write(&mut bucket, mirror.seen(node));
                    }
                    for key in mirror.list_ended() {
                        bucket.remove(&key);
                    }
                }
            }
            prop_assert_eq!(&bucket, &cluster);
        }
    }
}
