//! Deployments: one ReplicaSet per template, and the way from the old ones to the new one.

mod plan;
#[cfg(test)]
mod properties;
mod revision;
mod status;

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use super::{
    Controller, Outcome,
    claim::Claims,
    pod::{self, Hands, Tools},
};
use crate::{
    clock,
    kind::{self, Kind},
    object::{self, Key, int, text},
    status::Status,
    store::{Change, DeleteOptions, Event},
};

pub(crate) struct Deployments {
    hands: Hands,
    sets: Claims,
}

/// The ReplicaSets of one deployment: the one of its template, if it exists, and all others from old to young.
struct Rollout {
    new: Option<Arc<Value>>,
    old: Vec<Arc<Value>>,
}

impl Rollout {
    fn all(&self) -> Vec<&Value> {
        self.old.iter().chain(&self.new).map(Arc::as_ref).collect()
    }
}

impl Controller for Deployments {
    const REST: u32 = 3;

    fn kinds(&self) -> Vec<&'static Kind> {
        vec![&kind::DEPLOYMENTS, &kind::REPLICA_SETS, &kind::PODS]
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        if *event.kind == kind::DEPLOYMENTS {
            queue.insert(Key::of(&event.object));
        } else if *event.kind == kind::REPLICA_SETS {
            self.sets.observe(event, queue);
        } else if event.change == Change::Deleted || pod::ended(&event.object) {
            // `Recreate` waits for the last old pod, which no ReplicaSet counts any more.
            self.wake_for(&event.object, queue);
        }
    }

    async fn reconcile(&mut self, key: &Key) -> Outcome {
        let Some(seen) = self.hands.store.get(&kind::DEPLOYMENTS, key) else { return Ok(None) };
        if object::deleting(&seen) {
            return Ok(None);
        }
        let now = clock::now();
        let deployment = self.hands.report(key, |value| status::note_pause(value, now))?;
        let mut rollout = self.find(&deployment)?;
        let paused = deployment["spec"]["paused"] == true;
        let follows = paused || plan::number_changed(&deployment, &rollout.all());
        let steps = if follows {
            plan::follow_number(&deployment, rollout.new.as_deref(), &rollout.old)
        } else {
            self.roll(&deployment, &mut rollout).await?
        };
        for (name, replicas) in &steps {
            self.scale(&deployment, name, *replicas)?;
        }
        self.finish(key, &rollout, !follows)
    }
}

impl Deployments {
    pub(crate) fn new(tools: Tools) -> Self {
        let sets = Claims::new(Arc::clone(&tools.store), &kind::DEPLOYMENTS, &kind::REPLICA_SETS);
        let hands = Hands::new(tools, &kind::DEPLOYMENTS, "deployment-controller");
        Self { hands, sets }
    }

    fn wake_for(&self, pod: &Value, queue: &mut BTreeSet<Key>) {
        let namespace = object::namespace(pod);
        let set =
            object::controller(pod).filter(|o| o["kind"] == kind::REPLICA_SETS.kind).and_then(|owner| {
                self.hands.store.get(&kind::REPLICA_SETS, &Key::new(namespace, text(owner, "/name")))
            });
        if let Some(owner) = set.as_deref().and_then(object::controller) {
            queue.insert(Key::new(namespace, text(owner, "/name")));
        }
    }

    /// The sets as they are; the new one with the revision and the annotations that it should have.
    fn find(&self, deployment: &Value) -> Result<Rollout, Status> {
        let mut old = self.sets.claim(deployment, |_| true)?;
        old.sort_by_key(|s| (text(s, "/metadata/creationTimestamp").to_owned(), object::version(s)));
        let new = old.iter().position(|s| revision::same_template(deployment, s)).map(|at| old.remove(at));
        let Some(set) = new else { return Ok(Rollout { new: None, old }) };
        let number = revision::highest(&old) + 1;
        let set = self.hands.store.update(&kind::REPLICA_SETS, &Key::of(&set), |seen| {
            let value = revision::dress(deployment, seen, number);
            Ok((value != *seen).then_some(value))
        })?;
        Ok(Rollout { new: Some(set), old })
    }

    /// The next steps of a rollout, for which the new set is made when its time has come.
    async fn roll(&self, deployment: &Value, rollout: &mut Rollout) -> Result<Vec<plan::Step>, Status> {
        let recreate = text(deployment, "/spec/strategy/type") == "Recreate";
        if recreate {
            let downs = plan::stop_all(&rollout.old);
            if !downs.is_empty() || self.any_pod_left(&rollout.old) {
                return Ok(downs);
            }
        }
        if rollout.new.is_none() {
            rollout.new = Some(self.create_set(deployment, &rollout.old).await?);
        }
        let Some(new) = rollout.new.as_deref() else { return Ok(Vec::new()) };
        Ok(if recreate {
            plan::start_all(deployment, new)
        } else {
            plan::rolling(deployment, new, &rollout.old)
        })
    }

    fn any_pod_left(&self, old: &[Arc<Value>]) -> bool {
        let left = |set: &Arc<Value>| {
            let pods = self.hands.store.owned(&kind::PODS, object::uid(set));
            pods.iter().any(|p| !pod::ended(p))
        };
        old.iter().any(left)
    }

    async fn create_set(&self, deployment: &Value, old: &[Arc<Value>]) -> Result<Arc<Value>, Status> {
        let key = Key::of(deployment);
        let set = revision::new_set(deployment, revision::highest(old) + 1);
        match self.hands.make(&kind::REPLICA_SETS, set).await {
            // The name belongs to somebody else: another hash next time.
            Err(status) if status.reason == "AlreadyExists" => {
                let collisions = int(deployment, "/status/collisionCount").unwrap_or(0) + 1;
                let path = ["status", "collisionCount"];
                self.hands.report(&key, |value| object::set(value, &path, json!(collisions)))?;
                Err(status)
            }
            Ok(set) => {
                self.hands.report(&key, |value| status::note_creation(value, &set, clock::now()))?;
                Ok(set)
            }
            other => other,
        }
    }

    fn scale(&self, deployment: &Value, set: &Key, replicas: i64) -> Result<(), Status> {
        let Some(seen) = self.hands.store.get(&kind::REPLICA_SETS, set) else { return Ok(()) };
        let before = int(&seen, "/spec/replicas").unwrap_or(0);
        self.hands.store.update(&kind::REPLICA_SETS, set, |seen| {
            let mut value = seen.clone();
            object::set(&mut value, &["spec", "replicas"], json!(replicas));
            revision::note_number(deployment, &mut value);
            Ok((value != *seen).then_some(value))
        })?;
        if replicas != before {
            let way = if replicas > before { "up" } else { "down" };
            let message = format!("Scaled {way} replica set {} from {before} to {replicas}", set.name);
            self.hands.note(deployment, "ScalingReplicaSet", message);
        }
        Ok(())
    }

    /// Writes the status and forgets old revisions once there is nothing left to do.
    fn finish(&self, key: &Key, rollout: &Rollout, rolling: bool) -> Outcome {
        let fresh = |set: &Arc<Value>| self.hands.store.get(&kind::REPLICA_SETS, &Key::of(set));
        let new = rollout.new.as_ref().and_then(fresh);
        let sets: Vec<Arc<Value>> = rollout.old.iter().filter_map(fresh).chain(new.clone()).collect();
        let now = clock::now();
        let done =
            self.hands.report(key, |value| status::observe(value, new.as_deref(), &sets, rolling, now))?;
        if !rolling || status::complete(&done) {
            for set in revision::superfluous(&done, &rollout.old) {
                self.hands.store.delete(&kind::REPLICA_SETS, &Key::of(set), &DeleteOptions::now())?;
            }
        }
        Ok(status::patience(&done, now).filter(|_| rolling))
    }
}
