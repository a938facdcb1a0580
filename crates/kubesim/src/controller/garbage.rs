//! The garbage collector: dependents follow their owners, or are let go first.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;
use tokio::sync::mpsc;

use super::{Controller, Outcome};
use crate::{
    kind::Kind,
    object::{self, Key, text},
    status::Status,
    store::{Change, DeleteOptions, Dependent, Event, Store},
};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// Queues uids of owners, in the name of a key.
pub(crate) struct Garbage {
    pub store: Arc<Store>,
}

impl Controller for Garbage {
    fn kinds(&self) -> Vec<&'static Kind> {
        self.store.kinds().stored()
    }

    fn feed(&self, store: &Store) -> mpsc::UnboundedReceiver<Arc<Event>> {
        store.feed_all()
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        let object = &event.object;
        let waits = waits_for(object, FOREGROUND) || waits_for(object, ORPHAN);
        if event.change == Change::Deleted || waits {
            queue.insert(Key::new(
                event.kind.id,
                &format!("{}/{}/{}", object::uid(object), object::namespace(object), object::name(object)),
            ));
        }
        for owner in object::owners(object) {
            // An owner that never was, or one that waits for its dependents.
            let Some(kind) = self.store.kinds().by_type(text(owner, "/apiVersion"), text(owner, "/kind"))
            else {
                continue;
            };
            if event.change == Change::Added || event.change == Change::Deleted {
                let namespace = if kind.namespaced { object::namespace(object) } else { "" };
                queue.insert(Key::new(
                    kind.id,
                    &format!("{}/{namespace}/{}", text(owner, "/uid"), text(owner, "/name")),
                ));
            }
        }
    }

    async fn reconcile(&mut self, key: &Key) -> Outcome {
        let mut parts = key.name.splitn(3, '/');
        let (uid, namespace, name) =
            (parts.next().unwrap_or(""), parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let Some(kind) = self.store.kinds().by_id(&key.namespace) else { return Ok(None) };
        let place = Key::new(namespace, name);
        let owner = self.store.get(kind, &place).filter(|o| object::uid(o) == uid);
        match owner {
            None => self.collect(uid)?,
            Some(owner) if object::deleting(&owner) && waits_for(&owner, FOREGROUND) => {
                self.collect(uid)?;
                if self.store.dependents(uid).is_empty() {
                    self.store.update(kind, &place, |seen| Ok(Some(without_finalizer(seen, FOREGROUND))))?;
                }
            }
            // Its dependents go their own ways before it is gone, so that nobody takes them for garbage, and while it
            // is being deleted, so that its controller does not adopt them again.
            Some(owner) if object::deleting(&owner) && waits_for(&owner, ORPHAN) => {
                self.let_go(uid)?;
                self.store.update(kind, &place, |seen| Ok(Some(without_finalizer(seen, ORPHAN))))?;
            }
            Some(_) => {}
        }
        Ok(None)
    }
}

impl Garbage {
    fn let_go(&self, uid: &str) -> Result<(), Status> {
        for (id, key) in self.store.dependents(uid) {
            if let Some(kind) = self.store.kinds().by_id(id) {
                drop_owner(&self.store, kind, &key, uid)?;
            }
        }
        Ok(())
    }

    /// Deletes what has no owner left.
    fn collect(&self, uid: &str) -> Result<(), Status> {
        for (id, key) in self.store.dependents(uid) {
            let Some((kind, object)) = find(&self.store, &(id, key.clone())) else { continue };
            let others = object::owners(&object)
                .iter()
                .map(|o| text(o, "/uid"))
                .any(|o| o != uid && self.store.has_uid(o));
            if others {
                drop_owner(&self.store, kind, &key, uid)?;
                continue;
            }
            if object::deleting(&object) {
                continue;
            }
            match self.store.delete(kind, &key, &DeleteOptions::default()) {
                Err(status) if status.code != 404 => return Err(status),
                _ => {}
            }
        }
        Ok(())
    }
}

fn find(store: &Store, dependent: &Dependent) -> Option<(&'static Kind, Arc<Value>)> {
    let kind = store.kinds().by_id(dependent.0)?;
    Some((kind, store.get(kind, &dependent.1)?))
}

fn drop_owner(store: &Store, kind: &'static Kind, key: &Key, uid: &str) -> Result<(), Status> {
    let done = store.update(kind, key, |seen| {
        let mut value = seen.clone();
        let owners: Vec<Value> = object::owners(seen).iter().filter(|o| o["uid"] != uid).cloned().collect();
        if owners.is_empty() {
            object::unset(&mut value, &["metadata", "ownerReferences"]);
        } else {
            object::set(&mut value, &["metadata", "ownerReferences"], Value::Array(owners));
        }
        Ok(Some(value))
    });
    match done {
        Err(status) if status.code != 404 => Err(status),
        _ => Ok(()),
    }
}

fn waits_for(object: &Value, finalizer: &str) -> bool {
    object::items(object, "/metadata/finalizers").iter().any(|f| f == finalizer)
}

fn without_finalizer(seen: &Value, finalizer: &str) -> Value {
    let mut value = seen.clone();
    let left = object::items(seen, "/metadata/finalizers").iter().filter(|f| *f != finalizer).cloned();
    object::set(&mut value, &["metadata", "finalizers"], left.collect());
    value
}
