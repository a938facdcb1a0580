//! What every server of DNS has to bear.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use bcs_discovery_sidecar::{
    domain::{Change, Failure, Item, Outcome},
    driver::{Drift, Driver as _, Owner, dns, open},
};
use bcs_kit::Clock;
use bcs_schemas::{
    observation::Endpoint,
    resource::{RegistrySpec, registry::Driver},
};
use futures::StreamExt;

use super::{
    NAME,
    server::{Kind, SECRET, Server},
};
use crate::{
    contract::{Hand, Site},
    fixture::*,
};

pub(crate) trait Dns: Site {
    fn server(&mut self) -> &mut Server;
}

/// A hand on this server with other settings.
pub(super) fn otherwise(server: &Server, change: impl FnOnce(&mut serde_json::Value)) -> Hand {
    let mut spec = serde_json::json!({ "driver": { "dns": server.driver() } });
    change(&mut spec["driver"]["dns"]);
    if spec["driver"]["dns"]["zone"] != server.zone {
        spec["zone"] = spec["driver"]["dns"]["zone"].clone();
    }
    Hand::with(spec)
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(super) fn ips(all: &[&str]) -> BTreeSet<IpAddr> {
    all.iter().map(|text| ip(text)).collect()
}

pub(super) fn remove(item: &Item) -> Change {
    Change::Remove { place: item.place.clone(), version: item.version }
}

pub(super) fn at(number: u32, address: &str) -> Endpoint {
    Endpoint { addresses: vec![ip(address)], ..endpoint(number) }
}

/// Applies changes until nothing stands in the way any more.
async fn settled(hand: &Hand, changes: &[Change]) {
    wait_until(LONG, async || match hand.driver.apply(changes).await {
        Ok(outcomes) if outcomes.iter().all(|o| matches!(o, Outcome::Done(_))) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

pub(super) async fn an_address_that_somebody_else_wrote_is_not_ours_even_if_we_want_the_same<S: Dns>() {
    let mut site = S::start().await;
    site.add_foreign(ip("10.0.0.1")).await;
    let hand = Hand::of(&site);
    hand.fence(1).await;
    let (same, other) = (hand.put(endpoint(1), None), hand.put(endpoint(2), None));
    let outcomes = hand.driver.apply(&[same.clone(), other.clone()]).await.expect("is answered");
    assert!(
        matches!(&outcomes[..], [Outcome::Foreign(words), Outcome::Again] if words.contains("10.0.0.1 already")),
        "{outcomes:?}"
    );
    hand.done(&[other]).await;
    assert_eq!(site.server().ttl(NAME), 300, "their record lives as long as they said");
    assert_eq!(site.addresses().await, ips(&["10.0.0.1", "10.0.0.2"]));
    hand.done(&[remove(&hand.items().await[0])]).await;
    assert_eq!(site.addresses().await, ips(&["10.0.0.1"]));
    site.server().nsupdate(&format!("update delete {NAME} A 10.0.0.1"));
    hand.done(&[same]).await;
    assert_eq!(site.server().ttl(NAME), 30);
    assert_eq!(site.addresses().await, ips(&["10.0.0.1"]));
}

pub(super) async fn an_address_that_two_entries_have_goes_with_the_last<S: Dns>() {
    let site = S::start().await;
    let hand = Hand::of(&site);
    hand.fence(1).await;
    let puts = [hand.put(at(1, "10.1.1.1"), None), hand.put(at(2, "10.1.1.1"), None)];
    hand.done(&puts).await;
    hand.done(&[remove(&hand.items().await[0])]).await;
    assert_eq!(site.addresses().await, ips(&["10.1.1.1"]));
    // It comes to another one in the message in which it leaves the last.
    let next = hand.put(at(3, "10.1.1.1"), None);
    hand.done(&[next, remove(&hand.items().await[0])]).await;
    assert_eq!(site.addresses().await, ips(&["10.1.1.1"]));
    let next = Hand::of(&site);
    next.fence(2).await;
    next.done(&[remove(&next.items().await[0])]).await;
    assert_eq!(site.addresses().await, ips(&[]));
}

pub(super) async fn several_owners_share_a_name<S: Dns>() {
    let mut site = S::start().await;
    let (one, two) = (Hand::of(&site), Hand::owned_by("eu2", &site));
    one.fence(1).await;
    two.fence(1).await;
    for number in 1..=4 {
        let hand = if number % 2 == 0 { &one } else { &two };
        settled(hand, &[hand.put(endpoint(number), None)]).await;
    }
    let taken = two.driver.apply(&[two.put(at(9, "10.0.0.2"), None)]).await.expect("is answered");
    assert!(matches!(&taken[..], [Outcome::Foreign(_)]), "{taken:?}");
    assert_eq!((one.items().await.len(), two.items().await.len()), (2, 2));
    for item in one.items().await {
        one.done(&[remove(&item)]).await;
    }
    assert_eq!(site.addresses().await, ips(&["10.0.0.1", "10.0.0.3"]));
    assert_eq!(site.server().addresses("nobody.bcs.local"), ips(&[]));
}

pub(super) async fn sidecars_that_write_to_one_name_at_once_all_come_through<S: Dns>() {
    let site = S::start().await;
    let hands = [Hand::of(&site), Hand::owned_by("eu2", &site), Hand::owned_by("eu3", &site)];
    let work = hands.iter().enumerate().map(async |(i, hand)| {
        hand.fence(1).await;
        for round in 0..10 {
            let number = |j: u32| u32::try_from(i).expect("is small") * 100 + round * 4 + j;
            let puts: Vec<_> = (1..=4).map(|j| hand.put(endpoint(number(j)), None)).collect();
            settled(hand, &puts).await;
            let items = hand.items().await;
            settled(hand, &[remove(&items[0]), remove(&items[1])]).await;
        }
    });
    futures::future::join_all(work).await;
    let mut wanted = BTreeSet::new();
    for hand in &hands {
        let items = hand.items().await;
        assert_eq!(items.len(), 20);
        let number = |item: &Item| item.uid.strip_prefix("uid-").and_then(|n| n.parse::<u32>().ok());
        let left = items.iter().filter_map(number).map(|number| endpoint(number).addresses[0]);
        wanted.extend(left);
    }
    assert_eq!(site.addresses().await, wanted);
}

pub(super) async fn changes_by_others_are_told_and_our_own_are_not<S: Dns>() {
    let mut site = S::start().await;
    let hand = Hand::of(&site);
    hand.fence(1).await;
    let since = hand.driver.list().await.expect("reads").at;
    let mut drifts = hand.driver.drift(since).await.expect("watches");
    for number in 1..=3 {
        hand.done(&[hand.put(endpoint(number), None)]).await;
        let silent = tokio::time::timeout(Duration::from_millis(2500), drifts.next()).await;
        assert!(silent.is_err(), "our own change is told: {silent:?}");
    }
    // What others write beside ours does not concern us; a server without a journal cannot tell.
    let other = Hand::owned_by("eu2", &site);
    other.fence(1).await;
    hand.done(&[hand.put(endpoint(4), None)]).await;
    other.done(&[other.put(endpoint(9), None)]).await;
    site.server().nsupdate(&format!("update add {NAME} 30 A 192.0.2.1"));
    if site.server().kind == Kind::PowerDns {
        let told = tokio::time::timeout(LONG, drifts.next()).await.expect("is told");
        assert_eq!(told, Some(Ok(Drift::Unknown)));
    } else {
        let silent = tokio::time::timeout(Duration::from_millis(4500), drifts.next()).await;
        assert!(silent.is_err(), "what does not concern us is told: {silent:?}");
    }
    hand.done(&[remove(&hand.items().await[3])]).await;
    other.done(&[remove(&other.items().await[0])]).await;

    site.server().nsupdate(&format!("update delete {NAME} A 192.0.2.1\nupdate delete {NAME} A 10.0.0.1"));
    let told = tokio::time::timeout(LONG, drifts.next()).await.expect("is told");
    assert_eq!(told, Some(Ok(Drift::Unknown)));
    let items = hand.items().await;
    let put = hand.put(endpoint(1), Some(items[0].version));
    let Change::Put { digest, .. } = &put else { unreachable!() };
    assert_ne!(items[0].digest, *digest, "its address is missing");
    hand.done(std::slice::from_ref(&put)).await;
    assert_eq!(hand.items().await[0].digest, *digest);
    assert_eq!(site.addresses().await.len(), 3);
    // An ownership record that is gone is an entry that is gone.
    let place = hand.items().await[2].place.clone();
    site.server().nsupdate(&format!("update delete {place} TXT"));
    let told = tokio::time::timeout(LONG, drifts.next()).await.expect("is told");
    assert_eq!(told, Some(Ok(Drift::Unknown)));
    assert_eq!(hand.items().await.len(), 2);
}

pub(super) async fn what_is_wrong_with_key_zone_or_clock_is_said_without_the_secret<S: Dns>() {
    let mut site = S::start().await;
    let server = site.server();
    let wrong = server.directory.path().join("wrong");
    std::fs::write(&wrong, "d3Jvbmctc2VjcmV0\n").expect("writes");
    let garbled = server.directory.path().join("garbled");
    std::fs::write(&garbled, "hunter 2").expect("writes");
    let key = |secret: &std::path::Path, name: &str| serde_json::json!({ "name": name, "secret": { "file": secret } });
    let mut other_secret = server.driver()["key"].clone();
    other_secret["secret"]["file"] = serde_json::json!(wrong);
    let mut other_algorithm = server.driver()["key"].clone();
    let other = if server.algorithm == "hmac-sha256" { "hmac-sha512" } else { "hmac-sha256" };
    other_algorithm["algorithm"] = serde_json::json!(other);
    for (called, field, value, words) in [
        ("secret", "key", other_secret, "another one (BADSIG)|does not know the key bcs"),
        ("algorithm", "key", other_algorithm, "does not know the key bcs|another one (BADSIG)"),
        ("key", "key", key(&wrong, "nobody"), "does not know the key nobody"),
        ("file", "key", key("/nowhere".as_ref(), "bcs"), "driver.dns.key.secret: /nowhere cannot be read"),
        ("text", "key", key(&garbled, "bcs"), "holds no secret: expected base64"),
        ("zone", "zone", serde_json::json!("elsewhere.test"), "elsewhere.test"),
    ] {
        let hand = otherwise(server, |dns| dns[field] = value);
        let failure = hand.driver.fence(1).await.expect_err(called);
        let said = failure.to_string();
        assert!(matches!(failure, Failure::Unavailable(_)), "{called}: {said}");
        assert!(words.split('|').any(|words| said.contains(words)), "{called}: {said}");
        for secret in [SECRET, "d3Jvbmctc2VjcmV0", "hunter"] {
            assert!(!said.contains(secret), "{said}");
        }
    }
    let spec: RegistrySpec = serde_json::from_value(site.spec()).expect("a spec");
    let Driver::Dns(settings) = spec.driver else { unreachable!() };
    for (slow, words) in [(900, "s more than this machine's"), (-900, "s less than this machine's")] {
        let clock = Clock::manual(Clock::system().now() - jiff::SignedDuration::from_secs(slow));
        let driver = dns::Dns::new(settings.clone(), &owner("one"), clock);
        let failure = driver.fence(1).await.expect_err("another time");
        let said = failure.to_string();
        // PowerDNS says only that it does not believe us.
        let told = said.contains("(BADTIME)") && said.contains(words);
        assert!(told || said.contains("or its clock is more than 300 s from"), "{said}");
    }
}

fn owner(installation: &str) -> Owner {
    Owner {
        platform: name("eu1"),
        cluster: name("sim-b"),
        registry: name("dns"),
        installation: installation.to_owned(),
    }
}

pub(super) async fn a_server_that_was_killed_comes_back_with_and_without_its_data<S: Dns>() {
    let mut site = S::start().await;
    let hand = Hand::of(&site);
    hand.fence(1).await;
    hand.done(&[hand.put(endpoint(1), None), hand.put(endpoint(2), None)]).await;
    site.server().down();
    let put = hand.put(endpoint(3), None);
    let failure = hand.driver.apply(std::slice::from_ref(&put)).await.expect_err("is away");
    assert!(matches!(failure, Failure::Unavailable(_)), "{failure:?}");
    site.server().up().await;
    hand.fence(1).await;
    assert_eq!(hand.items().await.len(), 2);
    hand.done(&[put]).await;
    assert_eq!(site.addresses().await.len(), 3);

    site.server().down();
    site.server().lay();
    site.server().up().await;
    let lost = hand.driver.apply(&[hand.put(endpoint(4), None)]).await.expect_err("the epoch is gone");
    assert!(matches!(&lost, Failure::Unavailable(words) if words.contains("was moved")), "{lost:?}");
    hand.fence(1).await;
    assert_eq!(hand.items().await, []);
    hand.done(&[hand.put(endpoint(4), None)]).await;
    assert_eq!(site.addresses().await, ips(&["10.0.0.4"]));
}

pub(super) async fn services_have_ports_and_weights<S: Dns>() {
    let mut site = S::start().await;
    let server = site.server();
    let hand = otherwise(server, |dns| dns["srv"] = true.into());
    assert!(hand.can().weight);
    hand.fence(1).await;
    hand.done(&[hand.put(endpoint(1), None), hand.put(endpoint(2), None)]).await;
    let service = format!("_http._tcp.{NAME}");
    let found = server.dig(&["SRV", &service]);
    assert_eq!(found.len(), 2, "{found:?}");
    for line in &found {
        let host = line.strip_prefix("0 100 8080 ").expect("a service").trim_end_matches('.');
        assert_eq!(server.addresses(host).len(), 1, "{host}");
    }
    assert_eq!(server.addresses(NAME), ips(&["10.0.0.1", "10.0.0.2"]));
    let items = hand.items().await;
    let light = hand.put(Endpoint { weight: 7, ..endpoint(1) }, Some(items[0].version));
    let Change::Put { digest, .. } = &light else { unreachable!() };
    hand.done(std::slice::from_ref(&light)).await;
    assert_eq!(hand.items().await[0].digest, *digest);
    let mut weights: Vec<_> =
        server.dig(&["SRV", &service]).iter().map(|line| line[..5].to_owned()).collect();
    weights.sort();
    assert_eq!(weights, ["0 100", "0 7 8"]);
    let all: Vec<_> = hand.items().await.iter().map(remove).collect();
    hand.done(&all).await;
    assert_eq!(server.dig(&["SRV", &service]), [] as [String; 0]);
    assert_eq!(hand.items().await, []);
}

pub(super) async fn names_of_others_are_left_alone_and_wildcards_do_not_matter<S: Dns>() {
    let mut site = S::start().await;
    let hand = Hand::of(&site);
    hand.fence(1).await;
    let server = site.server();
    server.nsupdate(&format!("update add {NAME} 60 CNAME somewhere.test."));
    let outcomes = hand.driver.apply(&[hand.put(endpoint(1), None)]).await.expect("is answered");
    assert!(matches!(&outcomes[..], [Outcome::Foreign(words)] if words.contains("alias")), "{outcomes:?}");
    server
        .nsupdate(&format!("update delete {NAME} CNAME\nupdate add shop.bcs.local 60 NS ns.elsewhere.test."));
    let outcomes = hand.driver.apply(&[hand.put(endpoint(1), None)]).await.expect("is answered");
    assert!(
        matches!(&outcomes[..], [Outcome::Foreign(words)] if words.contains("zone of its own")),
        "{outcomes:?}"
    );
    server.nsupdate("update delete shop.bcs.local NS");
    server.nsupdate("update add *.shop.bcs.local 60 A 192.0.2.9\nupdate add *.bcs.local 60 TXT \"theirs\"");
    assert_eq!(server.addresses(NAME), ips(&["192.0.2.9"]));
    settled(&hand, &[hand.put(endpoint(1), None)]).await;
    settled(&hand, &[hand.put(endpoint(2), None)]).await;
    assert_eq!(server.addresses(NAME), ips(&["10.0.0.1", "10.0.0.2"]));
    let all: Vec<_> = hand.items().await.iter().map(remove).collect();
    settled(&hand, &all).await;
    assert_eq!(server.addresses(NAME), ips(&["192.0.2.9"]));
}

pub(super) async fn a_text_that_somebody_else_puts_at_our_place_stays<S: Dns>() {
    let mut site = S::start().await;
    let hand = Hand::of(&site);
    hand.fence(1).await;
    let put = hand.put(endpoint(1), None);
    hand.done(std::slice::from_ref(&put)).await;
    let place = put.place().clone();
    site.server().nsupdate(&format!("update add {place} 60 TXT theirs"));
    let item = hand.items().await.remove(0);
    let Change::Put { digest, .. } = &put else { unreachable!() };
    assert_eq!(item.digest, *digest);
    hand.done(&[hand.put(at(1, "10.9.9.9"), Some(item.version))]).await;
    assert_eq!(site.addresses().await, ips(&["10.9.9.9"]));
    hand.done(&[remove(&hand.items().await[0])]).await;
    assert_eq!(site.server().dig(&["TXT", &place]), ["\"theirs\""]);
    let outcomes = hand.driver.apply(&[put]).await.expect("is answered");
    assert!(
        matches!(&outcomes[..], [Outcome::Foreign(words)] if words.contains("belongs to nobody that says so")),
        "{outcomes:?}"
    );
    assert_eq!(site.addresses().await, ips(&[]));
}

pub(super) async fn an_installation_keeps_its_name_and_a_term_ends_with_the_next<S: Dns>() {
    let site = S::start().await;
    let (first, second) = (Hand::of(&site), Hand::of(&site));
    first.fence(5).await;
    // What the first one sent may still be on its way.
    second.fence(5).await;
    let late = first.driver.apply(&[first.put(endpoint(1), None)]).await.expect_err("its term has ended");
    assert!(matches!(&late, Failure::Unavailable(words) if words.contains("was moved")), "{late:?}");
    let spec = serde_json::from_value(site.spec()).expect("a spec");
    let refused = open(&spec, &owner("another")).fence(1).await.expect_err("the name is taken").to_string();
    assert!(refused.contains("eu1 is another installation") && refused.contains("eu1._bcs."), "{refused}");
}

pub(super) async fn long_names_come_back_whole<S: Dns>() {
    let site = S::start().await;
    let hand = Hand::of(&site);
    hand.fence(1).await;
    let long = Endpoint { uid: format!("uid, \"{}\\é", "x".repeat(400)), ..endpoint(1) };
    let put = hand.put(long.clone(), None);
    hand.done(std::slice::from_ref(&put)).await;
    let items = hand.items().await;
    let Change::Put { digest, .. } = &put else { unreachable!() };
    assert_eq!((items[0].digest, &*items[0].uid), (*digest, &*long.uid));
    let v6 = hand.put(Endpoint { addresses: vec![ip("fd00::1")], ..long }, Some(items[0].version));
    hand.done(&[v6]).await;
    assert_eq!(site.addresses().await, ips(&["fd00::1"]));
    hand.done(&[remove(&hand.items().await[0])]).await;
    assert_eq!(site.addresses().await, ips(&[]));
    let huge = Endpoint { uid: "x".repeat(70_000), ..endpoint(2) };
    let answer = hand.driver.apply(&[hand.put(huge, None)]).await;
    assert!(matches!(&answer, Err(Failure::Rejected(words)) if words.contains("does not fit")), "{answer:?}");
    hand.done(&[hand.put(endpoint(3), None)]).await;
}

/// The stories as tests of one server.
macro_rules! stories {
    ($site:ty) => {
        $crate::drivers::dns::stories::stories!(
            $site:
            an_address_that_somebody_else_wrote_is_not_ours_even_if_we_want_the_same,
            an_address_that_two_entries_have_goes_with_the_last,
            several_owners_share_a_name,
            sidecars_that_write_to_one_name_at_once_all_come_through,
            changes_by_others_are_told_and_our_own_are_not,
            what_is_wrong_with_key_zone_or_clock_is_said_without_the_secret,
            a_server_that_was_killed_comes_back_with_and_without_its_data,
            services_have_ports_and_weights,
            names_of_others_are_left_alone_and_wildcards_do_not_matter,
            a_text_that_somebody_else_puts_at_our_place_stays,
            an_installation_keeps_its_name_and_a_term_ends_with_the_next,
            long_names_come_back_whole,
        );
    };
    ($site:ty: $($story:ident,)+) => {
        $(
            #[tokio::test]
            async fn $story() {
                $crate::drivers::dns::stories::$story::<$site>().await;
            }
        )+
    };
}
pub(crate) use stories;
