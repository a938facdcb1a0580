//! Removes pods that no kubelet will ever end: their node is gone, or declared out of service.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use serde_json::Value;
use tokio::time::Instant;

use super::{
    super::{Controller, Outcome},
    QUARANTINE,
};
use crate::{
    kind::{self, Kind},
    object::{self, Key, items, text},
    store::{Change, DeleteOptions, Event, Store},
};

const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

pub(crate) struct Orphans {
    pub store: Arc<Store>,
    /// Since when pods have been seen of nodes that do not exist.
    pub missing: HashMap<String, Instant>,
}

impl Controller for Orphans {
    fn kinds(&self) -> Vec<&'static Kind> {
        vec![&kind::NODES, &kind::PODS]
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        let (object, gone) = (&event.object, event.change == Change::Deleted);
        if *event.kind == kind::PODS {
            let node = text(object, "/spec/nodeName");
            let moved = event.previous.as_ref().is_none_or(|p| {
                text(p, "/spec/nodeName") != node || object::deleting(p) != object::deleting(object)
            });
            if moved && !gone && !node.is_empty() {
                queue.insert(Key::of(object));
            }
            return;
        }
        let name = object::name(object);
        if !gone {
            self.missing.remove(name);
        }
        let was_out = event.previous.as_deref().is_some_and(out_of_service);
        if gone || (out_of_service(object) && !was_out) {
            let pods = self.store.list(&kind::PODS, "").objects;
            queue.extend(pods.iter().filter(|p| text(p, "/spec/nodeName") == name).map(|p| Key::of(p)));
        }
    }

    async fn reconcile(&mut self, key: &Key) -> Outcome {
        let Some(pod) = self.store.get(&kind::PODS, key) else { return Ok(None) };
        let name = text(&pod, "/spec/nodeName");
        let node = self.store.get(&kind::NODES, &Key::new("", name));
        let message = match &node {
            Some(node) if object::deleting(&pod) && out_of_service(node) => "PodGC: node out of service",
            Some(_) => return Ok(None),
            None => {
                let since = *self.missing.entry(name.to_owned()).or_insert_with(Instant::now);
                let left = QUARANTINE.saturating_sub(since.elapsed());
                if !left.is_zero() {
                    return Ok(Some(left));
                }
                "PodGC: node no longer exists"
            }
        };
        super::disrupt(&self.store, key, "DeletionByPodGC", message, true)?;
        let options = DeleteOptions { uid: Some(object::uid(&pod).to_owned()), ..DeleteOptions::now() };
        self.store.delete(&kind::PODS, key, &options).map(|_| None)
    }
}

fn out_of_service(node: &Value) -> bool {
    let ready = object::condition_true(node, "Ready");
    !ready && items(node, "/spec/taints").iter().any(|t| t["key"] == OUT_OF_SERVICE)
}
