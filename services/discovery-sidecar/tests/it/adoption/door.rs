//! The door of the sidecar: only the one that keeps the registry answers, and what it does there is what its engine finds.

use std::time::Duration;

use bcs_kit::bus;
use bcs_schemas::{
    adoption::{EntryState, Pick, RegistryAsk, RegistryEntry, RegistryPage, RegistryTold},
    observation::RegistrationState,
    query::Answer,
    subject,
};

use crate::fixture::*;

async fn ask(nats: &Nats, ask: &impl serde::Serialize) -> Result<Answer<RegistryTold>, bus::Error> {
    let subject = subject::registry(&name("local"), &name("sim-a"), &name("dns"));
    let question = serde_json::to_value(ask).expect("is written");
    // As people do by the command line: what a sidecar heard as it stopped is asked again.
    nats.bus.insist(subject, &question, Duration::from_secs(30)).await
}

/// The door opens a moment after the sidecar has begun.
async fn answered(nats: &Nats, question: &impl serde::Serialize) -> Answer<RegistryTold> {
    wait_until(LONG, async || match ask(nats, question).await {
        Err(bus::Error::NoResponder(_)) => Err("nobody answers".to_owned()),
        answer => Ok(answer.expect("is answered")),
    })
    .await
}

async fn told(nats: &Nats, question: RegistryAsk) -> RegistryTold {
    match answered(nats, &question).await {
        Answer::Ok(answered) => answered.data,
        Answer::Error(refused) => panic!("{question:?}: {refused:?}"),
    }
}

async fn refused(nats: &Nats, question: &impl serde::Serialize) -> String {
    match answered(nats, question).await {
        Answer::Error(refused) => refused.message,
        Answer::Ok(answered) => panic!("{answered:?}"),
    }
}

async fn page(nats: &Nats) -> RegistryPage {
    match told(nats, RegistryAsk::Entries { limit: None, after: None }).await {
        RegistryTold::Entries(page) => page,
        other => panic!("{other:?}"),
    }
}

fn adopt(entries: &[&RegistryEntry]) -> RegistryAsk {
    let pick = |entry: &&RegistryEntry| Pick {
        place: entry.place.clone(),
        address: entry.address.expect("an address"),
    };
    RegistryAsk::Adopt { entries: entries.iter().map(pick).collect(), from: None, by: "ada".to_owned() }
}

async fn keep(etcd: &Etcd, key: &str, value: &str) {
    etcd.client().await.put(key, value, None).await.expect("writes");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_failed_as_somebody_elses_is_confirmed_once_it_is_adopted() {
    let (nats, etcd) = (Nats::start().await, Etcd::start().await);
    let tasks = nats.sidecar(config(vec![etcd.registry("dns")])).await;
    nats.put(&endpoint(1)).await;
    nats.wait_for("uid-1", 1, RegistrationState::Confirmed).await;
    // Somebody writes his own over it, at our place.
    let (key, _) = etcd.keys("/skydns/").await.remove(0);
    keep(&etcd, &key, r#"{"host":"10.0.0.1","text":"by hand"}"#).await;
    keep(&etcd, "/skydns/local/bcs/shop/web/x9", r#"{"host":"10.9.9.9"}"#).await;
    keep(&etcd, "/skydns/local/bcs/mail", "no json").await;
    nats.wait_for("uid-1", 1, RegistrationState::Failed).await;
    let shown = page(&nats).await;
    assert_eq!((shown.owner.as_str(), shown.driver.as_str()), ("eu1.sim-a.dns", "etcd"));
    let states: Vec<_> = shown.entries.iter().map(|entry| (entry.place.as_str(), entry.state)).collect();
    assert_eq!(states.len(), 3, "{states:?}");
    let adoptable: Vec<_> = shown.entries.iter().filter(|e| e.state == EntryState::Adoptable).collect();
    assert!(matches!(&adoptable[..], [one] if one.place == key), "{states:?}");

    let mut picked = adopt(&adoptable);
    if let RegistryAsk::Adopt { entries, .. } = &mut picked {
        entries.push(Pick {
            place: "/skydns/local/bcs/shop/web/x9".into(),
            address: "10.9.9.9".parse().expect("an address"),
        });
    }
    let RegistryTold::Adopted { outcomes } = told(&nats, picked).await else { panic!("another answer") };
    assert_eq!(outcomes[0].refused, None);
    assert_eq!(outcomes[0].instance.as_deref(), Some("sim-a.shop.web.web-1"));
    assert!(
        outcomes[1].refused.as_ref().is_some_and(|why| why.contains("no ready instance")),
        "{outcomes:?}"
    );
    nats.wait_for("uid-1", 1, RegistrationState::Confirmed).await;
    assert!(etcd.keys(&key).await[0].1.contains("eu1.sim-a.dns"));
    assert_eq!(etcd.keys("/skydns/local/bcs/shop/web/x9").await[0].1, r#"{"host":"10.9.9.9"}"#);
    // It drains as if it had always been ours.
    nats.put(&draining(1)).await;
    nats.wait_for("uid-1", 1, RegistrationState::Drained).await;
    assert_eq!(etcd.keys("/skydns/").await.len(), 2);
    assert!(tasks.stop(LONG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_entries_come_in_pages_and_each_on_one() {
    let (nats, etcd) = (Nats::start().await, Etcd::start().await);
    for number in 0..1203 {
        keep(&etcd, &format!("/skydns/test/corp/x{number:04}"), r#"{"host":"10.9.9.9"}"#).await;
    }
    let tasks = nats.sidecar(config(vec![etcd.registry("dns")])).await;
    nats.status("dns", |status| status.reachable).await;
    for (limit, least) in [(None, 500), (Some(100_000), 500), (Some(1000), 500)] {
        let (mut all, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let question = RegistryAsk::Entries { limit, after: after.take() };
            let Answer::Ok(answered) = answered(&nats, &question).await else { panic!("refused") };
            let RegistryTold::Entries(page) = answered.data else { panic!("another answer") };
            assert!(page.entries.len() <= least);
            all.extend(page.entries.into_iter().map(|entry| entry.place));
            pages += 1;
            after = answered.next;
            if after.is_none() {
                break;
            }
        }
        let once: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!((all.len(), once.len(), pages), (1203, 1203, 3));
    }
    assert!(tasks.stop(LONG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_refused_with_the_reason_and_the_sidecar_goes_on() {
    let (nats, mut etcd) = (Nats::start().await, Etcd::start().await);
    assert!(matches!(
        ask(&nats, &RegistryAsk::Entries { limit: None, after: None }).await,
        Err(bus::Error::NoResponder(_))
    ));
    let tasks = nats.sidecar(config(vec![etcd.registry("dns")])).await;
    nats.put(&endpoint(1)).await;
    nats.wait_for("uid-1", 1, RegistrationState::Confirmed).await;
    let purge = |owner: &str, force| RegistryAsk::Purge { owner: owner.to_owned(), force, by: String::new() };
    for owner in ["eu1.sim-a.dns", "eu1"] {
        let words = refused(&nats, &purge(owner, false)).await;
        assert!(words.contains("the one that writes here now"), "{words}");
    }
    assert!(refused(&nats, &purge("", false)).await.contains("the owner is empty"));
    let pick = Pick { place: "x".to_owned(), address: "::1".parse().expect("an address") };
    let many = RegistryAsk::Adopt { entries: vec![pick; 501], from: None, by: String::new() };
    assert!(refused(&nats, &many).await.contains("too many"));
    for (bad, part) in [
        (serde_json::json!({ "ask": "drop" }), "drop"),
        (serde_json::json!({ "ask": "purge", "owner": "eu1", "forced": true }), "forced"),
        (serde_json::json!([1, 2]), ""),
        (serde_json::json!({ "ask": "adopt", "entries": [{ "place": "x", "address": "web" }] }), ""),
    ] {
        let words = refused(&nats, &bad).await;
        assert!(words.contains(part), "{bad}: {words}");
    }
    // Nothing of it was done, and with force our own come back by themselves.
    assert_eq!(etcd.keys("/skydns/").await.len(), 1);
    let RegistryTold::Purged { removed, left, marks, .. } = told(&nats, purge("eu1", true)).await else {
        panic!("another answer")
    };
    assert_eq!((removed, left, marks), (1, 0, Vec::new()), "our own marks stay");
    wait_until(LONG, async || match etcd.keys("/skydns/").await.len() {
        1 => Ok(()),
        other => Err(format!("{other} entries")),
    })
    .await;
    // A registry that is away is no reason to wait.
    etcd.down();
    nats.status("dns", |status| !status.reachable).await;
    let words = refused(&nats, &RegistryAsk::Entries { limit: None, after: None }).await;
    assert!(words.contains("etcd"), "{words}");
    etcd.up().await;
    wait_until(LONG, async || match ask(&nats, &RegistryAsk::Entries { limit: None, after: None }).await {
        Ok(Answer::Ok(_)) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert!(tasks.stop(LONG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_sidecar_that_keeps_the_registry_answers() {
    let (nats, etcd) = (Nats::start().await, Etcd::start().await);
    let config = || bcs_discovery_sidecar::Config {
        takeover_after: "1s".parse().expect("a duration"),
        beat_every: "200ms".parse().expect("a duration"),
        ..config(vec![etcd.registry("dns")])
    };
    let first = nats.sidecar(config()).await;
    let before = nats.status("dns", |status| status.reachable).await.epoch;
    let second = nats.sidecar(config()).await;
    let after = nats.status("dns", |status| status.reachable && status.epoch > before).await.epoch;
    // The first hears of it at its next write, and lets nobody ask it from then on.
    nats.put(&endpoint(1)).await;
    nats.wait_for("uid-1", 1, RegistrationState::Confirmed).await;
    // Nobody answers in the moment in which one door is shut and the other not open yet.
    wait_until(LONG, async || match ask(&nats, &RegistryAsk::Entries { limit: None, after: None }).await {
        Ok(Answer::Ok(answered)) if answered.revision == after => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    for _ in 0..20 {
        let answer =
            ask(&nats, &RegistryAsk::Entries { limit: None, after: None }).await.expect("is answered");
        match answer {
            Answer::Ok(answered) => assert_eq!(answered.revision, after),
            // The moment in which the first one finds out.
            Answer::Error(refused) => assert!(refused.message.contains("sidecar"), "{refused:?}"),
        }
    }
    assert!(second.stop(LONG).await);
    wait_until(LONG, async || match ask(&nats, &RegistryAsk::Entries { limit: None, after: None }).await {
        Ok(Answer::Ok(answered)) if answered.revision > after => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert!(first.stop(LONG).await);
}
