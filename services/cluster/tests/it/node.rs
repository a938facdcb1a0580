//! Nodes that come and go while something is asked of them.

use bcs_client::Position;
use bcs_schemas::{
    Service,
    bucket::NODES,
    cluster::{CordonNode, UncordonNode},
    observation::Node,
    outcome::Outcome,
};
use serde_json::{Value, json};

use crate::site::{LONG, Site, until};

/// Whether the node is seen, and closed.
fn seen(name: &str, wanted: Option<bool>) -> impl FnMut(Vec<Node>) -> Result<(), String> {
    let name = name.to_owned();
    move |all| {
        let found = all.iter().find(|n| n.name == name).map(|n| n.cordoned);
        if found == wanted { Ok(()) } else { Err(format!("{found:?} instead of {wanted:?}")) }
    }
}

fn events_of(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Accepted(accepted) => accepted.events.len(),
        Outcome::Rejected(rejected) => panic!("{rejected:?}"),
    }
}

#[tokio::test]
async fn what_was_asked_of_nodes_that_left_is_void_and_one_of_the_same_name_begins_anew() {
    let site = Site::open().await;
    site.with_cluster("sim-a").await;
    let nodes = site.view(NODES).await;
    let names = until(&nodes, |all| match &all[..] {
        [one, two, _] => Ok([one.name.clone(), two.name.clone()]),
        other => Err(format!("{other:?}")),
    })
    .await;
    let [closed, opened] = &names;
    let mut events = site.client.events(&[Service::Cluster], Position::New).await.expect("opens");
    site.send("sim-a", CordonNode { node: closed.clone() }).await;
    site.send("sim-a", UncordonNode { node: opened.clone() }).await;
    until(&nodes, seen(closed, Some(true))).await;

    let kubernetes = Kubernetes::of(&site);
    let manifest = kubernetes.node(closed).await;
    for name in &names {
        kubernetes.delete(name).await;
    }
    let mut void = Vec::new();
    while void.len() < 2 {
        let event = tokio::time::timeout(LONG, events.next()).await.expect("it is said").expect("lives");
        if event.subject.verb.as_str() == "node-gone" {
            void.push(event.payload["node"].as_str().expect("a name").to_owned());
        }
    }
    void.sort();
    assert_eq!(void, names);

    // The next one of that name is open, stays so, and can be closed: nothing is left of the wish.
    kubernetes.create(&manifest).await;
    until(&nodes, seen(closed, Some(false))).await;
    assert_eq!(events_of(site.send("sim-a", CordonNode { node: closed.clone() }).await), 1);
    until(&nodes, seen(closed, Some(true))).await;
    site.close().await;
}

/// The API of the cluster as an administrator uses it.
struct Kubernetes {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Kubernetes {
    fn of(site: &Site) -> Self {
        let url = format!("{}/api/v1/nodes", site.sim.url());
        Self { http: reqwest::Client::new(), url, token: site.sim.token().to_owned() }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Value {
        let answer = request.bearer_auth(&self.token).send().await.expect("answers");
        answer.error_for_status().expect("does it").json().await.expect("JSON")
    }

    async fn node(&self, name: &str) -> Value {
        let found = self.send(self.http.get(format!("{}/{name}", self.url))).await;
        let labels = &found["metadata"]["labels"];
        let metadata = json!({ "name": name, "labels": labels });
        json!({ "apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": found["status"] })
    }

    async fn delete(&self, name: &str) {
        self.send(self.http.delete(format!("{}/{name}", self.url))).await;
    }

    async fn create(&self, manifest: &Value) {
        self.send(self.http.post(&self.url).json(manifest)).await;
    }
}
