use std::{cell::Cell, cmp::Ordering};

use proptest::prelude::*;

use super::*;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn one_lane() -> Queue<&'static str, ()> {
    Queue::new(64)
}

#[tokio::test]
async fn a_key_woken_while_it_is_worked_on_is_looked_at_once_more() {
    let now = Instant::now();
    let mut queue = one_lane();
    queue.wake((), "a");
    queue.wake((), "a");
    assert_eq!(queue.take(now), Some("a"));
    queue.wake((), "a");
    assert_eq!(queue.take(now), None);
    queue.done(&"a", None);
    assert_eq!(queue.take(now), Some("a"));
    queue.done(&"a", None);
    assert_eq!(queue.take(now), None);
}

#[tokio::test]
async fn a_failing_key_waits_longer_each_time_and_holds_up_nobody() {
    let now = Instant::now();
    let mut queue = one_lane();
    queue.wake((), "bad");
    assert_eq!(queue.take(now), Some("bad"));
    let mut pause = queue.failed(&"bad", now);
    queue.wake((), "bad");
    queue.wake((), "good");
    assert_eq!(queue.take(now), Some("good"));
    assert_eq!(queue.take(now), None, "news does not shorten the pause");
    let mut at = now;
    for _ in 0..40 {
        at += pause;
        assert_eq!(queue.take(at), Some("bad"));
        let longer = queue.failed(&"bad", at);
        assert!(longer > pause || longer == PAUSES.1);
        pause = longer;
    }
    assert_eq!(pause, PAUSES.1);
    assert_eq!(queue.take(at + pause), Some("bad"));
    queue.done(&"bad", None);
    queue.wake((), "bad");
    assert_eq!(queue.take(at), Some("bad"), "once it went well it is as any other");
    assert_eq!(queue.failed(&"bad", at), PAUSES.0);
}

#[tokio::test]
async fn a_deadline_brings_the_key_back_and_news_brings_it_sooner() {
    let now = Instant::now();
    let mut queue = one_lane();
    for (woken, expected) in [(false, None), (true, Some("a"))] {
        queue.wake((), "a");
        assert_eq!(queue.take(now), Some("a"));
        queue.done(&"a", Some(now + seconds(5)));
        assert_eq!(queue.next_due(), Some(now + seconds(5)));
        if woken {
            queue.wake((), "a");
        }
        assert_eq!(queue.take(now), expected);
        assert_eq!(queue.take(now + seconds(5)), if woken { None } else { Some("a") });
        queue.done(&"a", None);
    }
    assert_eq!(queue.next_due(), None);
}

#[tokio::test]
async fn a_look_that_is_asked_for_later_never_delays_one_that_comes_sooner() {
    let now = Instant::now();
    let mut queue = one_lane();
    queue.look_by((), "a", now + seconds(10));
    queue.look_by((), "a", now + seconds(20));
    assert_eq!(queue.next_due(), Some(now + seconds(10)));
    queue.look_by((), "a", now + seconds(3));
    assert_eq!(queue.next_due(), Some(now + seconds(3)));
    assert_eq!(queue.take(now + seconds(3)), Some("a"));
    queue.look_by((), "a", now + seconds(9));
    queue.done(&"a", None);
    assert_eq!(queue.take(now + seconds(3)), Some("a"), "asked for during the look, so it looks again");
}

#[tokio::test]
async fn whoever_asked_first_comes_first_whatever_its_name() {
    let now = Instant::now();
    let mut queue = one_lane();
    for key in ["m", "z", "a"] {
        queue.wake((), key);
    }
    for expected in ["m", "z", "a", "m", "z", "a"] {
        assert_eq!(queue.take(now), Some(expected));
        queue.wake((), expected);
        queue.done(&expected, None);
    }
}

#[tokio::test]
async fn a_lane_whose_places_are_taken_delays_no_other() {
    let now = Instant::now();
    let mut queue: Queue<(&str, u32), &str> = Queue::new(2);
    for n in 0..100 {
        queue.wake("slow", ("slow", n));
    }
    assert_eq!([queue.take(now), queue.take(now)], [Some(("slow", 0)), Some(("slow", 1))]);
    assert_eq!(queue.take(now), None);
    queue.wake("good", ("good", 0));
    assert_eq!(queue.take(now), Some(("good", 0)));
    queue.done(&("slow", 1), None);
    assert_eq!(queue.take(now), Some(("slow", 2)));
    assert_eq!(queue.take(now), None);
}

#[tokio::test]
async fn lanes_take_turns() {
    let now = Instant::now();
    let mut queue: Queue<(&str, u32), &str> = Queue::new(64);
    for n in 0..3 {
        queue.wake("a", ("a", n));
    }
    queue.wake("b", ("b", 0));
    let taken: Vec<_> = std::iter::from_fn(|| queue.take(now)).collect();
    assert_eq!(taken, [("a", 0), ("b", 0), ("a", 1), ("a", 2)]);
}

thread_local! {
    static COMPARED: Cell<u64> = const { Cell::new(0) };
}

/// A key that counts how often keys are compared.
#[derive(Clone, Debug)]
struct Counted(u32);

impl Ord for Counted {
    fn cmp(&self, other: &Self) -> Ordering {
        COMPARED.set(COMPARED.get() + 1);
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Counted {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Counted {}

#[tokio::test]
async fn tens_of_thousands_that_wait_cost_nothing_until_they_are_due() {
    let now = Instant::now();
    let mut queue: Queue<Counted, ()> = Queue::new(64);
    for n in 0..30_000 {
        queue.look_by((), Counted(n), now + seconds(30));
    }
    COMPARED.set(0);
    for _ in 0..1000 {
        assert!(queue.take(now).is_none());
        assert_eq!(queue.next_due(), Some(now + seconds(30)));
    }
    assert_eq!(COMPARED.get(), 0);
    queue.wake((), Counted(17_000));
    assert_eq!(queue.take(now).map(|k| k.0), Some(17_000));
    queue.done(&Counted(17_000), Some(now + seconds(30)));
    assert!(COMPARED.get() < 300, "{} comparisons for one look", COMPARED.get());
}

#[derive(Clone, Debug)]
enum Happening {
    Wake(u8),
    LookBy(u8, u64),
    Take,
    Done(u8, Option<u64>),
    Failed(u8),
    Later(u64),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        5 => (0u8..12).prop_map(Happening::Wake),
        2 => (0u8..12, 0u64..40).prop_map(|(k, s)| Happening::LookBy(k, s)),
        6 => Just(Happening::Take),
        4 => (0u8..12, proptest::option::of(0u64..40)).prop_map(|(k, s)| Happening::Done(k, s)),
        2 => (0u8..12).prop_map(Happening::Failed),
        2 => (0u64..10).prop_map(Happening::Later),
    ];
    proptest::collection::vec(one, 0..200)
}

/// Three lanes of four keys.
fn lane(key: u8) -> u8 {
    key / 4
}

proptest! {
    #[test]
    fn no_wake_is_lost_no_key_is_worked_on_twice_and_no_lane_takes_more_than_its_places(happenings in happenings()) {
        const PLACES: usize = 2;
        let mut now = tokio::time::Instant::from_std(std_now());
        let mut queue: Queue<u8, u8> = Queue::new(PLACES);
        let mut busy: Vec<u8> = Vec::new();
        // Keys that someone asked for and that were not taken since.
        let mut open: BTreeSet<u8> = BTreeSet::new();
        let take = |queue: &mut Queue<u8, u8>, busy: &mut Vec<u8>, open: &mut BTreeSet<u8>, now| {
            let Some(key) = queue.take(now) else { return Ok(false) };
            prop_assert!(!busy.contains(&key));
            busy.push(key);
            prop_assert!(busy.iter().filter(|k| lane(**k) == lane(key)).count() <= PLACES);
            open.remove(&key);
            Ok(true)
        };
        let nth = |busy: &mut Vec<u8>, n: u8| {
            (!busy.is_empty()).then(|| busy.remove(usize::from(n) % busy.len()))
        };
        for happening in happenings {
            match happening {
                Happening::Wake(key) => {
                    queue.wake(lane(key), key);
                    open.insert(key);
                }
                Happening::LookBy(key, after) => {
                    queue.look_by(lane(key), key, now + seconds(after));
                    open.insert(key);
                }
                Happening::Take => drop(take(&mut queue, &mut busy, &mut open, now)?),
                Happening::Done(n, again) => {
                    if let Some(key) = nth(&mut busy, n) {
                        queue.done(&key, again.map(|after| now + seconds(after)));
                    }
                }
                Happening::Failed(n) => {
                    if let Some(key) = nth(&mut busy, n) {
                        queue.failed(&key, now);
                        open.insert(key);
                    }
                }
                Happening::Later(after) => now += seconds(after),
            }
        }
        now += seconds(60);
        loop {
            while take(&mut queue, &mut busy, &mut open, now)? {}
            let Some(key) = nth(&mut busy, 0) else { break };
            queue.done(&key, None);
        }
        prop_assert_eq!(open, BTreeSet::new());
        prop_assert!(queue.keys.is_empty() && queue.lanes.is_empty() && queue.due.is_empty());
    }
}

#[expect(clippy::disallowed_methods, reason = "any moment to count from; no test waits for it")]
fn std_now() -> std::time::Instant {
    std::time::Instant::now()
}
