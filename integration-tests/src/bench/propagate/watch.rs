//! Somebody who only watches the API servers, and can create what the product creates.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use bcs_kit::Tasks;
use futures::StreamExt;
use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Namespace};
use kube::{
    Api, Client,
    api::PostParams,
    runtime::watcher::{self, Event},
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::Asked;

/// Label by which an object is recognized: the product's own, which the floor writes as well.
const APP: &str = "bcs.io/app";
/// Namespace of the floor.
const NAMESPACE: &str = "floor";

/// First sights, in all clusters.
#[derive(Default)]
pub(super) struct Watch {
    clients: Vec<Client>,
    seen: Arc<Mutex<HashMap<String, Instant>>>,
    tasks: Tasks,
}

impl Watch {
    pub(super) fn clusters(&self) -> usize {
        self.clients.len()
    }

    /// Watches one more cluster.
    pub(super) fn add(&mut self, client: Client) {
        let sets: Api<ReplicaSet> = Api::all(client.clone());
        let (seen, stopping) = (self.seen.clone(), self.tasks.stopping());
        self.tasks.spawn("watch", async move {
            let mut events = watcher::watcher(sets, watcher::Config::default()).boxed();
            loop {
                let event = tokio::select! {
                    () = stopping.cancelled() => return,
                    event = events.next() => event,
                };
                match event {
                    Some(Ok(Event::Apply(set) | Event::InitApply(set))) => note(&seen, &set),
                    Some(Ok(_)) => (),
                    Some(Err(error)) => eprintln!("a watch broke: {error}"),
                    None => return,
                }
            }
        });
        self.clients.push(client);
    }

    /// When an object with this name was seen.
    pub(super) async fn seen(&self, name: &str, within: Duration) -> Result<Instant> {
        let look = async {
            loop {
                let found = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied();
                match found {
                    Some(at) => return at,
                    None => sleep(Duration::from_millis(5)).await,
                }
            }
        };
        tokio::time::timeout(within, look).await.with_context(|| format!("{name} never came to its cluster"))
    }

    /// The namespace of the floor; the product's is there with its first application.
    pub(super) async fn namespace(&self, cluster: usize) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.clients[cluster].clone());
        let namespace = serde_json::from_value(json!({ "metadata": { "name": NAMESPACE } }))?;
        namespaces.create(&PostParams::default(), &namespace).await?;
        Ok(())
    }

    /// Creates by hand what the product creates, at the moment that it gives back.
    pub(super) async fn create(&self, name: String, cluster: usize) -> Result<Asked> {
        let labels = json!({ APP: name, "app.kubernetes.io/managed-by": "bench" });
        let set: ReplicaSet = serde_json::from_value(json!({
            "metadata": { "name": name, "labels": labels },
            "spec": {
                "replicas": 1,
                "selector": { "matchLabels": labels },
                "template": {
                    "metadata": { "labels": labels },
                    "spec": { "containers": [{ "name": "main", "image": "registry.example/bench:v1" }] },
                },
            },
        }))?;
        let sets: Api<ReplicaSet> = Api::namespaced(self.clients[cluster].clone(), NAMESPACE);
        let at = Instant::now();
        sets.create(&PostParams::default(), &set).await?;
        Ok(Asked { name, at, answered: at.elapsed() })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
    }
}

fn note(seen: &Mutex<HashMap<String, Instant>>, set: &ReplicaSet) {
    let at = Instant::now();
    let app = set.metadata.labels.as_ref().and_then(|labels| labels.get(APP));
    if let Some(app) = app {
        seen.lock().unwrap_or_else(PoisonError::into_inner).entry(app.clone()).or_insert(at);
    }
}
