//! The Redis driver alone against a real Redis, looked at by redis-cli.

use std::{collections::BTreeSet, net::IpAddr, process::Command, time::Duration};

use bcs_discovery_sidecar::domain::{Change, Failure, Outcome};

use crate::{
    contract::{Hand, Site},
    faults::{Able, Fault, Faulty, Line, wires},
    fixture::*,
};

const SET: &str = "bcs:allow:web.shop.bcs.local";

struct Redis {
    directory: tempfile::TempDir,
    port: u16,
    options: Vec<String>,
    process: Option<Process>,
}

impl Redis {
    async fn start_with(options: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let options = options.iter().map(ToString::to_string).collect();
        let mut redis = Self { directory, port: free_port(), options, process: None };
        redis.up().await;
        redis
    }

    async fn up(&mut self) {
        let directory = self.directory.path().display().to_string();
        let port = self.port.to_string();
        let mut arguments: Vec<String> = [
            ("port", port.as_str()),
            ("bind", "127.0.0.1"),
            ("dir", directory.as_str()),
            ("appendonly", "yes"),
            ("appendfsync", "always"),
        ]
        .into_iter()
        .flat_map(|(option, value)| [format!("--{option}"), value.to_owned()])
        .collect();
        arguments.extend(self.options.clone());
        self.process = Some(start("redis-server", "the Debian package redis-server", &arguments));
        wait_until(LONG, async || {
            let answer = self.try_ask(&["PING"]);
            if answer.contains("PONG") || answer.contains("NOAUTH") { Ok(()) } else { Err(answer) }
        })
        .await;
    }

    fn try_ask(&self, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string()]).args(words);
        let output = command.output().expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn ask(&self, words: &[&str]) -> String {
        let answer = self.try_ask(words);
        assert!(!answer.starts_with("ERR"), "{words:?}: {answer}");
        answer
    }

    fn spec_with(&self, more: serde_json::Value) -> serde_json::Value {
        let mut redis = serde_json::json!({ "url": format!("redis://127.0.0.1:{}", self.port) });
        redis.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        serde_json::json!({ "driver": { "redis": redis } })
    }
}

impl Site for Redis {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    fn spec(&self) -> serde_json::Value {
        self.spec_with(serde_json::json!({}))
    }

    async fn addresses(&self) -> BTreeSet<IpAddr> {
        self.ask(&["SMEMBERS", SET]).lines().filter_map(|line| line.parse().ok()).collect()
    }

    async fn add_foreign(&self, address: IpAddr) {
        self.ask(&["SADD", SET, &address.to_string()]);
    }
}

crate::contract::contract!(super::Redis);
crate::adoption::stories!(super::Redis);

impl crate::adoption::Kept for Redis {
    async fn unkeep(&self, address: IpAddr) {
        self.ask(&["SREM", SET, &address.to_string()]);
    }
}

impl Faulty for Redis {
    const NAME: &'static str = "redis";
    const ABLE: Able = Able::of(&[Able::WAY, Able::SERVER, &[Fault::TakenOut]]);

    fn port(&self) -> u16 {
        self.port
    }

    async fn lines(&self, port: u16) -> Vec<(Line, serde_json::Value)> {
        wires(port, |at| self.spec_with(serde_json::json!({ "url": format!("redis://{at}") }))).await
    }

    async fn down(&mut self, with_its_data: bool) {
        self.process = None;
        if with_its_data {
            std::fs::remove_dir_all(self.directory.path().join("appendonlydir")).expect("removes");
        }
    }

    async fn up(&mut self) {
        self.up().await;
    }

    async fn theirs(&self) -> String {
        let members = self.ask(&["SMEMBERS", SET]);
        let theirs: Vec<&str> = members.lines().filter(|line| !line.starts_with("10.")).collect();
        format!("{theirs:?}")
    }

    async fn take_out(&self, address: IpAddr) {
        self.ask(&["SREM", SET, &address.to_string()]);
    }

    async fn marks(&self) -> Option<usize> {
        self.ask(&["HLEN", "bcs:eu1.sim-a.dns:entries"]).parse().ok()
    }
}

crate::faults::faults!(Redis);

async fn failure(spec: serde_json::Value) -> String {
    match Hand::with(spec).driver.fence(1).await {
        Err(Failure::Unavailable(words)) => words,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_address_that_somebody_else_allowed_stays_theirs() {
    let redis = Redis::start().await;
    let hand = Hand::of(&redis);
    hand.fence(1).await;
    redis.add_foreign("10.0.0.1".parse().expect("an address")).await;
    let outcomes = hand.driver.apply(&[hand.put(endpoint(1), None), hand.put(endpoint(2), None)]).await;
    let outcomes = outcomes.expect("is answered");
    assert!(
        matches!(&outcomes[0], Outcome::Foreign(words) if words.contains("10.0.0.1") && words.contains(SET)),
        "{outcomes:?}"
    );
    assert_eq!(outcomes[1], Outcome::Again);
    assert_eq!(redis.ask(&["SMEMBERS", SET]), "10.0.0.1");
}

#[tokio::test]
async fn an_address_that_two_of_ours_have_goes_with_the_last_of_them() {
    let redis = Redis::start().await;
    let hand = Hand::of(&redis);
    hand.fence(1).await;
    let twin = bcs_schemas::observation::Endpoint { addresses: endpoint(1).addresses, ..endpoint(2) };
    hand.done(&[hand.put(endpoint(1), None)]).await;
    hand.done(&[hand.put(twin, None)]).await;
    let remove = |item: &bcs_discovery_sidecar::domain::Item| Change::Remove {
        place: item.place.clone(),
        version: item.version,
    };
    let items = hand.items().await;
    hand.done(&[remove(&items[0])]).await;
    assert_eq!(redis.ask(&["SMEMBERS", SET]), "10.0.0.1");
    hand.done(&[remove(&items[1])]).await;
    assert_eq!(redis.ask(&["SMEMBERS", SET]), "");
}

#[tokio::test]
async fn what_somebody_took_out_by_hand_is_written_again_in_its_place() {
    let redis = Redis::start().await;
    let hand = Hand::of(&redis);
    hand.fence(1).await;
    hand.done(&[hand.put(endpoint(1), None), hand.put(endpoint(2), None)]).await;
    redis.ask(&["SREM", SET, "10.0.0.2"]);
    assert_eq!(hand.items().await.len(), 1, "what is not in its set is not there");
    hand.done(&[hand.put(endpoint(2), None)]).await;
    assert_eq!(redis.addresses().await.len(), 2);
}

#[tokio::test]
async fn a_name_whose_key_is_no_set_is_refused_and_its_neighbours_are_not() {
    let redis = Redis::start().await;
    redis.ask(&["SET", SET, "text"]);
    let hand = Hand::of(&redis);
    hand.fence(1).await;
    let api = bcs_schemas::observation::Endpoint { app: name("api"), ..endpoint(2) };
    let outcomes = hand
        .driver
        .apply(&[hand.put(endpoint(1), None), hand.put(api.clone(), None)])
        .await
        .expect("is answered");
    assert!(
        matches!(&outcomes[0], Outcome::Refused(words) if words.contains("holds a string")),
        "{outcomes:?}"
    );
    hand.done(&[hand.put(api, None)]).await;
    assert_eq!(redis.ask(&["GET", SET]), "text");
}

#[tokio::test]
async fn a_member_can_have_its_port() {
    let redis = Redis::start().await;
    let hand = Hand::with(redis.spec_with(serde_json::json!({ "member": "address_port", "prefix": "fw/" })));
    hand.fence(1).await;
    hand.done(&[hand.put(endpoint(1), None)]).await;
    assert_eq!(redis.ask(&["SMEMBERS", "fw/web.shop.bcs.local"]), "10.0.0.1:8080");
}

#[tokio::test]
async fn a_redis_that_comes_back_empty_gets_everything_again() {
    let mut redis = Redis::start_with(&[]).await;
    let hand = Hand::of(&redis);
    hand.fence(1).await;
    hand.done(&[hand.put(endpoint(1), None)]).await;
    redis.process = None;
    let lost = hand.driver.apply(&[hand.put(endpoint(2), None)]).await;
    assert!(matches!(lost, Err(Failure::Unavailable(_))), "{lost:?}");
    redis.up().await;
    hand.fence(1).await;
    assert_eq!(hand.items().await.len(), 1, "it kept what it confirmed");
    redis.ask(&["FLUSHALL"]);
    let moved = hand.driver.list().await;
    assert!(
        matches!(&moved, Err(Failure::Unavailable(words)) if words.contains("epoch key was changed")),
        "{moved:?}"
    );
    hand.fence(1).await;
    assert_eq!(hand.items().await, []);
    hand.done(&[hand.put(endpoint(1), None)]).await;
    assert_eq!(redis.addresses().await.len(), 1);
}

#[tokio::test]
async fn who_we_are_is_checked_and_said_without_the_password() {
    let redis = Redis::start_with(&["--requirepass", "hunter2"]).await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    let auth = serde_json::json!({ "auth": { "password": { "file": file.path() } } });
    let words = failure(redis.spec()).await;
    assert!(words.contains("NOAUTH") || words.contains("Authentication required"), "{words}");
    std::fs::write(file.path(), "hunter3\n").expect("writes");
    let words = failure(redis.spec_with(auth.clone())).await;
    assert!(words.to_lowercase().contains("authentication failed") && !words.contains("hunter"), "{words}");
    std::fs::write(file.path(), "hunter2\n").expect("writes");
    Hand::with(redis.spec_with(auth)).fence(1).await;
}

#[tokio::test]
async fn a_user_without_the_rights_hears_which_ones_are_missing() {
    let redis = Redis::start().await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "secret").expect("writes");
    let auth = serde_json::json!({ "auth": { "user": "reader", "password": { "file": file.path() } } });
    redis.ask(&["ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@read"]);
    let words = failure(redis.spec_with(auth.clone())).await;
    assert!(words.contains("+@scripting"), "{words}");
    redis.ask(&["ACL", "SETUSER", "reader", "resetkeys", "~bcs:*", "+@read", "+@write", "+@scripting"]);
    let hand = Hand::with(redis.spec_with(auth));
    hand.fence(1).await;
    hand.done(&[hand.put(endpoint(1), None)]).await;
}

#[tokio::test]
async fn what_is_not_redis_is_named_as_such_in_time() {
    let etcd = Etcd::start().await;
    let url = etcd.url().replace("http", "redis");
    let began = tokio::time::Instant::now();
    let words = failure(serde_json::json!({ "driver": { "redis": { "url": url } } })).await;
    assert!(words.contains("redis: ") && began.elapsed() < Duration::from_secs(10), "{words}");
}
