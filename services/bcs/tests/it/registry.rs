//! The list that people kept by hand in a zone of BIND, from the first instance that fails because of it to the removal of
//! the installation that took it over: with a real bus and a real sidecar, through the command line.

use std::{
    collections::BTreeSet,
    io::Write,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bcs_discovery_sidecar::Config;
use bcs_kit::{Bus, Clock, Tasks, bus::BusConfig, health::Health, run::Deps};
use bcs_schemas::{
    Name,
    bucket::{self, Keyed},
    observation::{ClusterHealth, Endpoint, Registration, RegistrationState},
    resource::Registry,
};
use bcs_testbus::{Servers, TestBus};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{LONG, text};

const SECRET: &str = "c2VjcmV0LW9mLXRoZS16b25lLWZvci10aGUtdGVzdHM=";
const NAME: &str = "web.shop.corp.test";

/// BIND with one zone, which ends with the test.
struct Zone {
    directory: tempfile::TempDir,
    port: u16,
    process: Child,
}

impl Drop for Zone {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Zone {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let at = directory.path().display();
        let zone = "$TTL 300\n@ SOA ns1.corp.test. admin.corp.test. 1 3600 600 86400 60\n@ NS ns1.corp.test.\nns1 A 127.0.0.1\n";
        let conf = format!(
            r#"options {{ directory "{at}"; pid-file "{at}/pid"; session-keyfile "{at}/session"; lock-file none;
    listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; dnssec-validation no; notify no;
    empty-zones-enable no; max-records-per-type 0; }};
controls {{ }};
key "bcs" {{ algorithm hmac-sha256; secret "{SECRET}"; }};
zone "corp.test" {{ type primary; file "{at}/zone"; allow-update {{ key bcs; }}; allow-transfer {{ key bcs; }}; }};
"#
        );
        for (file, text) in [("zone", zone), ("named.conf", &conf), ("secret", SECRET)] {
            std::fs::write(directory.path().join(file), text).expect("writes");
        }
        let mut command = Command::new("named");
        command.args(["-f", "-g", "-c"]).arg(directory.path().join("named.conf"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("named starts: install the Debian package bind9");
        let zone = Self { directory, port, process };
        within(|| {
            if zone.dig("SOA", "corp.test").is_empty() { Err("BIND does not answer".into()) } else { Ok(()) }
        });
        zone
    }

    fn dig(&self, kind: &str, name: &str) -> Vec<String> {
        dig(self.port, kind, name)
    }

    fn by_hand(&self, line: &str) {
        let mut command = Command::new("nsupdate");
        command.args(["-v", "-y", &format!("hmac-sha256:bcs:{SECRET}")]).stdin(Stdio::piped());
        let mut child = command.spawn().expect("nsupdate starts: install bind9-dnsutils");
        let script = format!("server 127.0.0.1 {}\nzone corp.test\n{line}\nsend\n", self.port);
        child.stdin.take().expect("an input").write_all(script.as_bytes()).expect("is read");
        assert!(child.wait().expect("ends").success(), "{line}");
    }

    fn registry(&self) -> Registry {
        let document = json!({
            "apiVersion": "bcs/v1", "kind": "Registry", "metadata": { "name": "zone" },
            "spec": { "zone": "corp.test", "ttl": "1s", "driver": { "dns": {
                "servers": [format!("127.0.0.1:{}", self.port)], "zone": "corp.test",
                "key": { "name": "bcs", "algorithm": "hmac-sha256", "secret": { "file": self.directory.path().join("secret") } },
            } } },
        });
        serde_json::from_value(document).expect("a registry")
    }
}

fn dig(port: u16, kind: &str, name: &str) -> Vec<String> {
    let arguments =
        ["@127.0.0.1", "-p", &port.to_string(), "+short", "+tcp", "+tries=1", "+time=2", kind, name];
    let output = Command::new("dig").args(arguments).output().expect("dig starts: install bind9-dnsutils");
    text(&output.stdout).lines().filter(|line| !line.starts_with(';')).map(ToOwned::to_owned).collect()
}

fn within<T>(mut look: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + LONG;
    loop {
        match look() {
            Ok(found) => return found,
            Err(why) => assert!(Instant::now() < end, "after {LONG:?}: {why}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn endpoint(number: u8) -> Endpoint {
    let now = Clock::system().now();
    let endpoint = json!({
        "cluster": "sim-a", "project": "shop", "app": "web", "revision": "r1", "instance": format!("web-{number}"),
        "uid": format!("uid-{number}"), "addresses": [format!("10.0.0.{number}")], "weight": 100, "phase": "ready",
        "since": now, "generation": 1, "observed_at": now,
    });
    serde_json::from_value(endpoint).expect("an endpoint")
}

/// A platform: a bus, and the sidecars that are started on it.
struct Platform {
    _servers: TestBus,
    url: String,
    bus: Bus,
    home: tempfile::TempDir,
}

impl Platform {
    async fn start() -> Self {
        let servers = TestBus::start(Servers::asked());
        let config = BusConfig { url: servers.url(), replicas: servers.replicas(), ..BusConfig::default() };
        let end = Instant::now() + LONG;
        let bus = loop {
            match Bus::connect(&config, "test").await {
                Ok(bus) => break bus,
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        bus.provision_within(LONG).await.expect("streams and buckets");
        let home = tempfile::tempdir().expect("a directory");
        Self { _servers: servers, url: config.url, bus, home }
    }

    async fn sidecar(&self, owner: &str, zone: &Zone) -> Tasks {
        let beat = ClusterHealth {
            cluster: name("sim-a"),
            reachable: true,
            reason: None,
            synced: true,
            version: None,
            nodes: 1,
            nodes_ready: 1,
            capacity: bcs_schemas::observation::Capacity::default(),
            observed_at: Clock::system().now(),
        };
        self.bus.bucket(bucket::CLUSTERS).await.expect("a bucket").put(&beat).await.expect("writes");
        let config = Config {
            cluster: Some(name("sim-a")),
            owner: Some(name(owner)),
            registries: vec![zone.registry()],
            ..Config::default()
        };
        let deps = Deps {
            clock: Clock::system(),
            bus: self.bus.clone(),
            tasks: Tasks::new(),
            health: Health::new(),
        };
        bcs_discovery_sidecar::run(config, deps.clone()).await.expect("starts");
        deps.tasks
    }

    async fn registrations(&self) -> Vec<Registration> {
        let bucket = self.bus.bucket(bucket::REGISTRATIONS).await.expect("a bucket");
        bucket.list(">").await.expect("lists").into_values().collect()
    }

    async fn wait_for(&self, number: u8, state: RegistrationState) -> Registration {
        let (uid, end) = (format!("uid-{number}"), Instant::now() + LONG);
        loop {
            let found = self.registrations().await.into_iter().find(|found| found.uid == uid);
            match found {
                Some(found) if found.state == state => return found,
                found => assert!(Instant::now() < end, "{uid} is not {state:?}: {found:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = super::bcs(self.home.path(), "registry");
        command.args(words).args(["--nats", &self.url]);
        command.output().expect("runs")
    }

    /// Code, answer, and what else was said.
    fn bcs(&self, words: &[&str]) -> (i32, String, String) {
        let output = self.run(words);
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    fn json(&self, words: &[&str]) -> Value {
        let (code, answer, said) = self.bcs(&[words, &["-o", "json"]].concat());
        let parsed: Result<Value, _> = serde_json::from_str(&answer);
        assert!(parsed.is_ok(), "{words:?} ended with {code}: {answer} {said}");
        parsed.expect("JSON")
    }
}

fn list(home: &Path) -> String {
    let list = "# kept by hand since 2019\n10.0.0.1 web.shop.corp.test\n10.0.0.2 web.shop.corp.test\n\
                10.0.0.9 web.shop.corp.test\n10.0.0.8 gone.corp.test\n10.0.0.1 old.corp.test\n";
    let path = home.join("hosts.txt");
    std::fs::write(&path, list).expect("writes");
    path.display().to_string()
}

/// A client that asks for the name again and again.
#[derive(Clone, Default)]
struct Client {
    ended: Arc<AtomicBool>,
    looks: Arc<AtomicU64>,
    /// Answers without one of the first two addresses.
    gaps: Arc<AtomicU64>,
}

impl Client {
    fn start(port: u16) -> Self {
        let client = Self::default();
        let Self { ended, looks, gaps } = client.clone();
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let found: BTreeSet<String> = dig(port, "A", NAME).into_iter().collect();
                if !found.contains("10.0.0.1") || !found.contains("10.0.0.2") {
                    gaps.fetch_add(1, Ordering::Relaxed);
                }
                looks.fetch_add(1, Ordering::Relaxed);
            }
        });
        client
    }

    /// Until it asked some more times.
    fn asks_on(&self) {
        let before = self.looks.load(Ordering::Relaxed);
        within(|| match self.looks.load(Ordering::Relaxed) {
            now if now > before + 5 => Ok(()),
            now => Err(format!("it asked {now} times")),
        });
    }

    fn gaps(&self) -> u64 {
        self.ended.store(true, Ordering::Relaxed);
        self.gaps.load(Ordering::Relaxed)
    }
}

fn shown_before_anything_is_done(platform: &Platform) {
    // What differs, as people and as programs see it.
    let (code, shown, said) = platform.bcs(&["diff", "zone"]);
    assert_eq!(code, 1, "{shown} {said}");
    assert!(
        shown.contains("adoptable")
            && said.contains("2 adoptable")
            && said.contains("bcs registry adopt zone")
    );
    let list = list(platform.home.path());
    let (code, shown, said) = platform.bcs(&["diff", "zone", "-f", &list]);
    assert_eq!(code, 1, "{shown} {said}");
    for word in ["adoptable", "foreign", "unknown", "differs", "unlisted"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    let (code, hosts, _) = platform.bcs(&["export", "zone", "--format", "hosts"]);
    assert!(code == 0 && hosts.contains(&format!("10.0.0.9\t{NAME}")), "{hosts}");
    let before = platform.json(&["export", "zone"]);
    assert_eq!(before["owner"], "eu1.sim-a.zone");

    // Shown first, and nothing done.
    for words in [&["adopt", "zone"][..], &["adopt", "zone", "--dry-run"], &["import", "zone", "-f", &list]] {
        let (code, shown, said) = platform.bcs(words);
        assert!(code == 0 && said.contains("2 would become ours; nothing was changed"), "{shown} {said}");
    }
    assert_eq!(platform.json(&["export", "zone"])["entries"], before["entries"]);
}

async fn taken_over(platform: &Platform, zone: &Zone) {
    let list = list(platform.home.path());
    // One by its address, the other by the list; a client asks all the while.
    let client = Client::start(zone.port);
    client.asks_on();
    let (code, shown, said) =
        platform.bcs(&["adopt", "zone", "--app", "shop/web", "--address", "10.0.0.1", "--yes"]);
    assert!(code == 0 && shown.contains("1 of 1 are ours now"), "{shown} {said}");
    let (code, shown, said) = platform.bcs(&["import", "zone", "-f", &list, "--yes"]);
    assert!(code == 0 && shown.contains("1 of 1 are ours now"), "{shown} {said}");
    for number in [1, 2] {
        platform.wait_for(number, RegistrationState::Confirmed).await;
    }
    client.asks_on();
    assert_eq!(client.gaps(), 0);
    let (code, shown, said) = platform.bcs(&["diff", "zone"]);
    assert_eq!(code, 0, "{shown} {said}");
    assert!(shown.contains("10.0.0.9"), "what is of others is shown all the same: {shown}");
}

fn what_cannot_be_done_is_said(platform: &Platform) {
    // What cannot be done is said, with what to do.
    for (words, code, part) in [
        (&["purge", "zone", "--owner", "eu1"][..], 1, "is alive"),
        (&["purge", "zone", "--owner", "eu1.sim-a.zone", "--yes"], 1, "is alive"),
        (&["purge", "zone", "--owner", ""], 2, "--owner is empty"),
        (&["adopt", "zone", "--address", "10.0.0.9", "--yes"], 1, "10.0.0.9 is not adopted: it is foreign"),
        (&["adopt", "zone", "--address", "10.7.7.7", "--yes"], 1, "neither the registry nor an instance"),
        (&["adopt", "zone", "--app", "shop"], 2, "PROJECT/APP"),
        (&["adopt", "zone", "--yes", "--dry-run"], 2, "cannot be used with"),
        (&["adopt", "hosts"], 1, "no registry hosts is kept"),
        (&["export", "zone", "--cluster", "sim-z"], 1, "for cluster sim-z"),
        (&["import", "zone", "-f", "/nowhere"], 2, "cannot be read"),
        (&["import", "zone"], 2, "--file"),
    ] {
        let (ended, shown, said) = platform.bcs(words);
        assert!(ended == code && said.contains(part), "{words:?} ended with {ended}: {shown} {said}");
    }
    let bad = platform.home.path().join("bad.csv");
    std::fs::write(&bad, "name,address\nweb,here\n").expect("writes");
    let (code, _, said) = platform.bcs(&["diff", "zone", "-f", &bad.display().to_string()]);
    assert!(code == 2 && said.contains("line 2: "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_kept_by_hand_is_taken_over_without_a_gap_and_an_uninstall_leaves_nothing_behind() {
    let (platform, zone) = (Platform::start().await, Zone::start());
    for address in ["10.0.0.1", "10.0.0.2", "10.0.0.9"] {
        zone.by_hand(&format!("update add {NAME} 300 A {address}"));
    }
    let instances = [endpoint(1), endpoint(2), endpoint(3)];
    let endpoints = platform.bus.bucket(bucket::ENDPOINTS).await.expect("a bucket");
    for instance in &instances {
        endpoints.put(instance).await.expect("writes");
    }
    let sidecar = platform.sidecar("eu1", &zone).await;
    // Two of them stand in the zone as somebody else's.
    for number in [1, 2] {
        let failed = platform.wait_for(number, RegistrationState::Failed).await;
        assert!(failed.reason.is_some_and(|reason| reason.contains("belongs to somebody else")));
    }
    platform.wait_for(3, RegistrationState::Confirmed).await;

    shown_before_anything_is_done(&platform);
    taken_over(&platform, &zone).await;
    what_cannot_be_done_is_said(&platform);

    // The installation is removed as it should not be: its sidecar just goes.
    assert!(sidecar.stop(LONG).await);
    for instance in &instances {
        endpoints.delete(&instance.key()).await.expect("deletes");
    }
    let other = platform.sidecar("eu2", &zone).await;
    within(|| match platform.bcs(&["export", "zone"]) {
        (0, ..) => Ok(()),
        (_, _, said) => Err(said),
    });
    let gone = within(|| match platform.json(&["purge", "zone", "--owner", "eu1"]) {
        shown if shown["meant"].as_array().is_some_and(|meant| meant.len() == 3) => Ok(shown),
        shown => Err(shown.to_string()),
    });
    assert_eq!((&gone["dry_run"], &gone["removed"]), (&json!(true), &json!(0)));
    assert_eq!(zone.dig("A", NAME).len(), 4);
    let purged = platform.json(&["purge", "zone", "--owner", "eu1", "--yes"]);
    assert_eq!(
        (&purged["removed"], purged["marks"].as_array().map(Vec::len)),
        (&json!(3), Some(2)),
        "{purged}"
    );
    assert_eq!(zone.dig("A", NAME), ["10.0.0.9"], "what is of others stays");
    let (code, _, said) = platform.bcs(&["purge", "zone", "--owner", "eu1", "--yes"]);
    assert!(code == 0 && said.contains("no entry says that it belongs to eu1"), "{said}");
    let left = platform.json(&["export", "zone"]);
    let owners: BTreeSet<&str> = left["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .filter_map(|entry| entry["owner"].as_str())
        .collect();
    assert_eq!(owners, BTreeSet::new(), "{left}");

    // Nobody is there who could be asked.
    assert!(other.stop(LONG).await);
    let (code, _, said) = platform.bcs(&["export", "zone"]);
    assert!(code == 1 && said.contains("registry zone"), "{said}");
}
