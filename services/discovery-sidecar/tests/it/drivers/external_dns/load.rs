//! Many records and many questions.

use bcs_discovery_sidecar::domain::guest::{Data, Domains, Kind, Wish, judge, parts};
use bcs_schemas::observation::RegistrationState;
use futures::future::join_all;
use serde_json::{Value, json};

use super::{
    Front, ask, set,
    standin::{self, ExternalDns},
};
use crate::{
    contract::{Hand, Site},
    drivers::dns::Bind,
    fixture::*,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_questions_does_not_keep_ours_from_coming() {
    let front = Front::<Bind>::start().await;
    // So many that one question takes longer than it takes to ask the next.
    let names: Vec<Value> =
        (0..2000).map(|i| set(&format!("x{i}.apps.bcs.local"), "A", &["192.0.2.1"])).collect();
    assert_eq!(front.change(json!({ "create": names })).await, (204, String::new()));
    let flood = join_all((0..12).map(async |_| {
        loop {
            // What waits too long is told so.
            let (status, said) = ask(&front.url, "GET", "/records", &Value::Null).await;
            assert!([200, 503].contains(&status), "{status} {said}");
        }
    }));
    let ours = async {
        for number in 1..=5 {
            front.nats.put(&endpoint(number)).await;
            front.nats.wait_for(&format!("uid-{number}"), 1, RegistrationState::Confirmed).await;
        }
    };
    tokio::select! {
        _ = flood => (),
        () = ours => (),
    }
    assert_eq!(front.zone.addresses().await.len(), 5);
    assert!(front.tasks.stop(LONG).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_broke_off_between_two_messages_goes_on_in_the_next_loop() {
    let front = Front::<Bind>::start().await;
    let external = ExternalDns::negotiate(&front.url, "me").await;
    let all: Vec<Value> =
        (0..200).map(|i| set(&format!("x{i}.apps.bcs.local"), "A", &["192.0.2.1", "192.0.2.2"])).collect();
    // As by a sidecar that was killed after the first of several messages.
    let wish = |endpoint: Value| {
        let text = |field: &Value| field.as_str().expect("a text").to_owned();
        let kind = Kind::of(&text(&endpoint["recordType"])).expect("a kind");
        let data = endpoint["targets"].as_array().expect("a list").iter();
        let wanted = data.map(|target| Data::read(kind, &text(target)).expect("a record")).collect();
        Wish { name: text(&endpoint["dnsName"]), kind, told: None, wanted: Some(wanted), ttl: None }
    };
    let texts = all.iter().map(|endpoint| standin::text(endpoint, "me"));
    let wishes: Vec<Wish> = all.iter().cloned().chain(texts).map(wish).collect();
    let hand = Hand::owned_by("eu2", &front.zone);
    hand.fence(1).await;
    let host = hand.driver.host().expect("it keeps records of others");
    let domains = Domains { include: vec!["bcs.local".into()], exclude: vec![] };
    let steps = judge(&host.view().await.expect("is read"), &domains, 30, &wishes).expect("is new");
    let rounds = parts(steps, host.room()).expect("fits");
    assert!(rounds.len() > 1);
    assert!(host.edit(&rounds[0]).await.expect("is answered"));

    let left = external.run_once(&all).await.expect("is taken");
    assert!((1..200).contains(&left), "{left}");
    assert_eq!(external.run_once(&all).await.expect("is read"), 0);
    assert_eq!(external.run_once(&[]).await.expect("is taken"), 200);
    assert_eq!(front.ask("GET", "/records", &Value::Null).await.1.matches("apps").count(), 0);
    assert!(front.tasks.stop(LONG).await);
}
