//! The Envoy driver alone against real Envoys.

mod edge;
mod restart;
mod server;
mod tls;

use std::time::Duration;

use bcs_discovery_sidecar::domain::{Change, Failure, Outcome};
use bcs_schemas::observation::Endpoint;

use self::server::{Delta, Envoy};
use super::haproxy::Instance;
use crate::{
    contract::{Hand, Site},
    fixture::*,
};

crate::contract::contract!(super::Envoy);

mod delta {
    crate::contract::contract!(super::super::Delta);
}

async fn apply(hand: &Hand, changes: &[Change]) -> Vec<Outcome> {
    hand.driver.apply(changes).await.expect("is answered")
}

/// Until an Envoy asks, and has what it is told.
async fn connected(hand: &Hand) {
    hand.done(&[hand.put(endpoint(1), None)]).await;
}

fn of(app: &str, number: u32) -> Endpoint {
    Endpoint { app: name(app), ..endpoint(number) }
}

fn remove(put: &Change) -> Change {
    Change::Remove { place: put.place().clone(), version: 0 }
}

#[tokio::test]
async fn an_instance_counts_as_in_when_an_envoy_has_it_and_not_while_nobody_asks_for_its_cluster() {
    let envoy = Envoy::start().await;
    let hand = Hand::of(&envoy);
    hand.fence(1).await;
    connected(&hand).await;
    let changes = [hand.put(of("nowhere", 2), None), hand.put(endpoint(3), None)];
    let outcomes = apply(&hand, &changes).await;
    assert!(
        matches!(&outcomes[..], [Outcome::Waits(words), Outcome::Done(_)]
            if words == "no Envoy asks for the cluster nowhere.shop"),
        "{outcomes:?}"
    );
    let items = hand.items().await;
    let Change::Put { digest, .. } = &changes[0] else { unreachable!() };
    assert!(items.len() == 3 && items.iter().all(|item| item.digest != *digest), "{items:?}");
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(apply(&hand, &[remove(&changes[0])]).await, [Outcome::Done(0)]);
    assert_eq!(hand.items().await.len(), 2);
}

#[tokio::test]
async fn weights_arrive_and_what_envoy_cannot_be_told_is_refused_alone() {
    let envoy = Envoy::start().await;
    let hand = Hand::of(&envoy);
    hand.fence(1).await;
    connected(&hand).await;
    let heavy = Endpoint { weight: 7, ..endpoint(2) };
    let silent = Endpoint { ports: vec![], ..endpoint(3) };
    let outcomes = apply(&hand, &[hand.put(heavy, None), hand.put(silent, None)]).await;
    assert!(
        matches!(&outcomes[..], [Outcome::Done(_), Outcome::Refused(words)] if words.contains("serves no port")),
        "{outcomes:?}"
    );
    let weights: Vec<u64> = envoy.hosts("web.shop").await.into_iter().map(|(_, weight)| weight).collect();
    assert_eq!(weights, [100, 7]);
}

#[tokio::test]
async fn what_an_envoy_refuses_is_found_in_its_own_words_and_the_others_are_served() {
    let mut envoy = Envoy { policy: "RING_HASH", ..Envoy::new("edge-1", free_port()) };
    envoy.up().await;
    let hand = Hand::of(&envoy);
    hand.fence(1).await;
    connected(&hand).await;
    let mut puts: Vec<_> = (2..=20).map(|number| hand.put(endpoint(number), None)).collect();
    // With it, the sum of the weights is more than Envoy counts.
    puts[6] = hand.put(Endpoint { weight: u32::MAX, ..endpoint(8) }, None);
    puts.push(hand.put(of("api", 30), None));
    let outcomes = apply(&hand, &puts).await;
    let refused: Vec<_> = outcomes.iter().filter(|o| matches!(o, Outcome::Refused(_))).collect();
    assert!(
        matches!(&refused[..], [Outcome::Refused(words)] if words.starts_with("Envoy edge-1 refuses it: ") && words.contains("weight")),
        "{outcomes:?}"
    );
    assert!(matches!(outcomes[6], Outcome::Refused(_)), "{outcomes:?}");
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Done(_) | Outcome::Refused(_))), "{outcomes:?}");
    assert_eq!((envoy.hosts("web.shop").await.len(), envoy.hosts("api.shop").await.len()), (19, 1));
    let again = apply(&hand, &puts[6..7]).await;
    assert!(matches!(&again[..], [Outcome::Refused(_)]), "{again:?}");
    hand.done(&[hand.put(endpoint(8), None)]).await;
    assert_eq!(envoy.hosts("web.shop").await.len(), 20);
}

#[tokio::test]
async fn an_envoy_that_does_not_answer_is_named_and_waited_for_once() {
    let envoy = Envoy::start().await;
    let mut stopped = Envoy::new("edge-2", envoy.listen);
    stopped.up().await;
    let hand = Hand::of(&envoy);
    hand.fence(1).await;
    connected(&hand).await;
    wait_until(LONG, async || match stopped.hosts("web.shop").await.len() {
        1 => Ok(()),
        count => Err(format!("{count} hosts")),
    })
    .await;
    let pid = stopped.process.as_ref().expect("runs").id().to_string();
    assert!(start("kill", "procps", &["-STOP".to_owned(), pid.clone()]).wait().success());
    let put = hand.put(endpoint(2), None);
    let begin = tokio::time::Instant::now();
    let waits = [Outcome::Waits("Envoy edge-2 has not acknowledged it".into())];
    assert_eq!(apply(&hand, std::slice::from_ref(&put)).await, waits);
    assert!(begin.elapsed() > Duration::from_secs(2));
    assert_eq!(envoy.hosts("web.shop").await.len(), 2, "the other one has it");
    let begin = tokio::time::Instant::now();
    assert_eq!(apply(&hand, std::slice::from_ref(&put)).await, waits);
    assert!(begin.elapsed() < Duration::from_secs(1), "nobody waits for it again");
    assert_eq!(apply(&hand, &[remove(&put)]).await, waits, "it may have heard of it");
    assert_eq!(envoy.hosts("web.shop").await.len(), 1);
    assert!(start("kill", "procps", &["-CONT".to_owned(), pid]).wait().success());
    hand.done(&[remove(&put)]).await;
    assert_eq!(stopped.hosts("web.shop").await.len(), 1);
}

#[tokio::test]
async fn an_envoy_that_went_away_is_waited_for_before_an_instance_counts_as_out() {
    let mut envoy = Envoy::start().await;
    let hand = Hand::with(envoy.spec_with(serde_json::json!({ "forgetAfter": "2s" })));
    hand.fence(1).await;
    let put = hand.put(endpoint(1), None);
    hand.done(std::slice::from_ref(&put)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    envoy.process = None;
    wait_until(LONG, async || {
        let outcomes = apply(&hand, &[remove(&put)]).await;
        match &outcomes[..] {
            [Outcome::Waits(words)] if words.starts_with("Envoy edge-1 went away") => Ok(()),
            _ => Err(format!("{outcomes:?}")),
        }
    })
    .await;
    hand.done(&[remove(&put)]).await;
    assert_eq!(hand.items().await, []);
}

#[tokio::test]
async fn an_envoy_that_comes_later_gets_everything_and_clusters_without_instances_are_empty() {
    let mut envoy = Envoy::new("edge-1", free_port());
    let hand = Hand::of(&envoy);
    hand.fence(1).await;
    let put = [hand.put(endpoint(1), None)];
    assert!(matches!(&apply(&hand, &put).await[..], [Outcome::Waits(_)]));
    envoy.up().await;
    hand.done(&put).await;
    assert_eq!(envoy.hosts("web.shop").await.len(), 1);
    let (status, ready) = http(envoy.admin(), "/ready").await;
    assert_eq!(status, 200, "it does not wait for api.shop: {ready}");
}

#[tokio::test]
async fn an_envoy_that_asks_for_more_than_endpoints_gets_these_and_goes_on() {
    let mut envoy = Envoy { asks_for_more: true, ..Envoy::new("edge-1", free_port()) };
    let hand = Hand::of(&envoy);
    hand.fence(1).await;
    let put = [hand.put(endpoint(1), None)];
    assert!(matches!(&apply(&hand, &put).await[..], [Outcome::Waits(_)]));
    envoy.up().await;
    hand.done(&put).await;
    wait_until(LONG, async || match http(envoy.admin(), "/ready").await {
        (200, _) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(envoy.hosts("web.shop").await.len(), 1);
}

#[tokio::test]
async fn a_request_that_is_under_way_ends_by_itself_and_no_new_one_comes_to_who_is_out() {
    let envoy = Envoy::start().await;
    let hand = Hand::of(&envoy);
    hand.fence(1).await;
    let (leaving, staying) = (Instance::start().await, Instance::start().await);
    let put = hand.put(leaving.endpoint(1), None);
    hand.done(std::slice::from_ref(&put)).await;
    let (arrive, arrived) = tokio::sync::oneshot::channel();
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let served = leaving.serve(async {
        arrive.send(()).expect("is heard");
        released.await.expect("is told");
    });
    let replaced = async {
        arrived.await.expect("is told");
        hand.done(&[hand.put(staying.endpoint(2), None)]).await;
        hand.done(&[remove(&put)]).await;
        for _ in 0..4 {
            let (status, ()) = futures::join!(envoy.get(), staying.serve(async {}));
            assert_eq!(status, 200, "the other one serves");
        }
        release.send(()).expect("is heard");
    };
    let (first, (), ()) = futures::join!(envoy.get(), served, replaced);
    assert_eq!(first, 200, "what was under way was answered");
}

#[tokio::test]
async fn a_door_that_is_taken_is_named() {
    let envoy = Envoy::new("edge-1", free_port());
    let _taken = tokio::net::TcpListener::bind(("127.0.0.1", envoy.listen)).await.expect("listens");
    let failed = Hand::of(&envoy).driver.fence(1).await;
    assert!(
        matches!(&failed, Err(Failure::Unavailable(said)) if said.contains("is not ours: another program")),
        "{failed:?}"
    );
}
