//! How a bus is, for whoever looks after it: what its server says of itself and of us, and how each stream and bucket of the
//! catalogue is. Nothing here changes anything.

use std::time::Duration;

use async_nats::jetstream::{
    ErrorCode,
    consumer::PullConsumer,
    context::{GetStreamError, GetStreamErrorKind},
    stream::{Config, ConsumerErrorKind, DiscardPolicy, Info},
};
use bcs_schemas::{
    bucket,
    stream::{self, StreamSpec},
};
use jiff::Timestamp;
use serde::Deserialize;

use super::{Bus, Deviation, Error, settings};

/// Where a user asks who it is; a bus with keys has to allow that, and `bcs bus credentials` does.
pub const WHO_AM_I: &str = "$SYS.REQ.USER.INFO";

/// A stream of the catalogue; a bucket is one as well.
#[derive(Clone, Debug)]
pub enum Part {
    /// A stream.
    Stream(StreamSpec),
    /// A bucket, by name and purpose.
    Bucket(&'static str, &'static str),
}

/// Everything that the platform needs on its bus.
pub fn catalogue() -> Vec<Part> {
    let buckets = bucket::ALL.into_iter().map(|(name, purpose)| Part::Bucket(name, purpose));
    stream::all().into_iter().map(Part::Stream).chain(buckets).collect()
}

impl Part {
    /// Name of the stream: `EVT_DEPLOY`, `KV_nodes`.
    pub fn stream(&self) -> String {
        match self {
            Self::Stream(spec) => spec.name.clone(),
            Self::Bucket(name, _) => format!("KV_{name}"),
        }
    }

    fn deviations(&self, found: &Config, replicas: usize) -> Vec<Deviation> {
        match self {
            Self::Stream(spec) => settings::of_stream(found, &settings::stream(spec, replicas)),
            Self::Bucket(name, purpose) => {
                settings::of_bucket(found, &settings::bucket(name, purpose, replicas))
            }
        }
    }
}

/// A stream or bucket as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What is not as it has to be.
    pub deviations: Vec<Deviation>,
    /// Messages in it.
    pub messages: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// How many bytes it may hold; none when there is no limit.
    pub max_bytes: Option<u64>,
    /// Whether it refuses messages when it is full.
    pub refuses: bool,
    /// How many copies it has to have.
    pub copies: usize,
    /// Whether one of its copies leads; without, it takes nothing.
    pub led: bool,
    /// Servers whose copies are away or behind.
    pub behind: Vec<String>,
}

/// A consumer as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Messages that it was not given yet.
    pub pending: u64,
    /// Messages that it was given and has not settled.
    pub unsettled: u64,
    /// Of those, how many were given more than once.
    pub redelivered: u64,
}

/// What the server that we speak to says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Its version: `2.15.1`.
    pub version: String,
    /// Name of its cluster, if it belongs to one.
    pub cluster: Option<String>,
    /// Whether it keeps streams.
    pub jetstream: bool,
    /// Whether it speaks TLS only.
    pub tls: bool,
    /// Whether it asks for a key.
    pub keys: bool,
}

/// Who we are for the server, and what time it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Me {
    /// Name or public key of the user; empty on a bus that asks nobody.
    pub user: String,
    /// What we may do; none when everything.
    pub rights: Option<Allowed>,
    /// The server's clock when it answered.
    pub time: Timestamp,
}

/// What a user may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Allowed {
    /// What it may publish.
    pub publish: Subjects,
    /// What it may hear.
    pub subscribe: Subjects,
}

/// Subjects with wildcards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Subjects {
    /// These only, if there are any.
    pub allow: Vec<String>,
    /// But not these.
    pub deny: Vec<String>,
}

/// What the account may keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes in use.
    pub used: u64,
    /// Bytes set aside for streams.
    pub reserved: u64,
    /// Limit of the account; none when there is none.
    pub limit: Option<u64>,
}

impl Bus {
    /// What the server that we speak to says of itself.
    pub fn server(&self) -> Server {
        let info = self.client.server_info();
        Server {
            name: info.server_name,
            version: info.version,
            cluster: info.cluster.filter(|name| !name.is_empty()),
            jetstream: info.jetstream,
            tls: info.tls_required,
            keys: info.auth_required,
        }
    }

    /// How long the way to the server and back takes.
    pub async fn round_trip(&self) -> Result<Duration, Error> {
        let begun = tokio::time::Instant::now();
        self.client.flush().await.map_err(|e| Error::nats("a round trip", e))?;
        Ok(begun.elapsed())
    }

    /// Asks the server who we are; without the right to, there is no answer.
    pub async fn who_am_i(&self) -> Result<Me, Error> {
        let asked = self.client.request(WHO_AM_I, bytes::Bytes::new()).await;
        let answer = asked.map_err(|e| Error::nats("asking who we are", e))?;
        let read: UserInfo =
            serde_json::from_slice(&answer.payload).map_err(|e| Error::nats("asking who we are", e))?;
        Ok(Me { user: read.data.user, rights: read.data.permissions, time: read.server.time })
    }

    /// A stream or bucket as it is, compared with how it has to be with so many copies; none when it does not exist.
    pub async fn examine(&self, part: &Part, copies: usize) -> Result<Option<Found>, Error> {
        match self.jetstream.get_stream(part.stream()).await {
            Ok(stream) => Ok(Some(found(part, stream.cached_info(), copies))),
            Err(e) if is_missing(&e) => Ok(None),
            Err(e) => Err(Error::nats(format!("looking at stream {}", part.stream()), e)),
        }
    }

    /// How far the consumer `name` of a stream is behind; none when it does not exist.
    pub async fn lag(&self, stream: &str, name: &str) -> Result<Option<Lag>, Error> {
        let found: Result<PullConsumer, _> = self.jetstream.get_consumer_from_stream(name, stream).await;
        let consumer = match found {
            Ok(consumer) => consumer,
            Err(e) if is_unknown(&e.kind()) => return Ok(None),
            Err(e) => return Err(Error::nats(format!("looking at consumer {name} of {stream}"), e)),
        };
        let info = consumer.cached_info();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Ok(Some(Lag {
            pending: info.num_pending,
            unsettled: count(info.num_ack_pending),
            redelivered: count(info.num_redelivered),
        }))
    }

    /// What the account holds and may hold.
    pub async fn room(&self) -> Result<Room, Error> {
        let account =
            self.jetstream.query_account().await.map_err(|e| Error::nats("looking at the account", e))?;
        Ok(Room {
            used: account.storage,
            reserved: account.reserved_storage,
            limit: u64::try_from(account.limits.max_storage.unwrap_or(-1)).ok(),
        })
    }
}

fn found(part: &Part, info: &Info, copies: usize) -> Found {
    let cluster = info.cluster.as_ref();
    let peers = cluster.map(|c| c.replicas.as_slice()).unwrap_or_default();
    Found {
        deviations: part.deviations(&info.config, copies),
        messages: info.state.messages,
        bytes: info.state.bytes,
        max_bytes: u64::try_from(info.config.max_bytes).ok().filter(|limit| *limit > 0),
        refuses: info.config.discard == DiscardPolicy::New,
        copies: info.config.num_replicas,
        led: cluster.is_none_or(|c| c.leader.is_some()),
        behind: peers.iter().filter(|p| p.offline || !p.current).map(|p| p.name.clone()).collect(),
    }
}

fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn is_unknown(kind: &ConsumerErrorKind) -> bool {
    matches!(kind, ConsumerErrorKind::JetStream(e) if e.error_code() == ErrorCode::CONSUMER_NOT_FOUND)
}

/// What nats-server answers on [`WHO_AM_I`].
#[derive(Deserialize)]
struct UserInfo {
    server: Clock,
    data: User,
}

#[derive(Deserialize)]
struct Clock {
    time: Timestamp,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    user: String,
    #[serde(default)]
    permissions: Option<Allowed>,
}
