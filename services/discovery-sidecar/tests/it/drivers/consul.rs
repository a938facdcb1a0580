//! Consul by a fake, labelled as one: see [`fake`].

mod agent;
mod fake;

use std::{collections::BTreeSet, net::IpAddr};

use bcs_discovery_sidecar::domain::{Change, Failure, Outcome};
use bcs_schemas::observation::Endpoint;
use serde_json::{Value, json};

use self::fake::Fake;
use crate::{
    contract::{Hand, Site},
    faults::{Able, Fault, Faulty, Line, wires},
    fixture::*,
    web::{self, Proxy},
};

const TOKEN: &str = "correct-horse-battery";
const NODE: &str = "bcs--eu1--sim-a--dns";

struct FakeConsul {
    fake: Fake,
    directory: tempfile::TempDir,
}

impl FakeConsul {
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.fake.port)
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.url());
        let headers = [("x-consul-token", TOKEN), ("content-type", "application/json")];
        let (status, said) = web::ask(method, &url, &headers, body.to_string()).await.expect("answers");
        assert_eq!(status, 200, "{said}");
        serde_json::from_str(&said).expect("JSON")
    }

    async fn register(&self, node: &str, id: &str, address: &str) {
        let service = json!({ "ID": id, "Service": "web--shop", "Address": address, "Port": 80 });
        self.ask(
            "PUT",
            "/v1/catalog/register",
            json!({ "Node": node, "Address": "192.0.2.9", "Service": service }),
        )
        .await;
    }

    fn spec_with(&self, more: Value) -> Value {
        let mut driver =
            json!({ "url": self.url(), "token": { "file": self.directory.path().join("token") } });
        if let (Some(driver), Some(more)) = (driver.as_object_mut(), more.as_object()) {
            driver.extend(more.clone());
        }
        json!({ "driver": { "consul": driver } })
    }
}

impl Site for FakeConsul {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("token"), format!("{TOKEN}\n")).expect("writes");
        Self { fake: Fake::start(Some(TOKEN)).await, directory }
    }

    fn spec(&self) -> Value {
        self.spec_with(json!({}))
    }

    async fn addresses(&self) -> BTreeSet<IpAddr> {
        let found = self.ask("GET", "/v1/health/service/web--shop", Value::Null).await;
        let found = found.as_array().expect("a list").iter();
        found.filter_map(|instance| instance["Service"]["Address"].as_str()?.parse().ok()).collect()
    }

    async fn add_foreign(&self, address: IpAddr) {
        self.register("theirs", "web-9", &address.to_string()).await;
    }
}

crate::contract::contract!(super::FakeConsul);

impl Faulty for FakeConsul {
    const NAME: &'static str = "consul-fake";
    const ABLE: Able = Able::of(&[Able::WAY, Able::HTTP, Able::SERVER, &[Fault::TakenOut]]);

    fn port(&self) -> u16 {
        self.fake.port
    }

    async fn lines(&self, port: u16) -> Vec<(Line, Value)> {
        wires(port, |address| self.spec_with(json!({ "url": format!("http://{address}") }))).await
    }

    async fn down(&mut self, with_its_data: bool) {
        self.fake.down().await;
        if with_its_data {
            self.fake.forget();
        }
    }

    async fn up(&mut self) {
        self.fake.up().await;
    }

    async fn theirs(&self) -> String {
        let node = self.ask("GET", "/v1/catalog/node-services/theirs", Value::Null).await;
        node.to_string()
    }

    async fn take_out(&self, address: IpAddr) {
        self.fake.take_out(&address.to_string());
    }
}

crate::faults::faults!(FakeConsul);

#[tokio::test]
async fn a_fake_consul_is_told_port_weight_and_whose_a_service_is() {
    let consul = FakeConsul::start().await;
    let hand = Hand::of(&consul);
    hand.fence(1).await;
    hand.done(&[hand.put(Endpoint { weight: 0, ..endpoint(1) }, None)]).await;
    let node = consul.ask("GET", &format!("/v1/catalog/node-services/{NODE}"), Value::Null).await;
    assert_eq!(node["Node"]["Meta"]["external-node"], "true");
    let service = &node["Services"][0];
    assert_eq!((&service["Service"], &service["Port"]), (&json!("web--shop"), &json!(8080)));
    assert_eq!(service["Weights"], json!({ "Passing": 1, "Warning": 1 }));
    assert_eq!(service["Meta"]["bcs-owner"], "eu1.sim-a.dns");
}

#[tokio::test]
async fn what_somebody_registered_on_our_node_of_a_fake_consul_is_named_and_not_touched() {
    let consul = FakeConsul::start().await;
    let hand = Hand::of(&consul);
    hand.fence(1).await;
    let put = hand.put(endpoint(1), None);
    consul.register(NODE, put.place(), "192.0.2.7").await;
    let outcomes = hand.driver.apply(&[put, hand.put(endpoint(2), None)]).await.expect("is answered");
    assert!(
        matches!(&outcomes[..], [Outcome::Foreign(words), Outcome::Again] if words.contains("nobody that says so")),
        "{outcomes:?}"
    );
    assert_eq!(consul.addresses().await.len(), 1);
}

#[tokio::test]
async fn a_node_of_a_fake_consul_that_somebody_else_has_is_not_taken() {
    let consul = FakeConsul::start().await;
    consul.register(NODE, "web", "192.0.2.7").await;
    let said = Hand::of(&consul).driver.fence(1).await.expect_err("is refused").to_string();
    assert!(
        said.contains("is not ours, it belongs to nobody that says so: set another driver.consul.node"),
        "{said}"
    );
    let hand = Hand::with(consul.spec_with(json!({ "node": "ours" })));
    hand.fence(1).await;
    let twin = Hand::installed("another", &consul).driver.fence(2).await.expect_err("is refused").to_string();
    assert!(
        twin.contains("eu1 is another installation, eu1 is one, and this one, another, writes nothing"),
        "{twin}"
    );
}

#[tokio::test]
async fn what_a_fake_consul_does_not_take_is_refused_in_its_words() {
    let consul = FakeConsul::start().await;
    let hand = Hand::of(&consul);
    hand.fence(1).await;
    let long = Endpoint { uid: "x".repeat(600), ..endpoint(1) };
    let dashed = Endpoint { app: name("web--two"), ..endpoint(2) };
    let outcomes =
        hand.driver.apply(&[hand.put(long, None), hand.put(dashed, None), hand.put(endpoint(3), None)]).await;
    assert!(
        matches!(
            outcomes.as_deref(),
            Ok([Outcome::Refused(long), Outcome::Refused(dashed), Outcome::Again])
                if long.contains("Value is too long") && dashed.contains("two dashes in a row")
        ),
        "{outcomes:?}"
    );
    let large = Endpoint { uid: "x".repeat(600_000), ..endpoint(1) };
    let answer = hand.driver.apply(&[hand.put(large, None)]).await;
    assert!(matches!(&answer, Err(Failure::Rejected(words)) if words.contains("too large")), "{answer:?}");
    hand.done(&[hand.put(endpoint(3), None)]).await;
}

#[tokio::test]
async fn a_fake_consul_that_was_away_is_found_again_with_its_data_and_without() {
    let mut consul = FakeConsul::start().await;
    let hand = Hand::of(&consul);
    hand.fence(3).await;
    hand.done(&[hand.put(endpoint(1), None)]).await;
    let before = hand.items().await;
    consul.fake.down().await;
    let answer = hand.driver.apply(&[hand.put(endpoint(2), None)]).await;
    assert!(matches!(answer, Err(Failure::Unavailable(_))), "{answer:?}");
    consul.fake.up().await;
    hand.fence(3).await;
    assert_eq!(hand.items().await, before);
    consul.fake.forget();
    let answer = hand.driver.apply(&[hand.put(endpoint(2), None)]).await;
    assert!(
        matches!(&answer, Err(Failure::Unavailable(words)) if words.contains("moved by somebody")),
        "{answer:?}"
    );
    hand.fence(3).await;
    assert_eq!(hand.items().await, []);
    hand.done(&[hand.put(endpoint(1), None)]).await;
    assert_eq!(hand.items().await[0].digest, before[0].digest);
}

#[tokio::test]
async fn a_write_to_a_fake_consul_whose_answer_was_lost_is_found_and_a_late_one_is_refused() {
    let consul = FakeConsul::start().await;
    let proxy = Proxy::start(&consul.url()).await;
    let hand = Hand::with(consul.spec_with(json!({ "url": proxy.url() })));
    hand.fence(1).await;
    proxy.lose("PUT", "/v1/txn");
    let put = hand.put(endpoint(1), None);
    let answer = hand.driver.apply(std::slice::from_ref(&put)).await;
    assert!(matches!(answer, Err(Failure::Unavailable(_))), "{answer:?}");
    proxy.lose_nothing();
    // The same epoch again: what is still under way with the former hold on it does not count any more.
    Hand::of(&consul).fence(1).await;
    let late = hand.driver.apply(&[hand.put(endpoint(2), None)]).await;
    assert!(
        matches!(&late, Err(Failure::Unavailable(words)) if words.contains("moved by somebody")),
        "{late:?}"
    );
    hand.fence(1).await;
    let (items, Change::Put { digest, .. }) = (hand.items().await, put) else { unreachable!() };
    assert_eq!((items.len(), items[0].digest), (1, digest));
}

#[tokio::test]
async fn what_is_wrong_with_a_fake_consul_or_the_token_is_said_and_the_token_is_not() {
    let consul = FakeConsul::start().await;
    let wrong = consul.directory.path().join("wrong");
    std::fs::write(&wrong, "incorrect-donkey").expect("writes");
    let elsewhere = web::answering(200, "text/html", "<html>hello").await;
    let closed = format!("http://127.0.0.1:{}", free_port());
    for (more, words) in [
        (json!({ "token": { "file": wrong } }), "ACL not found: expected driver.consul.token"),
        (json!({ "token": { "file": "/nowhere" } }), "driver.consul.token: /nowhere cannot be read"),
        (json!({ "token": null }), "Permission denied: expected driver.consul.token"),
        (json!({ "url": elsewhere.url() }), "is not the API of Consul: 200 OK: <html>hello"),
        (json!({ "url": closed }), "Connection refused"),
    ] {
        let failure = Hand::with(consul.spec_with(more)).driver.fence(1).await.expect_err("is refused");
        let said = failure.to_string();
        println!("{said}");
        assert!(
            matches!(failure, Failure::Unavailable(_)) && said.contains(words),
            "{said}, expected {words}"
        );
        assert!(!said.contains(TOKEN) && !said.contains("donkey"), "{said}");
    }
}
