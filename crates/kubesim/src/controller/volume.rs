//! PersistentVolumeClaims are bound at once: every wish for storage comes true here.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::json;

use super::{Controller, Outcome};
use crate::{
    kind::{self, Kind},
    object::{self, Key, text},
    store::{Change, Event, Store},
};

pub(crate) struct Volumes {
    pub store: Arc<Store>,
}

impl Controller for Volumes {
    fn kinds(&self) -> Vec<&'static Kind> {
        vec![&kind::VOLUME_CLAIMS]
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        if event.change != Change::Deleted {
            queue.insert(Key::of(&event.object));
        }
    }

    async fn reconcile(&mut self, key: &Key) -> Outcome {
        let bound = self.store.update(&kind::VOLUME_CLAIMS, key, |seen| {
            if text(seen, "/status/phase") == "Bound" {
                return Ok(None);
            }
            let mut value = seen.clone();
            let volume = format!("pvc-{}", object::uid(seen));
            object::default(&mut value, &["spec", "volumeName"], json!(volume));
            value["status"] = json!({
                "phase": "Bound", "accessModes": seen["spec"]["accessModes"],
                "capacity": seen["spec"]["resources"]["requests"],
            });
            Ok(Some(value))
        });
        match bound {
            Err(status) if status.code != 404 => Err(status),
            _ => Ok(None),
        }
    }
}
