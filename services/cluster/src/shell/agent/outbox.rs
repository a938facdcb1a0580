//! One bucket as an agent writes it: what it knows to stand there, and what is not written yet. A write that fails stays
//! due; a newer one for the same key takes its place.

use std::{collections::BTreeMap, time::Duration};

use bcs_kit::{bus, kv::Store, telemetry::chain};
use futures::{StreamExt, stream};

use crate::domain::mirror::{Mirror, Observation};

/// Writes under way at once.
const CONCURRENCY: usize = 32;
/// How long reading a bucket may take.
const READ: Duration = Duration::from_secs(5);

pub(super) struct Outbox<T> {
    store: Store<T>,
    filter: String,
    pub(super) mirror: Mirror<T>,
    /// By key: a value to put, or none to delete.
    due: BTreeMap<String, Option<T>>,
}

impl<T: Observation> Outbox<T> {
    /// Begins with what stands in the bucket under `filter`.
    pub(super) async fn open(store: Store<T>, filter: &str) -> Result<Self, bus::Error> {
        let mirror = Mirror::new(store.list(filter).await?);
        Ok(Self { store, filter: filter.to_owned(), mirror, due: BTreeMap::new() })
    }

    pub(super) fn seen(&mut self, value: T) {
        let changed = self.mirror.seen(value);
        self.put(changed);
    }

    pub(super) fn put(&mut self, changed: Option<T>) {
        if let Some(value) = changed {
            self.due.insert(value.key(), Some(value));
        }
    }

    pub(super) fn gone(&mut self, key: String) {
        if self.mirror.gone(&key) {
            self.due.insert(key, None);
        }
    }

    pub(super) fn list_ended(&mut self) {
        let lost = self.mirror.list_ended();
        self.due.extend(lost.into_iter().map(|key| (key, None)));
    }

    /// Whether a write of this key is not through yet.
    pub(super) fn is_due(&self, key: &str) -> bool {
        self.due.contains_key(key)
    }

    /// Reads the bucket and makes due what is otherwise than it was written: a bucket can be lost, or come back old.
    /// How many keys that is; none when the bucket cannot be read.
    pub(super) async fn audit(&mut self) -> Option<usize> {
        let bucket = self.store.name();
        match tokio::time::timeout(READ, self.store.list(&self.filter)).await {
            Ok(Ok(found)) => {
                let differing = self.mirror.differing(&found);
                let count = differing.len();
                for (key, value) in differing {
                    self.due.entry(key).or_insert(value);
                }
                if count > 0 {
                    tracing::info!(bucket, count, "bucket holds something else than was written, mending it");
                }
                Some(count)
            }
            Ok(Err(error)) => {
                tracing::warn!(bucket, error = chain(&error), "bucket was not compared, trying again");
                None
            }
            Err(_) => {
                tracing::warn!(bucket, "bucket did not answer and was not compared, trying again");
                None
            }
        }
    }

    /// Writes what is due; whether all of it was written.
    pub(super) async fn flush(&mut self) -> bool {
        let store = &self.store;
        let writes = std::mem::take(&mut self.due).into_iter().map(|(key, value)| async move {
            let written = match &value {
                Some(value) => store.put(value).await.map(drop),
                None => store.delete(&key).await,
            };
            written.err().map(|error| (key, value, error))
        });
        let failed: Vec<_> =
            stream::iter(writes).buffer_unordered(CONCURRENCY).filter_map(std::future::ready).collect().await;
        if let Some((key, _, error)) = failed.first() {
            let (bucket, count) = (self.store.name(), failed.len());
            tracing::warn!(
                bucket,
                key,
                count,
                error = chain(error),
                "observations were not written, trying again"
            );
        }
        for (key, value, _) in failed {
            self.due.entry(key).or_insert(value);
        }
        self.due.is_empty()
    }
}
