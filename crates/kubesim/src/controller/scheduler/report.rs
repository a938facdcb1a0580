//! What the scheduler writes into pods, what it says about them, and how it drives them out.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    super::{
        node,
        recorder::{Note, Recorder},
    },
    queue::Verdict,
    wish::{self, Class},
};
use crate::{
    clock, kind,
    object::{self, Key, text},
    status::Status,
    store::{DeleteOptions, Store},
};

pub(super) struct Report {
    pub store: Arc<Store>,
    pub recorder: Arc<Recorder>,
}

impl Report {
    /// Gives a pod its node, unless somebody else was faster or the pod is another one now; the pod as it is then.
    pub(super) fn bind(&self, pod: &Key, class: Class, node: &str) -> Result<Arc<Value>, Status> {
        let bound = self.store.update(&kind::PODS, pod, |seen| {
            let free = text(seen, "/spec/nodeName").is_empty() && !object::deleting(seen);
            if !free || wish::class(seen) != class {
                return Ok(None);
            }
            let mut value = seen.clone();
            object::set(&mut value, &["spec", "nodeName"], json!(node));
            object::unset(&mut value, &["status", "nominatedNodeName"]);
            let scheduled = json!({"type": "PodScheduled", "status": "True"});
            object::set_condition(&mut value, &scheduled, &clock::stamp());
            Ok(Some(value))
        })?;
        if text(&bound, "/spec/nodeName") == node {
            let message = format!("Successfully assigned {}/{} to {node}", pod.namespace, pod.name);
            self.note(&bound, false, "Scheduled", message);
        }
        Ok(bound)
    }

    /// Tells a pod why it has to wait, and for which node.
    pub(super) fn refuse(&self, pod: &Key, why: &Verdict, node: Option<&str>) -> Result<(), Status> {
        let Verdict { reason, message, .. } = why;
        let condition =
            json!({"type": "PodScheduled", "status": "False", "reason": reason, "message": message});
        let told = self.store.update(&kind::PODS, pod, |seen| {
            if !text(seen, "/spec/nodeName").is_empty() {
                return Ok(None);
            }
            let mut value = seen.clone();
            match node {
                Some(node) => object::set(&mut value, &["status", "nominatedNodeName"], json!(node)),
                None => object::unset(&mut value, &["status", "nominatedNodeName"]),
            }
            object::set_condition(&mut value, &condition, &clock::stamp());
            Ok((value != *seen).then_some(value))
        })?;
        if text(&told, "/spec/nodeName").is_empty() {
            self.note(&told, true, "FailedScheduling", message.clone());
        }
        Ok(())
    }

    /// Lets a pod end for the sake of a more important one.
    pub(super) fn drive_out(&self, victim: &Key, by: &str, node: &str) -> Result<(), Status> {
        let Some(seen) = self.store.get(&kind::PODS, victim) else { return Ok(()) };
        let why = "default-scheduler: preempting to accommodate a higher priority pod";
        node::disrupt(&self.store, victim, "PreemptionByScheduler", why, false)?;
        let options = DeleteOptions { uid: Some(object::uid(&seen).to_owned()), ..DeleteOptions::default() };
        self.store.delete(&kind::PODS, victim, &options)?;
        self.note(&seen, false, "Preempted", format!("Preempted by pod {by} on node {node}"));
        Ok(())
    }

    fn note(&self, pod: &Value, warning: bool, reason: &str, message: String) {
        let note = Note { warning, reason, message, component: "default-scheduler" };
        self.recorder.record(&kind::PODS, pod, &note);
    }
}
