//! Services get a cluster address that stays theirs.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::Ipv4Addr,
    sync::Arc,
};

use serde_json::json;

use super::{Controller, Outcome};
use crate::{
    kind::{self, Kind},
    object::{self, Key, text},
    store::{Change, Event, Store},
};

pub(crate) struct Services {
    store: Arc<Store>,
    by_key: HashMap<Key, String>,
    taken: HashSet<String>,
    next: u32,
}

/// 10.96.0.0/12, as most clusters have it; nothing answers there.
const BASE: u32 = 0x0a60_0000;
const SIZE: u32 = 1 << 20;

impl Services {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, by_key: HashMap::new(), taken: HashSet::new(), next: 10 }
    }

    fn free(&mut self) -> String {
        loop {
            self.next = (self.next + 1) % SIZE;
            let address = Ipv4Addr::from(BASE + self.next.max(2)).to_string();
            if !self.taken.contains(&address) {
                return address;
            }
        }
    }
}

impl Controller for Services {
    fn kinds(&self) -> Vec<&'static Kind> {
        vec![&kind::SERVICES]
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        let key = Key::of(&event.object);
        let address = text(&event.object, "/spec/clusterIP");
        if event.change == Change::Deleted {
            if let Some(address) = self.by_key.remove(&key) {
                self.taken.remove(&address);
            }
        } else if address.is_empty() {
            queue.insert(key);
        } else {
            self.taken.insert(address.to_owned());
            self.by_key.insert(key, address.to_owned());
        }
    }

    async fn reconcile(&mut self, key: &Key) -> Outcome {
        let address = self.free();
        self.store
            .update(&kind::SERVICES, key, |seen| {
                if !text(seen, "/spec/clusterIP").is_empty() || seen["spec"]["type"] == "ExternalName" {
                    return Ok(None);
                }
                let mut value = seen.clone();
                object::set(&mut value, &["spec", "clusterIP"], json!(address));
                object::set(&mut value, &["spec", "clusterIPs"], json!([address]));
                Ok(Some(value))
            })
            .map(|_| None)
            .or_else(|status| if status.code == 404 { Ok(None) } else { Err(status) })
    }
}
