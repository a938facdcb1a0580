//! One rule per test.

use bcs_schemas::{
    bucket::Keyed,
    observation::{Endpoint, EndpointPhase, Registration, RegistrationState},
};

use super::world::*;
use crate::{
    domain::{Change, Item, WHOLE, engine::*},
    testing::endpoint,
};

const KEY: &str = "sim-a.shop.web.web-1";

pub(super) fn with(instances: u32) -> World {
    let mut world = World::new();
    (1..=instances).for_each(|i| world.set(endpoint("web", i)));
    world.read();
    world.settle();
    world
}

#[test]
fn a_ready_instance_is_registered_and_confirmed() {
    let world = with(1);
    assert_eq!(world.ours().count(), 1);
    assert_eq!(world.state("web.web-1"), Some(RegistrationState::Confirmed));
}

#[test]
fn what_a_reading_finds_missing_is_written_application_by_application() {
    let mut world = World::new();
    for number in 1..=8 {
        ["a", "b", "c", "d"].into_iter().for_each(|app| world.set(endpoint(app, number)));
    }
    world.read();
    assert!(world.engine.is_behind(), "more than goes into a batch");
    for app in ["a", "b", "c", "d"] {
        let batch = world.engine.next_batch(usize::MAX);
        let apps: Vec<&str> = batch
            .iter()
            .filter_map(|change| match change {
                Change::Put { entry, .. } => Some(entry.endpoint.app.as_str()),
                Change::Remove { .. } => None,
            })
            .collect();
        assert_eq!(apps, [app; 8]);
    }
    assert!(!world.engine.is_behind());
    world.read();
    assert!(world.engine.is_behind(), "nothing of it was answered");
    world.engine.lost("away".to_owned());
    assert!(!world.engine.is_behind(), "nothing is written to a registry that is away");
}

#[test]
fn a_draining_instance_is_taken_out_and_then_said_to_be_out() {
    let mut world = with(2);
    world.phase(KEY, EndpointPhase::Draining);
    world.report();
    assert_eq!(world.state("web.web-1"), Some(RegistrationState::Confirmed), "not before it is true");
    world.call(Answer::Good);
    world.report();
    assert_eq!((world.ours().count(), world.state("web.web-1")), (1, Some(RegistrationState::Drained)));
    world.delete(KEY);
    world.report();
    assert_eq!(world.state("web.web-1"), None);
}

#[test]
fn a_draining_instance_that_was_never_registered_is_out_at_once() {
    let mut world = with(0);
    world.set(Endpoint { phase: EndpointPhase::Draining, ..endpoint("web", 1) });
    world.report();
    assert_eq!((world.calls, world.state("web.web-1")), (0, Some(RegistrationState::Drained)));
}

#[test]
fn an_instance_that_drains_while_its_addition_is_under_way_is_not_said_to_be_out() {
    let mut world = with(0);
    world.set(endpoint("web", 1));
    let batch = world.engine.next_batch(usize::MAX);
    world.phase(KEY, EndpointPhase::Draining);
    world.report();
    world.pass(Duration::from_secs(1));
    world.report();
    assert_eq!(world.state("web.web-1"), Some(RegistrationState::Draining));
    world.engine.answered(batch, vec![crate::domain::Outcome::Done(9)], world.now(), 0.5);
    assert!(matches!(world.engine.next_batch(usize::MAX).as_slice(), [Change::Remove { version: 9, .. }]));
}

#[test]
fn once_drained_never_registered_again() {
    let mut world = with(1);
    world.phase(KEY, EndpointPhase::Draining);
    world.settle();
    world.phase(KEY, EndpointPhase::Ready);
    world.settle();
    assert_eq!((world.ours().count(), world.state("web.web-1")), (0, Some(RegistrationState::Drained)));
    world.delete(KEY);
    world.set(endpoint("web", 1));
    world.settle();
    assert_eq!(world.ours().count(), 0, "not even after its key came back");
    world.set(Endpoint { uid: "another".into(), ..endpoint("web", 1) });
    world.settle();
    assert_eq!((world.ours().count(), world.state("web.web-1")), (1, Some(RegistrationState::Confirmed)));
}

#[test]
fn a_short_loss_of_readiness_changes_nothing_and_a_long_one_does() {
    let mut world = with(1);
    let calls = world.calls;
    world.phase(KEY, EndpointPhase::Starting);
    world.pass(Duration::from_millis(900));
    assert!(!world.call(Answer::Good));
    world.phase(KEY, EndpointPhase::Ready);
    world.settle();
    assert_eq!(world.calls, calls);
    world.phase(KEY, EndpointPhase::Starting);
    world.pass(Duration::from_millis(1000));
    world.settle();
    assert_eq!((world.ours().count(), world.state("web.web-1")), (0, Some(RegistrationState::Pending)));
    let reason = world.registrations["sim-a.shop.web.web-1.dns"].reason.clone();
    assert_eq!(reason.as_deref(), Some("taken out: it is not ready"), "only what left for good is drained");
    world.phase(KEY, EndpointPhase::Ready);
    world.settle();
    assert_eq!(world.state("web.web-1"), Some(RegistrationState::Confirmed), "it did not leave");
    world.phase(KEY, EndpointPhase::Starting);
    world.settle();
    world.phase(KEY, EndpointPhase::Draining);
    world.report();
    assert_eq!(world.state("web.web-1"), Some(RegistrationState::Drained));
}

#[test]
fn a_flap_never_delays_a_drain() {
    let mut world = with(1);
    world.phase(KEY, EndpointPhase::Starting);
    world.phase(KEY, EndpointPhase::Draining);
    assert!(world.call(Answer::Good));
    assert_eq!(world.ours().count(), 0);
}

#[test]
fn an_unchanged_entry_is_never_written_again() {
    let mut world = with(30);
    let puts = world.puts;
    world.restart();
    world.settle();
    world.set(Endpoint { generation: 9, ..endpoint("web", 1) });
    world.settle();
    assert_eq!(world.puts, puts);
    world.set(Endpoint { weight: 5, ..endpoint("web", 1) });
    world.report();
    assert_eq!(
        world.state("web.web-1"),
        Some(RegistrationState::Confirmed),
        "another weight is no other entry"
    );
    world.settle();
    assert_eq!(world.puts, puts + 1);
}

#[test]
fn an_empty_view_does_not_empty_the_registry() {
    let mut world = with(30);
    world.endpoints.clear();
    world.restart();
    world.prove(false);
    assert!(!world.call(Answer::Good));
    assert_eq!(world.ours().count(), 30);
    let condition = world.engine.condition().expect("says so");
    assert!(condition.contains("30 of 30 entries have no endpoint"), "{condition}");
    // They come back, and nothing was lost.
    (1..=30).for_each(|i| world.set(endpoint("web", i)));
    world.settle();
    assert_eq!((world.ours().count(), world.engine.condition()), (30, None));
}

#[test]
fn deletions_that_somebody_made_are_not_held_however_many_they_are() {
    let mut world = with(30);
    world.endpoints.clear();
    world.restart();
    world.settle();
    assert_eq!((world.ours().count(), world.registrations.len()), (0, 0));
}

#[test]
fn few_entries_may_go_by_absence_but_only_while_the_cluster_is_known() {
    let mut world = with(30);
    (1..=5).for_each(|i| drop(world.endpoints.remove(&format!("sim-a.shop.web.web-{i}"))));
    world.restart();
    world.engine.cluster_known(false);
    world.prove(false);
    assert!(!world.call(Answer::Good));
    world.engine.cluster_known(true);
    world.pass(Duration::from_secs(5));
    while world.call(Answer::Good) {}
    world.report();
    assert_eq!((world.ours().count(), world.registrations.len()), (25, 25));
}

#[test]
fn an_empty_view_does_not_empty_a_small_registry_either() {
    for instances in [1, 2, 9] {
        let mut world = with(instances);
        world.endpoints.clear();
        world.restart();
        world.prove(false);
        world.pass(Duration::from_secs(60));
        assert!(!world.call(Answer::Good), "{instances} instances");
        let condition = world.engine.condition().expect("says so");
        assert!(condition.contains(&format!("{instances} of {instances} entries")), "{condition}");
    }
}

#[test]
fn absences_wait_until_no_more_of_them_come() {
    let mut world = with(30);
    for i in 1..=3 {
        let key = format!("sim-a.shop.web.web-{i}");
        world.endpoints.remove(&key);
        world.engine.vanished(&key, world.now());
        world.prove(false);
        world.pass(Duration::from_secs(4));
        assert!(!world.call(Answer::Good));
    }
    world.pass(Duration::from_secs(1));
    assert!(world.call(Answer::Good));
    assert_eq!(world.ours().count(), 27);
}

#[test]
fn an_application_that_only_vanished_stays_beside_a_large_one() {
    let mut world = with(30);
    world.set(endpoint("api", 1));
    world.settle();
    world.endpoints.remove("sim-a.shop.api.api-1");
    world.engine.vanished("sim-a.shop.api.api-1", world.now());
    world.prove(false);
    world.pass(Duration::from_secs(60));
    assert!(!world.call(Answer::Good));
    assert!(world.engine.condition().is_some_and(|c| c.contains("nothing would be left of shop.api")));
}

#[test]
fn additions_come_before_what_is_merely_replaced_and_drains_before_both() {
    let mut world = with(3);
    world.set(Endpoint { phase: EndpointPhase::Draining, ..endpoint("web", 1) });
    world.set(Endpoint { uid: "new".into(), ..endpoint("web", 2) });
    (10..30).for_each(|i| world.set(endpoint("web", i)));
    let first = world.engine.next_batch(usize::MAX);
    let uids: Vec<String> = first
        .iter()
        .map(|change| match change {
            Change::Put { entry, .. } => format!("+{}", entry.endpoint.uid),
            Change::Remove { place, .. } => match &world.registry[place] {
                Held::Ours(item) => format!("-{}", item.uid),
                Held::Foreign(_) => "-foreign".to_owned(),
            },
        })
        .collect();
    assert_eq!(uids.len(), 8);
    assert_eq!((uids[0].as_str(), uids[7].as_str()), ("+new", "-uid-web-1"));
    assert!(
        !uids.contains(&"-uid-web-2".to_owned()),
        "the old incarnation waits for its successor: {uids:?}"
    );
}

#[test]
fn one_poisonous_entry_does_not_delay_the_others() {
    let mut world = World::new();
    world.poison.push("uid-web-5".into());
    (1..=20).for_each(|i| world.set(endpoint("web", i)));
    world.read();
    while world.call(Answer::Good) {}
    world.report();
    assert_eq!(world.ours().count(), 19);
    assert!(world.calls <= 3 + 2 * 3, "{} calls", world.calls);
    let failed = &world.registrations["sim-a.shop.web.web-5.dns"];
    assert_eq!(failed.state, RegistrationState::Failed);
    assert_eq!(failed.reason.as_deref(), Some("the registry does not like it"));
    assert!(failed.retry_at.is_some_and(|at| at > world.now().wall));
    world.poison.clear();
    world.settle();
    assert_eq!(world.state("web.web-5"), Some(RegistrationState::Confirmed));
}

#[test]
fn while_the_registry_is_down_nothing_is_confirmed_and_everything_says_why() {
    let mut world = with(1);
    world.engine.lost("etcd does not answer".into());
    world.phase(KEY, EndpointPhase::Draining);
    world.set(endpoint("web", 2));
    world.report();
    world.pass(Duration::from_millis(100));
    world.report();
    for (instance, state) in [("web-1", RegistrationState::Draining), ("web-2", RegistrationState::Pending)] {
        let registration = &world.registrations[&format!("sim-a.shop.web.{instance}.dns")];
        assert_eq!(
            (registration.state, registration.reason.as_deref()),
            (state, Some("etcd does not answer"))
        );
    }
    world.settle();
    assert_eq!(world.state("web.web-1"), Some(RegistrationState::Drained));
    assert_eq!(world.state("web.web-2"), Some(RegistrationState::Confirmed));
}

#[test]
fn nothing_piles_up_while_the_registry_is_down() {
    let mut world = with(1);
    world.engine.lost("etcd does not answer".into());
    for weight in 1..100 {
        world.set(Endpoint { phase: EndpointPhase::Starting, weight, ..endpoint("web", 1) });
        world.pass(Duration::from_secs(2));
        world.set(Endpoint { weight, ..endpoint("web", 1) });
    }
    let lanes = &world.engine.lanes;
    assert_eq!(lanes.drains.len() + lanes.puts.len() + lanes.removals.len(), 0);
    assert!(world.engine.counts().oldest.is_some(), "since when it waits is known all the same");
    world.settle();
    assert_eq!((world.ours().count(), world.state("web.web-1")), (1, Some(RegistrationState::Confirmed)));
}

#[test]
fn what_the_platform_forgot_or_remembers_wrongly_is_said_again_and_nothing_else() {
    let mut world = with(3);
    let said = world.registrations.clone();
    world.registrations.remove("sim-a.shop.web.web-1.dns");
    let other = world.registrations.get_mut("sim-a.shop.web.web-2.dns").expect("was said");
    other.state = RegistrationState::Pending;
    world.engine.adopt(world.registrations.clone().into_values(), world.now());
    let mut again = world.engine.reports(world.now());
    again.sort_by_key(|report| match report {
        Report::Put(registration) => registration.key(),
        Report::Delete(key) => key.clone(),
    });
    let states: Vec<_> = again
        .iter()
        .map(|report| match report {
            Report::Put(registration) => (registration.uid.as_str(), registration.state),
            Report::Delete(key) => panic!("{key} is still there"),
        })
        .collect();
    assert_eq!(
        states,
        [("uid-web-1", RegistrationState::Confirmed), ("uid-web-2", RegistrationState::Confirmed)]
    );
    assert_eq!(said.len(), 3);
}

#[test]
fn what_was_under_way_while_it_was_read_what_stands_there_is_said_again_or_deleted() {
    let mut world = with(2);
    let key = |instance: &str| format!("sim-a.shop.{instance}.dns");
    // An older word of ours comes after what was read, and is not the last one.
    let before = world.registrations.clone();
    world.engine.adopt(before.clone().into_values(), world.now());
    world.engine.say_again([key("web.web-1")]);
    let old = Registration { state: RegistrationState::Pending, ..before[&key("web.web-1")].clone() };
    world.registrations.insert(key("web.web-1"), old);
    world.report();
    assert_eq!(world.state("web.web-1"), Some(RegistrationState::Confirmed));
    // What was read does not have yet what was said of an instance that is gone by now.
    world.engine.adopt([], world.now());
    world.delete(KEY);
    world.settle();
    let left: Vec<_> = world.registrations.keys().cloned().collect();
    assert_eq!(left, [key("web.web-2")]);
    // Nor does it stay where its application does not want it any more.
    world.engine.say_again([key("web.web-2")]);
    world.set(Endpoint { register: Some(Vec::new()), ..endpoint("web", 2) });
    world.settle();
    assert_eq!(world.registrations.len(), 0);
}

#[test]
fn drift_is_repaired_and_counted() {
    let mut world = with(3);
    let place = world.registry.keys().next().expect("an entry").clone();
    world.registry.remove(&place);
    world.engine.drifted(&place, None, world.now());
    world.settle();
    assert_eq!((world.ours().count(), world.engine.counts().drift_repaired), (3, 1));
    world.registry.remove(&place);
    world.read();
    world.settle();
    assert_eq!((world.ours().count(), world.engine.counts().drift_repaired), (3, 2));
}

#[test]
fn a_reading_without_differences_is_quick() {
    let mut world = World::new();
    let naming = settings().naming;
    let mut items = Vec::new();
    for i in 0..10_000 {
        let endpoint = std::sync::Arc::new(endpoint("web", i));
        let entry = naming.entry(&endpoint).expect("an entry");
        let (key, uid) = (entry.key().into(), endpoint.uid.as_str().into());
        items.push(Item { place: Plain.place(&entry), key, uid, digest: Plain.digest(&entry), version: 1 });
        world.engine.observe(&entry.key(), endpoint, world.now());
    }
    world.engine.registry_read(items.clone(), world.now());
    // The best of some: what else the machine does is no fault of ours.
    let reading = |_| {
        let begin = tokio::time::Instant::now();
        world.engine.registry_read(items.clone(), world.now());
        begin.elapsed()
    };
    let took = (0..5).map(reading).min().expect("some");
    assert!(world.engine.next_batch(usize::MAX).is_empty());
    // The target is 20 ms for an optimized build; this one is not.
    assert!(took < Duration::from_millis(200), "{took:?}");
}

#[test]
fn what_clients_remember_is_not_said_to_be_out_before_they_forgot_it() {
    let mut world = World::remembering(Duration::from_secs(5));
    world.set(endpoint("web", 1));
    world.read();
    world.settle();
    world.phase(KEY, EndpointPhase::Draining);
    world.call(Answer::Good);
    world.report();
    world.pass(Duration::from_secs(1));
    world.report();
    assert_eq!(world.ours().count(), 0, "it is out at once");
    let said = world.registrations.values().next().expect("a registration");
    assert_eq!(said.state, RegistrationState::Draining);
    assert!(said.reason.as_deref().is_some_and(|r| r.contains("remember")), "{said:?}");
    world.restart();
    world.pass(Duration::from_secs(3));
    world.report();
    assert_eq!(world.state("web.web-1"), Some(RegistrationState::Draining), "nor by the next sidecar");
    world.pass(Duration::from_secs(3));
    world.report();
    assert_eq!(world.state("web.web-1"), Some(RegistrationState::Drained));
}

#[test]
fn what_its_application_does_not_want_here_goes_and_nothing_more_is_said_of_it() {
    let mut world = World::remembering(Duration::from_secs(5));
    (1..=2).for_each(|i| world.set(endpoint("web", i)));
    world.set(Endpoint { register: Some(Vec::new()), ..endpoint("api", 3) });
    world.pass(Duration::from_secs(1));
    world.report();
    assert_eq!(world.state("api.api-3"), None, "also while the registry was not read");
    world.read();
    world.settle();
    assert_eq!((world.ours().count(), world.state("api.api-3")), (2, None));
    let elsewhere = || Endpoint { register: Some(Vec::new()), ..endpoint("web", 1) };
    world.set(elsewhere());
    world.call(Answer::Good);
    world.report();
    world.pass(Duration::from_secs(1));
    world.report();
    assert_eq!(world.ours().count(), 1, "it is out at once");
    assert_eq!(world.state("web.web-1"), Some(RegistrationState::Draining), "as long as clients remember it");
    world.pass(Duration::from_secs(5));
    world.report();
    assert_eq!(world.state("web.web-1"), None);
    // Whoever waits for its drain does not wait for this registry.
    world.set(Endpoint { phase: EndpointPhase::Draining, ..elsewhere() });
    world.settle();
    assert_eq!(world.state("web.web-1"), None);
    // And it may come back here as long as it lives.
    world.set(elsewhere());
    world.restart();
    world.set(endpoint("api", 3));
    world.settle();
    assert_eq!(world.state("api.api-3"), Some(RegistrationState::Confirmed));
}

#[test]
fn what_a_sidecar_took_out_just_before_another_takes_over_is_still_remembered() {
    let mut world = World::remembering(Duration::from_secs(5));
    world.read();
    world.set(endpoint("web", 1));
    world.settle();
    world.pass(Duration::from_secs(60));
    // The other one takes it out and is gone before it could say so.
    world.engine.lost("replaced".to_owned());
    world.phase(KEY, EndpointPhase::Draining);
    world.registry.clear();
    world.pass(Duration::from_secs(1));
    world.engine.took_over(world.now());
    world.engine.adopt(world.registrations.clone().into_values(), world.now());
    world.read();
    world.report();
    world.pass(Duration::from_secs(4));
    world.report();
    assert_eq!(world.state("web.web-1"), Some(RegistrationState::Draining));
    world.pass(Duration::from_secs(2));
    world.report();
    assert_eq!(world.state("web.web-1"), Some(RegistrationState::Drained));
}

#[test]
fn a_registry_that_cannot_be_read_is_told_what_left_though_it_may_not_be_there() {
    let mut world = World::new();
    let settings = Settings { lists: false, batch: WHOLE, ..settings() };
    world.engine = Engine::new(settings, std::sync::Arc::new(Plain));
    world.set(Endpoint { phase: EndpointPhase::Draining, ..endpoint("web", 1) });
    world.engine.adopt([], world.now());
    world.read();
    world.report();
    world.pass(Duration::from_secs(1));
    world.report();
    assert_eq!(world.state("web.web-1"), Some(RegistrationState::Draining));
    assert!(world.engine.next_batch(usize::MAX).is_empty(), "nothing is known of the cluster");
    assert_eq!(world.engine.counts().entries, 0);
    world.engine.cluster_known(true);
    let batch = world.engine.next_batch(usize::MAX);
    assert!(matches!(&batch[..], [Change::Remove { .. }]), "{batch:?}");
    let waits = crate::domain::Outcome::Waits("somebody may have it".into());
    let done = crate::domain::Outcome::Done(0);
    world.engine.answered(batch, vec![waits], world.now(), 0.5);
    world.read();
    world.report();
    assert_eq!(world.state("web.web-1"), Some(RegistrationState::Draining));
    world.pass(Duration::from_secs(1));
    let batch = world.engine.next_batch(usize::MAX);
    assert!(matches!(&batch[..], [Change::Remove { .. }]), "{batch:?}");
    world.engine.answered(batch, vec![done], world.now(), 0.5);
    world.report();
    assert_eq!(world.state("web.web-1"), Some(RegistrationState::Drained));
    // Once is enough.
    world.set(Endpoint { phase: EndpointPhase::Draining, ..endpoint("web", 1) });
    assert!(world.engine.next_batch(usize::MAX).is_empty());
    world.report();
    assert_eq!(world.state("web.web-1"), Some(RegistrationState::Drained));
}

#[test]
fn a_removal_that_takes_time_is_asked_for_again_and_says_what_it_waits_for() {
    let mut world = with(2);
    world.slow = 3;
    world.phase(KEY, EndpointPhase::Draining);
    assert!(world.call(Answer::Good));
    assert!(!world.call(Answer::Good), "not at once");
    world.pass(Duration::from_millis(10));
    world.report();
    world.pass(Duration::from_millis(35));
    assert!(!world.call(Answer::Good));
    world.pass(Duration::from_millis(100));
    world.report();
    let said = world.registrations.values().find(|r| r.instance == "web-1").expect("a registration");
    assert_eq!(
        (said.state, said.reason.as_deref()),
        (RegistrationState::Draining, Some("2 connections are left"))
    );
    assert_eq!(world.engine.counts().quarantined, 0);
    world.settle();
    assert_eq!((world.ours().count(), world.state("web.web-1")), (1, Some(RegistrationState::Drained)));
}

#[test]
fn an_addition_that_waits_may_be_seen_by_some_and_is_taken_out_when_the_instance_leaves() {
    let mut world = with(0);
    world.set(endpoint("web", 1));
    let batch = world.engine.next_batch(usize::MAX);
    let waits = crate::domain::Outcome::Waits("one of two has it".into());
    world.engine.answered(batch, vec![waits], world.now(), 0.5);
    world.report();
    world.pass(Duration::from_secs(1));
    world.report();
    assert_eq!(world.state("web.web-1"), Some(RegistrationState::Pending));
    let again = world.engine.next_batch(usize::MAX);
    assert!(matches!(&again[..], [Change::Put { over: Some(0), .. }]), "{again:?}");
    world.engine.answered(again, vec![crate::domain::Outcome::Done(3)], world.now(), 0.5);
    world.report();
    assert_eq!(world.state("web.web-1"), Some(RegistrationState::Confirmed));

    world.set(endpoint("web", 2));
    let batch = world.engine.next_batch(usize::MAX);
    let waits = crate::domain::Outcome::Waits("one of two has it".into());
    world.engine.answered(batch, vec![waits], world.now(), 0.5);
    world.phase("sim-a.shop.web.web-2", EndpointPhase::Draining);
    world.report();
    assert_ne!(world.state("web.web-2"), Some(RegistrationState::Drained));
    assert!(matches!(world.engine.next_batch(usize::MAX).as_slice(), [Change::Remove { .. }]));
}

#[test]
fn a_registry_that_is_told_everything_at_once_is_told_nothing_before_everything_is_known() {
    let mut world = World::new();
    world.engine = Engine::new(Settings { batch: WHOLE, ..settings() }, std::sync::Arc::new(Plain));
    (1..=300).for_each(|i| world.set(endpoint("web", i)));
    for _ in 0..10 {
        world.engine.lost("it does not listen yet".into());
    }
    world.read();
    assert!(world.engine.next_batch(usize::MAX).is_empty());
    assert!(world.engine.condition().is_some_and(|words| words.contains("known as a whole")));
    world.engine.cluster_known(true);
    assert_eq!((world.engine.next_batch(usize::MAX).len(), world.engine.condition()), (300, None));
}

#[test]
fn what_waits_for_the_rate_of_its_registry_says_so() {
    let mut world = with(0);
    world.set(endpoint("web", 1));
    world.engine.held_back(true);
    world.report();
    world.pass(Duration::from_secs(1));
    world.report();
    let said = world.registrations.values().next().expect("a registration");
    assert_eq!(said.state, RegistrationState::Pending);
    assert!(said.reason.as_deref().is_some_and(|words| words.contains("rate")), "{said:?}");
    assert!(world.engine.condition().is_some_and(|words| words.contains("rate")));
    world.engine.held_back(false);
    world.settle();
    assert_eq!(
        (world.state("web.web-1"), world.engine.condition()),
        (Some(RegistrationState::Confirmed), None)
    );
}
