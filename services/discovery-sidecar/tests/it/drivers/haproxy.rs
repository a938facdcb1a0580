//! The HAProxy driver alone against a real HAProxy, with traffic through it.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bcs_discovery_sidecar::{
    domain::{Change, Failure, Outcome},
    driver::Drift,
};
use bcs_schemas::observation::{Endpoint, EndpointPort};
use futures::StreamExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixStream},
};

use crate::{
    contract::{Hand, Site},
    faults::{Able, Fault, Faulty, Line, wires},
    fixture::*,
};

pub(crate) struct Haproxy {
    directory: tempfile::TempDir,
    front: u16,
    /// The socket of administrators over TCP.
    admin: u16,
    backends: &'static str,
    process: Option<Process>,
}

impl Haproxy {
    async fn start_with(backends: &'static str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut haproxy = Self { directory, front: free_port(), admin: free_port(), backends, process: None };
        haproxy.up().await;
        haproxy
    }

    async fn up(&mut self) {
        let config = format!(
            "global\n  stats socket {} mode 600 level admin\n  stats socket {} mode 600 level operator\n  stats socket ipv4@127.0.0.1:{} level admin\ndefaults\n  mode http\n  retries 0\n  timeout connect 1s\n  \
             timeout client 20s\n  timeout server 20s\nfrontend front\n  bind 127.0.0.1:{}\n  default_backend web.shop\n{}\n",
            self.socket(),
            self.operators_socket(),
            self.admin,
            self.front,
            self.backends
        );
        let file = self.directory.path().join("haproxy.cfg");
        std::fs::write(&file, config).expect("writes");
        let arguments = ["-db".to_owned(), "-q".to_owned(), "-f".to_owned(), file.display().to_string()];
        self.process = Some(start("haproxy", "the Debian package haproxy", &arguments));
        wait_until(LONG, async || UnixStream::connect(self.socket()).await.map_err(|e| e.to_string())).await;
    }

    fn socket(&self) -> String {
        self.directory.path().join("admin.sock").display().to_string()
    }

    /// Its commands change no server.
    fn operators_socket(&self) -> String {
        self.directory.path().join("operator.sock").display().to_string()
    }

    /// One command as an administrator gives it.
    async fn ask(&self, command: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).await.expect("connects");
        stream.write_all(format!("{command}\n").as_bytes()).await.expect("asks");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("is answered");
        answer
    }

    fn spec_with(&self, options: &str) -> serde_json::Value {
        serde_json::json!({ "driver": { "haproxy": { "socket": self.socket(), "options": options } } })
    }

    async fn get(&self) -> u16 {
        http(SocketAddr::from(([127, 0, 0, 1], self.front)), "/").await.0
    }
}

const PLAIN: &str =
    "backend web.shop\n  balance roundrobin\nbackend api.shop\n  balance source\n  hash-type map-based";

impl Site for Haproxy {
    async fn start() -> Self {
        Self::start_with(PLAIN).await
    }

    fn spec(&self) -> serde_json::Value {
        self.spec_with("")
    }

    /// Those that get traffic.
    async fn addresses(&self) -> BTreeSet<IpAddr> {
        let text = self.ask("show servers state web.shop").await;
        let rows = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        rows.filter(|row| row.get(5) == Some(&"2") && row.get(6) == Some(&"0"))
            .filter_map(|row| row.get(4)?.parse().ok())
            .collect()
    }

    async fn add_foreign(&self, address: IpAddr) {
        let answer = self.ask(&format!("add server web.shop/theirs {address}:80")).await;
        assert!(answer.contains("registered"), "{answer}");
        self.ask("enable server web.shop/theirs").await;
    }
}

crate::contract::contract!(super::Haproxy);

impl Faulty for Haproxy {
    const NAME: &'static str = "haproxy";
    const ABLE: Able = Able::of(&[Able::WAY, &[Fault::Emptied, Fault::TakenOut]]);

    fn port(&self) -> u16 {
        self.admin
    }

    async fn lines(&self, port: u16) -> Vec<(Line, serde_json::Value)> {
        wires(port, |address| serde_json::json!({ "driver": { "haproxy": { "socket": address } } })).await
    }

    /// It keeps nothing.
    async fn down(&mut self, _: bool) {
        self.process = None;
    }

    async fn up(&mut self) {
        self.up().await;
    }

    async fn theirs(&self) -> String {
        let text = self.ask("show servers state web.shop").await;
        let theirs = text.lines().filter(|line| line.contains(" theirs ")).map(|line| {
            // Without how long it has been so.
            let words: Vec<&str> = line.split(' ').collect();
            format!("{} {}", words[..9].join(" "), words[10..].join(" "))
        });
        theirs.collect()
    }

    async fn take_out(&self, address: IpAddr) {
        let (text, address) = (self.ask("show servers state web.shop").await, address.to_string());
        let rows = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        for row in rows.filter(|row| row.get(4) == Some(&&*address)) {
            self.ask(&format!("set server web.shop/{} state maint", row[3])).await;
        }
    }
}

crate::faults::faults!(Haproxy);

/// An instance that answers when it is told to; the address is one of loopback.
pub(super) struct Instance {
    listener: TcpListener,
}

impl Instance {
    pub(super) async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.expect("listens") }
    }

    pub(super) fn endpoint(&self, number: u32) -> Endpoint {
        let at = self.listener.local_addr().expect("an address");
        let ports = vec![EndpointPort { name: name("http"), port: at.port(), protocol: Default::default() }];
        Endpoint { addresses: vec![at.ip()], ports, ..endpoint(number) }
    }

    /// Takes one request and answers it when `answer` is over.
    pub(super) async fn serve(&self, answer: impl Future<Output = ()>) {
        let (mut stream, _) = self.listener.accept().await.expect("is called");
        let mut read = [0; 4096];
        assert!(stream.read(&mut read).await.expect("reads") > 0);
        answer.await;
        let said = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
        stream.write_all(said).await.expect("answers");
    }
}

#[tokio::test]
async fn a_request_that_is_being_answered_is_waited_for_and_no_new_one_comes() {
    let haproxy = Haproxy::start().await;
    let hand = Hand::of(&haproxy);
    hand.fence(1).await;
    let (leaving, staying) = (Instance::start().await, Instance::start().await);
    hand.done(&[hand.put(leaving.endpoint(1), None)]).await;
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let served = leaving.serve(async { released.await.expect("is told") });
    let drained = async {
        wait_until(LONG, async || {
            let text = haproxy.ask("show servers conn web.shop").await;
            if text.lines().nth(1).is_some_and(|row| row.split(' ').nth(6) == Some("1")) {
                Ok(())
            } else {
                Err(text)
            }
        })
        .await;
        hand.done(&[hand.put(staying.endpoint(2), None)]).await;
        let item = hand.items().await.remove(0);
        let remove = [Change::Remove { place: item.place.clone(), version: 0 }];
        let outcome = hand.driver.apply(&remove).await.expect("is answered");
        assert_eq!(outcome, [Outcome::Waits("1 of its connections are in use".into())]);
        let read = hand.items().await;
        assert!(
            read.iter().any(|found| found.place == item.place && found.digest != item.digest),
            "{read:?}"
        );
        let (status, ()) = futures::join!(haproxy.get(), staying.serve(async {}));
        assert_eq!(status, 200, "the other one serves meanwhile");
        release.send(()).expect("is heard");
        wait_until(LONG, async || match hand.driver.apply(&remove).await.expect("is answered")[..] {
            [Outcome::Done(_)] => Ok(()),
            ref other => Err(format!("{other:?}")),
        })
        .await;
    };
    let (first, (), ()) = futures::join!(haproxy.get(), served, drained);
    assert_eq!(first, 200, "what was under way was answered");
    assert_eq!(hand.items().await.len(), 1);
}

#[tokio::test]
async fn a_backend_that_is_not_there_or_takes_no_servers_is_refused_for_its_own_instances_only() {
    let haproxy = Haproxy::start().await;
    let hand = Hand::of(&haproxy);
    hand.fence(1).await;
    let of = |app: &str, number| Endpoint { app: name(app), ..endpoint(number) };
    let changes = [of("nowhere", 1), of("api", 2), endpoint(3)].map(|endpoint| hand.put(endpoint, None));
    let outcomes = hand.driver.apply(&changes).await.expect("is answered");
    assert!(
        matches!(&outcomes[..], [Outcome::Refused(missing), Outcome::Refused(fixed), Outcome::Done(_)]
            if missing.contains("No such backend") && fixed.contains("dynamic load balancing")),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn a_haproxy_that_starts_again_is_noticed_and_gets_everything_again() {
    let mut haproxy = Haproxy::start().await;
    let hand = Hand::of(&haproxy);
    hand.fence(1).await;
    let since = hand.driver.list().await.expect("reads").at;
    let mut drifts = hand.driver.drift(since).await.expect("watches");
    hand.done(&[hand.put(endpoint(1), None)]).await;
    haproxy.process = None;
    haproxy.up().await;
    let told = tokio::time::timeout(LONG, drifts.next()).await.expect("in time");
    assert!(matches!(&told, Some(Err(Failure::Unavailable(words))) if words.contains("haproxy")), "{told:?}");
    hand.fence(1).await;
    assert_eq!(hand.items().await, []);
    hand.done(&[hand.put(endpoint(1), None)]).await;
    assert_eq!(haproxy.addresses().await.len(), 1);
}

#[tokio::test]
async fn what_an_administrator_changes_is_noticed_and_our_own_changes_are_not() {
    let haproxy = Haproxy::start().await;
    let hand = Hand::of(&haproxy);
    hand.fence(1).await;
    let since = hand.driver.list().await.expect("reads").at;
    let mut drifts = hand.driver.drift(since).await.expect("watches");
    hand.done(&[hand.put(endpoint(1), None), hand.put(endpoint(2), None)]).await;
    let quiet = tokio::time::timeout(Duration::from_millis(2500), drifts.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    let place = hand.items().await[0].place.clone();
    haproxy.ask(&format!("set server {place} state maint")).await;
    let told = tokio::time::timeout(LONG, drifts.next()).await.expect("in time");
    assert_eq!(told, Some(Ok(Drift::Unknown)));
    assert_eq!(hand.items().await.len(), 1, "it gets no traffic, so it counts as not there");
    hand.done(&[hand.put(endpoint(1), None)]).await;
    assert_eq!(haproxy.addresses().await.len(), 2);
}

#[tokio::test]
async fn weights_and_options_arrive_as_asked() {
    let haproxy = Haproxy::start().await;
    let hand = Hand::with(haproxy.spec_with("check inter 1s maxconn 7"));
    hand.fence(1).await;
    let instance = Instance::start().await;
    hand.done(&[hand.put(Endpoint { weight: 30, ..instance.endpoint(1) }, None)]).await;
    let state = haproxy.ask("show stat").await;
    let row = state.lines().find(|line| line.contains("bcs:eu1")).expect("a row").to_owned();
    assert_eq!(row.split(',').nth(18), Some("30"), "{row}");
    wait_until(LONG, async || {
        let state = haproxy.ask("show servers state web.shop").await;
        let row = state.lines().nth(2).unwrap_or_default().to_owned();
        // The result of a check that was passed.
        if row.split(' ').nth(11) == Some("3") { Ok(()) } else { Err(row) }
    })
    .await;
}

#[tokio::test]
async fn a_socket_without_rights_or_of_another_product_is_named() {
    let haproxy = Haproxy::start().await;
    let operator = serde_json::json!({ "driver": { "haproxy": { "socket": haproxy.operators_socket() } } });
    let missing = serde_json::json!({ "driver": { "haproxy": { "socket": "/nowhere/admin.sock" } } });
    let etcd = Etcd::start().await;
    let address = etcd.url().replace("http://", "");
    let other = serde_json::json!({ "driver": { "haproxy": { "socket": address } } });
    for (spec, words) in [
        (operator, "expected one of level admin"),
        (missing, "/nowhere/admin.sock cannot be reached"),
        (other, "expected the stats socket"),
    ] {
        let failed = Hand::with(spec).driver.fence(1).await;
        assert!(matches!(&failed, Err(Failure::Unavailable(said)) if said.contains(words)), "{failed:?}");
    }
}
