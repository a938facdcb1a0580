//! Claims are bound at once, to a volume that fits and is free or to a new one: every wish for storage comes true here. Volumes hold
//! nothing.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use serde_json::{Value, json};

use super::{Controller, Outcome};
use crate::{
    kind::{self, Kind},
    object::{self, Key, items, text},
    quantity,
    status::Status,
    store::{Change, DeleteOptions, Event, Store},
};

pub(crate) struct Volumes {
    store: Arc<Store>,
    /// The volumes of claims that went.
    left: HashMap<Key, String>,
}

impl Controller for Volumes {
    fn kinds(&self) -> Vec<&'static Kind> {
        vec![&kind::VOLUME_CLAIMS, &kind::VOLUMES]
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        let (gone, key) = (event.change == Change::Deleted, Key::of(&event.object));
        if *event.kind == kind::VOLUMES {
            if event.change != Change::Added {
                return;
            }
            let kept = &event.object["spec"]["claimRef"];
            if kept.is_object() {
                // Nobody else waits for it.
                queue.insert(Key::new(text(kept, "/namespace"), text(kept, "/name")));
            } else {
                queue.insert(key);
                let claims = self.store.list(&kind::VOLUME_CLAIMS, "").objects;
                let waiting = claims.iter().filter(|claim| text(claim, "/status/phase") != "Bound");
                queue.extend(waiting.map(|claim| Key::of(claim)));
            }
            return;
        }
        let volume = text(&event.object, "/spec/volumeName");
        if gone && !volume.is_empty() {
            self.left.insert(key.clone(), volume.to_owned());
        }
        queue.insert(key);
    }

    async fn reconcile(&mut self, key: &Key) -> Outcome {
        if key.namespace.is_empty() {
            self.offer(key)?;
            return Ok(None);
        }
        if let Some(volume) = self.left.remove(key) {
            self.release(&volume)?;
        }
        if let Some(claim) = self.store.get(&kind::VOLUME_CLAIMS, key) {
            self.bind(key, &claim)?;
        }
        Ok(None)
    }
}

impl Volumes {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, left: HashMap::new() }
    }

    /// A volume that nobody has yet can be had.
    fn offer(&self, key: &Key) -> Result<(), Status> {
        fine(self.store.update(&kind::VOLUMES, key, |seen| {
            let free = text(seen, "/status/phase").is_empty() && seen["spec"]["claimRef"].is_null();
            let mut value = seen.clone();
            object::set(&mut value, &["status", "phase"], json!("Available"));
            Ok(free.then_some(value))
        }))
    }

    fn bind(&self, key: &Key, claim: &Value) -> Result<(), Status> {
        if text(claim, "/status/phase") == "Bound" {
            return Ok(());
        }
        let named = text(claim, "/spec/volumeName");
        let free = self.store.list(&kind::VOLUMES, "").objects;
        let volume = free.iter().filter(|v| fits(v, claim)).min_by_key(|v| capacity(v));
        let name = match volume {
            Some(volume) => object::name(volume).to_owned(),
            // Without a class it waits for a volume that somebody makes by hand, as it does for one that it names.
            None if !named.is_empty() || claim["spec"]["storageClassName"] == "" => return Ok(()),
            None => self.make(claim)?,
        };
        fine(self.store.update(&kind::VOLUMES, &Key::new("", &name), |seen| {
            let mut value = seen.clone();
            object::set(&mut value, &["spec", "claimRef"], reference(claim));
            object::set(&mut value, &["status", "phase"], json!("Bound"));
            Ok(Some(value))
        }))?;
        fine(self.store.update(&kind::VOLUME_CLAIMS, key, |seen| {
            let mut value = seen.clone();
            object::set(&mut value, &["spec", "volumeName"], json!(name));
            value["status"] = json!({
                "phase": "Bound", "accessModes": seen["spec"]["accessModes"],
                "capacity": seen["spec"]["resources"]["requests"],
            });
            Ok(Some(value))
        }))
    }

    fn make(&self, claim: &Value) -> Result<String, Status> {
        let name = format!("pvc-{}", object::uid(claim));
        let class = &claim["spec"]["storageClassName"];
        let known = class.as_str().and_then(|c| self.store.get(&kind::STORAGE_CLASSES, &Key::new("", c)));
        let policy = known.as_deref().map(|c| text(c, "/reclaimPolicy")).filter(|p| !p.is_empty());
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {
                "capacity": claim["spec"]["resources"]["requests"], "accessModes": claim["spec"]["accessModes"],
                "persistentVolumeReclaimPolicy": policy.unwrap_or("Delete"), "storageClassName": class,
                "volumeMode": claim["spec"]["volumeMode"], "claimRef": reference(claim),
                "hostPath": {"path": format!("/nothing/{name}"), "type": ""},
            },
            "status": {"phase": "Bound"},
        });
        match self.store.create(&kind::VOLUMES, volume) {
            Err(status) if status.reason != "AlreadyExists" => Err(status),
            _ => Ok(name),
        }
    }

    /// What happens to the volume of a claim that is gone, as its policy says.
    fn release(&self, name: &str) -> Result<(), Status> {
        let key = Key::new("", name);
        let Some(volume) = self.store.get(&kind::VOLUMES, &key) else { return Ok(()) };
        if text(&volume, "/spec/persistentVolumeReclaimPolicy") == "Delete" {
            return fine(self.store.delete(&kind::VOLUMES, &key, &DeleteOptions::default()));
        }
        fine(self.store.update(&kind::VOLUMES, &key, |seen| {
            let mut value = seen.clone();
            object::set(&mut value, &["status", "phase"], json!("Released"));
            Ok(Some(value))
        }))
    }
}

/// Gone is as good.
fn fine<T>(done: Result<T, Status>) -> Result<(), Status> {
    match done {
        Err(status) if status.code != 404 => Err(status),
        _ => Ok(()),
    }
}

fn reference(claim: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": object::namespace(claim),
        "name": object::name(claim), "uid": object::uid(claim), "resourceVersion": claim["metadata"]["resourceVersion"],
    })
}

fn capacity(volume: &Value) -> Option<i128> {
    quantity::milli(text(volume, "/spec/capacity/storage"))
}

/// Whether a volume is free for a claim, or was kept for it, and is large enough.
fn fits(volume: &Value, claim: &Value) -> bool {
    let (kept, named) = (&volume["spec"]["claimRef"], text(claim, "/spec/volumeName"));
    let mine = kept["name"] == object::name(claim) && kept["namespace"] == object::namespace(claim);
    let free = matches!(text(volume, "/status/phase"), "" | "Available") && kept.is_null();
    let class = |of: &Value| of["spec"]["storageClassName"].as_str().unwrap_or("").to_owned();
    let modes = items(volume, "/spec/accessModes");
    (mine || free)
        && (named.is_empty() || named == object::name(volume))
        && class(volume) == class(claim)
        && items(claim, "/spec/accessModes").iter().all(|mode| modes.contains(mode))
        && capacity(volume) >= quantity::milli(text(claim, "/spec/resources/requests/storage"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_fits_by_class_mode_and_size_while_it_is_free() {
        let claim = json!({
            "metadata": {"name": "data", "namespace": "shop"},
            "spec": {"storageClassName": "", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        });
        let volume = json!({
            "metadata": {"name": "v"}, "status": {"phase": "Available"},
            "spec": {"accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "capacity": {"storage": "2Gi"}},
        });
        assert!(fits(&volume, &claim));
        for (pointer, value) in [
            ("/status/phase", json!("Released")),
            ("/spec/capacity/storage", json!("1Mi")),
            ("/spec/accessModes", json!(["ReadOnlyMany"])),
        ] {
            let mut other = volume.clone();
            *other.pointer_mut(pointer).expect("a field") = value;
            assert!(!fits(&other, &claim), "{pointer}");
        }
        let mut kept = volume;
        kept["spec"]["claimRef"] = json!({"name": "data", "namespace": "shop"});
        assert!(fits(&kept, &claim));
        kept["spec"]["claimRef"]["name"] = json!("other");
        assert!(!fits(&kept, &claim));
    }
}
