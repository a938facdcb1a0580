//! One bucket as an agent writes it: what it knows to stand there, and what is not written yet. A write that fails stays
//! due; a newer one for the same key takes its place.

use std::{collections::BTreeMap, time::Duration};

use bcs_kit::{
    bus,
    kv::{Contradictions, Kept, Store},
    telemetry::chain,
};
use futures::{StreamExt, stream};
use tokio::time::Instant;

use super::Report;
use crate::domain::mirror::{Mirror, Observation};

/// Writes under way at once.
const CONCURRENCY: usize = 32;
/// How long reading a bucket may take.
const READ: Duration = Duration::from_secs(5);

pub(super) struct Outbox<T> {
    kept: Kept<T>,
    contradictions: Contradictions,
    pub(super) mirror: Mirror<T>,
    report: Report,
    due: BTreeMap<String, Due<T>>,
}

/// A write of one key that is not through yet.
struct Due<T> {
    /// To put; none to delete.
    value: Option<T>,
    since: Instant,
}

impl<T> Due<T> {
    fn now(value: Option<T>) -> Self {
        Self { value, since: Instant::now() }
    }
}

impl<T: Observation> Outbox<T> {
    /// Begins with what stands in the bucket under `filter`.
    pub(super) async fn open(store: Store<T>, filter: &str, report: &Report) -> Result<Self, bus::Error> {
        let kept = store.kept(filter, "");
        let contradictions = kept.listen().await?;
        let mirror = Mirror::new(kept.list().await?);
        Ok(Self { kept, contradictions, mirror, report: report.clone(), due: BTreeMap::new() })
    }

    /// Returns when somebody else wrote there, or may have: the bucket is to be compared.
    pub(super) async fn contradicted(&mut self) {
        // They never end.
        let _ = self.contradictions.next().await;
    }

    pub(super) fn seen(&mut self, value: T) {
        let changed = self.mirror.seen(value);
        self.put(changed);
    }

    pub(super) fn put(&mut self, changed: Option<T>) {
        if let Some(value) = changed {
            self.due.insert(value.key(), Due::now(Some(value)));
        }
    }

    pub(super) fn gone(&mut self, key: String) {
        if self.mirror.gone(&key) {
            self.due.insert(key, Due::now(None));
        }
    }

    pub(super) fn list_ended(&mut self) {
        let lost = self.mirror.list_ended();
        self.due.extend(lost.into_iter().map(|key| (key, Due::now(None))));
    }

    /// Whether a write of this key is not through yet.
    pub(super) fn is_due(&self, key: &str) -> bool {
        self.due.contains_key(key)
    }

    /// Reads the bucket and makes due what is otherwise than it was written: a bucket can be lost, or come back old.
    /// How many keys that is; none when the bucket cannot be read.
    pub(super) async fn audit(&mut self) -> Option<usize> {
        let bucket = self.kept.name();
        match tokio::time::timeout(READ, self.kept.list()).await {
            Ok(Ok(found)) => {
                let differing = self.mirror.differing(&found);
                let count = differing.len();
                for (key, value) in differing {
                    self.due.entry(key).or_insert_with(|| Due::now(value));
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
        let (kept, report) = (&self.kept, &self.report);
        let writes = std::mem::take(&mut self.due).into_iter().map(|(key, due)| async move {
            let written = match &due.value {
                Some(value) => kept.put(value).await,
                None => kept.delete(&key).await,
            };
            if written.is_ok() {
                report.written(due.since.elapsed());
            }
            written.err().map(|error| (key, due, error))
        });
        let failed: Vec<_> =
            stream::iter(writes).buffer_unordered(CONCURRENCY).filter_map(std::future::ready).collect().await;
        if let Some((key, _, error)) = failed.first() {
            let (bucket, count) = (self.kept.name(), failed.len());
            tracing::warn!(
                bucket,
                key,
                count,
                error = chain(error),
                "observations were not written, trying again"
            );
        }
        for (key, due, _) in failed {
            self.due.entry(key).or_insert(due);
        }
        self.due.is_empty()
    }
}
