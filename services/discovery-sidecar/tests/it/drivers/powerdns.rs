//! PowerDNS with SQLite, looked at over DNS by dig.

use std::{collections::BTreeSet, net::IpAddr, path::Path, process::Command};

use bcs_discovery_sidecar::{
    domain::{Change, Failure, Outcome},
    driver::Drift,
};
use bcs_schemas::observation::{Endpoint, RegistrationState};
use futures::StreamExt;

use crate::{
    contract::{Hand, Site},
    faults::{Able, Faulty, Line, wires},
    fixture::*,
    web::{self, Proxy},
};

const KEY: &str = "correct-horse-battery";
const SCHEMA: &str = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql";
const PACKAGES: &str = "the Debian packages pdns-server, pdns-backend-sqlite3, sqlite3 and bind9-dnsutils";

struct Pdns {
    directory: tempfile::TempDir,
    dns: u16,
    http: u16,
    process: Option<Process>,
}

impl Pdns {
    async fn empty() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("key"), format!("{KEY}\n")).expect("writes");
        let mut pdns = Self { directory, dns: free_port(), http: free_port(), process: None };
        pdns.make_database();
        pdns.up().await;
        pdns
    }

    fn make_database(&self) {
        let mut sqlite = Command::new("sqlite3");
        let made = sqlite.arg(self.directory.path().join("db")).arg(format!(".read {SCHEMA}")).status();
        let made = made.unwrap_or_else(|e| panic!("sqlite3 cannot be started ({e}): install {PACKAGES}"));
        assert!(made.success(), "install {PACKAGES}");
    }

    async fn up(&mut self) {
        let at = self.directory.path().display();
        let (dns, http) = (self.dns, self.http);
        let settings = format!(
            "launch=gsqlite3\ngsqlite3-database={at}/db\nsocket-dir={at}\nlocal-address=127.0.0.1\nlocal-port={dns}\n\
             webserver=yes\nwebserver-address=127.0.0.1\nwebserver-port={http}\napi=yes\napi-key={KEY}\n\
             cache-ttl=0\nquery-cache-ttl=0\nnegquery-cache-ttl=0\nzone-cache-refresh-interval=0\n\
             security-poll-suffix=\ndaemon=no\nguardian=no\n"
        );
        std::fs::write(self.directory.path().join("pdns.conf"), settings).expect("writes");
        self.process = Some(start("pdns_server", PACKAGES, &[format!("--config-dir={at}")]));
        wait_until(LONG, async || self.api("GET", "", "").await.map(drop)).await;
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    async fn api(&self, method: &str, path: &str, body: &str) -> Result<(u16, String), String> {
        let url = format!("{}/api/v1/servers/localhost{path}", self.url());
        web::ask(method, &url, &[("x-api-key", KEY), ("content-type", "application/json")], body.to_owned())
            .await
    }

    async fn make_zone(&self) {
        let zone = r#"{"name":"bcs.local.","kind":"Native","nameservers":["ns.bcs.local."]}"#;
        assert_eq!(self.api("POST", "/zones", zone).await.expect("answers").0, 201);
    }

    /// As an administrator would, who knows nothing of sidecars.
    async fn write(&self, name: &str, kind: &str, content: &str) {
        let body = serde_json::json!({ "rrsets": [{
            "name": name, "type": kind, "ttl": 60, "changetype": "REPLACE",
            "records": [{ "content": content, "disabled": false }],
        }] });
        let answer = self.api("PATCH", "/zones/bcs.local.", &body.to_string()).await.expect("answers");
        assert_eq!(answer.0, 204, "{answer:?}");
    }

    async fn erase(&self, name: &str, kind: &str) {
        let body = serde_json::json!({ "rrsets": [{ "name": name, "type": kind, "changetype": "DELETE" }] });
        let answer = self.api("PATCH", "/zones/bcs.local.", &body.to_string()).await.expect("answers");
        assert_eq!(answer.0, 204, "{answer:?}");
    }

    fn dig(&self, name: &str) -> BTreeSet<IpAddr> {
        self.ask(&[name, "A"]).iter().filter_map(|line| line.parse().ok()).collect()
    }

    fn ask(&self, question: &[&str]) -> Vec<String> {
        let port = self.dns.to_string();
        let answer =
            Command::new("dig").args(["@127.0.0.1", "-p", &port, "+tcp", "+short"]).args(question).output();
        let answer = answer.unwrap_or_else(|e| panic!("dig cannot be started ({e}): install {PACKAGES}"));
        String::from_utf8_lossy(&answer.stdout).lines().map(ToOwned::to_owned).collect()
    }

    fn spec_at(&self, url: &str, key: &Path, more: serde_json::Value) -> serde_json::Value {
        let mut driver = serde_json::json!({ "url": url, "key": { "file": key } });
        if let (Some(driver), Some(more)) = (driver.as_object_mut(), more.as_object()) {
            driver.extend(more.clone());
        }
        serde_json::json!({ "driver": { "powerdns": driver } })
    }
}

impl Site for Pdns {
    async fn start() -> Self {
        let pdns = Self::empty().await;
        pdns.make_zone().await;
        pdns
    }

    fn spec(&self) -> serde_json::Value {
        self.spec_at(&self.url(), &self.directory.path().join("key"), serde_json::json!({}))
    }

    async fn addresses(&self) -> BTreeSet<IpAddr> {
        self.dig("web.shop.bcs.local")
    }

    /// A name has one owner: theirs is another one.
    async fn add_foreign(&self, address: IpAddr) {
        self.write("theirs.shop.bcs.local.", "A", &address.to_string()).await;
    }
}

crate::contract::contract!(super::Pdns);
crate::drivers::external_dns::stories!(super::Pdns);
crate::adoption::stories!(super::Pdns);

impl crate::adoption::Kept for Pdns {
    async fn keep(&self, address: IpAddr) {
        self.write("web.shop.bcs.local.", "A", &address.to_string()).await;
    }

    async fn unkeep(&self, address: IpAddr) {
        let _ = address;
        self.erase("web.shop.bcs.local.", "A").await;
    }
}

impl crate::drivers::external_dns::Zone for Pdns {
    const SECRET: &'static str = KEY;

    fn dig(&self, question: &[&str]) -> Vec<String> {
        self.ask(question)
    }

    async fn write(&self, name: &str, kind: &str, content: &str) {
        self.write(&format!("{name}."), kind, content).await;
    }

    async fn erase(&self, name: &str, kind: &str) {
        self.erase(&format!("{name}."), kind).await;
    }

    async fn stop(&mut self) {
        self.process = None;
    }

    async fn go_on(&mut self) {
        self.up().await;
    }
}

impl Faulty for Pdns {
    const NAME: &'static str = "powerdns";
    const ABLE: Able = Able::of(&[Able::WAY, Able::HTTP, Able::SERVER]);

    fn port(&self) -> u16 {
        self.http
    }

    async fn lines(&self, port: u16) -> Vec<(Line, serde_json::Value)> {
        let key = self.directory.path().join("key");
        wires(port, |at| self.spec_at(&format!("http://{at}"), &key, serde_json::json!({}))).await
    }

    async fn down(&mut self, with_its_data: bool) {
        self.process = None;
        if with_its_data {
            std::fs::remove_file(self.directory.path().join("db")).expect("removes");
            self.make_database();
        }
    }

    async fn up(&mut self) {
        self.up().await;
        if self.api("GET", "/zones/bcs.local.", "").await.is_ok_and(|(status, _)| status != 200) {
            self.make_zone().await;
        }
    }

    async fn theirs(&self) -> String {
        let (_, zone) = self.api("GET", "/zones/bcs.local.", "").await.expect("answers");
        let zone: serde_json::Value = serde_json::from_str(&zone).expect("JSON");
        let all = zone["rrsets"].as_array().expect("record sets").iter();
        let theirs = all.filter(|set| set["name"] == "theirs.shop.bcs.local." || set["type"] == "NS");
        theirs.map(|set| format!("{set}\n")).collect()
    }

    async fn take_out(&self, _: IpAddr) {}

    async fn marks(&self) -> Option<usize> {
        let (_, zone) = self.api("GET", "/zones/bcs.local.", "").await.expect("answers");
        Some(zone.matches("eu1.sim-a.dns").count())
    }
}

crate::faults::faults!(Pdns);

async fn refused(spec: serde_json::Value) -> String {
    let failure = Hand::with(spec).driver.fence(1).await.expect_err("is refused");
    assert!(matches!(failure, Failure::Unavailable(_)), "{failure:?}");
    failure.to_string()
}

#[tokio::test]
async fn what_is_wrong_with_the_server_the_zone_or_the_key_is_said_and_the_key_is_not() {
    let pdns = Pdns::empty().await;
    let file = |name: &str, text: &str| {
        let path = pdns.directory.path().join(name);
        std::fs::write(&path, text).expect("writes");
        path
    };
    let (key, wrong) = (pdns.directory.path().join("key"), file("wrong", "incorrect-donkey"));
    let garbled = file("garbled", "incorrect-donkey\nof two lines");
    let none = serde_json::json!({});
    let closed = format!("http://127.0.0.1:{}", free_port());
    let elsewhere = web::answering(200, "text/html", "<html>hello correct-horse-battery").await;
    let moved = web::answering(302, "text/html", "").await;
    for (url, key, more, words) in [
        (pdns.url(), &key, &none, "knows no zone bcs.local. (404"),
        (pdns.url(), &wrong, &none, "refuses the API key in driver.powerdns.key (401"),
        (pdns.url(), &garbled, &none, "driver.powerdns.key: holds what cannot be sent"),
        (pdns.url(), &"/nowhere".into(), &none, "driver.powerdns.key: /nowhere cannot be read"),
        (pdns.url(), &key, &serde_json::json!({ "server": "other" }), "(404"),
        (closed, &key, &none, "Connection refused"),
        (elsewhere.url(), &key, &none, "is not PowerDNS's API: 200 OK: <html>hello (secret)"),
        (moved.url(), &key, &none, "redirects are not followed"),
    ] {
        let said = refused(pdns.spec_at(&url, key, more.clone())).await;
        println!("{said}");
        assert!(said.contains(words), "{said}, expected {words}");
        assert!(!said.contains(KEY) && !said.contains("donkey"), "{said}");
    }
    let secondary = r#"{"name":"bcs.local.","kind":"Slave","masters":["127.0.0.1"]}"#;
    assert_eq!(pdns.api("POST", "/zones", secondary).await.expect("answers").0, 201);
    let said = refused(pdns.spec()).await;
    assert!(said.contains("of kind Slave: expected bcs.local. of kind Native or Master"), "{said}");
}

#[tokio::test]
async fn a_name_of_somebody_else_is_refused_and_does_not_hold_up_its_neighbours() {
    let pdns = Pdns::start().await;
    pdns.write("web.shop.bcs.local.", "A", "192.0.2.7").await;
    let hand = Hand::of(&pdns);
    hand.fence(1).await;
    let api = Endpoint { app: name("api"), ..endpoint(2) };
    let outcomes = hand.driver.apply(&[hand.put(endpoint(1), None), hand.put(api, None)]).await;
    let outcomes = outcomes.expect("is answered");
    assert!(
        matches!(&outcomes[..], [Outcome::Foreign(words), Outcome::Done(0)] if words.contains("192.0.2.7")),
        "{outcomes:?}"
    );
    let theirs = BTreeSet::from(["192.0.2.7".parse().expect("an address")]);
    assert_eq!((pdns.dig("web.shop.bcs.local"), pdns.dig("api.shop.bcs.local").len()), (theirs, 1));
}

#[tokio::test]
async fn a_second_installation_of_the_same_name_writes_nothing() {
    let pdns = Pdns::start().await;
    Hand::of(&pdns).fence(1).await;
    let twin = Hand::installed("another", &pdns);
    let said = twin.driver.fence(2).await.expect_err("is refused").to_string();
    assert!(
        said.contains("eu1 is another installation, eu1 is one, and this one, another, writes nothing"),
        "{said}"
    );
}

#[tokio::test]
async fn a_record_that_the_zone_does_not_take_rejects_the_batch_in_the_words_of_the_server() {
    let pdns = Pdns::start().await;
    pdns.write("web.shop.bcs.local.", "CNAME", "elsewhere.example.").await;
    let hand = Hand::of(&pdns);
    hand.fence(1).await;
    let api = Endpoint { app: name("api"), ..endpoint(2) };
    let answer = hand.driver.apply(&[hand.put(endpoint(1), None), hand.put(api.clone(), None)]).await;
    assert!(
        matches!(&answer, Err(Failure::Rejected(words)) if words.contains("web.shop.bcs.local")),
        "{answer:?}"
    );
    assert_eq!(pdns.dig("api.shop.bcs.local").len(), 0, "all or nothing");
    hand.done(&[hand.put(api, None)]).await;
    assert_eq!(pdns.dig("api.shop.bcs.local").len(), 1);
}

#[tokio::test]
async fn a_server_that_was_killed_is_found_again_with_its_data_and_without() {
    let mut pdns = Pdns::start().await;
    let hand = Hand::of(&pdns);
    hand.fence(3).await;
    hand.done(&[hand.put(endpoint(1), None)]).await;
    let before = hand.items().await;
    pdns.process = None;
    let answer = hand.driver.apply(&[hand.put(endpoint(2), None)]).await;
    assert!(matches!(answer, Err(Failure::Unavailable(_))), "{answer:?}");
    pdns.up().await;
    hand.fence(3).await;
    assert_eq!(hand.items().await, before);
    pdns.process = None;
    std::fs::remove_file(pdns.directory.path().join("db")).expect("removes");
    pdns.make_database();
    pdns.up().await;
    pdns.make_zone().await;
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
async fn a_write_whose_answer_was_lost_is_found_by_the_next_reading() {
    let pdns = Pdns::start().await;
    let proxy = Proxy::start(&pdns.url()).await;
    let hand =
        Hand::with(pdns.spec_at(&proxy.url(), &pdns.directory.path().join("key"), serde_json::json!({})));
    hand.fence(1).await;
    proxy.lose("PATCH", "/zones/");
    let put = hand.put(endpoint(1), None);
    let answer = hand.driver.apply(std::slice::from_ref(&put)).await;
    assert!(matches!(answer, Err(Failure::Unavailable(_))), "{answer:?}");
    proxy.lose_nothing();
    hand.fence(1).await;
    let (items, Change::Put { digest, .. }) = (hand.items().await, put) else { unreachable!() };
    assert_eq!((items.len(), items[0].digest), (1, digest));
}

#[tokio::test]
async fn what_does_not_fit_into_a_request_is_for_the_next_one() {
    let pdns = Pdns::start().await;
    let hand = Hand::of(&pdns);
    hand.fence(1).await;
    // A mark holds the uid.
    let long = |number: u32| Endpoint { uid: format!("{number}-{}", "u".repeat(3000)), ..endpoint(number) };
    let of = |number: u32| {
        let app = name(&format!("app-{}", number % 20));
        hand.put(Endpoint { app, ..long(number) }, None)
    };
    let puts: Vec<Change> = (0..500).map(of).collect();
    assert!(puts.len() <= hand.can().batch);
    let outcomes = hand.driver.apply(&puts).await.expect("is applied");
    let done = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Done(_))).count();
    assert!((100..500).contains(&done), "{done} of 500 with 1.5 MB");
    assert_eq!(hand.items().await.len(), done);
    hand.done(&puts).await;
    assert_eq!(hand.items().await.len(), 500);
}

#[tokio::test]
async fn a_batch_for_many_names_does_not_read_the_comments_of_the_whole_zone_for_each_of_them() {
    let pdns = Pdns::start().await;
    let proxy = Proxy::start(&pdns.url()).await;
    let hand =
        Hand::with(pdns.spec_at(&proxy.url(), &pdns.directory.path().join("key"), serde_json::json!({})));
    hand.fence(1).await;
    let puts = |first: u32| -> Vec<Change> {
        let of = |number: u32| {
            let app = name(&format!("app-{}", number % 40));
            hand.put(Endpoint { app, ..endpoint(first + number) }, None)
        };
        (0..80).map(of).collect()
    };
    hand.done(&puts(0)).await;
    let before = proxy.passed();
    hand.done(&puts(1000)).await;
    let asked = proxy.passed() - before;
    assert!(asked < 10, "{asked} requests for one batch");
    assert_eq!(hand.items().await.len(), 160);
    assert_eq!(pdns.dig("app-7.shop.bcs.local").len(), 4);
}

#[tokio::test]
async fn what_others_change_in_the_zone_is_told_and_our_own_changes_are_not() {
    let pdns = Pdns::start().await;
    let hand = Hand::of(&pdns);
    hand.fence(1).await;
    hand.items().await;
    let mut drifts = hand.driver.drift(0).await.expect("watches");
    hand.done(&[hand.put(endpoint(1), None)]).await;
    hand.done(&[hand.put(endpoint(2), None)]).await;
    let quiet = tokio::time::timeout(std::time::Duration::from_secs(7), drifts.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    pdns.write("theirs.shop.bcs.local.", "A", "192.0.2.7").await;
    let told = tokio::time::timeout(LONG, drifts.next()).await.expect("is told");
    assert_eq!(told, Some(Ok(Drift::Unknown)));
}

#[tokio::test]
async fn it_is_reached_over_tls_by_those_whom_it_trusts_and_who_trust_it() {
    let pdns = Pdns::start().await;
    let at = |file: &str| pdns.directory.path().join(file);
    crate::secrets::authority(pdns.directory.path(), "good");
    crate::secrets::authority(pdns.directory.path(), "other");
    let proxy = Proxy::start_with(&pdns.url(), Some(web::acceptor(pdns.directory.path()))).await;
    let url = format!("https://{}", proxy.address);
    let file = |name: &str| serde_json::json!({ "file": at(name) });
    let tls = |ca: &str, client: &str| {
        serde_json::json!({ "tls": { "ca": file(&format!("{ca}-ca.pem")), "client": {
            "certificate": file(&format!("{client}-client.pem")), "key": file(&format!("{client}-client.key")),
        } } })
    };
    let mut unlike = tls("good", "good");
    unlike["tls"]["serverName"] = "dns.example".into();
    let mut nonsense = tls("good", "good");
    nonsense["tls"]["ca"] = file("key");
    for (more, words) in [
        (tls("other", "good"), "UnknownIssuer"),
        (tls("good", "other"), "powerdns: GET "),
        (unlike, "not valid for name"),
        (nonsense, "driver.powerdns.tls.ca: holds no certificate in PEM"),
        (serde_json::json!({}), "UnknownIssuer"),
    ] {
        let said = refused(pdns.spec_at(&url, &at("key"), more)).await;
        println!("{said}");
        assert!(said.contains(words), "{said}, expected {words}");
    }
    let hand = Hand::with(pdns.spec_at(&url, &at("key"), tls("good", "good")));
    hand.fence(1).await;
    hand.done(&[hand.put(endpoint(1), None)]).await;
    assert_eq!(pdns.dig("web.shop.bcs.local").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_keeps_a_zone_through_a_name_that_is_not_taken_and_a_server_that_is_killed() {
    let (nats, mut pdns) = (Nats::start().await, Pdns::start().await);
    pdns.write("bad.shop.bcs.local.", "CNAME", "elsewhere.example.").await;
    pdns.write("theirs.shop.bcs.local.", "A", "192.0.2.7").await;
    let mut registry = document("dns", pdns.spec()["driver"].clone());
    registry.spec.deregistration_delay = Some(bcs_schemas::Millis::ZERO);
    let tasks = nats.sidecar(config(vec![registry])).await;
    for number in 1..=20 {
        nats.put(&endpoint(number)).await;
    }
    let of = |app: &str, number| Endpoint { app: name(app), ..endpoint(number) };
    nats.put(&of("bad", 98)).await;
    nats.put(&of("theirs", 99)).await;
    for uid in ["uid-1", "uid-20"] {
        nats.wait_for(uid, 1, RegistrationState::Confirmed).await;
    }
    for uid in ["uid-98", "uid-99"] {
        nats.wait_for(uid, 1, RegistrationState::Failed).await;
    }
    pdns.process = None;
    nats.put(&draining(1)).await;
    nats.status("dns", |status| !status.reachable && status.reason.is_some()).await;
    nats.beat(true).await;
    pdns.up().await;
    nats.wait_for("uid-1", 1, RegistrationState::Drained).await;
    assert_eq!(pdns.dig("web.shop.bcs.local").len(), 19);
    assert_eq!(pdns.dig("theirs.shop.bcs.local"), BTreeSet::from(["192.0.2.7".parse().expect("an address")]));
    tasks.stop(LONG).await;
}
