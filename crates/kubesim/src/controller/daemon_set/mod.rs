//! DaemonSets: one pod on every node that fits.

mod place;
mod plan;

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};
use tokio::time::Instant;

use self::{
    place::{Place, Places},
    plan::Step,
};
use super::{
    Controller, Outcome,
    backoff::Backoff,
    claim::Claims,
    pod::{self, Hands, Tools},
    revision::{self, History},
};
use crate::{
    clock,
    kind::{self, Kind},
    object::{self, Key, text},
    status::Status,
    store::{DeleteOptions, Event},
};

pub(crate) struct DaemonSets {
    hands: Hands,
    pods: Claims,
    history: History,
    backoff: Backoff,
}

impl Controller for DaemonSets {
    fn kinds(&self) -> Vec<&'static Kind> {
        vec![&kind::DAEMON_SETS, &kind::PODS, &kind::CONTROLLER_REVISIONS, &kind::NODES]
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        if *event.kind == kind::DAEMON_SETS {
            queue.insert(Key::of(&event.object));
        } else if *event.kind == kind::PODS {
            self.pods.observe(event, queue);
        } else if *event.kind == kind::NODES {
            queue.extend(self.hands.store.list(&kind::DAEMON_SETS, "").objects.iter().map(|s| Key::of(s)));
        } else {
            self.history.observe(event, queue);
        }
    }

    async fn reconcile(&mut self, key: &Key) -> Outcome {
        let Some(set) = self.hands.store.get(&kind::DAEMON_SETS, key) else {
            self.backoff.forget(key);
            return Ok(None);
        };
        if object::deleting(&set) {
            return Ok(None);
        }
        let revisions = self.history.sync(&set)?;
        let hash = revisions.last().and_then(|r| object::label(r, revision::HASH)).unwrap_or("").to_owned();
        let (places, lost) = self.places(&set)?;
        for pod in &lost {
            self.hands.store.delete(&kind::PODS, &Key::of(pod), &DeleteOptions::now())?;
        }
        let now = clock::now();
        let mut wait = None;
        for step in plan::next(&set, &hash, &places, now) {
            wait = [wait, self.take(key, &set, &hash, step).await?].into_iter().flatten().min();
        }
        let (places, _) = self.places(&set)?;
        self.report(key, &hash, &places)?;
        let pods = || places.values().flat_map(|p| &p.pods);
        self.history.trim(&set, &revisions, |r| {
            let label = object::label(r, revision::HASH).unwrap_or("");
            label == hash || pods().any(|p| revision::of_pod(p) == label)
        })?;
        let next = pod::next_available(pods().map(Arc::as_ref), plan::min_ready(&set), now);
        Ok([wait, next].into_iter().flatten().min())
    }
}

impl DaemonSets {
    pub(crate) fn new(tools: Tools) -> Self {
        let store = Arc::clone(&tools.store);
        let owner = &kind::DAEMON_SETS;
        let pods = Claims::new(Arc::clone(&store), owner, &kind::PODS);
        let history = History::new(store, owner, revision::HASH);
        Self {
            hands: Hands::new(tools, owner, "daemonset-controller"),
            backoff: Backoff::default(),
            pods,
            history,
        }
    }

    /// A pod that has ended is taken away the later the more often that was so on its node.
    async fn take(&mut self, key: &Key, set: &Value, hash: &str, step: Step) -> Outcome {
        match step {
            Step::Create(node) => self.hands.create(set, place::pod(set, hash, &node)).await.map(|_| None),
            Step::Delete(pod) if pod::ended(&pod) => {
                let (node, now) = (place::node_of(&pod), Instant::now());
                let left = self.backoff.left(key, node, now);
                if !left.is_zero() {
                    return Ok(Some(left));
                }
                self.backoff.failed(key, node, now);
                let name = object::name(&pod);
                if text(&pod, "/status/phase") == "Failed" {
                    let message =
                        format!("Found failed daemon pod {name} on node {node}, will try to kill it");
                    self.hands.warn(set, "FailedDaemonPod", message);
                } else {
                    let message =
                        format!("Found succeeded daemon pod {name} on node {node}, will try to delete it");
                    self.hands.note(set, "SucceededDaemonPod", message);
                }
                self.hands.delete(set, &pod).map(|()| None)
            }
            Step::Delete(pod) => self.hands.delete(set, &pod).map(|()| None),
        }
    }

    /// All nodes with the pods of this set, and the pods of nodes that are gone.
    fn places(&self, set: &Value) -> Result<(Places, Vec<Arc<Value>>), Status> {
        let nodes = self.hands.store.list(&kind::NODES, "").objects;
        let mut places: Places =
            nodes.iter().map(|node| (object::name(node).to_owned(), Place::new(set, node))).collect();
        let mut lost = Vec::new();
        for pod in self.pods.claim(set, |_| true)? {
            match places.get_mut(place::node_of(&pod)) {
                Some(place) => place.pods.push(pod),
                None => lost.push(pod),
            }
        }
        for place in places.values_mut() {
            place
                .pods
                .sort_by_key(|p| (text(p, "/metadata/creationTimestamp").to_owned(), object::version(p)));
        }
        Ok((places, lost))
    }

    fn report(&self, key: &Key, hash: &str, places: &Places) -> Result<Arc<Value>, Status> {
        let now = clock::now();
        self.hands.report(key, |value| {
            let min_ready = plan::min_ready(value);
            let count = |good: &dyn Fn(&Place) -> bool| places.values().filter(|p| good(p)).count();
            // Where a surge put two pods, the older one counts.
            let first = |place: &Place, good: &dyn Fn(&Value) -> bool| {
                place.should_run && place.pods.first().is_some_and(|p| good(p))
            };
            let desired = count(&|p| p.should_run);
            let available = count(&|p| first(p, &|pod| pod::available(pod, min_ready, now).is_ok()));
            let mut status = json!({
                "observedGeneration": value["metadata"]["generation"], "desiredNumberScheduled": desired,
                "currentNumberScheduled": count(&|p| first(p, &|_| true)),
                "numberMisscheduled": count(&|p| !p.should_run && !p.pods.is_empty()),
                "numberReady": count(&|p| first(p, &pod::ready)),
            });
            for (field, count) in [
                ("updatedNumberScheduled", count(&|p| first(p, &|pod| revision::of_pod(pod) == hash))),
                ("numberAvailable", available),
                ("numberUnavailable", desired - available),
            ] {
                if count > 0 {
                    status[field] = json!(count);
                }
            }
            if !value["status"]["collisionCount"].is_null() {
                status["collisionCount"] = value["status"]["collisionCount"].clone();
            }
            value["status"] = status;
        })
    }
}
