//! Events about objects, as `kubectl describe` shows them; only the newest are kept.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::{Value, json};

use crate::{
    clock,
    kind::{self, Kind},
    object::{self, Key},
    store::{DeleteOptions, Store},
};

const KEPT: usize = 2000;

pub(crate) struct Recorder {
    store: Arc<Store>,
    recent: Mutex<VecDeque<Key>>,
}

/// What happened: `Normal` or `Warning`, a word, a sentence.
pub(crate) struct Note<'a> {
    pub warning: bool,
    pub reason: &'a str,
    pub message: String,
    pub component: &'a str,
}

impl Recorder {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, recent: Mutex::default() }
    }

    pub(crate) fn record(&self, kind: &Kind, about: &Value, note: &Note<'_>) {
        let namespace = if kind.namespaced { object::namespace(about) } else { "default" };
        let now = clock::stamp();
        let name = format!("{}.{}{}", object::name(about), clock::suffix(), clock::suffix());
        let event = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {
                "apiVersion": kind.api_version(), "kind": kind.kind, "name": object::name(about), "namespace": namespace,
                "uid": object::uid(about), "resourceVersion": about["metadata"]["resourceVersion"],
            },
            "type": if note.warning { "Warning" } else { "Normal" }, "reason": note.reason, "message": note.message,
            "source": {"component": note.component}, "count": 1, "firstTimestamp": now, "lastTimestamp": now,
            "reportingComponent": note.component, "reportingInstance": "",
        });
        // An event that cannot be stored (its namespace ends) is of no use to anybody.
        if self.store.create(&kind::EVENTS, event).is_err() {
            return;
        }
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_back(Key::new(namespace, &name));
        if recent.len() > KEPT
            && let Some(old) = recent.pop_front()
        {
            let _ = self.store.delete(&kind::EVENTS, &old, &DeleteOptions::now());
        }
    }
}
