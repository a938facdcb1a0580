//! Nacos by rnacos, a server that speaks its protocol, looked at over HTTP without the driver.

mod ephemeral;

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use bcs_discovery_sidecar::domain::{Change, Failure, Outcome};
use bcs_schemas::observation::Endpoint;
use serde_json::json;

use crate::{
    contract::{Hand, Site},
    faults::{Able, Fault, Faulty, Line, wires},
    fixture::*,
    web::{self, Proxy},
};

const PACKAGE: &str = "rnacos by `cargo install rnacos --locked`";
const SERVICE: &str = "web.shop.bcs.local";
const PASSWORD: &str = "correct-horse-battery";

struct Rnacos {
    directory: tempfile::TempDir,
    ports: [u16; 3],
    settings: String,
    /// What the test itself sends beside its parameters.
    token: Option<String>,
    process: Option<Process>,
}

impl Rnacos {
    async fn start_with(settings: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let ports = [free_port(), free_port(), free_port()];
        let mut rnacos = Self { directory, ports, settings: settings.to_owned(), token: None, process: None };
        rnacos.up().await;
        rnacos
    }

    async fn up(&mut self) {
        let [http, grpc, console] = self.ports;
        let at = self.directory.path();
        let settings = format!(
            "RNACOS_HTTP_PORT={http}\nRNACOS_GRPC_PORT={grpc}\nRNACOS_HTTP_CONSOLE_PORT={console}\n\
             RNACOS_CONFIG_DB_DIR={}\nRNACOS_RAFT_NODE_ADDR=127.0.0.1:{grpc}\nRNACOS_HTTP_WORKERS=1\n{}",
            at.join("data").display(),
            self.settings
        );
        std::fs::write(at.join("env"), settings).expect("writes");
        let arguments = ["-e".to_owned(), at.join("env").display().to_string()];
        let fresh = !at.join("data").exists();
        // What keeps its data panics now and then when rnacos 0.8.8 starts for the first time, and it goes on without.
        for _ in 0..20 {
            self.process = Some(start("rnacos", PACKAGE, &arguments));
            if self.keeps_data().await {
                return;
            }
            self.process = None;
            if fresh {
                std::fs::remove_dir_all(at.join("data")).expect("removes");
            }
        }
        panic!("rnacos does not start");
    }

    async fn keeps_data(&self) -> bool {
        let ready = [("dataId", "ready"), ("group", "T"), ("content", "1")];
        for _ in 0..150 {
            let written = self.write("POST", "/v1/cs/configs", &ready).await;
            let read = self.write("GET", "/v1/cs/configs", &ready[..2]).await;
            match (written, read) {
                (Ok((200, _)), Ok((200, said))) if said == "1" => return true,
                // Where it wants a token, it made its users first, and kept them.
                (Ok((403, _)), _) => return self.logs_in().await,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        false
    }

    async fn logs_in(&self) -> bool {
        let login = [("username", "bcs"), ("password", PASSWORD)];
        for _ in 0..5 {
            if matches!(self.write("POST", "/v1/auth/login", &login).await, Ok((200, _))) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        false
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/nacos", self.ports[0])
    }

    async fn write(&self, method: &str, path: &str, form: &[(&str, &str)]) -> Result<(u16, String), String> {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut url = format!("{}{path}?{form}", self.url());
        if let Some(token) = &self.token {
            url.push_str(&format!("&accessToken={token}"));
        }
        web::ask(method, &url, &[], "").await
    }

    async fn hosts(&self) -> Vec<serde_json::Value> {
        let asked = [("serviceName", SERVICE), ("healthyOnly", "false")];
        let (status, body) = self.write("GET", "/v1/ns/instance/list", &asked).await.expect("answers");
        assert_eq!(status, 200, "{body}");
        let list: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        list["hosts"].as_array().expect("hosts").clone()
    }

    async fn register(&self, ip: &str, port: &str, more: &[(&str, &str)]) {
        let form =
            [&[("serviceName", SERVICE), ("ip", ip), ("port", port), ("ephemeral", "false")], more].concat();
        let answer = self.write("POST", "/v1/ns/instance", &form).await.expect("answers");
        assert_eq!(answer, (200, "ok".to_owned()));
    }

    async fn take_out_as(&self, ephemeral: &str, address: IpAddr) {
        let ip = address.to_string();
        let form = [("serviceName", SERVICE), ("ip", &ip), ("port", "8080"), ("ephemeral", ephemeral)];
        let _ = self.write("DELETE", "/v1/ns/instance", &form).await;
    }

    fn spec_with(&self, more: serde_json::Value) -> serde_json::Value {
        let mut driver = json!({ "url": self.url() });
        if let (Some(driver), Some(more)) = (driver.as_object_mut(), more.as_object()) {
            driver.extend(more.clone());
        }
        json!({ "driver": { "nacos": driver } })
    }
}

impl Site for Rnacos {
    async fn start() -> Self {
        Self::start_with("").await
    }

    fn spec(&self) -> serde_json::Value {
        self.spec_with(json!({}))
    }

    async fn addresses(&self) -> BTreeSet<IpAddr> {
        let hosts = self.hosts().await;
        hosts.iter().filter_map(|host| host["ip"].as_str()?.parse().ok()).collect()
    }

    async fn add_foreign(&self, address: IpAddr) {
        self.register(&address.to_string(), "80", &[]).await;
    }
}

crate::contract::contract!(super::Rnacos);

impl Faulty for Rnacos {
    const NAME: &'static str = "nacos";
    const ABLE: Able = Able::of(&[Able::WAY, Able::HTTP, Able::SERVER, &[Fault::TakenOut]]);

    fn port(&self) -> u16 {
        self.ports[0]
    }

    async fn lines(&self, port: u16) -> Vec<(Line, serde_json::Value)> {
        wires(port, |at| self.spec_with(json!({ "url": format!("http://{at}/nacos") }))).await
    }

    async fn down(&mut self, with_its_data: bool) {
        self.process = None;
        if with_its_data {
            std::fs::remove_dir_all(self.directory.path().join("data")).expect("removes");
        }
    }

    async fn up(&mut self) {
        self.up().await;
    }

    /// Without whether it is well: it is probed, and is not there.
    async fn theirs(&self) -> String {
        let hosts = self.hosts().await;
        let theirs = hosts.iter().filter(|host| host["ip"].as_str().is_some_and(|ip| !ip.starts_with("10.")));
        let fields = ["ip", "port", "weight", "enabled", "ephemeral", "metadata"];
        theirs.map(|host| fields.map(|field| host[field].to_string()).join(" ")).collect()
    }

    async fn take_out(&self, address: IpAddr) {
        self.take_out_as("false", address).await;
    }
}

crate::faults::faults!(Rnacos);

#[tokio::test]
async fn an_instance_carries_its_port_its_weight_and_whose_it_is_and_is_changed_in_place() {
    let rnacos = Rnacos::start().await;
    let hand = Hand::of(&rnacos);
    hand.fence(1).await;
    for weight in [50, 100, 0, 100] {
        let put = hand.put(Endpoint { weight, ..endpoint(1) }, Some(0));
        let Change::Put { digest, .. } = &put else { unreachable!() };
        hand.done(std::slice::from_ref(&put)).await;
        let hosts = rnacos.hosts().await;
        assert_eq!(hosts.len(), 1, "{hosts:?}");
        let held = hosts[0]["weight"].as_f64().expect("a weight") * 100.0;
        assert!((held - f64::from(weight)).abs() < 0.01, "{hosts:?}");
        assert_eq!(hosts[0]["port"], 8080);
        assert_eq!(hosts[0]["ephemeral"], false);
        assert_eq!(hosts[0]["metadata"]["bcs.owner"], "eu1.sim-a.dns");
        assert_eq!(hand.items().await[0].digest, *digest);
    }
}

#[tokio::test]
async fn an_address_that_somebody_else_registered_is_refused_and_its_neighbours_are_not() {
    let rnacos = Rnacos::start().await;
    rnacos.register("10.0.0.1", "8080", &[("metadata", r#"{"bcs.owner":"eu9.x.y"}"#)]).await;
    let before = rnacos.hosts().await;
    let hand = Hand::of(&rnacos);
    hand.fence(1).await;
    let outcomes = hand.driver.apply(&[hand.put(endpoint(1), None), hand.put(endpoint(2), None)]).await;
    let outcomes = outcomes.expect("is answered");
    assert!(
        matches!(&outcomes[..], [Outcome::Foreign(words), Outcome::Done(0)] if words.contains("eu9.x.y")),
        "{outcomes:?}"
    );
    let after = rnacos.hosts().await;
    assert!(after.len() == 2 && after.contains(&before[0]), "{after:?}");
}

#[tokio::test]
async fn a_second_installation_of_the_same_name_writes_nothing() {
    let rnacos = Rnacos::start().await;
    Hand::of(&rnacos).fence(1).await;
    let said = Hand::installed("another", &rnacos).driver.fence(2).await.expect_err("is refused").to_string();
    assert!(
        said.contains("eu1 is another installation, eu1 is one, and this one, another, writes nothing"),
        "{said}"
    );
}

#[tokio::test]
async fn an_instance_that_is_too_large_is_refused_and_its_neighbours_are_not() {
    let rnacos = Rnacos::start().await;
    let hand = Hand::of(&rnacos);
    hand.fence(1).await;
    let big = Endpoint { uid: "x".repeat(12 << 20), ..endpoint(1) };
    let outcomes = hand.driver.apply(&[hand.put(big, None), hand.put(endpoint(2), None)]).await;
    assert!(
        matches!(outcomes.as_deref(), Ok([Outcome::Refused(words), Outcome::Done(0)]) if words.contains("overflow")),
        "{outcomes:?}"
    );
    assert_eq!(rnacos.hosts().await.len(), 1);
}

#[tokio::test]
async fn a_server_that_was_killed_is_found_again_with_its_data_and_without() {
    let mut rnacos = Rnacos::start().await;
    let hand = Hand::of(&rnacos);
    hand.fence(3).await;
    hand.done(&[hand.put(endpoint(1), None)]).await;
    let before = hand.items().await;
    // It says ok before it is on disk.
    tokio::time::sleep(Duration::from_secs(2)).await;
    rnacos.process = None;
    let answer = hand.driver.apply(&[hand.put(endpoint(2), None)]).await;
    assert!(matches!(answer, Err(Failure::Unavailable(_))), "{answer:?}");
    rnacos.up().await;
    hand.fence(3).await;
    assert_eq!(hand.items().await, before);
    rnacos.process = None;
    std::fs::remove_dir_all(rnacos.directory.path().join("data")).expect("removes");
    rnacos.up().await;
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
    let rnacos = Rnacos::start().await;
    let proxy = Proxy::start(&format!("http://127.0.0.1:{}", rnacos.ports[0])).await;
    let hand = Hand::with(rnacos.spec_with(json!({ "url": format!("{}/nacos", proxy.url()) })));
    hand.fence(1).await;
    proxy.lose("POST", "/v1/ns/instance");
    let put = hand.put(endpoint(1), None);
    let answer = hand.driver.apply(std::slice::from_ref(&put)).await;
    assert!(matches!(answer, Err(Failure::Unavailable(_))), "{answer:?}");
    proxy.lose_nothing();
    hand.fence(1).await;
    let (items, Change::Put { digest, .. }) = (hand.items().await, put) else { unreachable!() };
    assert_eq!((items.len(), items[0].digest), (1, digest));
}

#[tokio::test]
async fn what_is_wrong_with_the_server_or_the_user_is_said_and_the_password_is_not() {
    let mut rnacos = Rnacos::start_with(&format!(
        "RNACOS_ENABLE_OPEN_API_AUTH=true\nRNACOS_INIT_ADMIN_USERNAME=bcs\nRNACOS_INIT_ADMIN_PASSWORD={PASSWORD}\n"
    ))
    .await;
    let file = |name: &str, text: &str| {
        let path = rnacos.directory.path().join(name);
        std::fs::write(&path, text).expect("writes");
        path
    };
    let auth =
        |password: &std::path::Path| json!({ "auth": { "user": "bcs", "password": { "file": password } } });
    let (right, wrong) =
        (auth(&file("right", &format!("{PASSWORD}\n"))), auth(&file("wrong", "incorrect-donkey")));
    let elsewhere = web::answering(200, "text/html", "<html>hello").await;
    let closed = format!("http://127.0.0.1:{}", free_port());
    let wrong_path = format!("http://127.0.0.1:{}/elsewhere", rnacos.ports[0]);
    for (more, words) in [
        (wrong, "refuses the user \"bcs\" or its password"),
        (auth("/nowhere".as_ref()), "driver.nacos.auth.password: /nowhere cannot be read"),
        (json!({}), "expected driver.nacos.auth to name a user"),
        (
            json!({ "url": elsewhere.url() }),
            "holds 200 OK: <html>hello: expected what a sidecar wrote into Nacos",
        ),
        (json!({ "url": closed }), "Connection refused"),
        (json!({ "url": wrong_path }), "with its context path"),
    ] {
        let failure = Hand::with(rnacos.spec_with(more)).driver.fence(1).await.expect_err("is refused");
        let said = failure.to_string();
        println!("{said}");
        assert!(
            matches!(failure, Failure::Unavailable(_)) && said.contains(words),
            "{said}, expected {words}"
        );
        assert!(!said.contains(PASSWORD) && !said.contains("donkey"), "{said}");
    }
    let hand = Hand::with(rnacos.spec_with(right));
    hand.fence(1).await;
    hand.done(&[hand.put(endpoint(1), None)]).await;
    let login = [("username", "bcs"), ("password", PASSWORD)];
    let (_, said) = rnacos.write("POST", "/v1/auth/login", &login).await.expect("answers");
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    rnacos.token = said["accessToken"].as_str().map(ToOwned::to_owned);
    assert_eq!(rnacos.hosts().await.len(), 1);
}
