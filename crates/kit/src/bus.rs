//! The connection to NATS: made once per process, kept for ever, with the streams and buckets that the catalogue names.

pub mod backup;
mod login;
mod provision;
mod refusal;
mod repeat;
mod request;
mod restore;
mod settings;
pub mod survey;
#[cfg(test)]
mod testing;
mod time;

pub(crate) use request::{form_of, write};
pub use settings::Deviation;

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_nats::{
    ConnectOptions, Event, HeaderMap, ServerAddr,
    jetstream::{
        self, ErrorCode,
        context::{CreateStreamError, CreateStreamErrorKind},
    },
};
use bcs_schemas::{Name, bucket::Bucket};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::watch;

use crate::{
    Tasks,
    actor::{Identity, SignError, Signers},
    kv,
};

/// How the bus is reached.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BusConfig {
    /// `nats://host:port`, or `tls://host:port`; several, joined by commas, for a cluster.
    pub url: String,
    /// Name of this site in subjects.
    pub site: Name,
    /// When the bus asks who we are: a file with an nkey seed (`SU…`, as `bcs bus credentials` writes it), or a
    /// credentials file with a JWT.
    pub credentials: Option<PathBuf>,
    /// Certificates (PEM) of who may vouch for the bus. With them, only TLS is spoken.
    pub ca: Option<PathBuf>,
    /// Who may sign for actors, as `bcs bus credentials` writes it (`actors.toml`). A service that has it believes no
    /// `bcs-actor` without a claim; without it, a sender is whoever it says.
    pub actors: Option<PathBuf>,
    /// What our inboxes begin with, when the bus allows no others: `_INBOX_<name>` when absent.
    pub inbox: Option<String>,
    /// Replicas of streams and buckets: 1 on a single server, 3 on a cluster.
    pub replicas: usize,
}

impl Default for BusConfig {
    fn default() -> Self {
        let site = Name::new("local").unwrap_or_else(|_| Name::system());
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            site,
            credentials: None,
            ca: None,
            actors: None,
            inbox: None,
            replicas: 1,
        }
    }
}

/// Between two looks whether a connection still lives.
const LOOK: Duration = Duration::from_secs(1);

/// A connection to the bus. Clones share it.
#[derive(Clone, Debug)]
pub struct Bus {
    client: async_nats::Client,
    jetstream: jetstream::Context,
    connections: Connections,
    config: Arc<BusConfig>,
    identity: Option<Identity>,
    signers: Option<Arc<Signers>>,
    refusals: refusal::Refusals,
    name: Arc<str>,
}

/// What can go wrong between us and the bus.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The credentials file cannot be used.
    #[error("credentials file {} cannot be used", .0.display())]
    Credentials(PathBuf, #[source] std::io::Error),
    /// The file of certificates cannot be used.
    #[error("bus.ca: {} cannot be read", .0.display())]
    Ca(PathBuf, #[source] std::io::Error),
    /// The file of those who may sign cannot be used.
    #[error("bus.actors: {} cannot be used", .0.display())]
    Actors(PathBuf, #[source] std::io::Error),
    /// A command cannot be signed.
    #[error("{what} cannot be signed")]
    Sign {
        /// What we tried.
        what: String,
        /// The reason.
        #[source]
        source: SignError,
    },
    /// No outcome would be sent there.
    #[error("bus.inbox: {0:?} is no inbox: expected _INBOX and more, without spaces and wildcards")]
    Inbox(String),
    /// No server answered.
    #[error("cannot connect to {url}")]
    Connect {
        /// Where we tried.
        url: String,
        /// What the client says.
        #[source]
        source: async_nats::ConnectError,
    },
    /// The server did not show that it is the right one.
    #[error("{url} is not trusted: {why}")]
    Untrusted {
        /// Where we tried.
        url: String,
        /// What is wrong, and what to do.
        why: String,
        /// What the client says.
        #[source]
        source: async_nats::ConnectError,
    },
    /// The key that we log in with has no right to it.
    #[error(
        "{what}: the bus refuses it to this key ({said}): expected in bus.credentials the key of this service, and in bus.inbox its inbox"
    )]
    Forbidden {
        /// What we tried.
        what: String,
        /// What the server says.
        said: String,
    },
    /// A stream or bucket has settings that cannot be changed to what the catalogue says.
    #[error("{0}")]
    Incompatible(String),
    /// A message could not be encoded.
    #[error("message cannot be encoded")]
    Encode(#[from] bcs_schemas::codec::EncodeError),
    /// An answer could not be understood.
    #[error("answer on {subject} is not understood")]
    Answer {
        /// Where we asked.
        subject: String,
        /// The field.
        #[source]
        source: bcs_schemas::FieldError,
    },
    /// Nobody answers there.
    #[error("nobody answers on {0}")]
    NoResponder(String),
    /// No answer in time.
    #[error("no answer on {0} in time")]
    TimedOut(String),
    /// Anything else that the client says about an operation.
    #[error("{what} failed")]
    Nats {
        /// What we tried.
        what: String,
        /// What the client says.
        #[source]
        source: async_nats::Error,
    },
}

impl Error {
    /// An error of operation `what`.
    pub fn nats(what: impl Into<String>, source: impl Into<async_nats::Error>) -> Self {
        Self::Nats { what: what.into(), source: source.into() }
    }
}

impl Bus {
    /// Connects as `name`, now or not at all; once connected, reconnects for ever.
    pub async fn connect(config: &BusConfig, name: &str) -> Result<Self, Error> {
        let (made, connections) = watch::channel(0);
        let refusals = refusal::Refusals::default();
        let refused = refusals.clone();
        let inbox = config.inbox.clone().unwrap_or_else(|| format!("_INBOX_{name}"));
        let options = ConnectOptions::new()
            .name(format!("bcs-{name}"))
            .custom_inbox_prefix(login::inbox(&inbox)?)
            .ping_interval(Duration::from_secs(20))
            .connection_timeout(Duration::from_secs(10))
            .request_timeout(Some(Duration::from_secs(10)))
            .max_reconnects(None)
            // A server that restarts on the same machine is back within a second; one that is overloaded is left alone.
            .reconnect_delay_callback(|attempts| {
                Duration::from_millis((20 * 2_u64.saturating_pow(attempts.min(10) as u32)).min(2_000))
            })
            .event_callback(move |event| {
                if matches!(event, Event::Connected) {
                    made.send_modify(|connections| *connections += 1);
                }
                if let Event::ServerError(said) = &event {
                    refused.hear(said);
                }
                async move { report(&event) }
            });
        let (options, identity) = login::apply(options, config)?;
        let signers = config.actors.as_deref().map(login::signers).transpose()?;
        let servers: Vec<&str> = config.url.split(',').map(str::trim).collect();
        let client = options.connect(servers).await.map_err(|source| {
            let url = without_password(&config.url);
            match login::untrusted(&source, config.ca.as_deref()) {
                Some(why) => Error::Untrusted { url, why, source },
                None => Error::Connect { url, source },
            }
        })?;
        let jetstream = jetstream::ContextBuilder::new()
            .timeout(Duration::from_secs(5))
            .max_ack_inflight(1024)
            .build(client.clone());
        let connections = Connections(connections);
        // Further connections of the same process use the same inboxes: that is what a bus lets it hear.
        let config = Arc::new(BusConfig { inbox: Some(inbox), ..config.clone() });
        let name = name.into();
        Ok(Self { client, jetstream, connections, config, identity, signers, refusals, name })
    }

    /// A connection of its own for messages that anybody may send. The client drops the connection, or ends altogether,
    /// when it meets header lines that it cannot read; only this connection is lost then, and its owner makes another.
    pub async fn inlet(&self, purpose: &str) -> Result<Self, Error> {
        let name = format!("{}-{purpose}", self.name);
        // Connecting is a large future, and this happens in many places.
        Box::pin(Self::connect(&self.config, &name)).await
    }

    /// The raw client.
    pub const fn client(&self) -> &async_nats::Client {
        &self.client
    }

    /// The raw JetStream context.
    pub const fn jetstream(&self) -> &jetstream::Context {
        &self.jetstream
    }

    /// The key that we log in with, if we do with one.
    pub const fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Who may sign for actors, if anybody has to.
    pub(crate) fn signers(&self) -> Option<&Signers> {
        self.signers.as_deref()
    }

    /// Name of this site in subjects.
    pub fn site(&self) -> &Name {
        &self.config.site
    }

    /// Whether the connection stands right now.
    pub fn connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Returns when the connection's own machinery has ended, which a broken message can bring about. A connection that
    /// is merely lost comes back by itself.
    pub async fn ended(&self) {
        loop {
            let flushed = tokio::time::timeout(LOOK, self.client.flush()).await;
            if matches!(flushed, Ok(Err(_))) {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Stops the group when the connection has ended for good: a service that hears nothing must not look alive.
    pub fn supervise(&self, tasks: &Tasks) {
        let (bus, stopping) = (self.clone(), tasks.stopping());
        tasks.spawn("bus-watch", async move {
            tokio::select! {
                () = stopping.cancelled() => (),
                () = bus.ended() => {
                    tracing::error!("the bus client has ended, stopping");
                    stopping.cancel();
                }
            }
        });
    }

    /// Sends what is left and closes the connection, for all clones.
    pub async fn close(&self) {
        if let Err(error) = self.client.drain().await {
            tracing::debug!(%error, "connection was not closed in order");
        }
    }

    /// Returns once the connection was lost and made again. Whoever reads an ordered stream opens it anew then: the server
    /// that kept its place may have forgotten it, and silence would tell only after many seconds.
    pub async fn reconnected(&self) {
        self.connections.another().await;
    }

    /// Opens a typed bucket.
    pub async fn bucket<T>(&self, bucket: Bucket<T>) -> Result<kv::Store<T>, Error> {
        let store = self
            .jetstream
            .get_key_value(bucket.name)
            .await
            .map_err(|e| Error::nats(format!("opening bucket {}", bucket.name), e))?;
        Ok(kv::Store::new(self.jetstream.clone(), self.connections.clone(), store, bucket))
    }
}

/// Counts the connections that were made.
#[derive(Clone, Debug)]
pub(crate) struct Connections(watch::Receiver<u64>);

impl Connections {
    /// See [`Bus::reconnected`].
    pub(crate) async fn another(&self) {
        self.follow().next().await;
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        *self.0.borrow()
    }

    /// Those from now on.
    pub(crate) fn follow(&self) -> Reconnections {
        let mut made = self.0.clone();
        made.mark_unchanged();
        Reconnections(made)
    }
}

/// Connections that are made after others were lost. None is missed between two calls, though several may count as one.
#[derive(Debug)]
pub(crate) struct Reconnections(watch::Receiver<u64>);

impl Reconnections {
    /// Returns once there was another since the last time.
    pub(crate) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // The client is closed for good; there will be no other.
            std::future::pending::<()>().await;
        }
    }
}

/// What JetStream said, somewhere in a chain of causes. The client keeps it in the kind of some errors.
pub(crate) fn jetstream_code(error: &(dyn std::error::Error + 'static)) -> Option<ErrorCode> {
    let mut chain = std::iter::successors(Some(error), |error| error.source());
    chain.find_map(|error| {
        let said = error.downcast_ref::<jetstream::Error>().map(|e| e.error_code());
        said.or_else(|| match error.downcast_ref::<CreateStreamError>()?.kind() {
            CreateStreamErrorKind::JetStream(e) => Some(e.error_code()),
            _ => None,
        })
    })
}

/// An address as it may be shown: what stands before an `@` is a secret.
pub fn without_password(url: &str) -> String {
    let bare = |one: &str| match (one.split_once("://"), one.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        (_, None) => one.to_owned(),
    };
    url.split(',').map(|one| bare(one.trim())).collect::<Vec<_>>().join(",")
}

/// Host and port of each server that an address names.
pub fn servers(url: &str) -> Vec<(String, u16)> {
    let parsed = url.split(',').filter_map(|one| one.trim().parse::<ServerAddr>().ok());
    parsed.map(|server| (server.host().to_owned(), server.port())).collect()
}

/// Headers as async-nats wants them.
pub fn headers(pairs: Vec<(&'static str, String)>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        // A header value cannot hold a line break; what came from outside may.
        map.insert(name, value.replace(['\r', '\n'], " "));
    }
    map
}

/// Looks a header up, for the readers in `bcs_schemas::envelope`.
pub fn header<'a>(headers: Option<&'a HeaderMap>, name: &str) -> Option<&'a str> {
    headers.and_then(|h| h.get(name)).map(|v| v.as_str())
}

/// Permission violations reach a client only as time-outs: without this they would be invisible.
fn report(event: &Event) {
    match event {
        Event::Connected => tracing::info!("connected to the bus"),
        Event::Disconnected => tracing::warn!("lost the bus, reconnecting"),
        Event::SlowConsumer(id) => {
            tracing::warn!(subscription = id, "a subscription is too slow, messages were dropped")
        }
        Event::LameDuckMode => tracing::info!("the bus server is about to stop, moving on"),
        Event::ServerError(error) => tracing::warn!(%error, "the bus refused something"),
        Event::ClientError(error) => tracing::warn!(%error, "bus client"),
        other => tracing::debug!(event = %other, "bus"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_servers() {
        let found = servers("tls://me:hush@bus, nats://[::1]:5222,other:1");
        let plain: Vec<_> = found.iter().map(|(host, port)| (host.as_str(), *port)).collect();
        assert_eq!(plain, [("bus", 4222), ("::1", 5222), ("other", 1)]);
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        for (url, shown) in [
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
            ("nats://me:hush@bus:4222", "nats://bus:4222"),
            ("nats://me:a@b@one:1, two:2", "nats://one:1,two:2"),
            ("token@bus", "bus"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
