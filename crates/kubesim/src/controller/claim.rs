//! Which dependents belong to which owner: strays are adopted, and those that no longer match are let go.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;

use super::pod::active;
use crate::{
    kind::Kind,
    object::{self, Key, text},
    selector::Labels,
    status::Status,
    store::{Change, Event, Store},
};

/// One kind of dependents as the controller of one kind of owners sees it.
pub(crate) struct Claims {
    store: Arc<Store>,
    owner: &'static Kind,
    dependent: &'static Kind,
    /// Dependents without a controller, which may be adopted.
    orphans: BTreeSet<Key>,
}

impl Claims {
    pub(crate) fn new(store: Arc<Store>, owner: &'static Kind, dependent: &'static Kind) -> Self {
        Self { store, owner, dependent, orphans: BTreeSet::new() }
    }

    /// Notes which owners an event of a dependent concerns.
    pub(crate) fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        let key = Key::of(&event.object);
        for object in std::iter::once(&event.object).chain(&event.previous) {
            match object::controller(object) {
                Some(owner) if owner["kind"] == self.owner.kind => {
                    queue.insert(Key::new(&key.namespace, text(owner, "/name")));
                }
                Some(_) => {}
                None => self.wake_matching(object, queue),
            }
        }
        if event.change != Change::Deleted && object::controller(&event.object).is_none() {
            self.orphans.insert(key);
        } else {
            self.orphans.remove(&key);
        }
    }

    fn wake_matching(&self, dependent: &Value, queue: &mut BTreeSet<Key>) {
        for owner in self.store.list(self.owner, object::namespace(dependent)).objects {
            if Labels::of_owner(self.owner, &owner).matches(object::labels(dependent)) {
                queue.insert(Key::of(&owner));
            }
        }
    }

    /// What belongs to this owner, after adoption and release. Only what `fits` is adopted or kept.
    pub(crate) fn claim(
        &self,
        owner: &Value,
        fits: impl Fn(&Value) -> bool,
    ) -> Result<Vec<Arc<Value>>, Status> {
        let selector = Labels::of_owner(self.owner, owner);
        let belongs = |object: &Value| selector.matches(object::labels(object)) && fits(object);
        self.adopt(owner, &belongs)?;
        let (mine, strays): (Vec<_>, Vec<_>) =
            self.store.owned(self.dependent, object::uid(owner)).into_iter().partition(|o| belongs(o));
        for stray in &strays {
            self.release(stray, object::uid(owner))?;
        }
        Ok(mine)
    }

    fn adopt(&self, owner: &Value, belongs: &impl Fn(&Value) -> bool) -> Result<(), Status> {
        let namespace = object::namespace(owner);
        let free = |o: &Value| object::controller(o).is_none() && active(o);
        for key in self.orphans.range(Key::new(namespace, "")..).take_while(|k| k.namespace == namespace) {
            let stray = self.store.get(self.dependent, key).filter(|o| free(o) && belongs(o));
            // An owner that is being deleted may just have let them go.
            let stays = |o: &Value| !object::deleting(o) && object::uid(o) == object::uid(owner);
            if stray.is_none() || !self.store.get(self.owner, &Key::of(owner)).is_some_and(|o| stays(&o)) {
                continue;
            }
            let reference = object::owner_reference(self.owner, owner);
            self.store.update(self.dependent, key, |seen| {
                let mut value = seen.clone();
                let owners = object::owners(seen).iter().cloned().chain([reference.clone()]);
                object::set(&mut value, &["metadata", "ownerReferences"], owners.collect());
                Ok(free(seen).then_some(value))
            })?;
        }
        Ok(())
    }

    fn release(&self, stray: &Value, uid: &str) -> Result<(), Status> {
        let done = self.store.update(self.dependent, &Key::of(stray), |seen| {
            let mut value = seen.clone();
            let owners = object::owners(seen).iter().filter(|o| o["uid"] != uid).cloned();
            object::set(&mut value, &["metadata", "ownerReferences"], owners.collect());
            Ok(Some(value))
        });
        done.map(|_| ())
    }
}
