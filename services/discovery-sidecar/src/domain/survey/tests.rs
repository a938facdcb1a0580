use bcs_schemas::{adoption::EntryState as State, observation::Endpoint};
use proptest::prelude::*;

use super::*;
use crate::testing;

const US: &str = "eu1.sim-a.dns";

fn entry(number: u32) -> Entry {
    let endpoint: Endpoint = testing::endpoint("web", number);
    Entry {
        name: "web.shop.bcs.local".into(),
        id: format!("i{number}"),
        address: endpoint.addresses[0],
        port: 8080,
        ttl: 30,
        metadata: Default::default(),
        endpoint: Arc::new(endpoint),
    }
}

fn wanted(number: u32) -> Wanted {
    let entry = entry(number);
    Wanted {
        place: Place::from(entry.id.as_str()),
        called: entry.name.clone(),
        entry,
        digest: number.into(),
        over: None,
        refused: None,
    }
}

fn ours(number: u32, digest: u64) -> Found {
    let entry = entry(number);
    let item = Item {
        place: Place::from(entry.id.as_str()),
        key: Arc::from(entry.key()),
        uid: Arc::from("u"),
        digest,
        version: 1,
    };
    Found { name: entry.name, address: Some(entry.address), ..Found::ours(item) }
}

fn theirs(place: &str, number: u32, port: Option<u16>, whose: Whose) -> Found {
    let (name, address) = ("web.shop.bcs.local".to_owned(), Some(entry(number).address));
    Found { place: Place::from(place), name, also: None, address, port, whose, version: 7 }
}

fn states(wanted: &[Wanted], found: &[Found]) -> Vec<(String, State, Option<String>)> {
    let rows = compare(US, wanted, found).into_iter();
    rows.map(|row| (row.place, row.state, row.instance)).collect()
}

fn pick(found: &Found) -> Pick {
    Pick { place: found.place.to_string(), address: found.address.expect("an address") }
}

#[test]
fn what_is_there_is_told_from_what_belongs_there() {
    let nobody = || Whose::Nobody;
    let (all, key) = ([wanted(1), wanted(2), wanted(3), wanted(4)], |n: u32| Some(entry(n).key()));
    let found = [
        ours(1, 1),
        ours(2, 99),
        ours(9, 9),
        theirs("x3", 3, Some(8080), nobody()),
        theirs("x8", 8, None, nobody()),
        theirs("y4", 4, Some(9090), nobody()),
    ];
    let expected = [
        ("i1", State::Same, key(1)),
        ("i2", State::Changed, key(2)),
        ("i4", State::Missing, key(4)),
        ("i9", State::Extra, key(9)),
        ("x3", State::Adoptable, key(3)),
        ("x8", State::Foreign, None),
        ("y4", State::Foreign, key(4)),
    ];
    let expected = expected.map(|(place, state, instance)| (place.to_owned(), state, instance));
    assert_eq!(states(&all, &found), expected);
}

#[test]
fn a_port_that_is_not_said_is_no_other_port_and_a_name_may_be_the_one_above() {
    let all = [wanted(1)];
    let without = theirs("x", 1, None, Whose::Nobody);
    let below = Found {
        name: "x1.web.shop.bcs.local".into(),
        also: Some("web.shop.bcs.local".into()),
        ..without.clone()
    };
    let other = Found { name: "api.shop.bcs.local".into(), ..without.clone() };
    for (found, state) in [(&without, State::Adoptable), (&below, State::Adoptable), (&other, State::Foreign)]
    {
        let rows = compare(US, &all, std::slice::from_ref(found));
        let row = rows.iter().find(|row| row.place == "x").expect("is shown");
        assert_eq!((row.state, row.instance.as_deref()), (state, Some("sim-a.shop.web.web-1")), "{row:?}");
    }
}

#[test]
fn nothing_of_a_named_owner_is_taken_unless_he_is_named() {
    let all = [wanted(1)];
    let found = [theirs("x", 1, None, Whose::Other("external-dns".into()))];
    let rows = compare(US, &all, &found);
    assert!(rows.iter().any(|row| row.state == State::Foreign
        && row.note.as_deref().is_some_and(|note| note.contains("--from external-dns"))));
    let of = |from: Option<&str>| adoptions(&all, &found, &[pick(&found[0])], from).remove(0);
    assert!(of(None).is_err_and(|why| why.contains("external-dns")));
    assert!(of(Some("external")).is_err());
    assert_eq!(of(Some("external-dns")).map(|adoption| adoption.wanted.place), Ok(Place::from("i1")));
}

#[test]
fn what_was_shown_and_is_something_else_by_now_is_not_taken() {
    let all = [wanted(1), wanted(2)];
    let (one, twin) = (theirs("x", 1, None, Whose::Nobody), theirs("y", 1, None, Whose::Nobody));
    let moved = Pick { place: "x".into(), address: entry(2).address };
    let planned = adoptions(
        &all,
        &[one.clone(), twin.clone(), ours(2, 2)],
        &[
            pick(&one),
            pick(&twin),
            moved,
            pick(&ours(2, 2)),
            Pick { place: "z".into(), address: entry(1).address },
        ],
        None,
    );
    let words: Vec<_> = planned.iter().map(|planned| planned.as_ref().err().map(String::as_str)).collect();
    assert!(words[0].is_none(), "{words:?}");
    for (word, part) in
        words[1..].iter().zip(["another one of these", "not there any more", "ours already", "not there"])
    {
        assert!(word.is_some_and(|word| word.contains(part)), "{words:?}");
    }
}

fn any_found() -> impl Strategy<Value = Found> {
    let whose = prop_oneof![
        Just(Whose::Nobody),
        Just(Whose::Other("eu2.sim-a.dns".to_owned())),
        Just(Whose::Other("hand".to_owned())),
    ];
    prop_oneof![
        (0..6_u32, 0..8_u64).prop_map(|(number, digest)| ours(number, digest)),
        ("[a-z]{1,3}", 0..8_u32, prop::option::of(8079..8082_u16), whose)
            .prop_map(|(place, number, port, whose)| theirs(&format!("t-{place}"), number, port, whose)),
    ]
}

proptest! {
    #[test]
    fn every_entry_and_every_instance_is_shown_once_and_only_nobodys_are_adoptable(
        numbers in prop::collection::btree_set(0..6_u32, 0..6),
        found in prop::collection::vec(any_found(), 0..12),
    ) {
        let all: Vec<Wanted> = numbers.into_iter().map(wanted).collect();
        let found: BTreeMap<Place, Found> = found.into_iter().map(|found| (found.place.clone(), found)).collect();
        let found: Vec<Found> = found.into_values().collect();
        let rows = compare(US, &all, &found);
        let held = rows.iter().filter(|row| row.state.held()).count();
        prop_assert_eq!(held, found.len());
        for wanted in &all {
            let key = wanted.entry.key();
            let of_ours = |state| matches!(state, State::Same | State::Changed | State::Missing);
            let own = rows.iter().filter(|row| of_ours(row.state) && row.instance.as_ref() == Some(&key)).count();
            let other = rows.iter().any(|row| row.state == State::Adoptable && row.instance.as_ref() == Some(&key));
            prop_assert!(own == 1 || (own == 0 && other), "{}: {:?}", key, rows);
        }
        let positions: Vec<String> = rows.iter().map(position).collect();
        prop_assert!(positions.is_sorted());
        let picks: Vec<Pick> = found.iter().filter(|found| found.address.is_some()).map(pick).collect();
        let mut taken = HashSet::new();
        for (found, planned) in found.iter().zip(adoptions(&all, &found, &picks, None)) {
            let row = rows.iter().find(|row| row.place == *found.place).expect("is shown");
            if let Ok(adoption) = planned {
                prop_assert_eq!(&found.whose, &Whose::Nobody);
                prop_assert_eq!(row.state, State::Adoptable);
                prop_assert_eq!(Some(adoption.wanted.entry.address), found.address);
                prop_assert!(taken.insert(adoption.wanted.place), "an instance has one entry");
            }
        }
    }
}
