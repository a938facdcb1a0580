use std::sync::Arc;

use super::{
    super::layout::tests::{entry, zone},
    *,
};
use crate::domain::Layout;

const NAME: &str = "web.shop.bcs.corp.test";

/// What is there besides our own entries: addresses with their life time, in the record set that entries go to.
struct World {
    zone: Zone,
    held: Held,
    sets: Sets,
}

impl World {
    /// We hold these entries, and their addresses are there.
    fn with(ours: &[Entry], others: &[&str]) -> Self {
        let mut world = Self { zone: zone("eu1", false), held: Held::default(), sets: Sets::new() };
        for entry in ours {
            let place = world.zone.place(entry);
            world.held.set(&world.zone, &place, vec![world.zone.txt(entry)]);
        }
        let others = others.iter().map(|address| address.parse().expect("an address"));
        let addresses = ours.iter().map(|entry| entry.address).chain(others);
        let set = Set { addresses: addresses.collect(), ttl: 300, taken: None };
        world.sets.insert((NAME.to_owned(), RecordType::A), set);
        world
    }

    fn draft(&self, changes: &[Change]) -> Drafted {
        let fence = Fence { epoch: 7, txt: layout::text("epoch") };
        let view =
            View { zone: &self.zone, fence: &fence, held: &self.held, sets: &self.sets, adopting: false };
        view.draft(changes).expect("names that can be used")
    }

    fn put(&self, entry: Entry, over: Option<u64>) -> Change {
        let (place, digest) = (self.zone.place(&entry), self.zone.digest(&entry));
        Change::Put { place, entry, digest, over }
    }

    fn version(&self, entry: &Entry) -> u64 {
        version(&[self.zone.txt(entry)])
    }

    fn remove(&self, entry: &Entry) -> Change {
        Change::Remove { place: self.zone.place(entry), version: self.version(entry) }
    }

    /// Requirements and changes, without ownership records' texts and the zone's name.
    fn shown(&self, changes: &[Change]) -> (Vec<String>, Vec<String>) {
        let Drafted::Ready(draft) = self.draft(changes) else { panic!("obstructed") };
        let show = |record: &Record| {
            let data = match &record.data {
                RData::TXT(_) => "…".to_owned(),
                RData::Update0(_) => "nothing".to_owned(),
                data => data.to_string(),
            };
            let name = record.name.to_string();
            let name = name.trim_end_matches(".corp.test.");
            format!("{} {name} {} {} {data}", record.dns_class, record.ttl, record.record_type())
        };
        (draft.prerequisites.iter().map(show).collect(), draft.updates.iter().map(show).collect())
    }
}

fn at(number: u32, address: &str) -> Entry {
    Entry { address: address.parse().expect("an address"), ..entry(number) }
}

#[test]
fn the_first_entry_of_a_name_requires_that_nothing_is_there() {
    let world = World::with(&[], &[]);
    let (requires, does) = world.shown(&[world.put(entry(1), None)]);
    assert_eq!(
        requires,
        [
            "IN dns.sim-a.eu1._bcs 0 TXT …",
            "NONE web.shop.bcs 0 A nothing",
            "NONE web.shop.bcs 0 CNAME nothing",
            "NONE i0001.dns.sim-a.eu1._bcs 0 TXT nothing",
        ]
    );
    assert_eq!(does, ["IN web.shop.bcs 30 A 10.0.0.1", "IN i0001.dns.sim-a.eu1._bcs 30 TXT …"]);
}

#[test]
fn an_entry_beside_those_of_others_requires_them_and_keeps_their_life_time() {
    let world = World::with(&[entry(1)], &["192.0.2.1"]);
    let (requires, does) = world.shown(&[world.put(entry(2), None)]);
    assert_eq!(requires[1..3], ["IN web.shop.bcs 0 A 10.0.0.1", "IN web.shop.bcs 0 A 192.0.2.1"]);
    assert_eq!(does[0], "IN web.shop.bcs 300 A 10.0.0.2");
    let alone = World::with(&[entry(1)], &[]);
    assert_eq!(alone.shown(&[alone.put(entry(2), None)]).1[0], "IN web.shop.bcs 30 A 10.0.0.2");
}

#[test]
fn an_entry_that_moves_takes_its_old_address_out() {
    let world = World::with(&[entry(1)], &[]);
    let (requires, does) = world.shown(&[world.put(at(1, "10.9.9.9"), Some(world.version(&entry(1))))]);
    assert_eq!(requires[2], "IN i0001.dns.sim-a.eu1._bcs 0 TXT …");
    assert_eq!(
        does,
        [
            "NONE web.shop.bcs 0 A 10.0.0.1",
            "NONE i0001.dns.sim-a.eu1._bcs 0 TXT …",
            "IN web.shop.bcs 30 A 10.9.9.9",
            "IN i0001.dns.sim-a.eu1._bcs 30 TXT …",
        ]
    );
}

#[test]
fn an_address_goes_only_when_no_entry_of_ours_needs_it_any_more() {
    let (one, two) = (at(1, "10.1.1.1"), at(2, "10.1.1.1"));
    let world = World::with(&[one.clone(), two.clone()], &[]);
    let gone = "NONE web.shop.bcs 0 A 10.1.1.1".to_owned();
    for (changes, goes) in [
        (vec![world.remove(&one)], false),
        (vec![world.remove(&one), world.remove(&two)], true),
        (vec![world.remove(&one), world.remove(&two), world.put(at(3, "10.1.1.1"), None)], false),
        (vec![world.remove(&one), world.put(at(2, "10.2.2.2"), Some(world.version(&two)))], true),
    ] {
        let does = world.shown(&changes).1;
        assert_eq!(does.contains(&gone), goes, "{does:?}");
    }
}

#[test]
fn what_only_lost_its_address_keeps_its_ownership_record() {
    let world = World::with(&[entry(1)], &[]);
    let does = world.shown(&[world.put(entry(1), Some(world.version(&entry(1))))]).1;
    assert_eq!(does, ["IN web.shop.bcs 30 A 10.0.0.1"]);
}

#[test]
fn what_stands_in_the_way_is_told_and_holds_up_the_others() {
    let world = World::with(&[entry(1)], &["10.0.0.5"]);
    let expected = Some(world.version(&entry(1)));
    let there = world.zone.item(&world.zone.place(&entry(1)), &[world.zone.txt(&entry(1))], true);
    let cases = [
        (world.put(entry(1), None), Outcome::Differs(there.clone())),
        (world.put(entry(1), Some(99)), Outcome::Differs(there)),
        (world.put(entry(2), Some(99)), Outcome::Differs(None)),
        (world.remove(&entry(2)), Outcome::Differs(None)),
    ];
    for (change, outcome) in cases {
        let Drafted::Obstructed(found) = world.draft(&[change, world.put(entry(3), None)]) else {
            panic!("goes on")
        };
        assert_eq!(found, [outcome, Outcome::Again]);
    }
    let Drafted::Obstructed(foreign) = world.draft(&[world.put(entry(5), None)]) else { panic!("goes on") };
    assert!(matches!(&foreign[..], [Outcome::Foreign(words)] if words.contains("10.0.0.5 already")));
    // Ours may be there already.
    assert!(matches!(world.draft(&[world.put(entry(1), expected)]), Drafted::Ready(_)));
    let named = Entry { name: "x".repeat(64), endpoint: Arc::clone(&entry(4).endpoint), ..entry(4) };
    let fence = Fence { epoch: 7, txt: layout::text("epoch") };
    let view =
        View { zone: &world.zone, fence: &fence, held: &world.held, sets: &world.sets, adopting: false };
    assert!(view.draft(&[world.put(named, None)]).is_err_and(|why| why.contains("is no name of DNS")));
}
