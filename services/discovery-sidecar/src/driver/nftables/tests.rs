//! What is told to the kernel and what is not, without a kernel.

use std::sync::Arc;

use serde_json::json;

use super::{ruleset::Set, *};
use crate::{domain::Naming, testing};

fn sets(settings: serde_json::Value) -> Sets {
    let settings = serde_json::from_value(settings).expect("settings");
    let owner = Owner {
        platform: testing::name("eu1"),
        cluster: testing::name("sim-a"),
        registry: testing::name("edge"),
        installation: "one".to_owned(),
    };
    Sets::new(&settings, &owner)
}

fn entry(number: u32) -> Entry {
    let spec = serde_json::json!({ "driver": { "nftables": {} } });
    let naming = Naming::of(&testing::name("r"), &serde_json::from_value(spec).expect("a spec"));
    naming.entry(&Arc::new(testing::endpoint("web", number))).expect("an entry")
}

fn other(change: impl FnOnce(&mut bcs_schemas::observation::Endpoint)) -> Entry {
    let mut endpoint = testing::endpoint("web", 1);
    change(&mut endpoint);
    let address = endpoint.addresses[0];
    Entry { address, endpoint: Arc::new(endpoint), ..entry(1) }
}

fn put(sets: &Sets, entry: Entry, over: Option<u64>) -> Change {
    Change::Put { place: sets.place(&entry), digest: sets.digest(&entry), entry, over }
}

/// A table that holds these entries and these elements of others in `shop_web_v4`.
fn reading(sets: &Sets, entries: &[Entry], others: &[(&str, Option<&str>)]) -> Reading {
    let ours = entries.iter().map(|entry| (sets.element(entry).text, Some(sets.comment(entry))));
    let others = others.iter().map(|(text, comment)| ((*text).to_owned(), comment.map(ToOwned::to_owned)));
    let set = Set { kind: Some("ipv4_addr".into()), odd: None, elements: ours.chain(others).collect() };
    Reading { sets: BTreeMap::from([("shop_web_v4".to_owned(), set)]) }
}

fn judged(sets: &Sets, reading: &Reading, changes: &[Change]) -> Option<Vec<Outcome>> {
    obstacles(sets, reading, &sets.held(reading), changes)
}

#[test]
fn an_element_is_found_again_as_it_was_written() {
    for settings in [json!({}), json!({ "member": "address_port", "set": "allow.{cluster}-{app}" })] {
        let sets = sets(settings);
        for entry in [entry(1), other(|e| e.addresses = vec!["fd00::1".parse().expect("an address")])] {
            assert_eq!(sets.problem(&entry), None);
            let element = sets.element(&entry);
            let set = Set {
                elements: BTreeMap::from([(element.text, Some(sets.comment(&entry)))]),
                ..Set::default()
            };
            let held = sets.held(&Reading { sets: BTreeMap::from([(element.set, set)]) });
            let [item] = &items(&held)[..] else { panic!("{held:?}") };
            assert_eq!((&item.place, item.digest), (&sets.place(&entry), sets.digest(&entry)));
            assert_eq!((&*item.key, &*item.uid), ("sim-a.shop.web.web-1", "uid-web-1"));
        }
    }
}

#[test]
fn an_address_that_another_one_of_ours_has_is_waited_for_unless_it_goes_at_once() {
    let sets = sets(json!({}));
    let next = other(|e| (e.uid, e.instance) = ("u2".into(), "web-2".into()));
    let reading = reading(&sets, &[entry(1)], &[]);
    let changes = [put(&sets, next.clone(), None), put(&sets, entry(3), None)];
    let outcomes = judged(&sets, &reading, &changes).expect("one stands in the way");
    assert!(
        matches!(&outcomes[..], [Outcome::Waits(words), Outcome::Again]
            if words == "10.0.0.1 in the set shop_web_v4 is still of sim-a.shop.web.web-1 (shop_web/uid-web-1)"),
        "{outcomes:?}"
    );
    let leaving = Change::Remove { place: sets.place(&entry(1)), version: sets.digest(&entry(1)) };
    let both = [put(&sets, next.clone(), None), leaving];
    assert_eq!(judged(&sets, &reading, &both), None);
    let told = Transaction::of(&sets, &reading, &sets.held(&reading), "bcs_epoch_x", &both);
    let told = told.render("inet", "bcs");
    let element = |elem: serde_json::Value| json!({ "element": { "family": "inet", "table": "bcs", "name": "shop_web_v4", "elem": [elem] } });
    let fence = json!({ "set": { "family": "inet", "table": "bcs", "name": "bcs_epoch_x", "type": "mark" } });
    let expected = json!({ "nftables": [
        { "delete": fence }, { "create": fence },
        { "delete": element(json!("10.0.0.1")) },
        { "create": element(json!({ "elem": { "val": "10.0.0.1", "comment": sets.comment(&next) } })) },
    ] });
    assert_eq!(told, expected);
    let twice = judged(&sets, &Reading::default(), &[put(&sets, entry(1), None), put(&sets, next, None)]);
    assert!(matches!(twice.as_deref(), Some([Outcome::Again, Outcome::Waits(_)])), "{twice:?}");
}

#[test]
fn what_is_not_as_expected_is_said_for_each_change() {
    let sets = sets(json!({}));
    let there = reading(&sets, &[entry(1)], &[("10.0.0.2", None), ("10.0.0.3", Some("bcs:00000000:a:b"))]);
    let item = items(&sets.held(&there)).remove(0);
    let gone = Change::Remove { place: sets.place(&entry(4)), version: 7 };
    let changes = [
        put(&sets, entry(1), None),
        put(&sets, entry(1), Some(7)),
        put(&sets, entry(4), Some(7)),
        gone,
        put(&sets, entry(2), None),
        put(&sets, entry(3), None),
        put(&sets, entry(5), None),
    ];
    let outcomes = judged(&sets, &there, &changes).expect("much stands in the way");
    let differs = |item: Option<&Item>| Outcome::Differs(item.cloned());
    assert_eq!(outcomes[..4], [differs(Some(&item)), differs(Some(&item)), differs(None), differs(None)]);
    let words = "10.0.0.3 in the set shop_web_v4 was put there by somebody else, with the comment \"bcs:00000000:a:b\"";
    assert_eq!(outcomes[5..], [Outcome::Foreign(words.into()), Outcome::Again]);
    assert!(
        matches!(&outcomes[4], Outcome::Foreign(words) if words.ends_with("somebody else")),
        "{outcomes:?}"
    );
}

#[test]
fn what_could_not_be_found_again_or_loaded_again_is_refused_with_the_reason() {
    let plain = sets(json!({}));
    let ports = sets(json!({ "member": "address_port" }));
    for (sets, entry, words) in [
        (&plain, other(|e| e.instance = "x".repeat(100)), "expected 128 at most"),
        (&plain, other(|e| e.uid = "a\"b".into()), "without quotation marks"),
        (&plain, other(|e| e.instance = "a:b".into()), "expected no colon"),
        (&plain, other(|e| e.project = testing::name("9lives")), "expected a letter first"),
        (&ports, Entry { port: 0, ..entry(1) }, "has no port"),
    ] {
        let outcomes = judged(sets, &Reading::default(), &[put(sets, entry, None)]);
        assert!(
            matches!(outcomes.as_deref(), Some([Outcome::Refused(said)]) if said.contains(words)),
            "{words}: {outcomes:?}"
        );
    }
    let mut odd = reading(&plain, &[], &[]);
    for (kind, oddity, words) in [
        ("ipv4_addr . inet_service", None, "is of ipv4_addr . inet_service, expected ipv4_addr"),
        ("ipv4_addr", Some("intervals"), "has intervals, expected a plain one"),
    ] {
        let set = odd.sets.get_mut("shop_web_v4").expect("is there");
        (set.kind, set.odd) = (Some(kind.to_owned()), oddity);
        let outcomes = judged(&plain, &odd, &[put(&plain, entry(1), None)]);
        assert!(
            matches!(outcomes.as_deref(), Some([Outcome::Refused(said)]) if said.contains(words)),
            "{words}: {outcomes:?}"
        );
    }
}

#[test]
fn an_element_that_was_copied_by_hand_makes_its_place_look_different() {
    let sets = sets(json!({}));
    let copy = sets.comment(&entry(1));
    let reading = reading(&sets, &[entry(1)], &[("10.9.9.9", Some(&copy))]);
    let held = sets.held(&reading);
    let [item] = &items(&held)[..] else { panic!("{held:?}") };
    assert_ne!(item.digest, sets.digest(&entry(1)));
    let change = [put(&sets, entry(1), Some(item.version))];
    assert_eq!(obstacles(&sets, &reading, &held, &change), None);
    let told = Transaction::of(&sets, &reading, &held, "f", &change).render("inet", "bcs");
    assert_eq!(told["nftables"][2]["delete"]["element"]["elem"], json!(["10.0.0.1", "10.9.9.9"]));
}
