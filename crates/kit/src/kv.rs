//! Observations: typed JetStream KV buckets, and views that mirror them in memory.
//!
//! On a cluster any replica of a bucket may answer a read, also one that lags behind. Writers keep what they wrote, readers
//! keep a [`View`], and who must know what holds asks the leader: [`Store::get`]. Nothing rests on a read alone: what is
//! written upon it names the revision that was read.

mod kept;
mod view;

use std::{collections::BTreeMap, fmt, marker::PhantomData, time::Duration};

use async_nats::{
    HeaderMap,
    jetstream::{
        self, ErrorCode,
        consumer::{DeliverPolicy, ReplayPolicy, push},
        kv::{Operation, UpdateError, UpdateErrorKind},
        message::{Info, StreamMessage},
        stream::LastRawMessageErrorKind,
    },
};
use bcs_schemas::{
    bucket::{Bucket, Keyed},
    codec,
};
use futures::StreamExt;
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};

use crate::bus::{self, Connections, Error};
pub use kept::{Contradictions, Kept};
pub use view::{Change, Changes, View};

/// A deletion leaves a mark, for readers that were away. Who is away longer lists the bucket anyway.
pub(crate) const MARK_KEPT: Duration = Duration::from_secs(3600);

/// A typed bucket.
pub struct Store<T> {
    jetstream: jetstream::Context,
    connections: Connections,
    store: jetstream::kv::Store,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for Store<T> {
    fn clone(&self) -> Self {
        Self {
            jetstream: self.jetstream.clone(),
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
        jetstream: jetstream::Context,
        connections: Connections,
        store: jetstream::kv::Store,
        _: Bucket<T>,
    ) -> Self {
        Self { jetstream, connections, store, value: PhantomData }
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

    /// A consumer of what lies under `filter`, and how much of that waits for it.
    async fn consume(
        &self,
        filter: &str,
        config: push::OrderedConfig,
    ) -> Result<(u64, push::Ordered), Error> {
        let inbox = self.jetstream.client().new_inbox();
        let config = push::OrderedConfig {
            // With a name, the request tells the server on its subject what is read: that is what permissions look at.
            name: Some(unique(&inbox)),
            deliver_subject: inbox,
            filter_subject: format!("{}{filter}", self.store.prefix),
            replay_policy: ReplayPolicy::Instant,
            ..config
        };
        let consumer =
            self.store.stream.create_consumer(config).await.map_err(|e| self.failed("watching", e))?;
        let pending = consumer.cached_info().num_pending;
        let messages = consumer.messages().await.map_err(|e| self.failed("watching", e))?;
        Ok((pending, messages))
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
            Err(e) if overtaken(&e) => Ok(false),
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
        if let Some(revision) = self.put_if(key, value, 0).await? {
            return Ok(Some(revision));
        }
        match self.last(key).await? {
            Some(mark) if deleted(&mark) => self.put_if(key, value, mark.sequence).await,
            _ => Ok(None),
        }
    }

    /// Writes only if the key has this revision (0: does not exist); `None` when it has another.
    pub async fn put_if(&self, key: &str, value: &T, revision: u64) -> Result<Option<u64>, Error> {
        let payload = codec::encode(value)?;
        match self.store.update(key, payload, revision).await {
            Ok(revision) => Ok(Some(revision)),
            Err(e) if overtaken(&e) => Ok(None),
            Err(e) => Err(self.failed(&format!("updating {key}"), e)),
        }
    }

    /// Reads a key with its revision, from the leader of the bucket: it shows every write that was confirmed before. A bus
    /// with keys allows this for a whole bucket or not at all.
    pub async fn get(&self, key: &str) -> Result<Option<(T, u64)>, Error> {
        match self.last(key).await? {
            Some(message) if !deleted(&message) => {
                self.decoded(key, &message.payload, message.sequence).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Reads a key with its revision, from any replica: on a cluster this may be a little old. A bus with keys allows it
    /// key by key.
    pub async fn glance(&self, key: &str) -> Result<Option<(T, u64)>, Error> {
        let entry = self.store.entry(key).await.map_err(|e| self.failed(&format!("reading {key}"), e))?;
        match entry.filter(|e| e.operation == Operation::Put) {
            None => Ok(None),
            Some(entry) => self.decoded(key, &entry.value, entry.revision).map(Some),
        }
    }

    fn decoded(&self, key: &str, payload: &[u8], revision: u64) -> Result<(T, u64), Error> {
        let read = codec::decode(payload).map(|value| (value, revision));
        read.map_err(|source| Error::Answer { subject: key.to_owned(), source })
    }

    /// The last message of a key, which may say that it was deleted, from the leader.
    async fn last(&self, key: &str) -> Result<Option<StreamMessage>, Error> {
        let subject = format!("{}{key}", self.store.prefix);
        match self.store.stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => Ok(Some(message)),
            Err(e) if e.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(e) => Err(self.failed(&format!("reading {key}"), e)),
        }
    }

    /// Everything under `filter`: `sim-a.>`, or `>`. A value that cannot be read is left out and logged.
    pub async fn list(&self, filter: &str) -> Result<BTreeMap<String, T>, Error> {
        self.list_to(filter).await.map(|(found, _)| found)
    }

    /// The same, each value with the time at which the bus took it, on the bus's own clock.
    pub async fn list_dated(&self, filter: &str) -> Result<BTreeMap<String, (T, Timestamp)>, Error> {
        let mut found = BTreeMap::new();
        self.each(filter, |key, value, info| {
            let at = Timestamp::from_nanosecond(info.published.unix_timestamp_nanos()).unwrap_or_default();
            found.insert(key, (value, at));
        })
        .await?;
        Ok(found)
    }

    /// The same, and the revision up to which the copy that answered had got, as far as that shows.
    async fn list_to(&self, filter: &str) -> Result<(BTreeMap<String, T>, u64), Error> {
        let mut found = BTreeMap::new();
        let revision = self.each(filter, |key, value, _| drop(found.insert(key, value))).await?;
        Ok((found, revision))
    }

    /// Tells every value under `filter`; the revision up to which the copy that answered had got, as far as that shows.
    async fn each(&self, filter: &str, mut tell: impl FnMut(String, T, &Info<'_>)) -> Result<u64, Error> {
        let ((mut left, mut messages), mut revision) = (self.follow(filter).await?, 0);
        while left > 0 {
            let Some(message) = messages.next().await else { break };
            let message = message.map_err(|e| self.failed("listing", e))?;
            let info = message.info().map_err(|e| self.failed("listing", e))?;
            (left, revision) = (info.pending, info.stream_sequence);
            if let Some((key, Some(value))) = self.read::<T>(&message) {
                tell(key, value, &info);
            }
        }
        Ok(revision)
    }

    /// The last value of every key under `filter` and then every change; also how many values lie there now.
    async fn follow(&self, filter: &str) -> Result<(u64, push::Ordered), Error> {
        let all = push::OrderedConfig { deliver_policy: DeliverPolicy::LastPerSubject, ..Default::default() };
        self.consume(filter, all).await
    }

    /// Key and value of a message; no value when it says that the key was deleted.
    fn read<V: DeserializeOwned>(&self, message: &jetstream::Message) -> Option<(String, Option<V>)> {
        let key = message.subject.strip_prefix(self.store.prefix.as_str())?.to_owned();
        if marked(message.headers.as_ref()) {
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

/// What no other inbox has.
fn unique(inbox: &str) -> String {
    inbox.rsplit('.').next().unwrap_or(inbox).to_owned()
}

/// Whether a write was refused because the key has another revision. A cluster says so in other words, which the client
/// does not know, while a write of somebody else is on its way to the copies.
fn overtaken(error: &UpdateError) -> bool {
    error.kind() == UpdateErrorKind::WrongLastRevision
        || bus::jetstream_code(error) == Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)
}

/// Whether a message of a bucket says that its key was deleted.
fn deleted(message: &StreamMessage) -> bool {
    marked(Some(&message.headers))
}

fn marked(headers: Option<&HeaderMap>) -> bool {
    let marker = headers.and_then(|h| h.get("KV-Operation").or_else(|| h.get("Nats-Marker-Reason")));
    marker.is_some_and(|m| m.as_str() != "PUT")
}

impl<T: Keyed> Store<T> {
    /// Writes an observation under its own key; the revision that the bucket gave it.
    pub async fn put(&self, value: &T) -> Result<u64, Error> {
        self.put_at(&value.key(), value).await
    }
}
