//! The same FAKE, written to through its agent: see [`super::fake`].

use std::{collections::BTreeSet, net::IpAddr};

use bcs_discovery_sidecar::domain::{Change, Failure, Outcome};
use bcs_schemas::observation::Endpoint;
use serde_json::{Value, json};

use super::{FakeConsul, TOKEN, fake::agent::NODE};
use crate::{
    contract::{Hand, Site},
    faults::{Able, Fault, Faulty, Line, wires},
    fixture::*,
    web::{self, Prank, Proxy},
};

/// Id of the service of the first endpoint begins with this.
const OURS: &str = "bcs--eu1--sim-a--dns-i";

struct FakeAgent(FakeConsul);

impl FakeAgent {
    fn spec_with(&self, more: Value) -> Value {
        let mut spec = self.0.spec_with(more);
        spec["driver"]["consul"]["via"] = json!("agent");
        spec
    }

    /// As a program of that host does.
    async fn register(&self, id: &str, address: &str) {
        let service = json!({ "ID": id, "Name": "web--shop", "Address": address, "Port": 80 });
        let url = format!("{}/v1/agent/service/register", self.0.url());
        let headers = [("x-consul-token", TOKEN)];
        let answer = web::ask("PUT", &url, &headers, service.to_string()).await;
        assert_eq!(answer, Ok((200, String::new())));
    }

    async fn services(&self) -> Value {
        self.0.ask("GET", "/v1/agent/services", Value::Null).await
    }
}

impl Site for FakeAgent {
    async fn start() -> Self {
        Self(FakeConsul::start().await)
    }

    fn spec(&self) -> Value {
        self.spec_with(json!({}))
    }

    async fn addresses(&self) -> BTreeSet<IpAddr> {
        self.0.addresses().await
    }

    async fn add_foreign(&self, address: IpAddr) {
        self.register("web-9", &address.to_string()).await;
    }
}

crate::contract::contract!(super::FakeAgent);

impl Faulty for FakeAgent {
    const NAME: &'static str = "consul-agent-fake";
    const ABLE: Able = Able::of(&[Able::WAY, Able::HTTP, Able::SERVER, &[Fault::TakenOut]]);

    fn port(&self) -> u16 {
        self.0.fake.port
    }

    async fn lines(&self, port: u16) -> Vec<(Line, Value)> {
        wires(port, |address| self.spec_with(json!({ "url": format!("http://{address}") }))).await
    }

    async fn down(&mut self, with_its_data: bool) {
        self.0.down(with_its_data).await;
    }

    async fn up(&mut self) {
        self.0.up().await;
    }

    async fn theirs(&self) -> String {
        self.services().await["web-9"].to_string()
    }

    async fn take_out(&self, address: IpAddr) {
        self.0.take_out(address).await;
    }
}

crate::faults::faults!(FakeAgent);

#[tokio::test]
async fn an_agent_of_a_fake_consul_is_told_port_weight_and_whose_a_service_is() {
    let agent = FakeAgent::start().await;
    let hand = Hand::of(&agent);
    hand.fence(1).await;
    for weight in [0, 300] {
        hand.done(&[hand.put(Endpoint { weight, ..endpoint(1) }, Some(0))]).await;
        let services = agent.services().await;
        let (id, service) = services.as_object().and_then(|all| all.iter().next()).expect("a service");
        assert!(id.starts_with(OURS) && service["ID"] == id.as_str(), "{id}");
        assert_eq!((&service["Service"], &service["Port"]), (&json!("web--shop"), &json!(8080)));
        let weight = weight.max(1);
        assert_eq!(service["Weights"], json!({ "Passing": weight, "Warning": weight }));
        assert_eq!(service["Meta"]["bcs-owner"], "eu1.sim-a.dns");
    }
    let there = agent.0.ask("GET", &format!("/v1/catalog/node-services/{NODE}"), Value::Null).await;
    assert_eq!(
        there["Services"].as_array().map(Vec::len),
        Some(1),
        "nothing lies on a node of ours: {there}"
    );
}

#[tokio::test]
async fn what_a_program_registered_under_our_id_with_a_fake_agent_is_named_and_neither_replaced_nor_removed()
{
    let agent = FakeAgent::start().await;
    let hand = Hand::of(&agent);
    hand.fence(1).await;
    let put = hand.put(endpoint(1), None);
    agent.register(put.place(), "192.0.2.7").await;
    let before = agent.services().await;
    let remove = Change::Remove { place: put.place().clone(), version: 0 };
    let outcomes = hand.driver.apply(&[put, hand.put(endpoint(2), None)]).await.expect("is answered");
    assert!(
        matches!(&outcomes[..], [Outcome::Foreign(words), Outcome::Done(0)] if words.contains("nobody that says so")),
        "{outcomes:?}"
    );
    hand.done(&[remove]).await;
    let after = agent.services().await;
    let theirs = before.as_object().and_then(|all| all.iter().next()).expect("a service");
    assert_eq!((after.as_object().map(serde_json::Map::len), &after[theirs.0]), (Some(2), theirs.1));
}

#[tokio::test]
async fn another_agent_of_a_fake_consul_or_another_installation_is_told_who_came_first() {
    let agent = FakeAgent::start().await;
    Hand::of(&agent).fence(1).await;
    let twin = Hand::installed("another", &agent).driver.fence(2).await.expect_err("is refused").to_string();
    assert!(
        twin.contains("eu1 is another installation, eu1 is one, and this one, another, writes nothing"),
        "{twin}"
    );
    agent.0.fake.moves_to("agent-two");
    let said = Hand::of(&agent).driver.fence(2).await.expect_err("is refused").to_string();
    assert!(
        said.contains("of eu1.sim-a.dns are with the agent agent-one, and this one is agent-two")
            && said.contains("delete the key bcs/agent/eu1.sim-a.dns"),
        "{said}"
    );
}

#[tokio::test]
async fn what_an_agent_of_a_fake_consul_does_not_take_is_refused_in_its_words_and_its_neighbours_are_not() {
    let agent = FakeAgent::start().await;
    let hand = Hand::of(&agent);
    hand.fence(1).await;
    let long = Endpoint { uid: "x".repeat(600), ..endpoint(1) };
    let dashed = Endpoint { app: name("web--two"), ..endpoint(2) };
    let outcomes =
        hand.driver.apply(&[hand.put(long, None), hand.put(dashed, None), hand.put(endpoint(3), None)]).await;
    assert!(
        matches!(
            outcomes.as_deref(),
            Ok([Outcome::Refused(long), Outcome::Refused(dashed), Outcome::Done(0)])
                if long.contains("Value is too long") && dashed.contains("two dashes in a row")
        ),
        "{outcomes:?}"
    );
    assert_eq!(hand.items().await.len(), 1);
}

#[tokio::test]
async fn a_service_that_a_fake_agent_lost_meanwhile_counts_as_taken_out_and_a_lost_answer_is_found_again() {
    let agent = FakeAgent::start().await;
    let proxy = Proxy::start(&agent.0.url()).await;
    let hand = Hand::with(agent.spec_with(json!({ "url": proxy.url() })));
    hand.fence(1).await;
    proxy.lose("PUT", "/v1/agent/service/register");
    let put = hand.put(endpoint(1), None);
    let answer = hand.driver.apply(std::slice::from_ref(&put)).await;
    assert!(matches!(answer, Err(Failure::Unavailable(_))), "{answer:?}");
    proxy.lose_nothing();
    hand.fence(1).await;
    let (items, Change::Put { digest, place, .. }) = (hand.items().await, put) else { unreachable!() };
    assert_eq!((items.len(), items[0].digest), (1, digest));
    // The agent is asked twice, and knows nothing of it the second time.
    proxy.play(Some(Prank::Twice));
    hand.done(&[Change::Remove { place, version: 0 }]).await;
    assert_eq!(agent.services().await, json!({}));
}

#[tokio::test]
async fn what_is_wrong_with_an_agent_of_a_fake_consul_or_the_token_is_said_and_the_token_is_not() {
    let agent = FakeAgent::start().await;
    let wrong = agent.0.directory.path().join("wrong");
    std::fs::write(&wrong, "incorrect-donkey").expect("writes");
    for (more, words) in [
        (json!({ "token": { "file": wrong } }), "ACL not found: expected driver.consul.token"),
        (json!({ "token": null }), "Permission denied: expected driver.consul.token"),
    ] {
        let failure = Hand::with(agent.spec_with(more)).driver.fence(1).await.expect_err("is refused");
        let said = failure.to_string();
        assert!(
            matches!(failure, Failure::Unavailable(_)) && said.contains(words),
            "{said}, expected {words}"
        );
        assert!(!said.contains(TOKEN) && !said.contains("donkey"), "{said}");
    }
}
