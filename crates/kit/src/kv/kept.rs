//! The part of a bucket that one process keeps: it alone writes there, and hears when somebody else does so all the same.
//!
//! Leases and epochs say who may write. But a writer that was replaced while it was stopped or cut off has its say once more
//! before it finds out, and a bucket refuses nobody. So each word says who wrote it, and who keeps a part listens: when somebody
//! else speaks there, both read again, the right one repeats itself, and the one that was replaced finds out.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::{
    HeaderMap,
    jetstream::{
        self,
        consumer::{DeliverPolicy, push},
    },
};
use bcs_schemas::{bucket::Keyed, codec, envelope::header};
use bytes::Bytes;
use futures::{
    FutureExt, StreamExt,
    stream::{self, BoxStream},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{MARK_KEPT, Store, unique};
use crate::{
    bus::{self, Error, Reconnections},
    telemetry::chain,
};

/// How soon it listens again, or reads again what lagged behind.
const AGAIN: Duration = Duration::from_millis(200);

/// An item for every reason to read the part again: somebody else wrote there, or may have while nobody listened. Never ends.
pub type Contradictions = BoxStream<'static, ()>;

/// What this process keeps of a bucket. Clones are the same writer.
pub struct Kept<T> {
    store: Store<T>,
    filter: String,
    suffix: String,
    writer: String,
    heard: Arc<Mutex<Heard>>,
}

/// The newest word of somebody else.
#[derive(Clone, Copy, Default)]
struct Heard {
    revision: u64,
    /// A bus that was away may number anew.
    connection: u64,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            filter: self.filter.clone(),
            suffix: self.suffix.clone(),
            writer: self.writer.clone(),
            heard: self.heard.clone(),
        }
    }
}

impl<T> fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…{} of {:?}", self.filter, self.suffix, self.store)
    }
}

impl<T> Store<T> {
    /// Everything under `filter`, such as `sim-a.>`, whose key ends with `suffix`, kept by this process.
    pub fn kept(&self, filter: &str, suffix: &str) -> Kept<T> {
        let (filter, suffix) = (filter.to_owned(), suffix.to_owned());
        let writer = unique(&self.jetstream.client().new_inbox());
        Kept { store: self.clone(), filter, suffix, writer, heard: Arc::default() }
    }
}

impl<T> Kept<T> {
    /// Name of the bucket.
    pub fn name(&self) -> &str {
        self.store.name()
    }

    /// Removes a key. Only a positive fact is a reason to.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        let mut mark = HeaderMap::new();
        mark.insert("KV-Operation", "PURGE");
        mark.insert("Nats-Rollup", "sub");
        mark.insert("Nats-TTL", MARK_KEPT.as_secs().to_string());
        self.write("deleting", key, mark, Bytes::new()).await
    }

    /// As the client library writes to buckets, and with the name of the writer, for which it has no room.
    async fn write(
        &self,
        what: &str,
        key: &str,
        mut headers: HeaderMap,
        payload: Bytes,
    ) -> Result<(), Error> {
        headers.insert(header::WRITER, self.writer.as_str());
        let subject = format!("{}{key}", self.store.store.prefix);
        let written =
            async { self.store.jetstream.publish_with_headers(subject, headers, payload).await?.await };
        let written = written.await.map_err(|e| self.store.failed(&format!("{what} {key}"), e));
        written.map(drop)
    }
}

impl<T: Keyed + Serialize + DeserializeOwned> Kept<T> {
    /// Writes an observation under its own key.
    pub async fn put(&self, value: &T) -> Result<(), Error> {
        let payload = codec::encode(value)?;
        self.write("writing", &value.key(), HeaderMap::new(), payload).await
    }

    /// Everything that stands there, whoever wrote it, with every word of others that was heard. A copy of the bucket that
    /// does not have those yet is given the time.
    pub async fn list(&self) -> Result<BTreeMap<String, T>, Error> {
        loop {
            let (mut found, revision) = self.store.list_to(&self.filter).await?;
            if self.has_all_that_was_heard(revision) {
                found.retain(|key, _| key.ends_with(&self.suffix));
                return Ok(found);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

impl<T> Kept<T> {
    /// Whether a reading up to this revision has every word of others that was heard. What was read once is not waited for again:
    /// it may be gone by then, its mark as well.
    fn has_all_that_was_heard(&self, revision: u64) -> bool {
        let mut heard = self.heard();
        let all = revision >= heard.revision || heard.connection != self.store.connections.count();
        if all {
            *heard = Heard::default();
        }
        all
    }
}

impl<T: 'static> Kept<T> {
    /// Listens from now on. Read the part afterwards, and nothing falls between the two.
    pub async fn listen(&self) -> Result<Contradictions, Error> {
        let reconnections = self.store.connections.follow();
        let heard = self.news().await?;
        let ear = Ear { kept: self.clone(), reconnections, heard };
        Ok(stream::unfold(ear, |mut ear| async move {
            ear.contradicted().await;
            Some(((), ear))
        })
        .boxed())
    }
}

impl<T> Kept<T> {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// That something under the filter is written, from now on.
    async fn news(&self) -> Result<push::Ordered, Error> {
        let only = push::OrderedConfig {
            deliver_policy: DeliverPolicy::New,
            headers_only: true,
            ..push::OrderedConfig::default()
        };
        self.store.consume(&self.filter, only).await.map(|(_, messages)| messages)
    }

    /// Whether somebody else wrote this.
    fn hear(&self, message: &jetstream::Message) -> bool {
        let headers = message.headers.as_ref();
        // The server leaves a mark where a mark of ours has ended.
        let by_server = headers.is_some_and(|headers| headers.get("Nats-Marker-Reason").is_some());
        let ours = bus::header(headers, header::WRITER) == Some(&self.writer);
        if ours || by_server || !message.subject.ends_with(&self.suffix) {
            return false;
        }
        let revision = message.info().map_or(0, |info| info.stream_sequence);
        *self.heard() = Heard { revision, connection: self.store.connections.count() };
        tracing::debug!(subject = %message.subject, revision, "somebody else wrote what is kept here");
        true
    }
}

struct Ear<T> {
    kept: Kept<T>,
    reconnections: Reconnections,
    heard: push::Ordered,
}

impl<T> Ear<T> {
    async fn contradicted(&mut self) {
        loop {
            tokio::select! {
                message = self.heard.next() => match message {
                    Some(Ok(message)) if self.kept.hear(&message) => return self.hear_out().await,
                    Some(Ok(_)) => (),
                    Some(Err(_)) | None => break,
                },
                () = self.reconnections.next() => break,
            }
        }
        self.listen_again().await;
    }

    /// However many words were heard by now, they are one reason to read.
    async fn hear_out(&mut self) {
        while let Some(message) = self.heard.next().now_or_never() {
            match message {
                Some(Ok(message)) => {
                    self.kept.hear(&message);
                }
                Some(Err(_)) | None => return self.listen_again().await,
            }
        }
    }

    async fn listen_again(&mut self) {
        loop {
            tokio::time::sleep(AGAIN).await;
            match self.kept.news().await {
                Ok(heard) => {
                    self.heard = heard;
                    return;
                }
                Err(error) => {
                    tracing::warn!(bucket = self.kept.name(), error = %chain(&error), "cannot listen, trying again");
                }
            }
        }
    }
}
