//! A bus, a simulated cluster and the service, for one test.

use std::{net::TcpListener, path::PathBuf, time::Duration};

use bcs_client::{Client, Payload};
use bcs_cluster::{AgentConfig, Config};
use bcs_kit::{Bus, Clock, Tasks, bus::BusConfig, health::Health, kv::View, run::Deps};
use bcs_kubesim::Kubesim;
use bcs_schemas::{
    Millis, Name,
    bucket::{Bucket, Keyed},
    cluster::{ClusterCommand, ImportCluster},
    outcome::{Outcome, Rejected},
    query::{ClusterView, Query},
    resource::Labels,
    step::{Step, StepRequest, StepResult},
    subject::{Target, agent_steps},
};
use bcs_testbus::{Servers, TestBus};
use serde_json::json;
use tempfile::TempDir;

pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("is a name")
}

pub(crate) struct Site {
    pub(crate) sim: Kubesim,
    pub(crate) bus: Bus,
    pub(crate) client: Client,
    pub(crate) bus_url: String,
    pub(crate) dir: TempDir,
    service: Tasks,
    /// Where the service tells of its health.
    health: String,
    pub(crate) views: Tasks,
    nats: TestBus,
}

impl Site {
    pub(crate) async fn open() -> Self {
        let dir = TempDir::new().expect("a directory");
        let nats = TestBus::start(Servers::asked());
        let bus = connect(&nats).await;
        bus.provision_within(LONG).await.expect("streams and buckets");
        let sim = bcs_kubesim::start(bcs_kubesim::Config::default()).await.expect("a simulator");
        sim.write_kubeconfig(dir.path().join("kubeconfig")).expect("a kubeconfig");
        let client = Client::over(bus.clone(), Clock::system()).await.expect("a client");
        let mut site = Self {
            sim,
            bus,
            client,
            bus_url: nats.url(),
            dir,
            service: Tasks::new(),
            health: String::new(),
            views: Tasks::new(),
            nats,
        };
        site.start().await;
        site
    }

    /// Starts the service; on the journal that is there, if there is one.
    pub(crate) async fn start(&mut self) {
        self.service = Tasks::new();
        let config = Config {
            journal_url: format!("sqlite:{}/cluster.db", self.dir.path().display()),
            agent: AgentConfig {
                heartbeat: Millis(100),
                probe_timeout: Millis(1000),
                ..AgentConfig::default()
            },
            judge_every: Millis(100),
            ..Config::default()
        };
        let (clock, bus, tasks) = (Clock::system(), self.bus.clone(), self.service.clone());
        bus.keep_provisioned(&tasks);
        let health = Health::new();
        let address = health.serve(&tasks, ([127, 0, 0, 1], 0).into()).await.expect("a free port");
        self.health = format!("http://{address}");
        let deps = Deps { clock, bus, tasks, health };
        Box::pin(bcs_cluster::run(&config, &deps)).await.expect("starts");
    }

    /// The bus goes away and comes back with nothing.
    pub(crate) fn wipe_bus(&mut self) {
        self.nats.kill_and_forget();
        self.nats.start_again();
    }

    /// The metrics of the service whose names begin so, with their values.
    pub(crate) async fn metrics(&self, prefix: &str) -> Vec<String> {
        let text = get(&format!("{}/metrics", self.health)).await.expect("is served").1;
        text.lines().filter(|line| line.starts_with(prefix)).map(str::to_owned).collect()
    }

    pub(crate) async fn stop(&self) {
        assert!(self.service.stop(Duration::from_secs(20)).await, "the service did not stop");
    }

    pub(crate) async fn close(self) {
        self.stop().await;
        self.views.stop(Duration::from_secs(5)).await;
        self.sim.shutdown().await;
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    pub(crate) async fn send<P: Payload<Set = ClusterCommand>>(&self, cluster: &str, message: P) -> Outcome {
        let target = Target { project: Name::system(), kind: name("cluster"), name: name(cluster) };
        self.client.command(target, message).send(LONG).await.expect("an outcome")
    }

    pub(crate) async fn import(&self, cluster: &str, file: &std::path::Path) -> Outcome {
        self.send(cluster, import(file, "direct")).await
    }

    /// Imports the simulated cluster and waits until it is healthy.
    pub(crate) async fn with_cluster(&self, cluster: &str) {
        let outcome = self.import(cluster, &self.kubeconfig()).await;
        assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
        self.health(cluster, bcs_schemas::cluster::Health::Healthy).await;
    }

    pub(crate) async fn cluster(&self, cluster: &str) -> Option<ClusterView> {
        let query = Query { name: Some(name(cluster)), ..Query::default() };
        self.client.clusters(&query).await.expect("an answer").data.into_iter().next()
    }

    pub(crate) async fn health(&self, cluster: &str, wanted: bcs_schemas::cluster::Health) -> ClusterView {
        let deadline = tokio::time::Instant::now() + LONG;
        loop {
            let view = self.cluster(cluster).await;
            match view {
                Some(view) if view.health == wanted && view.nodes > 0 => return view,
                view if tokio::time::Instant::now() > deadline => panic!("never {wanted}: {view:?}"),
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    pub(crate) async fn step(&self, cluster: &str, generation: u64, step: Step) -> StepResult {
        self.ask(cluster, StepRequest { generation, traceparent: None, not_after: None, step }).await
    }

    pub(crate) async fn ask(&self, cluster: &str, request: StepRequest) -> StepResult {
        let subject = agent_steps(self.bus.site(), &name(cluster));
        self.bus.request(subject, &request, LONG).await.expect("an answer")
    }

    pub(crate) async fn view<T: Keyed>(&self, bucket: Bucket<T>) -> View<T> {
        let view = self.bus.bucket(bucket).await.expect("a bucket").watch(&self.views, ">");
        view.synced().await;
        view
    }
}

/// Status and text of a page.
pub(crate) async fn get(url: &str) -> Result<(u16, String), reqwest::Error> {
    let answer = reqwest::get(url).await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

/// Waits until the bucket looks as wanted.
pub(crate) async fn until<T: Keyed, R>(
    view: &View<T>,
    mut look: impl FnMut(Vec<T>) -> Result<R, String>,
) -> R {
    let mut changes = view.changes();
    let deadline = tokio::time::Instant::now() + LONG;
    loop {
        let missing = match look(view.snapshot().values().map(|v| T::clone(v)).collect()) {
            Ok(found) => return found,
            Err(missing) => missing,
        };
        if tokio::time::timeout_at(deadline, changes.next()).await.is_err() {
            panic!("waited in vain: {missing}");
        }
    }
}

pub(crate) fn import(file: &std::path::Path, agent: &str) -> ImportCluster {
    let spec = json!({ "kubeconfig": { "file": file }, "agent": agent });
    ImportCluster { labels: Labels::new(), spec: serde_json::from_value(spec).expect("is a spec") }
}

pub(crate) fn rejected(outcome: Outcome) -> Rejected {
    match outcome {
        Outcome::Rejected(rejected) => rejected,
        Outcome::Accepted(accepted) => panic!("was accepted: {accepted:?}"),
    }
}

/// An address that nobody listens on.
pub(crate) fn free_address() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

async fn connect(nats: &TestBus) -> Bus {
    let config = BusConfig { url: nats.url(), replicas: nats.replicas(), ..BusConfig::default() };
    let deadline = tokio::time::Instant::now() + LONG;
    loop {
        match Bus::connect(&config, "test").await {
            Ok(bus) => return bus,
            Err(error) if tokio::time::Instant::now() > deadline => panic!("no bus: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
