//! The ZooKeeper driver alone against a real ZooKeeper, looked at by kazoo, a client in Python.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{IpAddr, TcpStream},
    process::Command,
    time::Duration,
};

use bcs_discovery_sidecar::{
    domain::{Change, Failure, Outcome},
    driver::Drift,
};
use bcs_schemas::observation::Endpoint;
use futures::StreamExt;

use crate::{
    contract::{Hand, Site},
    faults::{Able, Fault, Faulty, Line, wires},
    fixture::*,
};

const SERVICE: &str = "/services/web.shop.bcs.local";

struct Zookeeper {
    directory: tempfile::TempDir,
    port: u16,
    process: Option<Process>,
}

impl Zookeeper {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut zookeeper = Self { directory, port: free_port(), process: None };
        zookeeper.up().await;
        zookeeper
    }

    async fn up(&mut self) {
        let config = format!(
            "tickTime=500\ndataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n\
             4lw.commands.whitelist=srvr\n",
            self.directory.path().join("data").display(),
            self.port
        );
        let file = self.directory.path().join("zoo.cfg");
        std::fs::write(&file, config).expect("writes");
        let mut command = Command::new("java");
        command.args(["-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
        command.arg("/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-nop.jar");
        command.arg("org.apache.zookeeper.server.ZooKeeperServerMain").arg(&file);
        command.stderr(std::process::Stdio::null());
        let mut process =
            start_command(command, "the Debian packages default-jre-headless and libzookeeper-java");
        let port = self.port;
        wait_until(LONG, async || {
            assert!(!process.ended(), "ZooKeeper ended: is the Debian package libzookeeper-java installed?");
            let asked = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
                // One that is only starting may leave it without an answer.
                stream.set_read_timeout(Some(Duration::from_millis(500)))?;
                stream.write_all(b"srvr")?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer).map(|_| answer)
            });
            if asked.as_ref().is_ok_and(|answer| answer.contains("Mode: standalone")) {
                Ok(())
            } else {
                Err(format!("{asked:?}"))
            }
        })
        .await;
        self.process = Some(process);
    }

    /// kill -9.
    fn down(&mut self) {
        self.process = None;
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What a script prints that has a client called `zk`.
    fn ask(&self, script: &str) -> String {
        let whole = format!(
            "import json\nfrom kazoo.client import KazooClient\nfrom kazoo.exceptions import *\n\
             from kazoo.security import make_digest_acl\nzk = KazooClient(hosts='{}')\nzk.start(timeout=20)\n{script}\nzk.stop()\n",
            self.host()
        );
        let output = Command::new("python3").args(["-c", &whole]).output().expect("python3 runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {said} (is the Python package kazoo installed?)");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn spec_with(&self, more: serde_json::Value) -> serde_json::Value {
        let mut zookeeper = serde_json::json!({ "hosts": [self.host()] });
        zookeeper.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        serde_json::json!({ "driver": { "zookeeper": zookeeper } })
    }
}

impl Site for Zookeeper {
    async fn start() -> Self {
        Self::start().await
    }

    fn spec(&self) -> serde_json::Value {
        self.spec_with(serde_json::json!({}))
    }

    async fn addresses(&self) -> BTreeSet<IpAddr> {
        let text = self.ask(&format!(
            "found = []\n\
             for n in (zk.get_children('{SERVICE}') if zk.exists('{SERVICE}') else []):\n  \
             try: found.append(json.loads(zk.get('{SERVICE}/' + n)[0])['address'])\n  \
             except NoNodeError: pass\n\
             print(json.dumps(found))"
        ));
        serde_json::from_str(&text).expect("addresses")
    }

    async fn add_foreign(&self, address: IpAddr) {
        self.ask(&format!(
            "zk.create('{SERVICE}/theirs', json.dumps({{'name': 'web.shop.bcs.local', 'id': 'theirs', 'address': '{address}'}}).encode(), makepath=True)"
        ));
    }
}

crate::contract::contract!(super::Zookeeper);

impl Faulty for Zookeeper {
    const NAME: &'static str = "zookeeper";
    const ABLE: Able = Able {
        // Each look starts Python.
        look: Duration::from_secs(2),
        ..Able::of(&[Able::WAY, Able::SERVER, &[Fault::TakenOut]])
    };

    fn port(&self) -> u16 {
        self.port
    }

    async fn lines(&self, port: u16) -> Vec<(Line, serde_json::Value)> {
        wires(port, |address| self.spec_with(serde_json::json!({ "hosts": [address] }))).await
    }

    async fn down(&mut self, with_its_data: bool) {
        self.down();
        if with_its_data {
            std::fs::remove_dir_all(self.directory.path().join("data")).expect("removes");
        }
    }

    async fn up(&mut self) {
        self.up().await;
    }

    async fn theirs(&self) -> String {
        self.ask(&format!("data, stat = zk.get('{SERVICE}/theirs')\nprint(data, stat.mzxid, stat.version)"))
    }

    async fn take_out(&self, address: IpAddr) {
        self.ask(&format!(
            "for n in (zk.get_children('{SERVICE}') if zk.exists('{SERVICE}') else []):\n  try:\n    \
             if json.loads(zk.get('{SERVICE}/' + n)[0])['address'] == '{address}': zk.delete('{SERVICE}/' + n)\n  \
             except NoNodeError: pass"
        ));
    }
}

crate::faults::faults!(Zookeeper);

async fn failure(spec: serde_json::Value) -> String {
    match Hand::with(spec).driver.fence(1).await {
        Err(Failure::Unavailable(words)) => words,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_node_of_somebody_else_at_our_place_stays_and_says_whose_it_is() {
    let zookeeper = Zookeeper::start().await;
    let hand = Hand::of(&zookeeper);
    hand.fence(1).await;
    let (first, second) = (hand.put(endpoint(1), None), hand.put(endpoint(2), None));
    let place = first.place().clone();
    zookeeper.ask(&format!("zk.create('{place}', b'theirs', makepath=True)"));
    let outcomes = hand.driver.apply(&[first.clone(), second]).await.expect("is answered");
    let words = format!("{place} was put there by somebody else");
    assert_eq!(outcomes, [Outcome::Foreign(words.clone()), Outcome::Again]);
    zookeeper.ask(&format!("zk.delete('{place}')"));
    hand.done(std::slice::from_ref(&first)).await;
    let item = hand.items().await.remove(0);
    // Ours goes by hand, and theirs comes: its version is the one that ours had.
    zookeeper.ask(&format!("zk.delete('{place}')\nzk.create('{place}', b'theirs')"));
    let remove = [Change::Remove { place: place.clone(), version: item.version }];
    assert_eq!(hand.driver.apply(&remove).await, Ok(vec![Outcome::Foreign(words)]));
    assert_eq!(zookeeper.ask(&format!("print(zk.get('{place}')[0].decode())")), "theirs");
}

#[tokio::test]
async fn what_others_change_is_told_at_once_and_our_own_changes_are_not() {
    let zookeeper = Zookeeper::start().await;
    let hand = Hand::of(&zookeeper);
    hand.fence(1).await;
    let since = hand.driver.list().await.expect("reads").at;
    let mut drifts = hand.driver.drift(since).await.expect("watches");
    hand.done(&[hand.put(endpoint(1), None), hand.put(endpoint(2), None)]).await;
    let items = hand.items().await;
    hand.done(&[hand.put(Endpoint { weight: 7, ..endpoint(1) }, Some(items[0].version))]).await;
    zookeeper.add_foreign("192.0.2.7".parse().expect("an address")).await;
    let quiet = tokio::time::timeout(Duration::from_millis(1500), drifts.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    let items = hand.items().await;
    let (changed, deleted) = (&items[0], &items[1]);
    zookeeper.ask(&format!(
        "text = zk.get('{0}')[0]\nzk.set('{0}', text.replace(b'10.0.0.1', b'10.6.6.6'))\nzk.delete('{1}')",
        changed.place, deleted.place
    ));
    let mut told = async || tokio::time::timeout(LONG, drifts.next()).await.expect("in time");
    match told().await {
        Some(Ok(Drift::Place(place, Some(item)))) => {
            assert_eq!((&place, &*item.uid), (&changed.place, "uid-1"));
            assert_ne!(item.digest, changed.digest);
            hand.done(&[hand.put(Endpoint { weight: 7, ..endpoint(1) }, Some(item.version))]).await;
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(told().await, Some(Ok(Drift::Place(deleted.place.clone(), None))));
    hand.done(&[hand.put(endpoint(2), None)]).await;
    let quiet = tokio::time::timeout(Duration::from_millis(1500), drifts.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    assert_eq!(zookeeper.addresses().await.len(), 3);
}

#[tokio::test]
async fn a_zookeeper_that_is_killed_is_noticed_and_keeps_what_it_confirmed() {
    let mut zookeeper = Zookeeper::start().await;
    let hand = Hand::of(&zookeeper);
    hand.fence(1).await;
    hand.done(&[hand.put(endpoint(1), None)]).await;
    let mut drifts = hand.driver.drift(0).await.expect("watches");
    zookeeper.down();
    let began = tokio::time::Instant::now();
    let told = tokio::time::timeout(LONG, drifts.next()).await.expect("in time");
    assert!(
        matches!(&told, Some(Err(Failure::Unavailable(words))) if words.starts_with("zookeeper: ")),
        "{told:?}"
    );
    let lost = hand.driver.apply(&[hand.put(endpoint(2), None)]).await;
    assert!(matches!(lost, Err(Failure::Unavailable(_))), "{lost:?}");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(matches!(hand.driver.fence(1).await, Err(Failure::Unavailable(_))));
    zookeeper.up().await;
    hand.fence(1).await;
    assert_eq!(hand.items().await.len(), 1);
    zookeeper.down();
    std::fs::remove_dir_all(zookeeper.directory.path().join("data")).expect("removes");
    zookeeper.up().await;
    hand.fence(1).await;
    assert_eq!(hand.items().await, []);
    hand.done(&[hand.put(endpoint(1), None)]).await;
    assert_eq!(zookeeper.addresses().await.len(), 1);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_found_or_never_done() {
    let zookeeper = Zookeeper::start().await;
    let hand = Hand::of(&zookeeper);
    hand.fence(1).await;
    hand.done(&[hand.put(endpoint(1), None)]).await;
    let pid = zookeeper.process.as_ref().expect("runs").id().to_string();
    let signal =
        |name: &str| assert!(Command::new("kill").args([name, &pid]).status().expect("kill runs").success());
    signal("-STOP");
    // A machine with much to do needs a moment for it.
    wait_until(LONG, async || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("runs");
        if status.contains("State:\tT") { Ok(()) } else { Err(status) }
    })
    .await;
    let began = tokio::time::Instant::now();
    let lost = hand.driver.apply(&[hand.put(endpoint(2), None)]).await;
    assert!(matches!(&lost, Err(Failure::Unavailable(words)) if words.contains("in time")), "{lost:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
    signal("-CONT");
    hand.fence(1).await;
    let found = hand.items().await.len();
    assert!((1..=2).contains(&found));
    // What was not done by now is not done any more.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(hand.items().await.len(), found);
}

#[tokio::test]
async fn our_own_write_that_comes_late_finds_the_epoch_raised() {
    let zookeeper = Zookeeper::start().await;
    let hand = Hand::of(&zookeeper);
    hand.fence(4).await;
    // The same sidecar, as it was before it connected again.
    let before = Hand::of(&zookeeper);
    before.fence(4).await;
    hand.fence(4).await;
    let late = before.driver.apply(&[before.put(endpoint(1), None)]).await;
    assert!(
        matches!(&late, Err(Failure::Unavailable(words)) if words.contains("/bcs/epoch/eu1.sim-a.dns was changed")),
        "{late:?}"
    );
    hand.done(&[hand.put(endpoint(1), None)]).await;
    zookeeper.ask("zk.delete('/bcs/epoch/eu1.sim-a.dns')");
    let gone = hand.driver.apply(&[hand.put(endpoint(2), None)]).await;
    assert!(matches!(&gone, Err(Failure::Unavailable(_))), "{gone:?}");
    hand.fence(4).await;
    hand.done(&[hand.put(endpoint(2), None)]).await;
}

#[tokio::test]
async fn a_second_installation_of_the_same_owner_writes_nothing_and_says_so() {
    let zookeeper = Zookeeper::start().await;
    zookeeper.ask("zk.create('/bcs/installation/eu1', b'another', makepath=True)");
    let words = failure(zookeeper.spec()).await;
    assert!(
        words.contains("another installation, another")
            && words.contains("delete the node /bcs/installation/eu1"),
        "{words}"
    );
}

#[tokio::test]
async fn a_service_that_is_not_ours_to_write_to_is_refused_and_its_neighbours_are_not() {
    let zookeeper = Zookeeper::start().await;
    zookeeper.ask(
        "acl = [make_digest_acl('them', 'secret', all=True)]\n\
         zk.ensure_path('/services')\n\
         zk.create('/services/api.shop.bcs.local', b'', acl=acl)",
    );
    let hand = Hand::of(&zookeeper);
    hand.fence(1).await;
    assert_eq!(hand.items().await, [], "what cannot be read is not ours");
    let api = Endpoint { app: name("api"), ..endpoint(1) };
    let outcomes = hand.driver.apply(&[hand.put(endpoint(2), None), hand.put(api, None)]).await;
    let outcomes = outcomes.expect("is answered");
    assert!(
        matches!(&outcomes[..], [Outcome::Again, Outcome::Refused(words)] if words.contains("not authorized") && words.contains("api.shop")),
        "{outcomes:?}"
    );
    hand.done(&[hand.put(endpoint(2), None)]).await;
    let item = hand.items().await.remove(0);
    zookeeper.ask(&format!("zk.create('{}/child', b'')", item.place));
    let remove = [Change::Remove { place: item.place.clone(), version: item.version }];
    let outcomes = hand.driver.apply(&remove).await.expect("is answered");
    assert!(
        matches!(&outcomes[..], [Outcome::Refused(words)] if words.contains("not empty children")),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn a_service_that_went_while_it_was_empty_is_made_again() {
    let zookeeper = Zookeeper::start().await;
    let hand = Hand::of(&zookeeper);
    hand.fence(1).await;
    hand.done(&[hand.put(endpoint(1), None)]).await;
    zookeeper.ask("zk.delete('/services', recursive=True)");
    hand.done(&[hand.put(endpoint(1), None)]).await;
    assert_eq!(zookeeper.addresses().await.len(), 1);
}

#[tokio::test]
async fn who_we_are_is_checked_below_a_chroot_and_never_shown() {
    let zookeeper = Zookeeper::start().await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    let more = serde_json::json!({
        "chroot": "/platform", "auth": { "user": "bcs", "password": { "file": file.path() } }, "payload": "spring",
    });
    std::fs::write(file.path(), "hunter3\n").expect("writes");
    let words = failure(zookeeper.spec_with(more.clone())).await;
    assert!(words.contains("the chroot is not there"), "{words}");
    zookeeper.ask("zk.create('/platform', b'', acl=[make_digest_acl('bcs', 'hunter2', all=True)])");
    let words = failure(zookeeper.spec_with(more.clone())).await;
    assert!(words.contains("the user needs all rights") && !words.contains("hunter"), "{words}");
    std::fs::write(file.path(), "hunter2\n").expect("writes");
    let hand = Hand::with(zookeeper.spec_with(more.clone()));
    hand.fence(1).await;
    let since = hand.driver.list().await.expect("reads").at;
    let mut drifts = hand.driver.drift(since).await.expect("watches");
    hand.done(&[hand.put(endpoint(1), None)]).await;
    let item = hand.items().await.remove(0);
    let path = format!("/platform{}", item.place);
    let text = zookeeper.ask(&format!("print(zk.get('{path}')[0].decode())"));
    assert!(
        text.contains("cloud.zookeeper.discovery.ZookeeperInstance") && text.contains("10.0.0.1"),
        "{text}"
    );
    let refused =
        zookeeper.ask(&format!("try:\n  zk.delete('{path}')\nexcept NoAuthError:\n  print('refused')"));
    assert_eq!(refused, "refused", "others only read");
    zookeeper.ask(&format!("zk.add_auth('digest', 'bcs:hunter2')\nzk.delete('{path}')"));
    let told = tokio::time::timeout(LONG, drifts.next()).await.expect("in time");
    assert_eq!(told, Some(Ok(Drift::Place(item.place, None))));
}

#[tokio::test]
async fn what_is_not_zookeeper_is_named_as_such_in_time() {
    let etcd = Etcd::start().await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("listens");
    let quiet = silent.local_addr().expect("an address").to_string();
    for host in [etcd.url().replace("http://", ""), quiet, format!("127.0.0.1:{}", free_port())] {
        let began = tokio::time::Instant::now();
        let words = failure(serde_json::json!({ "driver": { "zookeeper": { "hosts": [host] } } })).await;
        assert!(words.contains("zookeeper: connecting"), "{words}");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}
