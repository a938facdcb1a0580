//! What has to be asked of Nacos for changes of one service, and which of them it already has or somebody else's instance
//! forbids. Pure.

use super::layout::{Instance, Spelling, digest, parts};
use crate::domain::{Change, Outcome};

/// One call.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Add or replace it.
    Register(Instance),
    /// Take it out.
    Deregister(Instance),
}

/// The steps of one change, in order, or what it came to without any.
pub(super) type Planned = (Vec<Step>, Outcome);

/// For each change; `instances` are all that the service has.
pub(super) fn plan(spelling: &Spelling, instances: &[Instance], changes: &[&Change]) -> Vec<Planned> {
    let mut there = instances.to_vec();
    changes.iter().map(|change| one(spelling, &mut there, change)).collect()
}

fn one(spelling: &Spelling, there: &mut Vec<Instance>, change: &Change) -> Planned {
    let mut steps = Vec::new();
    let mut keep = None;
    if let Change::Put { place, entry, digest: wanted, .. } = change {
        let instance = spelling.instance(entry);
        let held = there.iter().position(|other| other.is_at(&instance));
        match held.and_then(|at| there.get(at)) {
            Some(other) if !spelling.is_ours(other) => {
                return (steps, Outcome::Foreign(words(place, other)));
            }
            Some(other) if other.id() == entry.id && digest(place, other) == *wanted => (),
            _ => steps.push(Step::Register(instance.clone())),
        }
        there.retain(|other| !other.is_at(&instance));
        there.push(instance.clone());
        keep = Some(instance);
    }
    // Whatever else stands for this entry: where it was before, or all of it.
    let id = parts(change.place()).map_or("", |(_, id)| id);
    there.retain(|other| {
        let stale =
            spelling.is_ours(other) && other.id() == id && keep.as_ref().is_none_or(|k| !k.is_at(other));
        if stale {
            steps.push(Step::Deregister(other.clone()));
        }
        !stale
    });
    (steps, Outcome::Done(0))
}

fn words(place: &str, other: &Instance) -> String {
    let service = parts(place).map_or(place, |(service, _)| service);
    format!(
        "{}:{} of service {service} belongs to {}, expected it to be free or ours",
        other.ip,
        other.port,
        other.whose()
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        domain::{Entry, Layout},
        driver::Owner,
        testing,
    };

    fn spelling(platform: &str) -> Spelling {
        let owner = Owner {
            platform: testing::name(platform),
            cluster: testing::name("sim-a"),
            registry: testing::name("dns"),
            installation: "one".to_owned(),
        };
        Spelling::new(&owner, "bcs.local", "DEFAULT", false)
    }

    fn entry(number: u32) -> Entry {
        let endpoint = Arc::new(testing::endpoint("web", number));
        let (address, id) = (endpoint.addresses[0], format!("i{number}"));
        Entry {
            name: "web.shop.bcs.local".into(),
            id,
            address,
            port: 80,
            ttl: 30,
            metadata: Default::default(),
            endpoint,
        }
    }

    fn put(spelling: &Spelling, entry: Entry) -> Change {
        Change::Put { place: spelling.place(&entry), digest: spelling.digest(&entry), entry, over: None }
    }

    fn remove(spelling: &Spelling, entry: &Entry) -> Change {
        Change::Remove { place: spelling.place(entry), version: 0 }
    }

    #[test]
    fn what_is_there_already_takes_no_call_and_is_read_back() {
        let ours = spelling("eu1");
        let there = [ours.instance(&entry(1))];
        assert_eq!(plan(&ours, &there, &[&put(&ours, entry(1))]), [(vec![], Outcome::Done(0))]);
        let items = ours.items("web.shop.bcs.local", &there);
        assert_eq!((&items[0].place, items[0].digest), (&ours.place(&entry(1)), ours.digest(&entry(1))));
        assert_eq!(*items[0].key, *entry(1).key());
        let gone = plan(&ours, &there, &[&remove(&ours, &entry(1)), &remove(&ours, &entry(2))]);
        assert_eq!(
            gone,
            [(vec![Step::Deregister(there[0].clone())], Outcome::Done(0)), (vec![], Outcome::Done(0))]
        );
    }

    #[test]
    fn an_entry_that_moves_is_added_before_it_is_taken_out_elsewhere() {
        let ours = spelling("eu1");
        let moved = Entry { address: "10.9.9.9".parse().expect("an address"), ..entry(1) };
        let before = ours.instance(&entry(1));
        let planned = plan(&ours, std::slice::from_ref(&before), &[&put(&ours, moved.clone())]);
        let after = ours.instance(&moved);
        assert_eq!(planned[0].0, [Step::Register(after.clone()), Step::Deregister(before.clone())]);
        // Half done: it is told once, as neither of the two.
        let items = ours.items("web.shop.bcs.local", &[before, after]);
        assert_eq!(items.len(), 1);
        assert!(items[0].digest != ours.digest(&moved) && items[0].digest != ours.digest(&entry(1)));
    }

    #[test]
    fn an_address_that_another_incarnation_took_over_is_not_taken_out_with_the_former_one() {
        let ours = spelling("eu1");
        let next = Entry { id: "next".into(), ..entry(1) };
        let there = [ours.instance(&entry(1))];
        let planned = plan(&ours, &there, &[&put(&ours, next.clone()), &remove(&ours, &entry(1))]);
        assert_eq!(planned[0].0, [Step::Register(ours.instance(&next))]);
        assert_eq!(planned[1], (vec![], Outcome::Done(0)));
    }

    #[test]
    fn an_instance_of_somebody_else_is_named_and_left_alone() {
        let (ours, theirs) = (spelling("eu1"), spelling("eu2"));
        let mut nobody = ours.instance(&entry(1));
        nobody.metadata.clear();
        for (other, words) in
            [(theirs.instance(&entry(1)), "\"eu2.sim-a.dns\""), (nobody, "nobody that says so")]
        {
            let there = [other];
            let planned = plan(&ours, &there, &[&put(&ours, entry(1)), &remove(&ours, &entry(1))]);
            assert!(planned.iter().all(|(steps, _)| steps.is_empty()), "{planned:?}");
            assert!(matches!(&planned[0].1, Outcome::Foreign(said) if said.contains(words)), "{planned:?}");
            assert_eq!(ours.items("web.shop.bcs.local", &there), []);
        }
    }
}
