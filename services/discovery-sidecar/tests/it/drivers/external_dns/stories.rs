//! What holds for every zone.

use std::time::Duration;

use bcs_discovery_sidecar::domain::{
    Failure,
    guest::{self, Domains, Refusal, Wish},
};
use bcs_schemas::observation::RegistrationState;
use futures::StreamExt;
use serde_json::{Value, json};

use super::{Front, Zone, set, standin::ExternalDns};
use crate::{contract::Hand, fixture::*};

fn shown(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// Not told by anybody, whatever was asked.
fn silent<Z: Zone>(words: &str) {
    assert!(!words.contains(Z::SECRET), "{words}");
}

pub(crate) async fn records_come_change_and_go_with_the_texts_that_say_whose_they_are<Z: Zone>() {
    let front = Front::<Z>::start().await;
    front.zone.write("mail.apps.bcs.local", "A", "192.0.2.99").await;
    let external = ExternalDns::negotiate(&front.url, "me").await;
    let mut web = set("web.apps.bcs.local", "A", &["192.0.2.1", "192.0.2.2"]);
    web["recordTTL"] = json!(60);
    let all = [
        web,
        set("six.apps.bcs.local", "AAAA", &["2001:DB8:0::1"]),
        set("www.apps.bcs.local", "CNAME", &["Web.apps.bcs.local."]),
        set("*.any.apps.bcs.local", "A", &["192.0.2.3"]),
        set("_http._tcp.apps.bcs.local", "SRV", &["10 5 8080 web.apps.bcs.local."]),
        set("spf.apps.bcs.local", "TXT", &["v=spf1 include:a.test -all"]),
        set("mx.apps.bcs.local", "MX", &["10 mail.apps.bcs.local"]),
        set("mail.apps.bcs.local", "A", &["192.0.2.77"]),
    ];
    // One that is there already is somebody else's.
    assert_eq!(external.run_once(&all).await.expect("is taken"), 7);
    assert_eq!(external.run_once(&all).await.expect("is read"), 0, "nothing differs afterwards");
    let dig = |name: &str, kind: &str| shown(front.zone.dig(&[kind, name]));
    assert_eq!(dig("web.apps.bcs.local", "A"), ["192.0.2.1", "192.0.2.2"]);
    assert_eq!(dig("six.apps.bcs.local", "AAAA"), ["2001:db8::1"]);
    assert_eq!(dig("www.apps.bcs.local", "CNAME"), ["web.apps.bcs.local."]);
    assert_eq!(dig("x.any.apps.bcs.local", "A"), ["192.0.2.3"]);
    assert_eq!(dig("_http._tcp.apps.bcs.local", "SRV"), ["10 5 8080 web.apps.bcs.local."]);
    assert_eq!(dig("spf.apps.bcs.local", "TXT"), ["\"v=spf1 include:a.test -all\""]);
    assert_eq!(dig("mx.apps.bcs.local", "MX"), ["10 mail.apps.bcs.local."]);
    let text = "\"heritage=external-dns,external-dns/owner=me,external-dns/resource=service/shop/a\"";
    assert_eq!(dig("a-web.apps.bcs.local", "TXT"), [text]);
    assert_eq!(front.told("a-web.apps.bcs.local").await[0]["targets"], json!([text]));
    assert_eq!(front.told("web.apps.bcs.local").await[0]["recordTTL"], 60);
    let ttl = |name: &str| front.zone.dig(&["+noshort", "+noall", "+answer", "A", name])[0].clone();
    assert!(ttl("web.apps.bcs.local").contains("60"), "{}", ttl("web.apps.bcs.local"));

    // What somebody took out comes back, with the text that stayed or without; what was never written is made up for.
    front.zone.erase("web.apps.bcs.local", "A").await;
    assert_eq!(external.run_once(&all).await.expect("is taken"), 1);
    assert_eq!(dig("web.apps.bcs.local", "A"), ["192.0.2.1", "192.0.2.2"]);

    let some = [set("web.apps.bcs.local", "A", &["192.0.2.2", "192.0.2.4"])];
    assert_eq!(external.run_once(&some).await.expect("is taken"), 7);
    assert_eq!(dig("web.apps.bcs.local", "A"), ["192.0.2.2", "192.0.2.4"]);
    assert_eq!(dig("spf.apps.bcs.local", "TXT"), [""; 0]);
    // An address becomes an alias in one change.
    let alias = [set("web.apps.bcs.local", "CNAME", &["elsewhere.test"])];
    assert_eq!(external.run_once(&alias).await.expect("is taken"), 2);
    assert_eq!(dig("web.apps.bcs.local", "CNAME"), ["elsewhere.test."]);
    assert_eq!(external.run_once(&[]).await.expect("is taken"), 1);
    for name in ["web.apps.bcs.local", "a-web.apps.bcs.local", "cname-web.apps.bcs.local"] {
        assert_eq!(front.told(name).await, [Value::Null; 0]);
    }
    assert_eq!(dig("mail.apps.bcs.local", "A"), ["192.0.2.99"], "and what is another's was never touched");
    assert!(front.tasks.stop(LONG).await);
}

pub(crate) async fn what_changed_since_it_was_read_is_not_overwritten<Z: Zone>() {
    let front = Front::<Z>::start().await;
    front.zone.write("web.apps.bcs.local", "A", "192.0.2.1").await;
    let (old, new) =
        (set("web.apps.bcs.local", "A", &["192.0.2.7"]), set("web.apps.bcs.local", "A", &["192.0.2.8"]));
    let good = set("good.apps.bcs.local", "A", &["192.0.2.9"]);
    for (changes, words) in [
        (json!({ "create": [good, new] }), "web.apps.bcs.local A is there already: 192.0.2.1"),
        (
            json!({ "create": [good], "updateOld": [old], "updateNew": [new] }),
            "is 192.0.2.1 and not 192.0.2.7 any more",
        ),
        (json!({ "create": [good], "delete": [old] }), "is 192.0.2.1 and not 192.0.2.7 any more"),
    ] {
        let (status, said) = front.change(changes).await;
        assert!(status == 503 && said.contains(words), "{status} {said}");
        silent::<Z>(&said);
    }
    assert_eq!(front.zone.dig(&["A", "web.apps.bcs.local"]), ["192.0.2.1"]);
    assert_eq!(front.zone.dig(&["A", "good.apps.bcs.local"]), [""; 0], "all of a change or nothing");
    assert!(front.tasks.stop(LONG).await);
}

pub(crate) async fn somebody_who_is_faster_than_the_update_itself_keeps_what_he_wrote<Z: Zone>() {
    let zone = Z::start().await;
    zone.write("web.apps.bcs.local", "A", "192.0.2.1").await;
    let hand = Hand::of(&zone);
    hand.fence(1).await;
    let host = hand.driver.host().expect("it keeps records of others");
    let domains = Domains { include: vec!["bcs.local".into()], exclude: vec![] };
    let wish = |name: &str, told: Option<&str>, wanted: Option<&str>| {
        let data = |text: &str| [guest::Data::read(guest::Kind::A, text).expect("an address")].into();
        let (told, wanted) = (told.map(data), wanted.map(data));
        Wish { name: name.to_owned(), kind: guest::Kind::A, told, wanted, ttl: None }
    };
    let at = "web.apps.bcs.local";
    let wishes = [
        vec![wish(at, Some("192.0.2.1"), Some("192.0.2.5"))],
        vec![wish(at, Some("192.0.2.1"), None)],
        vec![wish("fresh.apps.bcs.local", None, Some("192.0.2.5"))],
    ];
    let drafted = async |wishes: &[Wish]| -> Result<Vec<guest::Step>, Refusal> {
        let view = host.view().await.expect("is read");
        guest::judge(&view, &domains, 30, wishes)
    };
    let mut drafts = Vec::new();
    for wishes in &wishes {
        drafts.push(drafted(wishes).await.expect("is as it was told"));
    }
    zone.write(at, "A", "192.0.2.2").await;
    zone.write("fresh.apps.bcs.local", "A", "192.0.2.3").await;
    for steps in &drafts {
        assert!(!host.edit(steps).await.expect("is answered"));
    }
    assert_eq!(zone.dig(&["A", at]), ["192.0.2.2"]);
    let steps = drafted(&[wish(at, Some("192.0.2.2"), Some("192.0.2.5"))]).await.expect("is as it was told");
    // A sidecar that was replaced writes nothing for others either.
    let newer = Hand::of(&zone);
    newer.fence(2).await;
    let failure = host.edit(&steps).await.expect_err("is fenced");
    assert_eq!(failure, Failure::Fenced(2));
    assert_eq!(zone.dig(&["A", at]), ["192.0.2.2"]);
}

pub(crate) async fn what_changes_for_others_is_no_drift_of_ours<Z: Zone>() {
    let zone = Z::start().await;
    let hand = Hand::of(&zone);
    hand.fence(1).await;
    hand.done(&[hand.put(endpoint(1), None)]).await;
    let since = hand.driver.list().await.expect("is read").at;
    let mut drifts = hand.driver.drift(since).await.expect("watches");
    let host = hand.driver.host().expect("it keeps records of others");
    let domains = Domains { include: vec!["bcs.local".into()], exclude: vec![] };
    for number in 1..=3 {
        let data = guest::Data::read(guest::Kind::A, &format!("192.0.2.{number}")).expect("an address");
        let name = format!("x{number}.apps.bcs.local");
        let wish =
            Wish { name, kind: guest::Kind::A, told: None, wanted: Some([data].into()), ttl: Some(60) };
        let view = host.view().await.expect("is read");
        let steps = guest::judge(&view, &domains, 30, &[wish]).expect("is new");
        assert!(host.edit(&steps).await.expect("is answered"));
        hand.done(&[hand.put(endpoint(number + 1), None)]).await;
    }
    // Longer than any driver takes to look.
    let silent = tokio::time::timeout(Duration::from_secs(6), drifts.next()).await;
    assert!(silent.is_err(), "a change through us is told: {silent:?}");
}

pub(crate) async fn names_of_ours_are_left_out_refused_and_kept_while_others_change<Z: Zone>() {
    let front = Front::<Z>::start().await;
    front.nats.put(&endpoint(1)).await;
    front.nats.wait_for("uid-1", 1, RegistrationState::Confirmed).await;
    let ours = "web.shop.bcs.local";
    assert_eq!(front.told(ours).await, [Value::Null; 0], "it is not shown");
    for (kind, target) in [("A", "192.0.2.1"), ("TXT", "\"x\""), ("CNAME", "y.test")] {
        let (status, said) = front.change(json!({ "create": [set(ours, kind, &[target])] })).await;
        let words = format!("{ours}: belongs to an entry of BCS (eu1.sim-a.dns)");
        assert!(status == 422 && said.contains(&words), "{status} {said}");
    }
    let (status, said) = front.change(json!({ "delete": [set(ours, "A", &["10.0.0.1"])] })).await;
    assert_eq!(status, 422, "{said}");
    // One name that is not to be had does not keep the others from coming.
    let external = ExternalDns::negotiate(&front.url, "me").await;
    let all = [
        set(ours, "A", &["192.0.2.1"]),
        set("b.apps.bcs.local", "A", &["192.0.2.2"]),
        set("c.apps.bcs.local", "A", &["no address"]),
    ];
    assert_eq!(external.run_once(&all).await.expect("is taken"), 1);
    assert_eq!(external.run_once(&all).await.expect("is read"), 0);
    // One that was good stays what it is when it becomes bad.
    let bad = [set("b.apps.bcs.local", "A", &["no address"])];
    assert_eq!(external.run_once(&bad).await.expect("is read"), 0);
    assert_eq!(front.zone.dig(&["A", "b.apps.bcs.local"]), ["192.0.2.2"]);
    assert_eq!(front.zone.dig(&["A", ours]), ["10.0.0.1"]);
    // And ours goes on beside it.
    front.nats.put(&endpoint(2)).await;
    front.nats.wait_for("uid-2", 1, RegistrationState::Confirmed).await;
    assert_eq!(shown(front.zone.dig(&["A", ours])), ["10.0.0.1", "10.0.0.2"]);
    let status = front.nats.status("dns", |status| status.entries == 2).await;
    assert_eq!((status.drift_repaired, status.failures), (0, 0));
    assert!(front.tasks.stop(LONG).await);
}

pub(crate) async fn a_zone_that_is_away_is_asked_again_until_it_is_back<Z: Zone>() {
    let mut front = Front::<Z>::start().await;
    let external = ExternalDns::negotiate(&front.url, "me").await;
    let all = [set("web.apps.bcs.local", "A", &["192.0.2.1"])];
    assert_eq!(external.run_once(&all).await.expect("is taken"), 1);
    front.zone.stop().await;
    for _ in 0..3 {
        let failed = external.run_once(&[]).await.expect_err("nobody is there");
        assert_eq!(failed.status, 503, "{}", failed.words);
        silent::<Z>(&failed.words);
        let change = json!({ "delete": all });
        let (status, said) = front.change(change).await;
        assert_eq!(status, 503, "{said}");
        silent::<Z>(&said);
    }
    // What can be said without it is said.
    assert_eq!(front.ask("GET", "/", &Value::Null).await.0, 200);
    front.zone.go_on().await;
    wait_until(LONG, async || match external.run_once(&all).await {
        Ok(0) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(external.run_once(&[]).await.expect("is taken"), 1);
    assert_eq!(front.zone.dig(&["A", "web.apps.bcs.local"]), [""; 0]);
    assert!(front.tasks.stop(LONG).await);
}

pub(crate) async fn more_than_a_message_holds_comes_and_goes_in_several<Z: Zone>() {
    let front = Front::<Z>::start().await;
    let external = ExternalDns::negotiate(&front.url, "me").await;
    let all: Vec<Value> = (0..400)
        .map(|i| {
            set(&format!("service-with-a-long-name-{i}.apps.bcs.local"), "A", &["192.0.2.1", "192.0.2.2"])
        })
        .collect();
    assert_eq!(external.run_once(&all).await.expect("is taken"), 400);
    assert_eq!(external.run_once(&all).await.expect("is read"), 0);
    for i in [0, 199, 399] {
        let name = format!("service-with-a-long-name-{i}.apps.bcs.local");
        assert_eq!(shown(front.zone.dig(&["A", &name])), ["192.0.2.1", "192.0.2.2"]);
        assert_eq!(front.zone.dig(&["TXT", &format!("a-{name}")]).len(), 1);
    }
    assert_eq!(external.run_once(&[]).await.expect("is taken"), 400);
    let (_, left) = front.ask("GET", "/records", &Value::Null).await;
    assert!(!left.contains("service-with"), "{left}");
    assert!(front.tasks.stop(LONG).await);
}

macro_rules! stories {
    ($site:ty) => {
        $crate::drivers::external_dns::stories!(
            $site:
            records_come_change_and_go_with_the_texts_that_say_whose_they_are,
            what_changed_since_it_was_read_is_not_overwritten,
            somebody_who_is_faster_than_the_update_itself_keeps_what_he_wrote,
            what_changes_for_others_is_no_drift_of_ours,
            names_of_ours_are_left_out_refused_and_kept_while_others_change,
            a_zone_that_is_away_is_asked_again_until_it_is_back,
            more_than_a_message_holds_comes_and_goes_in_several,
        );
    };
    ($site:ty: $($story:ident,)+) => {
        mod external_dns {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $story() {
                    $crate::drivers::external_dns::$story::<$site>().await;
                }
            )+
        }
    };
}
pub(crate) use stories;
