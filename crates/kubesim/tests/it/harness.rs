//! A simulator for one test, and bounded waiting.

use std::{future::Future, time::Duration};

use bcs_kubesim::{Config, Kubesim};
use kube::{Client, config::Kubeconfig};
use serde_json::{Value, json};

pub(crate) async fn sim(name: &str) -> Kubesim {
    let config = Config { name: name.to_owned(), ..Config::default() };
    bcs_kubesim::start(config).await.expect("a simulator")
}

pub(crate) async fn client(sim: &Kubesim) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(&sim.kubeconfig()).expect("a kubeconfig");
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("a configuration");
    Client::try_from(config).expect("a client")
}

/// Asks again and again until the answer is there, for half a minute at most.
pub(crate) async fn eventually<T, F: Future<Output = Result<T, String>>>(mut ask: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        match ask().await {
            Ok(value) => return value,
            Err(why) if tokio::time::Instant::now() > deadline => panic!("waited in vain: {why}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// A raw request with the token, for what typed clients cannot say.
pub(crate) struct Raw<'a>(pub(crate) &'a Kubesim);

impl Raw<'_> {
    pub(crate) async fn send(&self, method: &str, path: &str, media: &str, body: &str) -> (u16, Value) {
        self.by(self.0.token()).send(method, path, media, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.by(self.0.token()).get(path).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.by(self.0.token()).post(path, body).await
    }

    /// Whoever has this token.
    pub(crate) fn by(&self, token: &str) -> Caller {
        Caller { url: self.0.url(), token: token.to_owned(), user: None }
    }
}

/// Somebody who asks.
pub(crate) struct Caller {
    url: String,
    token: String,
    user: Option<String>,
}

impl Caller {
    /// In the name of somebody else.
    pub(crate) fn impersonates(self, user: &str) -> Self {
        Self { user: Some(user.to_owned()), ..self }
    }

    pub(crate) async fn send(&self, method: &str, path: &str, media: &str, body: &str) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("method");
        let request = reqwest::Client::new().request(method, format!("{}{path}", self.url));
        let mut request =
            request.bearer_auth(&self.token).header("content-type", media).body(body.to_owned());
        if let Some(user) = &self.user {
            request = request.header("Impersonate-User", user);
        }
        let response = request.send().await.expect("an answer");
        let code = response.status().as_u16();
        let text = response.text().await.expect("a body");
        (code, serde_json::from_str(&text).unwrap_or_else(|_| json!(text)))
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, "application/json", "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send("POST", path, "application/json", &body.to_string()).await
    }
}

pub(crate) fn deployment(name: &str, replicas: u32, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": {"sim.bcs/startup": "10ms"}},
                "spec": {"containers": [{"name": "main", "image": image, "ports": [{"containerPort": 8080}]}]},
            },
        },
    })
}

pub(crate) fn pod(name: &str, annotations: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}, "annotations": annotations},
        "spec": {"containers": [{"name": "main", "image": "web:1", "ports": [{"containerPort": 8080}]}]},
    })
}

pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";
pub(crate) const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

pub(crate) fn ready(object: &Value) -> bool {
    let list = object["status"]["conditions"].as_array();
    list.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// Waits until this many pods of the namespace are ready, and returns them.
pub(crate) async fn ready_pods(sim: &Kubesim, count: usize) -> Vec<Value> {
    eventually(|| async move {
        let (_, list) = Raw(sim).get(PODS).await;
        let all = list["items"].as_array().cloned().unwrap_or_default();
        let good: Vec<Value> = all
            .iter()
            .filter(|p| ready(p) && p["metadata"]["deletionTimestamp"].is_null())
            .cloned()
            .collect();
        if good.len() == count && all.len() == count {
            Ok(good)
        } else {
            Err(format!("{} of {} pods are ready", good.len(), all.len()))
        }
    })
    .await
}

pub(crate) const REPLICA_SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";

/// Waits until the object at this path is as wanted, and returns it.
pub(crate) async fn until(sim: &Kubesim, path: &str, good: impl Fn(&Value) -> bool) -> Value {
    eventually(|| async {
        let (_, object) = Raw(sim).get(path).await;
        if good(&object) { Ok(object) } else { Err(format!("{path}: {object:#}")) }
    })
    .await
}

/// A merge patch that must be accepted.
pub(crate) async fn change(sim: &Kubesim, path: &str, patch: &Value) -> Value {
    let (code, object) =
        Raw(sim).send("PATCH", path, "application/merge-patch+json", &patch.to_string()).await;
    assert_eq!(code, 200, "{object}");
    object
}

pub(crate) async fn create(sim: &Kubesim, path: &str, object: &Value) -> Value {
    let (code, made) = Raw(sim).post(path, object).await;
    assert_eq!(code, 201, "{made}");
    made
}

pub(crate) fn condition<'a>(object: &'a Value, name: &str) -> &'a Value {
    let list = object["status"]["conditions"].as_array();
    list.and_then(|l| l.iter().find(|c| c["type"] == name)).unwrap_or(&Value::Null)
}

/// The items of a list, by their names.
pub(crate) async fn list(sim: &Kubesim, path: &str) -> Vec<(String, Value)> {
    let (_, list) = Raw(sim).get(path).await;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items.into_iter().map(|o| (o["metadata"]["name"].as_str().unwrap_or("").to_owned(), o)).collect()
}
