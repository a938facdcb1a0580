//! StatefulSets: pods with names that stay, made, updated and taken away in order.

mod identity;
mod plan;
mod storage;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Value, json};

use super::{
    Controller, Outcome,
    claim::Claims,
    pod::{self, Hands, Tools},
    revision::{self, History},
};
use crate::{
    clock,
    kind::{self, Kind},
    object::{self, Key, int, text},
    status::Status,
    store::Event,
};

pub(crate) struct StatefulSets {
    hands: Hands,
    pods: Claims,
    history: History,
}

/// Pods by their ordinal.
type Pods = BTreeMap<i64, Arc<Value>>;

/// The names of the revision that all pods had and of the one that they are to have.
struct Revisions {
    known: Vec<Arc<Value>>,
    current: String,
    update: String,
}

impl Revisions {
    fn template(&self, name: &str, set: &Value) -> Value {
        let found = self.known.iter().find(|r| object::name(r) == name);
        found.map_or_else(|| set["spec"]["template"].clone(), |r| revision::template(r))
    }
}

impl Controller for StatefulSets {
    fn kinds(&self) -> Vec<&'static Kind> {
        vec![&kind::STATEFUL_SETS, &kind::PODS, &kind::CONTROLLER_REVISIONS]
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        if *event.kind == kind::STATEFUL_SETS {
            queue.insert(Key::of(&event.object));
        } else if *event.kind == kind::PODS {
            self.pods.observe(event, queue);
        } else {
            self.history.observe(event, queue);
        }
    }

    async fn reconcile(&mut self, key: &Key) -> Outcome {
        let Some(set) = self.hands.store.get(&kind::STATEFUL_SETS, key) else { return Ok(None) };
        if object::deleting(&set) {
            return Ok(None);
        }
        let revisions = self.revisions(&set)?;
        let pods = self.pods(&set)?;
        storage::retain(&self.hands.store, &set, &pods)?;
        let wait = pod::next_available(pods.values().map(Arc::as_ref), plan::min_ready(&set), clock::now());
        for step in plan::next(&set, &revisions.update, &pods, clock::now()) {
            self.take(&set, &revisions, &pods, step).await?;
        }
        let pods = self.pods(&set)?;
        self.report(key, &revisions, &pods)?;
        self.history.trim(&set, &revisions.known, |r| {
            let name = object::name(r);
            name == revisions.current
                || name == revisions.update
                || pods.values().any(|p| revision::of_pod(p) == name)
        })?;
        Ok(wait)
    }
}

impl StatefulSets {
    pub(crate) fn new(tools: Tools) -> Self {
        let store = Arc::clone(&tools.store);
        let owner = &kind::STATEFUL_SETS;
        let pods = Claims::new(Arc::clone(&store), owner, &kind::PODS);
        let history = History::new(store, owner, "controller.kubernetes.io/hash");
        Self { hands: Hands::new(tools, owner, "statefulset-controller"), pods, history }
    }

    fn revisions(&self, set: &Value) -> Result<Revisions, Status> {
        let known = self.history.sync(set)?;
        let update = known.last().map_or("", |r| object::name(r)).to_owned();
        let current = text(set, "/status/currentRevision");
        let current = if current.is_empty() { update.clone() } else { current.to_owned() };
        Ok(Revisions { known, current, update })
    }

    fn pods(&self, set: &Value) -> Result<Pods, Status> {
        let mine = self.pods.claim(set, |pod| identity::ordinal(set, pod).is_some())?;
        Ok(mine.into_iter().filter_map(|pod| Some((identity::ordinal(set, &pod)?, pod))).collect())
    }

    async fn take(
        &self,
        set: &Value,
        revisions: &Revisions,
        pods: &Pods,
        step: plan::Step,
    ) -> Result<(), Status> {
        match step {
            plan::Step::Create(ordinal) => {
                let old = plan::keeps_current(set, ordinal);
                let name = if old { &revisions.current } else { &revisions.update };
                let pod = identity::pod(set, &revisions.template(name, set), name, ordinal);
                storage::create(&self.hands, set, &pod).await?;
                self.hands.create(set, pod).await.map(|_| ())
            }
            plan::Step::Delete(ordinal) => {
                pods.get(&ordinal).map_or(Ok(()), |pod| self.hands.delete(set, pod))
            }
        }
    }

    fn report(&self, key: &Key, revisions: &Revisions, pods: &Pods) -> Result<Arc<Value>, Status> {
        let now = clock::now();
        self.hands.report(key, |value| {
            let min_ready = plan::min_ready(value);
            let count = |good: &dyn Fn(&Value) -> bool| pods.values().filter(|p| good(p)).count();
            let of = |name: &str| count(&|p| !object::deleting(p) && revision::of_pod(p) == name);
            let mut status = json!({
                "observedGeneration": value["metadata"]["generation"], "replicas": pods.len(),
                "readyReplicas": count(&plan::serves), "currentReplicas": of(&revisions.current),
                "availableReplicas": count(&|p| pod::available(p, min_ready, now).is_ok()),
                "updatedReplicas": of(&revisions.update), "currentRevision": revisions.current,
                "updateRevision": revisions.update,
                "collisionCount": int(value, "/status/collisionCount").unwrap_or(0),
            });
            // A rollout is over when every pod has the new revision and serves.
            let wanted = plan::replicas(value);
            let all = |field: &str| status[field].as_i64() == Some(wanted);
            if plan::rolls(value) && all("updatedReplicas") && all("readyReplicas") && all("replicas") {
                status["currentRevision"] = json!(revisions.update);
                status["currentReplicas"] = status["updatedReplicas"].clone();
            }
            for field in ["readyReplicas", "currentReplicas", "updatedReplicas"] {
                if status[field] == 0 {
                    object::unset(&mut status, &[field]);
                }
            }
            value["status"] = status;
        })
    }
}
