//! Namespaces: what every namespace has from the start, and the end of all that is in it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::json;

use super::{Controller, Outcome};
use crate::{
    kind::{self, Kind},
    object::{self, Key},
    store::{Change, DeleteOptions, Event, Store},
};

pub(crate) struct Namespaces {
    pub store: Arc<Store>,
}

impl Controller for Namespaces {
    fn kinds(&self) -> Vec<&'static Kind> {
        vec![&kind::NAMESPACES]
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        if event.change != Change::Deleted {
            queue.insert(Key::of(&event.object));
        }
    }

    async fn reconcile(&mut self, key: &Key) -> Outcome {
        let Some(namespace) = self.store.get(&kind::NAMESPACES, key) else { return Ok(None) };
        if !object::deleting(&namespace) {
            let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": key.name}});
            return match self.store.create(&kind::SERVICE_ACCOUNTS, account) {
                Err(status) if status.reason != "AlreadyExists" => Err(status),
                _ => Ok(None),
            };
        }
        let mut left = false;
        for kind in self.store.kinds().stored().into_iter().filter(|k| k.namespaced) {
            for object in self.store.list(kind, &key.name).objects {
                left = true;
                if !object::deleting(&object) {
                    match self.store.delete(kind, &Key::of(&object), &DeleteOptions::default()) {
                        Err(status) if status.code != 404 => return Err(status),
                        _ => {}
                    }
                }
            }
        }
        if left {
            return Ok(Some(Duration::from_millis(20)));
        }
        self.store.update(&kind::NAMESPACES, key, |seen| {
            let mut value = seen.clone();
            object::set(&mut value, &["spec", "finalizers"], json!([]));
            Ok(Some(value))
        })?;
        Ok(None)
    }
}
