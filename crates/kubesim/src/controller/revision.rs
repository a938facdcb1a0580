//! ControllerRevisions: the templates that a StatefulSet or DaemonSet has had, by which it can go back.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use super::claim::Claims;
use crate::{
    clock,
    kind::{self, Kind},
    object::{self, Key, int},
    status::Status,
    store::{DeleteOptions, Event, Store},
};

/// The label of pods that says which revision they were made from.
pub(crate) const HASH: &str = "controller-revision-hash";

pub(crate) struct History {
    store: Arc<Store>,
    owner: &'static Kind,
    revisions: Claims,
    /// The label of a revision that holds its hash.
    label: &'static str,
}

impl History {
    pub(crate) fn new(store: Arc<Store>, owner: &'static Kind, label: &'static str) -> Self {
        let revisions = Claims::new(Arc::clone(&store), owner, &kind::CONTROLLER_REVISIONS);
        Self { store, owner, revisions, label }
    }

    pub(crate) fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        self.revisions.observe(event, queue);
    }

    /// All revisions of an owner; the last one is that of its present template.
    pub(crate) fn sync(&self, owner: &Value) -> Result<Vec<Arc<Value>>, Status> {
        let mut known = self.revisions.claim(owner, |_| true)?;
        known.sort_by_key(|r| (int(r, "/revision"), object::name(r).to_owned()));
        let data = data(owner);
        let next = known.last().map_or(0, |r| number(r)) + 1;
        let Some(at) = known.iter().rposition(|r| r["data"] == data) else {
            known.push(self.create(owner, &data, next)?);
            return Ok(known);
        };
        let mut present = known.remove(at);
        if at < known.len() {
            // A template that returns becomes the newest revision.
            present = self.store.update(&kind::CONTROLLER_REVISIONS, &Key::of(&present), |seen| {
                let mut value = seen.clone();
                value["revision"] = json!(next);
                Ok(Some(value))
            })?;
        }
        known.push(present);
        Ok(known)
    }

    fn create(&self, owner: &Value, data: &Value, number: i64) -> Result<Arc<Value>, Status> {
        let collisions = int(owner, "/status/collisionCount").unwrap_or(0);
        let hash = clock::fnv(format!("{data}{collisions}").as_bytes());
        let hash = format!("{}{}", clock::suffix_of(hash), clock::suffix_of(hash.rotate_left(29)));
        let mut revision = json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision", "data": data, "revision": number,
            "metadata": {
                "name": format!("{}-{hash}", object::name(owner)), "namespace": object::namespace(owner),
                "labels": owner["spec"]["template"]["metadata"]["labels"],
                "ownerReferences": [object::owner_reference(self.owner, owner)],
            },
        });
        object::set(&mut revision, &["metadata", "labels", self.label], json!(hash));
        if owner["metadata"]["annotations"].is_object() {
            revision["metadata"]["annotations"] = owner["metadata"]["annotations"].clone();
        }
        self.store.create(&kind::CONTROLLER_REVISIONS, revision).or_else(|status| {
            if status.reason == "AlreadyExists" {
                // The name belongs to somebody else: another hash next time.
                self.store.update(self.owner, &Key::of(owner), |seen| {
                    let mut value = seen.clone();
                    object::set(&mut value, &["status", "collisionCount"], json!(collisions + 1));
                    Ok(Some(value))
                })?;
            }
            Err(status)
        })
    }

    /// Forgets the oldest revisions beyond the limit that no pod needs.
    pub(crate) fn trim(
        &self,
        owner: &Value,
        known: &[Arc<Value>],
        needed: impl Fn(&Value) -> bool,
    ) -> Result<(), Status> {
        let limit = usize::try_from(int(owner, "/spec/revisionHistoryLimit").unwrap_or(10)).unwrap_or(10);
        let idle: Vec<_> = known.iter().filter(|r| !needed(r)).collect();
        for revision in idle.iter().take(idle.len().saturating_sub(limit)) {
            match self.store.delete(&kind::CONTROLLER_REVISIONS, &Key::of(revision), &DeleteOptions::now()) {
                Err(status) if status.code != 404 => return Err(status),
                _ => {}
            }
        }
        Ok(())
    }
}

fn number(revision: &Value) -> i64 {
    int(revision, "/revision").unwrap_or(0)
}

/// A strategic merge patch that brings the template back: kubectl sends it as it is.
fn data(owner: &Value) -> Value {
    let mut template = owner["spec"]["template"].clone();
    template["$patch"] = json!("replace");
    json!({"spec": {"template": template}})
}

pub(crate) fn template(revision: &Value) -> Value {
    let mut template = revision["data"]["spec"]["template"].clone();
    object::unset(&mut template, &["$patch"]);
    template
}

/// The revision that a pod was made from, as its label says.
pub(crate) fn of_pod(pod: &Value) -> &str {
    object::label(pod, HASH).unwrap_or("")
}
