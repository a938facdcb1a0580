//! Custom resources: serves what a definition says, and ends what is left of it when it is deleted.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{Controller, Outcome};
use crate::{
    clock, custom,
    kind::{self, Kind},
    object::{self, Key, text},
    status::Status,
    store::{Change, DeleteOptions, Event, Store},
};

const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

pub(crate) struct Definitions {
    pub store: Arc<Store>,
}

impl Controller for Definitions {
    fn kinds(&self) -> Vec<&'static Kind> {
        vec![&kind::CUSTOM_RESOURCE_DEFINITIONS]
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        let serves = |definition: &Value| definition["spec"].clone();
        let moved = event.previous.as_ref().is_none_or(|before| serves(before) != serves(&event.object));
        if event.change == Change::Deleted {
            self.store.kinds().serve(object::name(&event.object), Vec::new());
        } else if moved && !self.is_refused(&event.object) {
            self.store.kinds().serve(object::name(&event.object), custom::kinds(&event.object));
        }
        queue.insert(Key::of(&event.object));
    }

    async fn reconcile(&mut self, key: &Key) -> Outcome {
        let Some(definition) = self.store.get(&kind::CUSTOM_RESOURCE_DEFINITIONS, key) else {
            return Ok(None);
        };
        if object::deleting(&definition) {
            return self.end(key);
        }
        let conflict = self.conflict(&definition);
        self.change(key, |seen| established(seen, conflict.as_deref()))?;
        Ok(None)
    }
}

impl Definitions {
    fn is_refused(&self, definition: &Value) -> bool {
        self.conflict(definition).is_some()
    }

    /// Another kind of the group has its names already.
    fn conflict(&self, definition: &Value) -> Option<String> {
        let (group, names) = (text(definition, "/spec/group"), &definition["spec"]["names"]);
        let others = self.store.kinds().stored();
        let other = others.iter().filter(|kind| kind.group == group && kind.id != object::name(definition));
        let taken =
            |kind: &&&Kind| kind.plural == text(names, "/plural") || kind.kind == text(names, "/kind");
        other.clone().find(taken).map(|kind| format!("{:?} is already in use", kind.kind))
    }

    fn change(&self, key: &Key, with: impl Fn(&Value) -> Value) -> Result<Arc<Value>, Status> {
        self.store.update(&kind::CUSTOM_RESOURCE_DEFINITIONS, key, |seen| {
            let value = with(seen);
            Ok((value != *seen).then_some(value))
        })
    }

    /// Its objects go first; until then it is there, and nobody makes more of them.
    fn end(&self, key: &Key) -> Outcome {
        if let Some(kind) = self.store.kinds().by_id(&key.name) {
            let objects = self.store.list(kind, "").objects;
            for object in objects.iter().filter(|object| !object::deleting(object)) {
                match self.store.delete(kind, &Key::of(object), &DeleteOptions::default()) {
                    Err(status) if status.code != 404 => return Err(status),
                    _ => {}
                }
            }
            if !objects.is_empty() {
                return Ok(Some(Duration::from_millis(20)));
            }
        }
        self.change(key, |seen| {
            let mut value = seen.clone();
            let left = object::items(seen, "/metadata/finalizers").iter().filter(|f| *f != CLEANUP).cloned();
            object::set(&mut value, &["metadata", "finalizers"], left.collect());
            value
        })?;
        Ok(None)
    }
}

fn established(seen: &Value, conflict: Option<&str>) -> Value {
    let (mut value, now) = (seen.clone(), clock::stamp());
    let condition = |name: &str, holds: bool, reason: &str, message: &str| json!({"type": name, "status": if holds { "True" } else { "False" }, "reason": reason, "message": message});
    let (accepted, why) = match conflict {
        None => ("NoConflicts", "no conflicts found"),
        Some(why) => ("KindConflict", why),
    };
    object::set_condition(&mut value, &condition("NamesAccepted", conflict.is_none(), accepted, why), &now);
    let (reason, message) = match conflict {
        None => ("InitialNamesAccepted", "the initial names have been accepted"),
        Some(_) => ("NotAccepted", "not all names are accepted"),
    };
    object::set_condition(&mut value, &condition("Established", conflict.is_none(), reason, message), &now);
    if conflict.is_some() {
        return value;
    }
    value["status"]["acceptedNames"] = seen["spec"]["names"].clone();
    let stored = object::items(seen, "/spec/versions").iter().find(|version| version["storage"] == true);
    let mut versions = object::items(seen, "/status/storedVersions").to_vec();
    if let Some(name) = stored.map(|version| version["name"].clone()).filter(|name| !versions.contains(name))
    {
        versions.push(name);
    }
    object::set(&mut value, &["status", "storedVersions"], Value::Array(versions));
    let mut finalizers = object::items(seen, "/metadata/finalizers").to_vec();
    if !finalizers.iter().any(|finalizer| finalizer == CLEANUP) {
        finalizers.push(json!(CLEANUP));
    }
    object::set(&mut value, &["metadata", "finalizers"], Value::Array(finalizers));
    value
}
