//! Jobs: pods that are to end well a number of times, and what happens when they do not.

mod index;
mod plan;
mod policy;
mod tally;
mod template;
mod verdict;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::time::Instant;

use super::{
    Controller, Outcome,
    backoff::Backoff,
    claim::Claims,
    pod::{self, Hands, Tools},
};
use crate::{
    clock,
    kind::{self, Kind},
    object::{self, Key, text},
    status::Status,
    store::{DeleteOptions, Event, Propagation},
};

pub(crate) use self::verdict::finished;

/// Keeps a pod until its end has been counted.
const FINALIZER: &str = "batch.kubernetes.io/job-tracking";

pub(crate) struct Jobs {
    hands: Hands,
    pods: Claims,
    /// New pods wait the longer the more of them have failed.
    backoff: Backoff,
}

impl Controller for Jobs {
    fn kinds(&self) -> Vec<&'static Kind> {
        vec![&kind::JOBS, &kind::PODS]
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        if *event.kind == kind::JOBS {
            queue.insert(Key::of(&event.object));
            return;
        }
        self.pods.observe(event, queue);
        if tracked(&event.object) && self.orphan(&event.object) {
            queue.insert(Key::new(object::namespace(&event.object), ""));
        }
    }

    async fn reconcile(&mut self, key: &Key) -> Outcome {
        let Some(job) = self.hands.store.get(&kind::JOBS, key) else {
            self.backoff.forget(key);
            return self.free_orphans(&key.namespace).map(|()| None);
        };
        let pods = self.pods.claim(&job, |_| true)?;
        if object::deleting(&job) {
            return self.free(pods.iter().filter(|p| !pod::active(p))).map(|()| None);
        }
        if finished(&job).is_some() {
            self.free(pods.iter())?;
            return self.expire(key, &job);
        }
        let managed = text(&job, "/spec/managedBy");
        if !matches!(managed, "" | "kubernetes.io/job-controller") {
            return Ok(None);
        }
        self.step(key, pods).await
    }
}

impl Jobs {
    pub(crate) fn new(tools: Tools) -> Self {
        let pods = Claims::new(Arc::clone(&tools.store), &kind::JOBS, &kind::PODS);
        let hands = Hands::new(tools, &kind::JOBS, "job-controller");
        Self { hands, pods, backoff: Backoff::default() }
    }

    /// Counts what has ended, judges the job, and makes or takes away pods accordingly.
    async fn step(&mut self, key: &Key, pods: Vec<Arc<Value>>) -> Outcome {
        let now = clock::now();
        let before = self.hands.report(key, |job| verdict::begin(job, now))?;
        let over = tally::over(&before, &pods);
        // The count is written before the pods are let go: none is counted twice, and none is forgotten.
        let job = self.hands.report(key, |job| {
            tally::count(job, &over, &pods);
            policy::apply(job, &over, now);
        })?;
        self.note_ends(key, &job, &over);
        self.free(over.iter().map(|o| &o.pod))?;
        let pods = if over.is_empty() { pods } else { self.pods.claim(&job, |_| true)? };
        let job = self.hands.report(key, |job| verdict::judge(job, &pods, now))?;
        let wait = self.act(key, &job, &pods).await?;
        let pods = self.pods.claim(&job, |_| true)?;
        let job = self.hands.report(key, |job| {
            tally::status(job, &pods);
            verdict::conclude(job, &pods, now);
        })?;
        self.tell(&before, &job);
        Ok([wait, verdict::patience(&job, now)].into_iter().flatten().min())
    }

    async fn act(&self, key: &Key, job: &Value, pods: &[Arc<Value>]) -> Outcome {
        let active = || pods.iter().filter(|p| pod::active(p));
        if object::condition_true(job, "FailureTarget") {
            active().try_for_each(|pod| self.hands.delete(job, pod))?;
        } else if object::condition_true(job, "SuccessCriteriaMet") || job["spec"]["suspend"] == true {
            active().try_for_each(|pod| self.drop(job, pod))?;
        } else {
            let plan = plan::balance(job, pods);
            plan.surplus.iter().try_for_each(|pod| self.drop(job, pod))?;
            return self.fill(key, job, pods, &plan.missing).await;
        }
        Ok(None)
    }

    /// Takes a pod away that nobody needs: its end counts neither as success nor as failure.
    fn drop(&self, job: &Value, pod: &Arc<Value>) -> Result<(), Status> {
        self.free([pod].into_iter())?;
        self.hands.delete(job, pod)
    }

    fn free<'a>(&self, pods: impl Iterator<Item = &'a Arc<Value>>) -> Result<(), Status> {
        for pod in pods.filter(|p| tracked(p)) {
            let done = self.hands.store.update(&kind::PODS, &Key::of(pod), |seen| {
                let mut value = seen.clone();
                let left = object::items(seen, "/metadata/finalizers").iter().filter(|f| *f != FINALIZER);
                object::set(&mut value, &["metadata", "finalizers"], left.cloned().collect());
                Ok(tracked(seen).then_some(value))
            });
            match done {
                Err(status) if status.code != 404 => return Err(status),
                _ => {}
            }
        }
        Ok(())
    }

    /// Pods whose job is gone, or that were let go, need not wait to be counted.
    fn free_orphans(&self, namespace: &str) -> Result<(), Status> {
        let pods = self.hands.store.list(&kind::PODS, namespace).objects;
        self.free(pods.iter().filter(|p| self.orphan(p)))
    }

    fn orphan(&self, pod: &Value) -> bool {
        let owner = object::controller(pod);
        owner.is_none_or(|o| o["kind"] == "Job" && !self.hands.store.has_uid(text(o, "/uid")))
    }

    /// Makes pods, except where the last one failed just now; answers how long that is to be waited for.
    async fn fill(&self, key: &Key, job: &Value, pods: &[Arc<Value>], missing: &[Option<i64>]) -> Outcome {
        let now = Instant::now();
        let mut wait: Option<Duration> = None;
        for index in missing {
            let left = self.backoff.left(key, &part(job, *index), now);
            if left.is_zero() {
                self.hands.create(job, template::pod(job, *index, pods)).await?;
            } else {
                wait = Some(wait.map_or(left, |w| w.min(left)));
            }
        }
        Ok(wait)
    }

    fn note_ends(&mut self, key: &Key, job: &Value, over: &[tally::Over]) {
        for over in over {
            let part = part(job, index::of_pod(&over.pod));
            if over.succeeded {
                self.backoff.succeeded(key, &part);
            } else {
                self.backoff.failed(key, &part, Instant::now());
            }
        }
    }

    fn tell(&self, before: &Value, after: &Value) {
        let news = |name: &str| {
            let now = object::condition(after, name)?;
            let same = object::condition(before, name).is_some_and(|c| c["status"] == now["status"]);
            (!same).then(|| now.clone())
        };
        if news("Complete").is_some() {
            self.hands.note(after, "Completed", "Job completed".to_owned());
        }
        if let Some(condition) = news("Failed") {
            self.hands.warn(after, text(&condition, "/reason"), text(&condition, "/message").to_owned());
        }
        match news("Suspended") {
            Some(c) if c["status"] == "True" => {
                self.hands.note(after, "Suspended", "Job suspended".to_owned())
            }
            Some(_) => self.hands.note(after, "Resumed", "Job resumed".to_owned()),
            None => {}
        }
    }

    /// A finished job goes by itself when it is told to.
    fn expire(&mut self, key: &Key, job: &Value) -> Outcome {
        self.backoff.forget(key);
        let left = verdict::time_to_live(job, clock::now());
        if left.is_none_or(|left| !left.is_zero()) {
            return Ok(left);
        }
        let options = DeleteOptions {
            propagation: Propagation::Foreground,
            uid: Some(object::uid(job).to_owned()),
            ..DeleteOptions::default()
        };
        match self.hands.store.delete(&kind::JOBS, key, &options) {
            Err(status) if status.code != 404 => Err(status),
            _ => Ok(None),
        }
    }
}

/// What fails on its own: an index that has its own limit, or else the whole job.
fn part(job: &Value, index: Option<i64>) -> String {
    let own = !job["spec"]["backoffLimitPerIndex"].is_null();
    index.filter(|_| own).map(|at| at.to_string()).unwrap_or_default()
}

fn tracked(pod: &Value) -> bool {
    object::items(pod, "/metadata/finalizers").iter().any(|f| f == FINALIZER)
}
