//! Real servers in temporary directories on free ports, and endpoints to write.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use bcs_kit::{Bus, Clock, Tasks, bus::BusConfig, health::Health, run::Deps};
use bcs_schemas::{
    Name, bucket,
    observation::{
        ClusterHealth, Endpoint, EndpointPhase, EndpointPort, Registration, RegistrationState, RegistryStatus,
    },
    resource::Registry,
};
use bcs_testbus::{Servers, TestBus};
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

pub(crate) fn free_port() -> u16 {
    bcs_testbus::free_port().expect("a free port")
}

/// Ends with the value that holds it.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn ended(&mut self) -> bool {
        self.0.try_wait().expect("can be asked").is_some()
    }

    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        self.0.wait().expect("ends")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn start(program: &str, package: &str, arguments: &[String]) -> Process {
    start_logged(program, package, arguments, Stdio::null())
}

pub(crate) fn start_logged(program: &str, package: &str, arguments: &[String], log: Stdio) -> Process {
    let mut command = Command::new(program);
    command.args(arguments).stderr(log);
    start_command(command, package)
}

pub(crate) fn start_command(mut command: Command, package: &str) -> Process {
    let child = command.stdout(Stdio::null()).spawn();
    Process(child.unwrap_or_else(|e| panic!("{command:?} cannot be started ({e}): install {package}")))
}

/// Waits for a state; says what was missing when it does not come.
pub(crate) async fn wait_until<T>(within: Duration, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = tokio::time::Instant::now() + within;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(missing) if tokio::time::Instant::now() > deadline => panic!("after {within:?}: {missing}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Status and body, as a client without any library sees them.
pub(crate) async fn http(address: std::net::SocketAddr, path: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connects");
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("asks");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("is answered");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, answer)
}

/// An etcd server that can be stopped and started with its data.
pub(crate) struct Etcd {
    directory: tempfile::TempDir,
    ports: [u16; 2],
    options: Vec<String>,
    scheme: &'static str,
    /// How this test itself reaches it.
    access: etcd_client::ConnectOptions,
    process: Option<Process>,
}

impl Etcd {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(options: &[&str]) -> Self {
        let options = options.iter().map(ToString::to_string).collect();
        Self::start_at("http", options, etcd_client::ConnectOptions::new()).await
    }

    pub(crate) async fn start_at(
        scheme: &'static str,
        options: Vec<String>,
        access: etcd_client::ConnectOptions,
    ) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let ports = [free_port(), free_port()];
        let mut etcd = Self { directory, ports, options, scheme, access, process: None };
        etcd.up().await;
        etcd
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.ports[0])
    }

    pub(crate) async fn up(&mut self) {
        let peer = format!("http://127.0.0.1:{}", self.ports[1]);
        let mut arguments: Vec<String> = [
            ("data-dir", self.directory.path().display().to_string()),
            ("listen-client-urls", self.url()),
            ("advertise-client-urls", self.url()),
            ("listen-peer-urls", peer.clone()),
            ("initial-advertise-peer-urls", peer.clone()),
            ("initial-cluster", format!("default={peer}")),
        ]
        .into_iter()
        .map(|(option, value)| format!("--{option}={value}"))
        .collect();
        arguments.extend(self.options.clone());
        self.process = Some(start("etcd", "the Debian package etcd-server", &arguments));
        wait_until(LONG, async || self.try_client().await).await;
    }

    /// kill -9.
    pub(crate) fn down(&mut self) {
        self.process = None;
    }

    /// What it kept, when it is down.
    pub(crate) fn forget(&self) {
        for entry in std::fs::read_dir(self.directory.path()).expect("reads").flatten() {
            std::fs::remove_dir_all(entry.path()).expect("removes");
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.ports[0]
    }

    async fn try_client(&self) -> Result<etcd_client::Client, String> {
        let ask = async {
            let mut client = etcd_client::Client::connect([self.url()], Some(self.access.clone())).await?;
            client.get("ready", None).await?;
            Ok::<_, etcd_client::Error>(client)
        };
        match tokio::time::timeout(Duration::from_secs(1), ask).await {
            Ok(answer) => answer.map_err(|e| format!("etcd does not answer: {e}")),
            Err(_) => Err("etcd does not answer".to_owned()),
        }
    }

    /// From now on the test itself says who it is.
    pub(crate) fn log_in(&mut self, user: &str, password: &str) {
        self.access = self.access.clone().with_user(user, password);
    }

    /// What an independent client sees.
    pub(crate) async fn client(&self) -> etcd_client::Client {
        wait_until(LONG, async || self.try_client().await).await
    }

    pub(crate) async fn keys(&self, prefix: &str) -> Vec<(String, String)> {
        let options = etcd_client::GetOptions::new().with_prefix();
        let mut found = self.client().await.get(prefix, Some(options)).await.expect("reads");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        found.take_kvs().iter().map(|kv| (text(kv.key()), text(kv.value()))).collect()
    }

    pub(crate) fn registry(&self, registry: &str) -> Registry {
        let mut registry = document(registry, serde_json::json!({ "etcd": { "endpoints": [self.url()] } }));
        // Nobody resolves names here: what is out is out.
        registry.spec.deregistration_delay = Some(bcs_schemas::Millis::ZERO);
        registry
    }
}

pub(crate) fn document(registry: &str, driver: serde_json::Value) -> Registry {
    let document = serde_json::json!({
        "apiVersion": "bcs/v1", "kind": "Registry", "metadata": { "name": registry }, "spec": { "driver": driver },
    });
    serde_json::from_value(document).expect("a registry")
}

/// A nats-server with the platform's buckets.
pub(crate) struct Nats {
    servers: TestBus,
    pub(crate) url: String,
    pub(crate) bus: Bus,
}

impl Nats {
    pub(crate) async fn start() -> Self {
        Self::of(Servers::asked()).await
    }

    pub(crate) async fn of(servers: Servers) -> Self {
        let servers = TestBus::start(servers);
        let config = BusConfig { url: servers.url(), replicas: servers.replicas(), ..BusConfig::default() };
        let bus =
            wait_until(LONG, async || Bus::connect(&config, "test").await.map_err(|e| e.to_string())).await;
        bus.provision_within(LONG).await.expect("streams and buckets");
        let nats = Self { servers, url: config.url, bus };
        nats.beat(true).await;
        nats
    }

    /// A sidecar in this process; it runs until its tasks stop.
    pub(crate) async fn sidecar(&self, config: bcs_discovery_sidecar::Config) -> Tasks {
        let deps = self.deps();
        bcs_discovery_sidecar::run(config, deps.clone()).await.expect("starts");
        deps.tasks
    }

    pub(crate) fn deps(&self) -> Deps {
        Deps { clock: Clock::system(), bus: self.bus.clone(), tasks: Tasks::new(), health: Health::new() }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        self.servers.address()
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.servers.kill();
    }

    pub(crate) fn start_again(&mut self) {
        self.servers.start_again();
    }

    /// Whoever watches has to begin anew.
    pub(crate) async fn drop_watches(&self) {
        for bucket in [bucket::ENDPOINTS.name, bucket::CLUSTERS.name, bucket::REGISTRATIONS.name] {
            let Ok(stream) = self.bus.jetstream().get_stream(format!("KV_{bucket}")).await else { return };
            let mut names = stream.consumer_names();
            while let Some(Ok(name)) = names.next().await {
                // One that ended by itself is gone already.
                let _ = stream.delete_consumer(&name).await;
            }
        }
    }

    pub(crate) async fn beat(&self, synced: bool) {
        self.try_beat(synced).await.expect("writes");
    }

    pub(crate) async fn try_beat(&self, synced: bool) -> Result<(), bcs_kit::bus::Error> {
        let clusters = self.bus.bucket(bucket::CLUSTERS).await?;
        let health = ClusterHealth {
            cluster: name("sim-a"),
            reachable: true,
            reason: None,
            synced,
            version: None,
            nodes: 1,
            nodes_ready: 1,
            capacity: bcs_schemas::observation::Capacity::default(),
            observed_at: Clock::system().now(),
        };
        clusters.put(&health).await.map(drop)
    }

    pub(crate) async fn put(&self, endpoint: &Endpoint) {
        self.bus.bucket(bucket::ENDPOINTS).await.expect("a bucket").put(endpoint).await.expect("writes");
    }

    /// What the sidecar says of a registry, once it is as wanted.
    pub(crate) async fn status(
        &self,
        registry: &str,
        wanted: impl Fn(&RegistryStatus) -> bool,
    ) -> RegistryStatus {
        let bucket = self.bus.bucket(bucket::REGISTRIES).await.expect("a bucket");
        wait_until(LONG, async || match bucket.get(&format!("sim-a.{registry}")).await.expect("reads") {
            Some((status, _)) if wanted(&status) => Ok(status),
            other => Err(format!("{registry}: {other:?}")),
        })
        .await
    }

    pub(crate) async fn delete(&self, endpoint: &Endpoint) {
        let key = bucket::Keyed::key(endpoint);
        self.bus.bucket(bucket::ENDPOINTS).await.expect("a bucket").delete(&key).await.expect("deletes");
    }

    pub(crate) async fn registrations(&self) -> Vec<Registration> {
        let bucket = self.bus.bucket(bucket::REGISTRATIONS).await.expect("a bucket");
        bucket.list(">").await.expect("lists").into_values().collect()
    }

    /// Waits until every registration of `uid` has this state, and there is one for each of the registries.
    pub(crate) async fn wait_for(&self, uid: &str, registries: usize, state: RegistrationState) {
        wait_until(LONG, async || {
            let found: Vec<_> = self.registrations().await.into_iter().filter(|r| r.uid == uid).collect();
            let good = found.iter().filter(|r| r.state == state).count();
            if good == registries {
                Ok(())
            } else {
                Err(format!("{uid} is not {state:?} everywhere: {found:?}"))
            }
        })
        .await;
    }
}

/// Instance `number` of an application in cluster `sim-a`, ready.
pub(crate) fn endpoint(number: u32) -> Endpoint {
    let [_, b, c, d] = number.to_be_bytes();
    let now = Clock::system().now();
    let made = serde_json::json!({
        "cluster": "sim-a", "project": "shop", "app": "web", "revision": "r1",
        "instance": format!("web-{number}"), "uid": format!("uid-{number}"),
        "addresses": [format!("10.{b}.{c}.{d}")], "weight": 100, "phase": "ready",
        "since": now, "generation": 1, "observed_at": now,
    });
    let made: Endpoint = serde_json::from_value(made).expect("an endpoint");
    Endpoint {
        ports: vec![EndpointPort { name: name("http"), port: 8080, protocol: Default::default() }],
        ..made
    }
}

pub(crate) fn draining(number: u32) -> Endpoint {
    Endpoint { phase: EndpointPhase::Draining, ..endpoint(number) }
}

pub(crate) fn config(registries: Vec<Registry>) -> bcs_discovery_sidecar::Config {
    bcs_discovery_sidecar::Config {
        cluster: Some(name("sim-a")),
        owner: Some(name("eu1")),
        registries,
        ..Default::default()
    }
}
