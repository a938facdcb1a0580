//! Whatever happens in whatever order: in the end nothing is missing, nothing leaked, and nothing foreign was touched.

use std::collections::{BTreeMap, BTreeSet};

use bcs_schemas::observation::{Endpoint, EndpointPhase, RegistrationState};
use proptest::prelude::*;

use super::world::*;
use crate::{
    domain::{Layout, Place, engine::*},
    testing::endpoint,
};

#[derive(Clone, Debug)]
enum Step {
    Ready(u32, u8),
    Phase(u32, u8),
    Weight(u32, u32),
    Choose(u32, bool),
    Delete(u32),
    Call(Answer),
    Read,
    Restart,
    Pass(u16),
    Tamper(u8),
    Occupy(u32, u8),
    Poison(u32, u8),
    Slow,
}

fn step() -> impl Strategy<Value = Step> {
    let instance = 0_u32..12;
    let answer =
        prop_oneof![4 => Just(Answer::Good), 1 => Just(Answer::Lost), 1 => Just(Answer::LostAfterCommit)];
    prop_oneof![
        6 => (instance.clone(), 0_u8..3).prop_map(|(i, u)| Step::Ready(i, u)),
        6 => (instance.clone(), 0_u8..4).prop_map(|(i, p)| Step::Phase(i, p)),
        2 => (instance.clone(), 1_u32..5).prop_map(|(i, w)| Step::Weight(i, w)),
        2 => (instance.clone(), any::<bool>()).prop_map(|(i, here)| Step::Choose(i, here)),
        3 => instance.clone().prop_map(Step::Delete),
        12 => answer.prop_map(Step::Call),
        1 => Just(Step::Read),
        1 => Just(Step::Restart),
        4 => (0_u16..1500).prop_map(Step::Pass),
        1 => any::<u8>().prop_map(Step::Tamper),
        1 => (instance.clone(), 0_u8..3).prop_map(|(i, u)| Step::Occupy(i, u)),
        1 => (instance, 0_u8..3).prop_map(|(i, u)| Step::Poison(i, u)),
        1 => Just(Step::Slow),
    ]
}

fn incarnation(i: u32, uid: u8) -> Endpoint {
    Endpoint { uid: format!("uid-{i}-{uid}"), ..endpoint("web", i) }
}

fn key(i: u32) -> String {
    format!("sim-a.shop.web.web-{i}")
}

fn place_of(endpoint: Endpoint) -> Place {
    Plain.place(&settings().naming.entry(&std::sync::Arc::new(endpoint)).expect("has an address"))
}

struct Chaos {
    world: World,
    foreign: BTreeMap<Place, Held>,
    left: BTreeSet<String>,
}

impl Chaos {
    fn take(&mut self, step: Step) {
        let world = &mut self.world;
        match step {
            Step::Ready(i, uid) => {
                // That an engine which saw it leave would refuse it is a rule of its own; a restarted one cannot know.
                let next = incarnation(i, uid);
                let before = world.endpoints.get(&key(i)).map(|e| e.uid.clone());
                if self.left.contains(&next.uid) {
                    return;
                }
                self.left.extend(before.filter(|b| *b != next.uid));
                world.set(next);
            }
            Step::Phase(i, phase) => {
                let phase = [
                    EndpointPhase::Starting,
                    EndpointPhase::Draining,
                    EndpointPhase::Gone,
                    EndpointPhase::Ready,
                ][usize::from(phase)];
                if let Some(endpoint) = world.endpoints.get(&key(i)) {
                    if matches!(phase, EndpointPhase::Draining | EndpointPhase::Gone) {
                        self.left.insert(endpoint.uid.clone());
                    } else if self.left.contains(&endpoint.uid) {
                        // What a restarted sidecar cannot know, no agent does either: a drained instance stays so.
                        return;
                    }
                }
                world.phase(&key(i), phase);
            }
            Step::Weight(i, weight) => {
                if let Some(endpoint) = world.endpoints.get(&key(i)).cloned() {
                    world.set(Endpoint { weight, ..endpoint });
                }
            }
            Step::Choose(i, here) => {
                if let Some(endpoint) = world.endpoints.get(&key(i)).cloned() {
                    world.set(Endpoint { register: (!here).then(Vec::new), ..endpoint });
                }
            }
            Step::Delete(i) => {
                self.left.extend(world.endpoints.get(&key(i)).map(|e| e.uid.clone()));
                world.delete(&key(i));
            }
            Step::Call(answer) => drop(world.call(answer)),
            Step::Read => world.read(),
            Step::Restart => world.restart(),
            Step::Pass(millis) => world.pass(Duration::from_millis(millis.into())),
            Step::Tamper(n) => {
                let ours: Vec<Place> = world.ours().map(|i| i.place.clone()).collect();
                if let Some(place) = ours.get(usize::from(n)) {
                    world.registry.remove(place);
                    if n % 2 == 0 {
                        world.engine.drifted(place, None, world.now());
                    }
                }
            }
            Step::Occupy(i, uid) => {
                let place = place_of(incarnation(i, uid));
                if !world.registry.contains_key(&place) {
                    world.registry.insert(place.clone(), Held::Foreign(i.into()));
                    self.foreign.insert(place, Held::Foreign(i.into()));
                }
            }
            Step::Slow => world.slow += 1,
            Step::Poison(i, uid) => world.poison.push(incarnation(i, uid).uid),
        }
        self.world.report();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn in_the_end_the_registry_holds_exactly_what_is_ready(
        steps in proptest::collection::vec(step(), 1..120),
        delay in prop_oneof![Just(0), Just(700)],
    ) {
        let world = World::remembering(Duration::from_millis(delay));
        let mut chaos = Chaos { world, foreign: BTreeMap::new(), left: BTreeSet::new() };
        chaos.world.read();
        steps.into_iter().for_each(|step| chaos.take(step));
        let Chaos { mut world, foreign, .. } = chaos;
        world.poison.clear();
        world.read();
        world.settle();

        let taken = |e: &Endpoint| foreign.contains_key(&place_of(e.clone()));
        let ready: BTreeSet<String> = world
            .endpoints
            .values()
            .filter(|e| e.phase == EndpointPhase::Ready && e.register.is_none() && !taken(e))
            .map(|e| e.uid.clone())
            .collect();
        let held: BTreeSet<String> = world.ours().map(|item| item.uid.to_string()).collect();
        prop_assert_eq!(&held, &ready, "neither missing nor leaked");
        for (place, held) in &foreign {
            prop_assert_eq!(world.registry.get(place), Some(held), "foreign entries stay");
        }
        for registration in world.registrations.values() {
            let endpoint = world.endpoints.values().find(|e| e.uid == registration.uid);
            let endpoint = endpoint.expect("no registration outlives its endpoint");
            prop_assert!(endpoint.register.is_none(), "nothing is said of what is not wanted here: {registration:?}");
            let expected: &[RegistrationState] = match endpoint.phase {
                EndpointPhase::Ready if taken(endpoint) => &[RegistrationState::Failed],
                EndpointPhase::Ready => &[RegistrationState::Confirmed],
                EndpointPhase::Starting => &[RegistrationState::Pending],
                _ => &[RegistrationState::Drained],
            };
            prop_assert!(expected.contains(&registration.state), "{registration:?} of {endpoint:?}");
        }
        prop_assert_eq!(
            world.registrations.len(),
            world.endpoints.values().filter(|e| e.register.is_none()).filter(|e| e.phase != EndpointPhase::Starting || world.registrations.values().any(|r| r.uid == e.uid)).count(),
            "everything that is ready or leaving has a registration"
        );
    }
}
