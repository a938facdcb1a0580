//! A sidecar beside each instance: it holds up the end of its own, and keeps the registries of their application together with
//! its siblings.

use std::{net::SocketAddr, time::Duration};

use bcs_discovery_sidecar::{Beside, Config};
use bcs_kit::Tasks;
use bcs_schemas::{
    Millis,
    observation::{Endpoint, RegistrationState},
    resource::Registry,
};

use crate::fixture::*;

fn beside(number: u32, registries: Vec<Registry>) -> Config {
    let instance = format!("web-{number}");
    let beside =
        Beside { project: name("shop"), app: name("web"), instance, hold_within: Millis::from_secs(30) };
    // Whoever takes over does so because it was told, not because it waited.
    Config { beside: Some(beside), takeover_after: Millis::from_secs(3600), ..config(registries) }
}

async fn start(nats: &Nats, config: Config) -> (Tasks, SocketAddr) {
    let deps = nats.deps();
    let address = deps.health.serve(&deps.tasks, ([127, 0, 0, 1], 0).into()).await.expect("serves");
    bcs_discovery_sidecar::run(config, deps.clone()).await.expect("starts");
    wait_until(LONG, async || match http(address, "/readyz").await {
        (200, _) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    (deps.tasks, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stops_an_instance_is_answered_when_every_registry_says_that_it_is_out() {
    let (nats, etcd) = (Nats::start().await, Etcd::start().await);
    let keeper = nats.sidecar(config(vec![etcd.registry("dns")])).await;
    nats.put(&endpoint(1)).await;
    nats.put(&endpoint(2)).await;
    nats.wait_for("uid-1", 1, RegistrationState::Confirmed).await;
    nats.wait_for("uid-2", 1, RegistrationState::Confirmed).await;
    let (tasks, address) = start(&nats, beside(1, vec![])).await;
    let mut hold = Box::pin(http(address, "/hold"));
    // It is in service, and nobody has said that it leaves.
    assert!(tokio::time::timeout(Duration::from_secs(1), &mut hold).await.is_err());
    nats.put(&draining(1)).await;
    let (code, answer) = hold.await;
    assert_eq!(code, 200, "{answer}");
    assert!(answer.contains("out of every registry after"), "{answer}");
    let left = etcd.keys("/skydns/").await;
    assert!(matches!(&left[..], [(_, value)] if value.contains("10.0.0.2")), "{left:?}");
    // Asked again, it is out still.
    assert_eq!(http(address, "/hold").await.0, 200);
    assert_eq!(http(address, "/elsewhere").await.0, 404);
    assert!(tasks.stop(LONG).await && keeper.stop(LONG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_holds_an_instance_no_longer_than_it_may_and_is_named() {
    let (nats, mut etcd) = (Nats::start().await, Etcd::start().await);
    let keeper = nats.sidecar(config(vec![etcd.registry("dns")])).await;
    nats.put(&endpoint(1)).await;
    nats.wait_for("uid-1", 1, RegistrationState::Confirmed).await;
    let mut config = beside(1, vec![]);
    config.beside.as_mut().expect("beside").hold_within = Millis::from_secs(2);
    let (tasks, address) = start(&nats, config).await;
    etcd.down();
    nats.put(&draining(1)).await;
    let (code, answer) = http(address, "/hold").await;
    assert_eq!(code, 503, "{answer}");
    assert!(answer.contains("not held any longer after 2.") && answer.contains("registry dns"), "{answer}");
    assert!(tasks.stop(LONG).await && keeper.stop(LONG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn siblings_keep_the_registry_of_their_application_one_at_a_time_and_pass_it_on_when_they_end() {
    let (nats, etcd) = (Nats::start().await, Etcd::start().await);
    for number in 1..=3 {
        nats.put(&endpoint(number)).await;
    }
    let other = Endpoint { app: name("api"), instance: "api-1".into(), uid: "uid-api".into(), ..endpoint(9) };
    nats.put(&other).await;
    let (first, _) = start(&nats, beside(1, vec![etcd.registry("own")])).await;
    nats.wait_for("uid-3", 1, RegistrationState::Confirmed).await;
    let before = nats.status("own", |status| status.reachable).await;
    let only = before.scope.only_if.clone().expect("one application");
    assert_eq!((only.projects, only.apps), (vec![name("shop")], vec![name("web")]));
    // Who comes later does not take over.
    let (second, _) = start(&nats, beside(2, vec![etcd.registry("own")])).await;
    let (third, _) = start(&nats, beside(3, vec![etcd.registry("own")])).await;
    let seen = nats.status("own", |status| status.observed_at > before.observed_at).await;
    assert_eq!(seen.epoch, before.epoch);
    // The first one ends with its instance, and what is left of that is taken out by whoever goes on.
    assert!(first.stop(LONG).await);
    nats.delete(&endpoint(1)).await;
    let after = nats.status("own", |status| status.reachable && status.epoch > before.epoch).await;
    wait_until(LONG, async || match etcd.keys("/skydns/").await {
        keys if keys.len() == 2 => Ok(()),
        keys => Err(format!("{keys:?}")),
    })
    .await;
    // Of the two that are left one keeps it, until it ends as well.
    assert!(second.stop(LONG).await);
    let last = nats.status("own", |status| status.reachable && status.epoch >= after.epoch).await;
    nats.put(&endpoint(4)).await;
    nats.wait_for("uid-4", 1, RegistrationState::Confirmed).await;
    assert_eq!(etcd.keys("/skydns/").await.len(), 3, "{last:?}");
    assert!(third.stop(LONG).await);
    assert!(etcd.keys("/skydns/").await.iter().all(|(_, value)| !value.contains("10.0.0.9")));
}
