//! What the scheduler writes into pods, and what it says about them.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    super::recorder::{Note, Recorder},
    wish::{self, Class},
};
use crate::{
    clock, kind,
    object::{self, Key, text},
    status::Status,
    store::Store,
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

    /// Tells a pod why it has to wait.
    pub(super) fn refuse(&self, pod: &Key, reason: &str, why: &str) -> Result<(), Status> {
        let condition = json!({"type": "PodScheduled", "status": "False", "reason": reason, "message": why});
        let told = self.store.update(&kind::PODS, pod, |seen| {
            if !text(seen, "/spec/nodeName").is_empty() {
                return Ok(None);
            }
            let mut value = seen.clone();
            object::set_condition(&mut value, &condition, &clock::stamp());
            Ok((value != *seen).then_some(value))
        })?;
        if text(&told, "/spec/nodeName").is_empty() {
            self.note(&told, true, "FailedScheduling", why.to_owned());
        }
        Ok(())
    }

    fn note(&self, pod: &Value, warning: bool, reason: &str, message: String) {
        let note = Note { warning, reason, message, component: "default-scheduler" };
        self.recorder.record(&kind::PODS, pod, &note);
    }
}
