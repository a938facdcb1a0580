//! What waits says why, and nothing but its end ends it.

use std::time::Duration;

use bcs_schemas::observation::{EndpointPhase, RegistrationState};

use super::{super::*, rules::with, world::*};
use crate::{
    domain::{Item, change::unfinished},
    testing::endpoint,
};

const KEY: &str = "sim-a.shop.web.web-1";

fn reason(world: &World) -> Option<&str> {
    world.registrations[&format!("{KEY}.dns")].reason.as_deref()
}

#[test]
fn a_reading_does_not_end_a_removal_that_takes_time() {
    let mut world = with(1);
    world.slow = 2;
    world.phase(KEY, EndpointPhase::Draining);
    assert!(world.call(Answer::Good));
    // As drivers list what is leaving.
    let leaving = world.ours().map(|item| Item { digest: unfinished(item.digest), ..item.clone() });
    world.engine.registry_read(leaving.collect(), world.now());
    world.pass(Duration::from_millis(20));
    world.report();
    world.pass(Duration::from_millis(150));
    world.report();
    assert_eq!(world.state("web.web-1"), Some(RegistrationState::Draining));
    assert_eq!(reason(&world), Some("2 connections are left"));
    world.settle();
    assert_eq!((world.ours().count(), world.state("web.web-1")), (0, Some(RegistrationState::Drained)));
    assert_eq!(world.engine.counts().drift_repaired, 0);
}

#[test]
fn a_registry_that_refuses_everything_is_left_alone_and_says_so() {
    let mut world = with(0);
    (1..=64).for_each(|i| world.set(endpoint("web", i)));
    world.poison = world.endpoints.values().map(|endpoint| endpoint.uid.clone()).collect();
    let before = world.calls;
    while world.engine.refuses_all() == 0 {
        assert!(world.call(Answer::Good));
    }
    assert!(world.calls - before <= 12, "{} calls", world.calls - before);
    assert_eq!(world.engine.condition().as_deref(), Some("the registry does not like it"));
    assert!(world.engine.trusted() && world.engine.counts().quarantined <= 5);
    world.pass(Duration::from_millis(100));
    world.report();
    world.pass(Duration::from_millis(100));
    world.report();
    let silent = world.registrations.values().filter(|r| r.reason.is_none()).count();
    assert_eq!((world.registrations.len(), silent), (64, 0));
    world.poison.clear();
    world.settle();
    assert_eq!((world.ours().count(), world.engine.condition()), (64, None));
    assert_eq!(world.engine.refuses_all(), 0);
}

#[test]
fn entries_that_are_known_to_be_bad_do_not_make_the_registry_look_as_if_it_refused_everything() {
    let mut world = with(2);
    (3..=9).for_each(|i| world.set(endpoint("web", i)));
    world.poison = (3..=9).map(|i| format!("uid-web-{i}")).collect();
    world.settle();
    let (calls, times) = (world.calls, world.engine.refuses_all());
    for _ in 0..10 {
        world.settle();
    }
    assert!(world.calls > calls + 20, "they are tried again: {} calls", world.calls - calls);
    assert_eq!(world.engine.refuses_all(), times);
}

#[test]
fn a_wait_says_why_soon_after_that_is_known_and_not_with_every_attempt() {
    let mut world = with(0);
    world.set(endpoint("web", 1));
    let said_after = |world: &mut World, time| {
        world.report();
        world.pass(time);
        world.report();
    };
    let hangs = world.engine.next_batch(usize::MAX);
    said_after(&mut world, Duration::from_millis(120));
    assert_eq!((hangs.len(), reason(&world)), (1, None));
    world.engine.lost("no answer in time".into());
    said_after(&mut world, Duration::from_millis(120));
    assert_eq!(reason(&world), Some("no answer in time"));
    world.engine.lost("connection refused".into());
    said_after(&mut world, Duration::from_millis(120));
    assert_eq!(reason(&world), Some("no answer in time"), "the next attempt may say something else again");
    said_after(&mut world, Duration::from_secs(6));
    said_after(&mut world, Duration::from_millis(120));
    assert_eq!(reason(&world), Some("connection refused"));
}

#[test]
fn what_is_refused_says_when_it_is_tried_again() {
    let mut world = with(2);
    world.poison = vec!["uid-web-3".into()];
    world.set(endpoint("web", 3));
    let mut tries = Vec::new();
    for _ in 0..3 {
        while world.call(Answer::Good) {}
        world.report();
        tries.extend(world.registrations["sim-a.shop.web.web-3.dns"].retry_at);
        world.pass(Duration::from_secs(60));
    }
    assert!(tries.len() == 3 && tries.is_sorted() && tries[0] < tries[1] && tries[1] < tries[2], "{tries:?}");
}

#[test]
fn a_sidecar_that_follows_another_one_forgets_what_is_gone() {
    let mut world = World::new();
    for number in 1..=100 {
        world.set(endpoint("web", number));
        world.engine.follow();
        if number > 1 {
            world.engine.vanished(&format!("sim-a.shop.web.web-{number}"), world.now());
            world.engine.follow();
        }
    }
    let Engine { instances, slots, touched, unproven, .. } = &world.engine;
    let left: Vec<&str> = instances.keys().map(|key| &**key).collect();
    assert_eq!((left, slots.len(), touched.len(), unproven.len()), (vec![KEY], 1, 0, 0));
}

#[test]
fn with_its_entries_a_sidecar_takes_its_words_back_but_for_those_of_drains() {
    let mut world = World::remembering(Duration::from_secs(5));
    (1..=3).for_each(|i| world.set(endpoint("web", i)));
    world.read();
    world.settle();
    world.phase(KEY, EndpointPhase::Draining);
    world.settle();
    world.phase("sim-a.shop.web.web-2", EndpointPhase::Draining);
    while world.call(Answer::Good) {}
    world.report();
    world.pass(Duration::from_millis(120));
    world.report();
    world.engine.drain_all(world.now());
    while world.call(Answer::Good) {}
    world.report();
    assert_eq!((world.ours().count(), world.engine.idle()), (0, true));
    assert_eq!(world.engine.take_back(), [Report::Delete("sim-a.shop.web.web-3.dns".into())]);
    let said = ["web.web-1", "web.web-2"].map(|instance| world.state(instance));
    assert_eq!(said, [Some(RegistrationState::Drained), Some(RegistrationState::Draining)]);
}
