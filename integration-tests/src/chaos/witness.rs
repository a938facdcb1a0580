//! Somebody who watches every pod, and looks into the registries at the moment that one is being stopped: a registry that
//! still names it then was not waited for. The look comes after the stop, so what it finds was there when the stop began.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use bcs_kit::Tasks;
use etcd_client::GetOptions;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    config::{KubeConfigOptions, Kubeconfig},
    runtime::watcher::{self, Event},
};

use super::{order::cluster_name, world::World};

/// What was seen; it stops to look when it is dropped.
pub(super) struct Witness {
    seen: Arc<Mutex<Seen>>,
    tasks: Tasks,
}

#[derive(Default)]
struct Seen {
    stopped: HashSet<String>,
    wrong: Vec<String>,
}

/// Where one cluster's instances are registered.
struct Place {
    cluster: String,
    etcd: String,
    file: PathBuf,
}

/// Between attempts to watch an API server that is in trouble, or to ask a registry that is.
const PAUSE: Duration = Duration::from_millis(50);

impl Witness {
    pub(super) async fn of(world: &World) -> Result<Self> {
        let witness = Self { seen: Arc::default(), tasks: Tasks::new() };
        for number in 0..world.shape.clusters {
            let cluster = cluster_name(number);
            let path = world.lab.path().join(format!("{cluster}.kubeconfig"));
            let kubeconfig = Kubeconfig::read_from(&path).with_context(|| path.display().to_string())?;
            let options = KubeConfigOptions::default();
            let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
            config.proxy_url = None;
            let pods: Api<Pod> = Api::all(Client::try_from(config)?);
            let file = world.registry().join(format!("{cluster}.json"));
            let place = Place { cluster, etcd: world.etcd.clone(), file };
            let (seen, stopping) = (witness.seen.clone(), witness.tasks.stopping());
            witness.tasks.spawn("witness", async move {
                stopping.run_until_cancelled(Box::pin(watch(pods, place, seen))).await;
            });
        }
        Ok(witness)
    }

    /// How many it saw being stopped, and what was wrong about that.
    pub(super) fn findings(&self) -> (usize, Vec<String>) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        (seen.stopped.len(), seen.wrong.clone())
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
    }
}

async fn watch(pods: Api<Pod>, place: Place, seen: Arc<Mutex<Seen>>) {
    let mut events = watcher::watcher(pods, watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        let pod = match event {
            Ok(Event::Apply(pod) | Event::InitApply(pod)) if pod.metadata.deletion_timestamp.is_some() => pod,
            Ok(Event::Delete(pod)) => pod,
            Ok(_) => continue,
            // It is down, or fails on purpose.
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(uid) = pod.uid() else { continue };
        if !seen.lock().unwrap_or_else(PoisonError::into_inner).stopped.insert(uid.clone()) {
            continue;
        }
        let naming = place.naming(&uid).await;
        if !naming.is_empty() {
            let wrong =
                format!("{} in {} was stopped while {naming:?} named it", pod.name_any(), place.cluster);
            seen.lock().unwrap_or_else(PoisonError::into_inner).wrong.push(wrong);
        }
    }
}

impl Place {
    /// The registries that name an instance.
    async fn naming(&self, uid: &str) -> Vec<&'static str> {
        let mut naming = Vec::new();
        if std::fs::read_to_string(&self.file).unwrap_or_default().contains(uid) {
            naming.push("file");
        }
        loop {
            match self.in_etcd(uid).await {
                Ok(true) => naming.push("etcd"),
                Ok(false) => (),
                // It is down: what it holds does not change meanwhile.
                Err(_) => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            }
            return naming;
        }
    }

    async fn in_etcd(&self, uid: &str) -> Result<bool> {
        let ask = async {
            let mut client = etcd_client::Client::connect([&self.etcd], None).await?;
            let found = client.get("/skydns/", Some(GetOptions::new().with_prefix())).await?;
            Ok(found.kvs().iter().any(|kv| String::from_utf8_lossy(kv.value()).contains(uid)))
        };
        tokio::time::timeout(Duration::from_secs(1), ask).await?
    }
}
