//! Observations: typed JetStream KV buckets, and views that mirror them in memory.
//!
//! KV reads on a cluster are not read-your-writes, so nobody reads a key right after writing it: writers keep what they
//! wrote, readers keep a [`View`].

mod view;

use std::{collections::BTreeMap, fmt, marker::PhantomData, time::Duration};

use async_nats::jetstream::{
    self,
    consumer::{DeliverPolicy, ReplayPolicy, push},
    kv::{CreateErrorKind, Operation, UpdateErrorKind},
};
use bcs_schemas::{
    bucket::{Bucket, Keyed},
    codec,
};
use futures::StreamExt;
use serde::{Serialize, de::DeserializeOwned};

use crate::bus::{Connections, Error};
pub use view::{Change, Changes, View};

/// A deletion leaves a mark, for readers that were away. Who is away longer lists the bucket anyway.
pub(crate) const MARK_KEPT: Duration = Duration::from_secs(3600);

/// A typed bucket.
pub struct Store<T> {
    client: async_nats::Client,
    connections: Connections,
    store: jetstream::kv::Store,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for Store<T> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            connections: self.connections.clone(),
            store: self.store.clone(),
            value: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Store<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bucket {}", self.store.name)
    }
}

impl<T> Store<T> {
    pub(crate) fn new(
        client: async_nats::Client,
        connections: Connections,
        store: jetstream::kv::Store,
        _: Bucket<T>,
    ) -> Self {
        Self { client, connections, store, value: PhantomData }
    }

    /// Name of the bucket.
    pub fn name(&self) -> &str {
        &self.store.name
    }

    /// Returns once the connection was lost and made again.
    async fn reconnected(&self) {
        self.connections.another().await;
    }

    fn failed(&self, what: &str, source: impl Into<async_nats::Error>) -> Error {
        Error::nats(format!("{what} in bucket {}", self.store.name), source)
    }

    /// Removes a key. Only a positive fact is a reason to.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        self.store
            .purge_with_ttl(key, MARK_KEPT)
            .await
            .map_err(|e| self.failed(&format!("deleting {key}"), e))
    }

    /// Removes a key unless it was written after this revision; whether it was removed.
    pub async fn delete_if(&self, key: &str, revision: u64) -> Result<bool, Error> {
        match self.store.delete_expect_revision(key, Some(revision)).await {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == UpdateErrorKind::WrongLastRevision => Ok(false),
            Err(e) => Err(self.failed(&format!("deleting {key}"), e)),
        }
    }
}

impl<T: Serialize + DeserializeOwned> Store<T> {
    /// Writes under an explicit key; the revision that the bucket gave it.
    pub async fn put_at(&self, key: &str, value: &T) -> Result<u64, Error> {
        let payload = codec::encode(value)?;
        self.store.put(key, payload).await.map_err(|e| self.failed(&format!("writing {key}"), e))
    }

    /// Writes only if the key does not exist, or was deleted; `None` when it does exist.
    pub async fn put_new(&self, key: &str, value: &T) -> Result<Option<u64>, Error> {
        let payload = codec::encode(value)?;
        match self.store.create(key, payload).await {
            Ok(revision) => Ok(Some(revision)),
            Err(e) if e.kind() == CreateErrorKind::AlreadyExists => Ok(None),
            Err(e) => Err(self.failed(&format!("creating {key}"), e)),
        }
    }

    /// Writes only if the key has this revision (0: does not exist); `None` when it has another.
    pub async fn put_if(&self, key: &str, value: &T, revision: u64) -> Result<Option<u64>, Error> {
        let payload = codec::encode(value)?;
        match self.store.update(key, payload, revision).await {
            Ok(revision) => Ok(Some(revision)),
            Err(e) if e.kind() == UpdateErrorKind::WrongLastRevision => Ok(None),
            Err(e) => Err(self.failed(&format!("updating {key}"), e)),
        }
    }

    /// Reads a key with its revision, from the leader of the bucket.
    pub async fn get(&self, key: &str) -> Result<Option<(T, u64)>, Error> {
        let entry = self.store.entry(key).await.map_err(|e| self.failed(&format!("reading {key}"), e))?;
        match entry.filter(|e| e.operation == Operation::Put) {
            None => Ok(None),
            Some(entry) => codec::decode(&entry.value)
                .map(|value| Some((value, entry.revision)))
                .map_err(|source| Error::Answer { subject: key.to_owned(), source }),
        }
    }

    /// Everything under `filter`: `sim-a.>`, or `>`. A value that cannot be read is left out and logged.
    pub async fn list(&self, filter: &str) -> Result<BTreeMap<String, T>, Error> {
        let (mut left, mut messages) = self.follow(filter).await?;
        let mut found = BTreeMap::new();
        while left > 0 {
            let Some(message) = messages.next().await else { break };
            let message = message.map_err(|e| self.failed("listing", e))?;
            left = message.info().map_err(|e| self.failed("listing", e))?.pending;
            if let Some((key, Some(value))) = self.read::<T>(&message) {
                found.insert(key, value);
            }
        }
        Ok(found)
    }

    /// The last value of every key under `filter` and then every change; also how many values lie there now.
    async fn follow(&self, filter: &str) -> Result<(u64, push::Ordered), Error> {
        let inbox = self.client.new_inbox();
        let config = push::OrderedConfig {
            // With a name, the request tells the server on its subject what is read: that is what permissions look at.
            name: inbox.rsplit('.').next().map(str::to_owned),
            deliver_subject: inbox,
            filter_subject: format!("{}{filter}", self.store.prefix),
            deliver_policy: DeliverPolicy::LastPerSubject,
            replay_policy: ReplayPolicy::Instant,
            ..Default::default()
        };
        let consumer =
            self.store.stream.create_consumer(config).await.map_err(|e| self.failed("watching", e))?;
        let pending = consumer.cached_info().num_pending;
        let messages = consumer.messages().await.map_err(|e| self.failed("watching", e))?;
        Ok((pending, messages))
    }

    /// Key and value of a message; no value when it says that the key was deleted.
    fn read<V: DeserializeOwned>(&self, message: &jetstream::Message) -> Option<(String, Option<V>)> {
        let key = message.subject.strip_prefix(self.store.prefix.as_str())?.to_owned();
        let headers = message.headers.as_ref();
        let marker = headers.and_then(|h| h.get("KV-Operation").or_else(|| h.get("Nats-Marker-Reason")));
        if marker.is_some_and(|m| m.as_str() != "PUT") {
            return Some((key, None));
        }
        match codec::decode(&message.payload) {
            Ok(value) => Some((key, Some(value))),
            Err(error) => {
                tracing::warn!(bucket = self.store.name, key, %error, "observation is not understood, skipped");
                None
            }
        }
    }
}

impl<T: Keyed> Store<T> {
    /// Writes an observation under its own key; the revision that the bucket gave it.
    pub async fn put(&self, value: &T) -> Result<u64, Error> {
        self.put_at(&value.key(), value).await
    }
}
