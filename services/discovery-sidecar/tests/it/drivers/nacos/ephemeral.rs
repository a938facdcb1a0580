//! Nacos by rnacos with instances that live by beats.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use bcs_discovery_sidecar::domain::{Change, Failure};
use bcs_schemas::observation::Endpoint;
use futures::{FutureExt, StreamExt};
use serde_json::{Value, json};

use super::Rnacos;
use crate::{
    contract::{Hand, Site},
    faults::{Able, Faulty, Line, wires},
    fixture::*,
    web::{Prank, Proxy},
};

struct Ephemeral(Rnacos);

impl Ephemeral {
    fn spec_with(&self, url: &str) -> Value {
        self.0.spec_with(json!({ "ephemeral": true, "url": url }))
    }
}

impl Site for Ephemeral {
    async fn start() -> Self {
        Self(Rnacos::start().await)
    }

    fn spec(&self) -> Value {
        self.spec_with(&self.0.url())
    }

    async fn addresses(&self) -> BTreeSet<IpAddr> {
        self.0.addresses().await
    }

    /// One that lives without beats: nobody sends any for it here.
    async fn add_foreign(&self, address: IpAddr) {
        self.0.add_foreign(address).await;
    }
}

crate::contract::contract!(super::Ephemeral);

impl Faulty for Ephemeral {
    const NAME: &'static str = "nacos-ephemeral";
    const ABLE: Able = Rnacos::ABLE;

    fn port(&self) -> u16 {
        self.0.port()
    }

    async fn lines(&self, port: u16) -> Vec<(Line, Value)> {
        wires(port, |at| self.spec_with(&format!("http://{at}/nacos"))).await
    }

    async fn down(&mut self, with_its_data: bool) {
        Faulty::down(&mut self.0, with_its_data).await;
    }

    async fn up(&mut self) {
        self.0.up().await;
    }

    async fn theirs(&self) -> String {
        self.0.theirs().await
    }

    async fn take_out(&self, address: IpAddr) {
        self.0.take_out_as("true", address).await;
    }
}

crate::faults::faults!(Ephemeral);

const SOON_DEAD: &str = "RNACOS_NAMING_HEALTH_TIMEOUT_SECOND=7\nRNACOS_NAMING_INSTANCE_TIMEOUT_SECOND=9\n";

#[tokio::test]
async fn ephemeral_instances_live_as_long_as_somebody_keeps_them_though_nobody_listens() {
    let mut rnacos = Rnacos::start_with(SOON_DEAD).await;
    let hand = Hand::with(rnacos.spec_with(json!({ "ephemeral": true })));
    assert!(hand.can().expires);
    hand.fence(1).await;
    hand.done(&[hand.put(endpoint(1), None), hand.put(endpoint(2), None)]).await;
    // As a worker does that waits for a call.
    let mut beats = hand.driver.drift(0).await.expect("beats");
    tokio::time::sleep(Duration::from_secs(16)).await;
    let hosts = rnacos.hosts().await;
    assert!(hosts.len() == 2 && hosts.iter().all(|host| host["healthy"] == true), "{hosts:?}");
    assert_eq!(hand.items().await.len(), 2);
    assert!(beats.next().now_or_never().is_none(), "nothing failed");
    drop(beats);
    wait_until(LONG, async || match rnacos.hosts().await.len() {
        0 => Ok(()),
        left => Err(format!("{left} are there still")),
    })
    .await;
    let mut beats = hand.driver.drift(0).await.expect("beats");
    rnacos.process = None;
    let told = tokio::time::timeout(LONG, beats.next()).await.expect("a beat that fails is told");
    assert!(matches!(told, Some(Err(Failure::Unavailable(_)))), "{told:?}");
}

#[tokio::test]
async fn beats_go_on_while_a_slow_call_runs() {
    let rnacos = Rnacos::start_with(SOON_DEAD).await;
    let proxy = Proxy::start(&format!("http://127.0.0.1:{}", rnacos.ports[0])).await;
    let hand =
        Hand::with(rnacos.spec_with(json!({ "ephemeral": true, "url": format!("{}/nacos", proxy.url()) })));
    hand.fence(1).await;
    let first = hand.put(endpoint(1), None);
    hand.done(std::slice::from_ref(&first)).await;
    let _beats = hand.driver.drift(0).await.expect("beats");
    proxy.play(Some(Prank::Late("POST", "/v1/ns/instance", Duration::from_secs(2))));
    // Sixteen are written at once, so these take eight times as long.
    let slow: Vec<Change> = (2..=113).map(|number| hand.put(endpoint(number), None)).collect();
    let begun = tokio::time::Instant::now();
    hand.done(&slow).await;
    assert!(begun.elapsed() > Duration::from_secs(12), "{:?}", begun.elapsed());
    let hosts = rnacos.hosts().await;
    let one = hosts.iter().find(|host| host["ip"] == "10.0.0.1");
    assert!(one.is_some_and(|host| host["healthy"] == true), "{one:?}");
}

#[tokio::test]
async fn what_is_taken_out_or_moves_while_its_beat_is_under_way_does_not_come_back() {
    let rnacos = Rnacos::start().await;
    let proxy = Proxy::start(&format!("http://127.0.0.1:{}", rnacos.ports[0])).await;
    let hand =
        Hand::with(rnacos.spec_with(json!({ "ephemeral": true, "url": format!("{}/nacos", proxy.url()) })));
    hand.fence(1).await;
    hand.done(&[hand.put(endpoint(1), None), hand.put(endpoint(2), None)]).await;
    let items = hand.items().await;
    proxy.play(Some(Prank::Late("PUT", "/v1/ns/instance/beat", Duration::from_secs(1))));
    let passed = proxy.passed();
    let _beats = hand.driver.drift(0).await.expect("beats");
    // The epoch and two beats.
    wait_until(LONG, async || match proxy.passed() - passed {
        3.. => Ok(()),
        few => Err(format!("{few} calls")),
    })
    .await;
    let moved = Endpoint { addresses: vec!["10.9.9.9".parse().expect("an address")], ..endpoint(2) };
    let remove = Change::Remove { place: items[0].place.clone(), version: 0 };
    // A complete reading may come between.
    assert_eq!(hand.items().await.len(), 2);
    let begun = tokio::time::Instant::now();
    hand.done(&[remove, hand.put(moved, None)]).await;
    let took = begun.elapsed();
    // Longer than a beat that was under way, and than the next one takes.
    let until = tokio::time::Instant::now() + Duration::from_secs(7);
    while tokio::time::Instant::now() < until {
        let found = rnacos.addresses().await;
        assert_eq!(found, BTreeSet::from(["10.9.9.9".parse().expect("an address")]));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(took > Duration::from_millis(500), "the removal waited for the beat, {took:?}");
}
