//! Events about objects, as `kubectl describe` shows them; only the newest are kept.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash as _, Hasher as _},
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
        let name = format!("{}.{:016x}", object::name(about), fingerprint(about, note));
        if self.repeat(&Key::new(namespace, &name), &now) {
            return;
        }
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

    /// The same again is one event that is counted.
    fn repeat(&self, key: &Key, now: &str) -> bool {
        let repeated = self.store.update(&kind::EVENTS, key, |seen| {
            let mut value = seen.clone();
            value["count"] = json!(object::int(seen, "/count").unwrap_or(1) + 1);
            value["lastTimestamp"] = json!(now);
            Ok(Some(value))
        });
        repeated.is_ok()
    }
}

/// The same for what is the same: the object, the reason and the sentence.
fn fingerprint(about: &Value, note: &Note<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (object::uid(about), note.reason, &note.message, note.component).hash(&mut hasher);
    hasher.finish()
}
