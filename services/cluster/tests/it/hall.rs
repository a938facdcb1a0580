//! A simulated cluster with the manifests of agent and webhook, and webhooks in it, for one test.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bcs_cluster::{
    Injection,
    shell::{
        agent::{Metrics, Report},
        injector::Injector,
    },
};
use bcs_engines::{Engine as _, kubernetes::connect};
use bcs_kit::{Clock, Tasks, health::Health};
use bcs_kubesim::Kubesim;
use bcs_schemas::{
    Millis,
    resource::{
        ClusterSpec, Labels,
        app::Template,
        cluster::{AgentPlace, EngineKind, SecretRef},
    },
    step::{Step, StepRequest, StepResult, WorkloadKey},
};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    kubectl,
    manifest::{MANIFESTS, slice},
    secure,
    site::{LONG, free_address, name},
};

pub(crate) const SECRET: &str = "bcs-injector-tls";
pub(crate) const CONFIGURATION: &str =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/bcs-sidecar-injector";
/// As the Service is called by API servers.
const HOST: &str = "bcs-agent.bcs-system.svc";

pub(crate) struct Hall {
    sim: Kubesim,
    dir: TempDir,
    /// Kubeconfig of the administrator.
    pub(crate) admin: PathBuf,
    /// Kubeconfig of the account in the manifests.
    account: PathBuf,
    token: String,
    /// Where the Service leads.
    address: SocketAddr,
    pub(crate) clock: Clock,
}

/// One replica of the webhook.
pub(crate) struct Replica {
    pub(crate) report: Report,
    pub(crate) address: SocketAddr,
    tasks: Tasks,
}

impl Replica {
    pub(crate) async fn ready(&self) {
        waiting("the webhook is ready", async || self.report.injection()).await;
    }

    pub(crate) async fn stop(self) {
        assert!(self.tasks.stop(LONG).await, "the webhook did not stop");
    }
}

/// Asks again and again until the answer is there.
pub(crate) async fn waiting<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = tokio::time::Instant::now() + LONG;
    loop {
        match ask().await {
            Ok(value) => return value,
            Err(why) if tokio::time::Instant::now() > deadline => panic!("{what}: waited in vain: {why}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

impl Hall {
    /// With everything that the webhook needs.
    pub(crate) async fn open() -> Self {
        let hall = Self::bare().await;
        for (_, text) in &MANIFESTS[1..3] {
            kubectl::apply(&hall.admin, text).await;
        }
        hall
    }

    /// With the account of the agent only.
    pub(crate) async fn bare() -> Self {
        let dir = TempDir::new().expect("a directory");
        let sim = bcs_kubesim::start(bcs_kubesim::Config::default()).await.expect("a simulator");
        let (admin, account) = (dir.path().join("admin"), dir.path().join("account"));
        sim.write_kubeconfig(&admin).expect("a kubeconfig");
        kubectl::apply(&admin, MANIFESTS[0].1).await;
        let shop = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } });
        kubectl::apply(&admin, &shop.to_string()).await;
        let address = free_address();
        kubectl::apply(&admin, &slice(address)).await;
        let mut hall =
            Self { sim, dir, admin, account, token: String::new(), address, clock: Clock::system() };
        let token = hall
            .send(
                "POST",
                "/api/v1/namespaces/bcs-system/serviceaccounts/bcs-agent/token",
                "application/json",
                &json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {} }),
            )
            .await;
        hall.token = token["status"]["token"].as_str().expect("a token").to_owned();
        let text = std::fs::read_to_string(&hall.admin).expect("reads");
        assert!(text.contains(hall.sim.token()));
        std::fs::write(&hall.account, text.replace(hall.sim.token(), &hall.token)).expect("writes");
        hall
    }

    pub(crate) fn clock_in_the_past(&self, by: SignedDuration) -> Clock {
        Clock::manual(self.clock.now() - by)
    }

    /// One that the Service leads to.
    pub(crate) fn replica(&self, name: &str, clock: &Clock) -> Replica {
        self.replica_at(name, clock, self.address, "")
    }

    pub(crate) fn replica_elsewhere(&self, name: &str, clock: &Clock) -> Replica {
        self.replica_at(name, clock, free_address(), "")
    }

    /// With a further line of settings.
    pub(crate) fn replica_with(&self, name: &str, line: &str) -> Replica {
        self.replica_at(name, &self.clock, self.address, line)
    }

    fn replica_at(&self, called: &str, clock: &Clock, listen: SocketAddr, line: &str) -> Replica {
        let file = self.settings(called, listen, line);
        let settings = Arc::new(Injection::load(&file).expect("settings"));
        let (tasks, cluster) = (Tasks::new(), name("sim-a"));
        let report = Metrics::register(&Health::new()).of(&cluster);
        let spec = spec(&self.account);
        Injector { cluster, spec, settings, clock: clock.clone(), report: report.clone() }.start(&tasks);
        Replica { report, address: listen, tasks }
    }

    /// A settings file.
    fn settings(&self, called: &str, listen: SocketAddr, line: &str) -> PathBuf {
        let file = self.dir.path().join(format!("{called}.toml"));
        let text = format!(
            "listen = \"{listen}\"\nlook_every = \"{}\"\n{line}\n[sidecar]\nimage = \"sidecar:1\"\nbus.url = \"nats://bus:4222\"\n",
            Millis(100)
        );
        std::fs::write(&file, text).expect("writes");
        file
    }

    /// As the platform does it, by the agent's own account.
    pub(crate) async fn scale_up(&self, app: &str, labels: Labels, replicas: u32) -> StepResult {
        let (engine, _) = connect::connect(&spec(&self.account), Clock::system()).await.expect("an engine");
        let template: Template = serde_json::from_value(json!({
            "image": { "repository": app, "tag": "1" }, "stop_timeout": "1s",
            "ports": [{ "name": "http", "port": 8080 }],
        }))
        .expect("a template");
        let workload = WorkloadKey { project: name("shop"), app: name(app), revision: name("r1") };
        let step = Step::ScaleUp { workload, template, labels, register: None, replicas };
        engine.execute(&StepRequest { generation: 1, traceparent: None, not_after: None, step }).await
    }

    pub(crate) async fn pods(&self, app: &str) -> Vec<Value> {
        let list =
            self.get(&format!("/api/v1/namespaces/shop/pods?labelSelector=bcs.io%2Fapp%3D{app}")).await;
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// So many ready pods of an application, and no others.
    pub(crate) async fn running(&self, app: &str, count: usize) -> Vec<Value> {
        let ready = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array();
            conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
        };
        waiting(app, async || {
            let pods = self.pods(app).await;
            let good = pods.len() == count && pods.iter().all(ready);
            if good { Ok(pods) } else { Err(format!("{pods:?}")) }
        })
        .await
    }

    /// Whom the API server believes.
    pub(crate) async fn bundle(&self) -> String {
        let found = self.get(CONFIGURATION).await;
        let hooks = found["webhooks"].as_array().cloned().unwrap_or_default();
        let bundles: Vec<&str> =
            hooks.iter().filter_map(|h| h["clientConfig"]["caBundle"].as_str()).collect();
        assert!(bundles.windows(2).all(|two| two[0] == two[1]), "{bundles:?}");
        decoded(bundles.first().copied().unwrap_or_default())
    }

    /// What the Secret holds.
    pub(crate) async fn secret(&self, key: &str) -> Option<String> {
        let found = self.get(&format!("/api/v1/namespaces/bcs-system/secrets/{SECRET}")).await;
        found["data"][key].as_str().map(decoded)
    }

    /// Asks the webhook as an API server that believes `bundle`.
    pub(crate) async fn ask(
        &self,
        bundle: &str,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<(u16, String), String> {
        self.ask_at(self.address, bundle, method, path, body).await
    }

    pub(crate) async fn ask_at(
        &self,
        address: SocketAddr,
        bundle: &str,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<(u16, String), String> {
        secure::ask(address, HOST, bundle, method, path, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.send("GET", path, "application/json", &Value::Null).await
    }

    pub(crate) async fn delete(&self, path: &str) {
        self.send("DELETE", path, "application/json", &json!({})).await;
    }

    pub(crate) async fn change(&self, path: &str, patch: &Value) {
        let changed = self.send("PATCH", path, "application/merge-patch+json", patch).await;
        assert_ne!(changed["kind"], "Status", "{changed}");
    }

    async fn send(&self, method: &str, path: &str, media: &str, body: &Value) -> Value {
        self.send_by(self.sim.token(), method, path, media, body).await
    }

    async fn send_by(&self, token: &str, method: &str, path: &str, media: &str, body: &Value) -> Value {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = reqwest::Client::new().request(method, format!("{}{path}", self.sim.url()));
        request = request.bearer_auth(token).header("content-type", media);
        if !body.is_null() {
            request = request.body(body.to_string());
        }
        request.send().await.expect("an answer").json().await.expect("JSON")
    }

    /// Whether the account of the manifests may do that with `<resource>` or `<resource>/<name>`.
    pub(crate) async fn may(&self, verb: &str, what: &str, namespace: &str) -> bool {
        let (resource, name) = what.split_once('/').unwrap_or((what, ""));
        let group = if resource == "secrets" { "" } else { "admissionregistration.k8s.io" };
        let attributes = json!({
            "verb": verb, "resource": resource, "name": name, "group": group, "namespace": namespace,
        });
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": attributes },
        });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let answer = self.send_by(&self.token, "POST", path, "application/json", &review).await;
        answer["status"]["allowed"].as_bool().expect("an answer")
    }

    pub(crate) async fn close(self) {
        self.sim.shutdown().await;
    }
}

fn decoded(text: &str) -> String {
    String::from_utf8(STANDARD.decode(text).expect("base64")).expect("text")
}

fn spec(kubeconfig: &Path) -> ClusterSpec {
    ClusterSpec {
        engine: EngineKind::Kubernetes,
        kubeconfig: SecretRef { file: kubeconfig.to_owned() },
        context: None,
        agent: AgentPlace::Direct,
    }
}
