//! The webhook protocol of ExternalDNS, by a provider that was written for these tests: see [`provider`].

mod provider;

use std::{collections::BTreeSet, net::IpAddr};

use bcs_discovery_sidecar::domain::{Change, Failure, Outcome};
use bcs_schemas::observation::Endpoint;
use serde_json::{Value, json};

use self::provider::Provider;
use crate::{
    contract::{Hand, Site},
    faults::{Able, Fault, Faulty, Line, wires},
    fixture::*,
    web::{self, Proxy},
};

const NAME: &str = "web.shop.bcs.local";

impl Site for Provider {
    async fn start() -> Self {
        Self::start("bcs.local").await
    }

    fn spec(&self) -> Value {
        at(&format!("http://127.0.0.1:{}", self.port))
    }

    async fn addresses(&self) -> BTreeSet<IpAddr> {
        self.targets(NAME, "A").iter().filter_map(|target| target.parse().ok()).collect()
    }

    /// A name has one owner: theirs is another one.
    async fn add_foreign(&self, address: IpAddr) {
        self.records()
            .push(json!({ "dnsName": "theirs.bcs.local", "targets": [address], "recordType": "A" }));
    }
}

fn at(url: &str) -> Value {
    json!({ "driver": { "webhook": { "url": url } } })
}

crate::contract::contract!(super::Provider);

impl Faulty for Provider {
    const NAME: &'static str = "webhook";
    const ABLE: Able = Able::of(&[Able::WAY, Able::HTTP, Able::SERVER, &[Fault::TakenOut]]);

    fn port(&self) -> u16 {
        self.port
    }

    async fn lines(&self, port: u16) -> Vec<(Line, Value)> {
        wires(port, |address| at(&format!("http://{address}"))).await
    }

    async fn down(&mut self, with_its_data: bool) {
        self.down().await;
        if with_its_data {
            self.records().clear();
        }
    }

    async fn up(&mut self) {
        self.up().await;
    }

    async fn theirs(&self) -> String {
        self.records().iter().filter(|r| r["dnsName"] == "theirs.bcs.local").map(Value::to_string).collect()
    }

    /// The addresses of our name, by somebody who deletes the record set.
    async fn take_out(&self, _: IpAddr) {
        self.records().retain(|record| record["dnsName"] != NAME);
    }

    async fn marks(&self) -> Option<usize> {
        Some(self.targets(&format!("bcs-a-{NAME}"), "TXT").len())
    }
}

crate::faults::faults!(Provider);

#[tokio::test]
async fn a_provider_is_told_the_owner_as_external_dns_has_it() {
    let provider = <Provider as Site>::start().await;
    let hand = Hand::of(&provider);
    hand.fence(1).await;
    hand.done(&[hand.put(endpoint(1), None), hand.put(endpoint(2), None)]).await;
    assert_eq!(
        provider.targets(&format!("a-{NAME}"), "TXT"),
        [format!(
            "\"heritage=external-dns,external-dns/owner=eu1.sim-a.dns,external-dns/resource=bcs/{NAME}\""
        )]
    );
    assert_eq!(provider.targets(&format!("bcs-a-{NAME}"), "TXT").len(), 2);
    // It keeps another time to live than it was asked for, and that is no difference.
    let Change::Put { digest, .. } = hand.put(endpoint(1), None) else { unreachable!() };
    assert_eq!(hand.items().await[0].digest, digest);
}

#[tokio::test]
async fn a_name_that_an_external_dns_or_nobody_has_is_refused_and_its_neighbours_are_not() {
    let provider = <Provider as Site>::start().await;
    let theirs = "\"heritage=external-dns,external-dns/owner=default,external-dns/resource=service/x/y\"";
    provider.records().extend([
        json!({ "dnsName": NAME, "targets": ["192.0.2.7"], "recordType": "A" }),
        json!({ "dnsName": format!("a-{NAME}"), "targets": [theirs], "recordType": "TXT" }),
        json!({ "dnsName": "api.shop.bcs.local", "targets": ["192.0.2.8"], "recordType": "A" }),
    ]);
    let hand = Hand::of(&provider);
    hand.fence(1).await;
    let of = |app: &str, number| Endpoint { app: name(app), ..endpoint(number) };
    let puts = [hand.put(endpoint(1), None), hand.put(of("api", 2), None), hand.put(of("db", 3), None)];
    let outcomes = hand.driver.apply(&puts).await.expect("is answered");
    assert!(
        matches!(
            &outcomes[..],
            [Outcome::Foreign(theirs), Outcome::Foreign(nobodys), Outcome::Done(0)]
                if theirs.contains("owner \"default\"") && nobodys.contains("nobody that says so")
        ),
        "{outcomes:?}"
    );
    assert_eq!(provider.targets(NAME, "A"), ["192.0.2.7"]);
    let twin =
        Hand::installed("another", &provider).driver.fence(2).await.expect_err("is refused").to_string();
    assert!(
        twin.contains("eu1 is another installation, eu1 is one, and this one, another, writes nothing"),
        "{twin}"
    );
}

#[tokio::test]
async fn a_record_that_a_provider_does_not_take_rejects_the_batch_and_nothing_of_ours_looks_foreign() {
    let provider = <Provider as Site>::start().await;
    let hand = Hand::of(&provider);
    hand.fence(1).await;
    let long = Endpoint { app: name("api"), uid: "x".repeat(300), ..endpoint(1) };
    let answer = hand.driver.apply(&[hand.put(long, None), hand.put(endpoint(2), None)]).await;
    assert!(
        matches!(&answer, Err(Failure::Rejected(words)) if words.contains("does not take")),
        "{answer:?}"
    );
    // The texts are taken, the address is not.
    let sixth = Endpoint { addresses: vec!["fd00::1".parse().expect("an address")], ..endpoint(3) };
    let put = hand.put(sixth, None);
    let answer = hand.driver.apply(std::slice::from_ref(&put)).await;
    assert!(
        matches!(&answer, Err(Failure::Rejected(words)) if words.contains("does not take")),
        "{answer:?}"
    );
    let items = hand.items().await;
    let Change::Put { digest, .. } = put else { unreachable!() };
    assert!(items.len() == 1 && items[0].digest != digest, "{items:?}");
    hand.done(&[Change::Remove { place: items[0].place.clone(), version: 0 }, hand.put(endpoint(2), None)])
        .await;
    assert_eq!((hand.items().await.len(), provider.addresses().await.len()), (1, 1));
}

#[tokio::test]
async fn a_provider_that_was_away_is_found_again_with_its_records_and_without() {
    let mut provider = <Provider as Site>::start().await;
    let hand = Hand::of(&provider);
    hand.fence(3).await;
    hand.done(&[hand.put(endpoint(1), None)]).await;
    let before = hand.items().await;
    provider.down().await;
    let answer = hand.driver.apply(&[hand.put(endpoint(2), None)]).await;
    assert!(matches!(answer, Err(Failure::Unavailable(_))), "{answer:?}");
    provider.up().await;
    hand.fence(3).await;
    assert_eq!(hand.items().await, before);
    provider.records().clear();
    let answer = hand.driver.apply(&[hand.put(endpoint(2), None)]).await;
    assert!(
        matches!(&answer, Err(Failure::Unavailable(words)) if words.contains("epoch 0 instead of 3")),
        "{answer:?}"
    );
    hand.fence(3).await;
    assert_eq!(hand.items().await, []);
    hand.done(&[hand.put(endpoint(1), None)]).await;
    assert_eq!(hand.items().await, before);
}

#[tokio::test]
async fn a_write_to_a_provider_whose_answer_was_lost_is_found_by_the_next_reading() {
    let provider = <Provider as Site>::start().await;
    let proxy = Proxy::start(&format!("http://127.0.0.1:{}", provider.port)).await;
    let hand = Hand::with(at(&proxy.url()));
    hand.fence(1).await;
    proxy.lose("POST", "/records");
    let put = hand.put(endpoint(1), None);
    let answer = hand.driver.apply(std::slice::from_ref(&put)).await;
    assert!(matches!(answer, Err(Failure::Unavailable(_))), "{answer:?}");
    proxy.lose_nothing();
    hand.fence(1).await;
    // The text is there and the address is not yet: ours, and not as it should be.
    let (items, Change::Put { digest, .. }) = (hand.items().await, &put) else { unreachable!() };
    assert!(items.len() == 1 && items[0].digest != *digest, "{items:?}");
    hand.done(std::slice::from_ref(&put)).await;
    assert_eq!(hand.items().await[0].digest, *digest);
}

#[tokio::test]
async fn what_is_wrong_with_a_provider_is_said() {
    let other = Provider::start("example.org").await;
    let elsewhere = web::answering(200, "application/json", "{}").await;
    let closed = format!("http://127.0.0.1:{}", free_port());
    for (spec, words) in [
        (other.spec(), "serves example.org and not bcs.local: expected spec.zone to be served"),
        (at(&elsewhere.url()), "is answered as \"application/json\": expected a provider of ExternalDNS"),
        (at(&closed), "Connection refused"),
    ] {
        let failure = Hand::with(spec).driver.fence(1).await.expect_err("is refused");
        let said = failure.to_string();
        assert!(
            matches!(failure, Failure::Unavailable(_)) && said.contains(words),
            "{said}, expected {words}"
        );
    }
}
