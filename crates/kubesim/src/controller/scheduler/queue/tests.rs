use super::{super::wish::Class, *};

fn wish(class: Class, priority: i64) -> Arc<Wish> {
    Arc::new(Wish { class, priority, ..Wish::default() })
}

fn key(name: &str) -> Key {
    Key::new("default", name)
}

fn next(queue: &mut Queue, now: Instant) -> Option<(String, Option<Vec<usize>>)> {
    queue.next(now).map(|attempt| (attempt.pod.name, attempt.hopes))
}

fn full() -> Verdict {
    Verdict { reason: "Unschedulable", message: name("full"), nominated: None }
}

fn name(text: &str) -> String {
    text.to_owned()
}

#[test]
fn the_important_ones_come_first_and_then_those_that_waited_longest() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    for (pod, class, priority) in [("a", 1, 0), ("b", 2, 10), ("c", 1, 0), ("d", 3, 0), ("e", 2, 10)] {
        queue.add(key(pod), wish(class, priority), now);
    }
    let mut order = Vec::new();
    while let Some((pod, _)) = next(&mut queue, now) {
        queue.placed(&key(&pod), now);
        order.push(pod);
    }
    assert_eq!(order, ["b", "e", "a", "c", "d"]);
    assert_eq!(queue.pause(now), None, "nobody is left");
}

#[test]
fn when_one_of_a_class_is_refused_all_are_told_and_none_is_tried() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    for pod in ["a", "b"] {
        queue.add(key(pod), wish(1, 0), now);
    }
    queue.refused(1, full(), false, now);
    queue.add(key("c"), wish(1, 0), now);
    assert_eq!(next(&mut queue, now), None);
    let told: Vec<_> =
        std::iter::from_fn(|| queue.tell()).map(|(pod, why)| (pod.name, why.message.clone())).collect();
    assert_eq!(told, ["a", "b", "c"].map(|pod| (name(pod), name("full"))));
    assert_eq!(queue.pause(now), Some(REST + FLUSH));
    assert_eq!(next(&mut queue, now + REST + FLUSH), Some((name("a"), None)), "some day everything is tried");
}

#[test]
fn a_node_with_more_room_is_a_hope_for_those_whom_it_suits() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.add(key("small"), wish(1, 0), now);
    queue.add(key("large"), wish(2, 0), now);
    queue.refused(1, full(), false, now);
    queue.refused(2, full(), false, now);
    queue.hope(&BTreeSet::from([7, 8]), |node, wish| node == 7 && wish.class == 1, now);
    assert_eq!(next(&mut queue, now), Some((name("small"), Some(vec![7]))));
    queue.disappointed(1, now);
    assert_eq!(next(&mut queue, now), None);
}

#[test]
fn a_class_rests_after_every_search_in_vain_and_longer_every_time() {
    let (mut queue, mut now) = (Queue::default(), Instant::now());
    queue.add(key("a"), wish(1, 0), now);
    for round in 0..10 {
        queue.refused(1, full(), false, now);
        queue.stir(|_| true, now);
        let rest = REST * 2_u32.pow(REST_DOUBLINGS.min(round));
        let due = now + rest;
        assert_eq!(
            next(&mut queue, due.checked_sub(Duration::from_millis(1)).expect("earlier")),
            None,
            "{round}"
        );
        assert_eq!(next(&mut queue, due), Some((name("a"), None)), "{round}");
        now = due;
    }
}

#[test]
fn a_pod_that_wants_something_else_waits_with_others() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.add(key("a"), wish(1, 0), now);
    queue.refused(1, full(), false, now);
    queue.add(key("a"), wish(2, 0), now);
    assert_eq!(next(&mut queue, now), Some((name("a"), None)));
    assert_eq!(queue.tell(), None, "nothing is known against it");
    queue.remove(&key("a"), now);
    assert_eq!((next(&mut queue, now), queue.pause(now)), (None, None));
}

#[test]
fn a_pod_for_which_others_leave_waits_for_that_node_alone() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    for pod in ["a", "b"] {
        queue.add(key(pod), wish(1, 0), now);
    }
    queue.nominated(&key("a"), Verdict { nominated: Some(7), ..full() }, now);
    assert_eq!(next(&mut queue, now), Some((name("b"), None)), "the other one is tried as well");
    queue.refused(1, full(), false, now);
    queue.hope(&BTreeSet::from([6]), |_, _| false, now);
    assert_eq!(next(&mut queue, now), None);
    queue.hope(&BTreeSet::from([7]), |_, _| false, now);
    assert_eq!(next(&mut queue, now), Some((name("a"), None)));
}

#[test]
fn what_others_decide_is_asked_again() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.add(key("a"), wish(1, 0), now);
    queue.refused(1, full(), true, now);
    assert_eq!((next(&mut queue, now), queue.tell().is_some()), (None, true));
    assert_eq!(queue.pause(now), Some(REST));
    assert_eq!(next(&mut queue, now + REST), Some((name("a"), None)));
}
