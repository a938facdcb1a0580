//! All objects in memory under one resource version counter, with the history that watches read.

mod history;
mod lifecycle;
mod part;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use self::history::History;
pub(crate) use self::{
    history::{Change, Event},
    lifecycle::{Deletion, Options as DeleteOptions, Propagation},
    part::Part,
};
use crate::{
    clock,
    kind::{self, Kind},
    kinds::Kinds,
    object::{self, Key},
    status::Status,
};

#[derive(Default)]
struct Collection {
    objects: BTreeMap<Key, Arc<Value>>,
    history: History,
}

/// A dependent, as the index of owners names it.
pub(crate) type Dependent = (&'static str, Key);

#[derive(Default)]
struct Inner {
    version: u64,
    collections: HashMap<&'static str, Collection>,
    /// Objects by the uid of each owner.
    owned: HashMap<String, BTreeSet<Dependent>>,
    uids: HashMap<String, Dependent>,
    feeds: Vec<(Interest, mpsc::UnboundedSender<Arc<Event>>)>,
}

/// Of which kinds a feed tells: some, by their ids, or all that there will ever be.
type Interest = Option<Vec<&'static str>>;

pub(crate) struct Store {
    kinds: Kinds,
    inner: RwLock<Inner>,
    signals: RwLock<HashMap<&'static str, watch::Sender<u64>>>,
}

/// What `Store::list` answers: the version of the whole and the objects in order.
pub(crate) struct Listing {
    pub version: u64,
    pub objects: Vec<Arc<Value>>,
}

impl Store {
    /// Starts with what a log brought back, at the version it had reached.
    pub(crate) fn new(kinds: Kinds, version: u64, objects: Vec<(&'static Kind, Arc<Value>)>) -> Self {
        let mut inner = Inner { version: version.max(1), ..Inner::default() };
        for kind in kinds.stored() {
            let collection = inner.collections.entry(kind.id).or_default();
            collection.history.forget_until(inner.version);
        }
        for (kind, object) in objects {
            inner.index(kind, &object);
            inner.collections.entry(kind.id).or_default().objects.insert(Key::of(&object), object);
        }
        Self { kinds, inner: RwLock::new(inner), signals: RwLock::default() }
    }

    pub(crate) fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    // A poisoned lock means that a panic hit between two field writes of plain maps; the data is still usable.
    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, kind: &Kind, key: &Key) -> Option<Arc<Value>> {
        self.read().collections.get(kind.id)?.objects.get(key).cloned()
    }

    pub(crate) fn version(&self) -> u64 {
        self.read().version
    }

    pub(crate) fn count(&self, kind: &Kind) -> usize {
        self.read().collections.get(kind.id).map_or(0, |c| c.objects.len())
    }

    /// Lists a namespace, or everything when it is empty.
    pub(crate) fn list(&self, kind: &Kind, namespace: &str) -> Listing {
        let inner = self.read();
        let objects = inner.collections.get(kind.id).map(|c| in_namespace(&c.objects, namespace));
        Listing { version: inner.version, objects: objects.unwrap_or_default() }
    }

    /// What happened to a collection after a version, with the version that this brings one to; or `Expired` when it is
    /// no longer known.
    pub(crate) fn changes(&self, kind: &Kind, after: u64) -> Result<(u64, Vec<Arc<Event>>), Status> {
        let inner = self.read();
        let events = inner.collections.get(kind.id).map_or(Ok(Vec::new()), |c| c.history.since(after))?;
        Ok((inner.version.max(after), events))
    }

    /// Wakes when the collection changes.
    pub(crate) fn signal(&self, kind: &'static Kind) -> watch::Receiver<u64> {
        let mut signals = self.signals.write().unwrap_or_else(PoisonError::into_inner);
        signals.entry(kind.id).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    fn wake(&self, id: &str, version: u64) {
        let signals = self.signals.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(signal) = signals.get(id) {
            signal.send_replace(version);
        }
    }

    /// Every object of these kinds now, and every change from now on, in order and without loss.
    pub(crate) fn feed(&self, kinds: &[&'static Kind]) -> mpsc::UnboundedReceiver<Arc<Event>> {
        self.open(kinds, Some(kinds.iter().map(|k| k.id).collect()))
    }

    /// The same of every kind, whenever it comes.
    pub(crate) fn feed_all(&self) -> mpsc::UnboundedReceiver<Arc<Event>> {
        self.open(&self.kinds.stored(), None)
    }

    fn open(&self, kinds: &[&'static Kind], interest: Interest) -> mpsc::UnboundedReceiver<Arc<Event>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut inner = self.write();
        for kind in kinds {
            for object in inner.collections.get(kind.id).into_iter().flat_map(|c| c.objects.values()) {
                let event =
                    Event::new(kind, Change::Added, Arc::clone(object), None, object::version(object));
                // The receiver is still in this function, so it cannot be closed.
                let _ = sender.send(Arc::new(event));
            }
        }
        inner.feeds.push((interest, sender));
        receiver
    }

    /// Only the changes from now on, of every kind.
    pub(crate) fn changes_from_now(&self) -> mpsc::UnboundedReceiver<Arc<Event>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.write().feeds.push((None, sender));
        receiver
    }

    pub(crate) fn compact(&self) {
        let mut inner = self.write();
        // A version that nobody has seen yet: even the watches that are up to date are too old now.
        inner.version += 1;
        let version = inner.version;
        for collection in inner.collections.values_mut() {
            collection.history.forget_until(version);
        }
        let ids: Vec<&'static str> = inner.collections.keys().copied().collect();
        drop(inner);
        for id in ids {
            self.wake(id, version);
        }
    }

    pub(crate) fn dependents(&self, uid: &str) -> Vec<Dependent> {
        self.read().owned.get(uid).map(|set| set.iter().cloned().collect()).unwrap_or_default()
    }

    /// The objects of one kind that an owner has.
    pub(crate) fn owned(&self, kind: &Kind, uid: &str) -> Vec<Arc<Value>> {
        let inner = self.read();
        let (Some(keys), Some(collection)) = (inner.owned.get(uid), inner.collections.get(kind.id)) else {
            return Vec::new();
        };
        keys.iter()
            .filter(|(id, _)| *id == kind.id)
            .filter_map(|(_, key)| collection.objects.get(key).cloned())
            .collect()
    }

    pub(crate) fn has_uid(&self, uid: &str) -> bool {
        self.read().uids.contains_key(uid)
    }

    pub(crate) fn create(&self, kind: &'static Kind, mut value: Value) -> Result<Arc<Value>, Status> {
        let key = Key::of(&value);
        let mut inner = self.write();
        if kind.namespaced {
            inner.check_namespace(kind, &key)?;
        }
        if inner.collections.get(kind.id).is_some_and(|c| c.objects.contains_key(&key)) {
            return Err(Status::already_exists(kind, &key.name));
        }
        // A Job brings its own, since its selector names it.
        object::default(&mut value, &["metadata", "uid"], json!(clock::uid()));
        object::set(&mut value, &["metadata", "creationTimestamp"], json!(clock::stamp()));
        if !value["spec"].is_null() || kind.custom().is_some() {
            object::set(&mut value, &["metadata", "generation"], json!(1));
        }
        Ok(self.commit(&mut inner, kind, Change::Added, value, None))
    }

    /// Replaces an object, if it still is the one that the caller saw. Also ends it when its last finalizer went.
    pub(crate) fn swap(
        &self,
        kind: &'static Kind,
        seen: &Value,
        mut value: Value,
    ) -> Result<Arc<Value>, Status> {
        let key = Key::of(seen);
        let mut inner = self.write();
        let current = inner.collections.get(kind.id).and_then(|c| c.objects.get(&key)).cloned();
        let current = current.ok_or_else(|| Status::not_found(kind, &key.name))?;
        if object::version(&current) != object::version(seen) {
            return Err(Status::stale(kind, &key.name));
        }
        lifecycle::keep_system_fields(kind, &current, &mut value);
        if value == *current {
            return Ok(current);
        }
        if lifecycle::finished(kind, &value) {
            return Ok(self.commit(&mut inner, kind, Change::Deleted, value, Some(current)));
        }
        Ok(self.commit(&mut inner, kind, Change::Modified, value, Some(current)))
    }

    /// Changes an object in place, again and again until nobody interferes. `None` means nothing to change.
    pub(crate) fn update(
        &self,
        kind: &'static Kind,
        key: &Key,
        change: impl Fn(&Value) -> Result<Option<Value>, Status>,
    ) -> Result<Arc<Value>, Status> {
        loop {
            let seen = self.get(kind, key).ok_or_else(|| Status::not_found(kind, &key.name))?;
            let Some(value) = change(&seen)? else { return Ok(seen) };
            match self.swap(kind, &seen, value) {
                Err(status) if status.reason == "Conflict" => {}
                other => return other,
            }
        }
    }

    /// Deletes, or begins to; returns the object as it was left.
    pub(crate) fn delete(
        &self,
        kind: &'static Kind,
        key: &Key,
        options: &DeleteOptions,
    ) -> Result<Deletion, Status> {
        let mut inner = self.write();
        let current = inner.collections.get(kind.id).and_then(|c| c.objects.get(key)).cloned();
        let current = current.ok_or_else(|| Status::not_found(kind, &key.name))?;
        options.check(kind, &current)?;
        let decision = lifecycle::delete(kind, &current, options, &clock::stamp());
        Ok(match decision {
            lifecycle::Decision::Keep => Deletion::Pending(current),
            lifecycle::Decision::Mark(value) => {
                Deletion::Pending(self.commit(&mut inner, kind, Change::Modified, value, Some(current)))
            }
            lifecycle::Decision::Remove => {
                let value = (*current).clone();
                Deletion::Done(self.commit(&mut inner, kind, Change::Deleted, value, Some(current)))
            }
        })
    }

    fn commit(
        &self,
        inner: &mut Inner,
        kind: &'static Kind,
        change: Change,
        mut value: Value,
        previous: Option<Arc<Value>>,
    ) -> Arc<Value> {
        inner.version += 1;
        let version = inner.version;
        object::set(&mut value, &["metadata", "resourceVersion"], json!(version.to_string()));
        let value = Arc::new(value);
        if let Some(old) = &previous {
            inner.unindex(old);
        }
        let collection = inner.collections.entry(kind.id).or_default();
        if change == Change::Deleted {
            collection.objects.remove(&Key::of(&value));
        } else {
            collection.objects.insert(Key::of(&value), Arc::clone(&value));
        }
        let event = Arc::new(Event::new(kind, change, Arc::clone(&value), previous, version));
        collection.history.push(Arc::clone(&event), collection.objects.len());
        if change != Change::Deleted {
            inner.index(kind, &value);
        }
        inner.feeds.retain(|(interest, feed)| {
            let wanted = interest.as_ref().is_none_or(|kinds| kinds.contains(&kind.id));
            !wanted || feed.send(Arc::clone(&event)).is_ok()
        });
        self.wake(kind.id, version);
        value
    }
}

impl Inner {
    fn check_namespace(&self, kind: &Kind, key: &Key) -> Result<(), Status> {
        let place = self
            .collections
            .get(kind::NAMESPACES.id)
            .and_then(|c| c.objects.get(&Key::new("", &key.namespace)));
        match place {
            None => Err(Status::not_found(&kind::NAMESPACES, &key.namespace)),
            Some(namespace) if object::deleting(namespace) => {
                let why = format!(
                    "unable to create new content in namespace {} because it is being terminated",
                    key.namespace
                );
                Err(Status::forbidden(kind, &key.name, &why))
            }
            Some(_) => Ok(()),
        }
    }

    fn index(&mut self, kind: &'static Kind, value: &Value) {
        let dependent = (kind.id, Key::of(value));
        for owner in object::owners(value) {
            self.owned.entry(object::text(owner, "/uid").to_owned()).or_default().insert(dependent.clone());
        }
        self.uids.insert(object::uid(value).to_owned(), dependent);
    }

    fn unindex(&mut self, value: &Value) {
        let Some(dependent) = self.uids.remove(object::uid(value)) else { return };
        for owner in object::owners(value) {
            let uid = object::text(owner, "/uid");
            if let Some(set) = self.owned.get_mut(uid) {
                set.remove(&dependent);
                if set.is_empty() {
                    self.owned.remove(uid);
                }
            }
        }
    }
}

fn in_namespace(objects: &BTreeMap<Key, Arc<Value>>, namespace: &str) -> Vec<Arc<Value>> {
    if namespace.is_empty() {
        return objects.values().cloned().collect();
    }
    let from = Key::new(namespace, "");
    objects.range(from..).take_while(|(k, _)| k.namespace == namespace).map(|(_, v)| Arc::clone(v)).collect()
}

#[cfg(test)]
mod tests;
