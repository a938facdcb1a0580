//! What all workload controllers do with pods: judge them, make them from a template, delete them.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::recorder::{Note, Recorder};
use crate::{
    access::Identity,
    admission::{Attributes, Gate, Operation},
    kind::{self, Kind},
    object::{self, Key, text},
    status::Status,
    store::{DeleteOptions, Store},
};

/// Neither ended nor told to end.
pub(crate) fn active(pod: &Value) -> bool {
    !object::deleting(pod) && !ended(pod)
}

pub(crate) fn ended(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

pub(crate) fn ready(pod: &Value) -> bool {
    object::condition_true(pod, "Ready")
}

/// When a pod counts as available: now, later, or not until something changes.
pub(crate) fn available(pod: &Value, min_ready: i64, now: Timestamp) -> Result<(), Option<Duration>> {
    if !ready(pod) {
        return Err(None);
    }
    let since = object::condition(pod, "Ready")
        .and_then(|c| text(c, "/lastTransitionTime").parse::<Timestamp>().ok());
    let ready_for = since.map_or(i64::MAX, |at| now.duration_since(at).as_secs());
    if min_ready <= 0 || ready_for >= min_ready {
        return Ok(());
    }
    Err(Some(Duration::from_secs(u64::try_from(min_ready - ready_for).unwrap_or(1))))
}

/// How long until the first of these pods becomes available by mere time.
pub(crate) fn next_available<'a>(
    pods: impl Iterator<Item = &'a Value>,
    min_ready: i64,
    now: Timestamp,
) -> Option<Duration> {
    pods.filter_map(|pod| available(pod, min_ready, now).err().flatten()).min()
}

/// A pod as the template wants it, which will get a random name that begins like its owner's.
pub(crate) fn draft(kind: &Kind, owner: &Value, template: &Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"]});
    object::unset(&mut pod, &["metadata", "creationTimestamp"]);
    for (field, value) in [
        ("namespace", json!(object::namespace(owner))),
        ("ownerReferences", json!([object::owner_reference(kind, owner)])),
    ] {
        object::set(&mut pod, &["metadata", field], value);
    }
    name_randomly(&mut pod, &format!("{}-", object::name(owner)));
    pod
}

/// Leaves room for the random part.
pub(crate) fn name_randomly(pod: &mut Value, base: &str) {
    let base: String = base.chars().take(58).collect();
    object::set(pod, &["metadata", "generateName"], json!(base));
}

/// What every controller works with.
#[derive(Clone)]
pub(crate) struct Tools {
    pub store: Arc<Store>,
    pub recorder: Arc<Recorder>,
    pub gate: Arc<Gate>,
}

/// The hands of a controller: what it does to pods is told in events about their owner.
pub(crate) struct Hands {
    pub store: Arc<Store>,
    recorder: Arc<Recorder>,
    gate: Arc<Gate>,
    kind: &'static Kind,
    component: &'static str,
    who: Identity,
}

impl Hands {
    pub(crate) fn new(tools: Tools, kind: &'static Kind, component: &'static str) -> Self {
        let Tools { store, recorder, gate } = tools;
        Self { store, recorder, gate, kind, component, who: Identity::controller(component) }
    }

    /// Makes an object as any client does: webhooks see it, and may refuse it.
    pub(crate) async fn make(&self, kind: &'static Kind, object: Value) -> Result<Arc<Value>, Status> {
        let (namespace, name) = (object::namespace(&object).to_owned(), object::name(&object).to_owned());
        let what = Attributes {
            operation: Operation::Create,
            kind,
            subresource: "",
            namespace: &namespace,
            name: &name,
            who: &self.who,
            dry: false,
        };
        self.gate.create(&what, object, &mut Vec::new()).await
    }

    pub(crate) async fn create(&self, owner: &Value, pod: Value) -> Result<Arc<Value>, Status> {
        match self.make(&kind::PODS, pod).await {
            Ok(pod) => {
                self.note(owner, "SuccessfulCreate", self.words("Created", owner, &pod));
                Ok(pod)
            }
            Err(status) => {
                self.warn(owner, "FailedCreate", format!("Error creating: {status}"));
                Err(status)
            }
        }
    }

    /// Lets the pod end in its own time. One that is gone already is as good.
    pub(crate) fn delete(&self, owner: &Value, pod: &Value) -> Result<(), Status> {
        let options = DeleteOptions { uid: Some(object::uid(pod).to_owned()), ..DeleteOptions::default() };
        match self.store.delete(&kind::PODS, &Key::of(pod), &options) {
            Err(status) if !matches!(status.code, 404 | 409) => Err(status),
            _ => {
                self.note(owner, "SuccessfulDelete", self.words("Deleted", owner, pod));
                Ok(())
            }
        }
    }

    /// The controller of StatefulSets speaks in its own way.
    fn words(&self, done: &str, owner: &Value, pod: &Value) -> String {
        let (owner, pod) = (object::name(owner), object::name(pod));
        if *self.kind == kind::STATEFUL_SETS {
            let verb = done.trim_end_matches('d').to_lowercase();
            return format!("{verb} Pod {pod} in StatefulSet {owner} successful");
        }
        format!("{done} pod: {pod}")
    }

    pub(crate) fn note(&self, owner: &Value, reason: &str, message: String) {
        let note = Note { warning: false, reason, message, component: self.component };
        self.recorder.record(self.kind, owner, &note);
    }

    pub(crate) fn warn(&self, owner: &Value, reason: &str, message: String) {
        let note = Note { warning: true, reason, message, component: self.component };
        self.recorder.record(self.kind, owner, &note);
    }

    /// Replaces the status of an object if it says something new.
    pub(crate) fn report(&self, key: &Key, change: impl Fn(&mut Value)) -> Result<Arc<Value>, Status> {
        self.store.update(self.kind, key, |seen| {
            let mut value = seen.clone();
            change(&mut value);
            Ok((value != *seen).then_some(value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn availability_waits_for_the_minimum() {
        let pod = json!({"status": {"conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z"}
        ]}});
        let now: Timestamp = "2026-01-01T00:00:15Z".parse().expect("instant");
        assert_eq!(available(&pod, 0, now), Ok(()));
        assert_eq!(available(&pod, 5, now), Ok(()));
        assert_eq!(available(&pod, 8, now), Err(Some(Duration::from_secs(3))));
        assert_eq!(next_available([&pod].into_iter(), 8, now), Some(Duration::from_secs(3)));
    }
}
