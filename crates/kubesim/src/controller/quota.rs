//! ResourceQuotas are counted anew when they change, and when something goes that they count.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;
use tokio::sync::mpsc;

use super::{Controller, Outcome, pod};
use crate::{
    admission::{self, Gate},
    kind::{self, Kind},
    object::{self, Key},
    store::{Change, Event, Store},
};

pub(crate) struct Quotas {
    pub store: Arc<Store>,
    pub gate: Arc<Gate>,
}

impl Controller for Quotas {
    const REST: u32 = 3;

    fn kinds(&self) -> Vec<&'static Kind> {
        vec![&kind::QUOTAS]
    }

    fn feed(&self, store: &Store) -> mpsc::UnboundedReceiver<Arc<Event>> {
        store.feed_all()
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        if *event.kind == kind::QUOTAS {
            // Somebody may have written over what was counted.
            let told = |quota: &Value| (quota["spec"].clone(), quota["status"]["hard"].clone());
            let before = event.previous.as_deref().map(told);
            if event.change != Change::Deleted && before != Some(told(&event.object)) {
                queue.insert(Key::of(&event.object));
            }
            return;
        }
        let went = event.change == Change::Deleted
            || (*event.kind == kind::PODS
                && pod::ended(&event.object)
                && event.previous.as_ref().is_some_and(|before| !pod::ended(before)));
        if !went || self.store.count(&kind::QUOTAS) == 0 {
            return;
        }
        let quotas = self.store.list(&kind::QUOTAS, object::namespace(&event.object)).objects;
        queue.extend(quotas.iter().filter(|q| admission::quota_concerns(q, event.kind)).map(|q| Key::of(q)));
    }

    async fn reconcile(&mut self, key: &Key) -> Outcome {
        self.gate.count(key).map(|()| None)
    }
}
