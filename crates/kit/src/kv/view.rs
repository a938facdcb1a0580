//! A bucket mirrored in memory. It heals itself: after any gap it reads everything again, and what a complete list does
//! not hold any more is removed.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use imbl::OrdMap;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{Notify, broadcast, watch};

use super::Store;
use crate::{Tasks, bus::Error};

/// How many changes a reader may lag behind before it is told to look at everything again.
const LAG: usize = 4096;

/// What is known of a bucket, or of a part of it, right now. Clones share it.
pub struct View<T>(Arc<Inner<T>>);

struct Inner<T> {
    entries: RwLock<OrdMap<String, Arc<T>>>,
    synced: watch::Sender<bool>,
    changes: broadcast::Sender<Change<T>>,
    /// How often somebody asked for everything to be read again, and up to which of these that was done.
    asked: AtomicU64,
    read: watch::Sender<u64>,
    again: Notify,
}

/// A change of one key.
pub struct Change<T> {
    /// The key; empty when the reader lagged and must look at the snapshot again.
    pub key: String,
    /// The value; `None` when the key was removed.
    pub value: Option<Arc<T>>,
}

impl<T> Change<T> {
    /// Whether the reader missed changes and must look at the whole snapshot.
    pub fn everything(&self) -> bool {
        self.key.is_empty()
    }
}

impl<T> Clone for Change<T> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), value: self.value.clone() }
    }
}

impl<T> Clone for View<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for View<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "view of {} entries", self.snapshot().len())
    }
}

/// The changes of a view, from the moment it was asked for.
pub struct Changes<T>(broadcast::Receiver<Change<T>>);

impl<T> Changes<T> {
    /// The next change. Never ends while the view lives.
    pub async fn next(&mut self) -> Option<Change<T>> {
        match self.0.recv().await {
            Ok(change) => Some(change),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Change { key: String::new(), value: None }),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

impl<T> View<T> {
    /// Everything that is known, as one consistent copy. Costs a pointer.
    pub fn snapshot(&self) -> OrdMap<String, Arc<T>> {
        self.0.entries.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until a complete list was seen once.
    pub async fn synced(&self) {
        // The sender lives as long as this view.
        let _ = self.0.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Whether a complete list was seen.
    pub fn is_synced(&self) -> bool {
        *self.0.synced.borrow()
    }

    /// Reads everything again, and waits until that is done: a watch may be silent for seconds before it is known to be broken.
    /// On a cluster any copy may answer, also one that lags behind; what it has not got yet is told by the watch that begins there.
    pub async fn read_again(&self) {
        let asked = self.0.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.again.notify_one();
        // The sender lives as long as this view.
        let _ = self.0.read.subscribe().wait_for(|read| *read >= asked).await;
    }

    /// The changes from now on. Ask before taking a snapshot, and nothing falls between the two.
    pub fn changes(&self) -> Changes<T> {
        Changes(self.0.changes.subscribe())
    }

    fn apply(&self, key: String, value: Option<Arc<T>>) {
        {
            let mut entries = self.0.entries.write().unwrap_or_else(PoisonError::into_inner);
            match &value {
                Some(value) => drop(entries.insert(key.clone(), value.clone())),
                None if entries.remove(&key).is_none() => return,
                None => (),
            }
        }
        // Nobody may be listening.
        let _ = self.0.changes.send(Change { key, value });
    }
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Store<T> {
    /// Mirrors everything under `filter` until the group stops.
    pub fn watch(&self, tasks: &Tasks, filter: &str) -> View<T> {
        let view = View(Arc::new(Inner {
            entries: RwLock::new(OrdMap::new()),
            synced: watch::Sender::new(false),
            changes: broadcast::Sender::new(LAG),
            asked: AtomicU64::new(0),
            read: watch::Sender::new(0),
            again: Notify::new(),
        }));
        let (store, mirror, filter) = (self.clone(), view.clone(), filter.to_owned());
        let stopping = tasks.stopping();
        tasks.spawn("kv-view", async move {
            tokio::select! {
                () = stopping.cancelled() => (),
                () = store.mirror(&mirror, &filter) => (),
            }
        });
        view
    }

    async fn mirror(&self, view: &View<T>, filter: &str) {
        loop {
            let mirrored = tokio::select! {
                mirrored = self.mirror_until_gap(view, filter) => mirrored,
                () = self.reconnected() => Ok(()),
                () = view.0.again.notified() => continue,
            };
            match mirrored {
                Ok(()) => tracing::debug!(bucket = self.name(), "watch ended, reading again"),
                Err(error) => {
                    tracing::warn!(bucket = self.name(), error = %chain(&error), "watch failed, reading again")
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn mirror_until_gap(&self, view: &View<T>, filter: &str) -> Result<(), Error> {
        let asked = view.0.asked.load(Ordering::SeqCst);
        let (mut left, mut messages) = self.follow(filter).await?;
        let mut seen = BTreeSet::new();
        while left > 0 {
            let Some(message) = messages.next().await else { return Ok(()) };
            let message = message.map_err(|e| self.failed("watching", e))?;
            left = message.info().map_err(|e| self.failed("watching", e))?.pending;
            if let Some((key, value)) = self.read::<T>(&message) {
                seen.insert(key.clone());
                view.apply(key, value.map(Arc::new));
            }
        }
        let known = view.snapshot();
        for key in known.keys().filter(|key| !seen.contains(*key)) {
            view.apply(key.clone(), None);
        }
        view.0.synced.send_replace(true);
        view.0.read.send_replace(asked);
        while let Some(message) = messages.next().await {
            let message = message.map_err(|e| self.failed("watching", e))?;
            if let Some((key, value)) = self.read::<T>(&message) {
                view.apply(key, value.map(Arc::new));
            }
        }
        Ok(())
    }
}

/// An error with its causes, for one log line.
fn chain(error: &dyn std::error::Error) -> String {
    crate::telemetry::chain(error)
}
