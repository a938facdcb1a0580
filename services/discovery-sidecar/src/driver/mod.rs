//! Drivers: one small file per kind of registry. A driver spells entries ([`Layout`]), reads what is ours, and applies
//! batches; when to do what, retries, backoff and everything that is said about it is the engine's business. What a
//! registry cannot do stands in its [`Capabilities`] and is never pretended.

pub mod consul;
pub mod dns;
pub mod envoy;
pub mod etcd;
pub mod file;
pub mod haproxy;
mod http;
pub(crate) mod listen;
mod look;
pub mod nacos;
pub mod nftables;
pub mod postgres;
pub mod powerdns;
mod program;
pub mod redis;
mod rrset;
mod secret;
#[cfg(test)]
mod tests;
pub mod webhook;
pub mod zookeeper;

use std::sync::Arc;

use bcs_kit::Clock;
use bcs_schemas::{
    Name,
    observation::Registration,
    resource::{RegistrySpec, registry},
};
use futures::{future::BoxFuture, stream::BoxStream};

pub use crate::domain::WHOLE;
use crate::domain::{
    Adoption, Change, Entry, Failure, Found, Item, Layout, Outcome, Place,
    guest::{Step, View},
};

/// What a kind of registry can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// `etcd`, `file`: as it is shown to people.
    pub kind: &'static str,
    /// Changes per call; [`WHOLE`] where all that is known has to be told at once.
    pub batch: usize,
    /// Calls of [`Driver::apply`] that may be under way together when there is more to write than one takes. It pays where the
    /// registry makes one of many, as one that syncs its disk once for all that come at the same time.
    pub at_once: usize,
    /// Whether a call is applied whole or not at all. Without it, the driver answers one outcome per change.
    pub atomic: bool,
    /// Whether a write can be made to depend on what is there.
    pub compare_and_set: bool,
    /// Where it is written that an entry is ours.
    pub owner: OwnerSlot,
    /// What stops a sidecar that was replaced and does not know it yet.
    pub fence: Fence,
    /// Whether the registry forgets an entry that is not renewed.
    pub expires: bool,
    /// Whether an entry can stay without getting new traffic. Elsewhere draining is removal.
    pub drain_state: bool,
    /// Whether an entry carries a weight.
    pub weight: bool,
    /// Whether an entry carries labels of its application.
    pub metadata: bool,
    /// Whether our entries can be read back.
    pub list: bool,
    /// Whether changes by others are told. Elsewhere only a complete reading finds them.
    pub watch: bool,
    /// Whether entries of others are shown ([`Driver::survey`]).
    pub shows: Able,
    /// Whether an entry of somebody else can become ours without a gap ([`Driver::adopt`]).
    pub adopts: Able,
    /// Whether entries of another owner can be taken out ([`Driver::evict`]).
    pub purges: Able,
}

/// Whether it can, or why not: the end of a sentence that begins with the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Able {
    /// It can.
    Yes,
    /// It cannot.
    No(&'static str),
}

impl Able {
    /// Why not, in a sentence.
    pub fn why_not(self, kind: &str) -> Option<String> {
        match self {
            Self::Yes => None,
            Self::No(why) => Some(format!("a registry of kind {kind} {why}")),
        }
    }
}

/// Where it is written that an entry is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerSlot {
    /// In every entry.
    Entry,
    /// On the set as a whole: a file, a zone.
    Container,
    /// In every entry, but everything under one name has one owner: a name that somebody else has is refused.
    Name,
    /// Nowhere; the place has to be ours alone.
    Nowhere,
}

/// What stops a sidecar that was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// The registry compares the epoch inside every write.
    InWrite,
    /// The epoch is read before a write: weaker, bounded by the length of one write.
    ReadBefore,
    /// Nothing but the lease.
    Lease,
}

/// A complete reading.
#[derive(Debug)]
pub struct Listing {
    /// Our entries.
    pub items: Vec<Item>,
    /// The moment in the registry's own counting, for [`Driver::drift`]; 0 where there is none.
    pub at: u64,
}

/// A change by somebody else.
#[derive(Debug, PartialEq, Eq)]
pub enum Drift {
    /// This place changed; what lies there now, if it is ours.
    Place(Place, Option<Item>),
    /// Something changed: read everything again.
    Unknown,
}

/// A kind of registry.
///
/// Calls are made one at a time, but for as many writes as it takes [at once](Capabilities::at_once). A call that fails with [`Failure::Unavailable`] is followed by [`Driver::fence`] and
/// [`Driver::list`] before anything else is tried, so a driver need not remember what it was not told the end of.
pub trait Driver: Layout {
    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Connects, and makes sure that no sidecar with a lower epoch can write any more, this one's own earlier calls
    /// included where the registry allows it.
    fn fence(&self, epoch: u64) -> BoxFuture<'_, Result<(), Failure>>;

    /// Every entry of ours.
    fn list(&self) -> BoxFuture<'_, Result<Listing, Failure>>;

    /// Applies changes, one outcome per change in the same order. Success means that the registry said so.
    fn apply<'a>(&'a self, changes: &'a [Change]) -> BoxFuture<'a, Result<Vec<Outcome>, Failure>>;

    /// What the registry calls the name of an entry, where that is another one ([`Found::name`]).
    fn called(&self, entry: &Entry) -> String {
        entry.name.clone()
    }

    /// Everything that is there, entries of others included where it [shows](Capabilities::shows) them.
    fn survey(&self) -> BoxFuture<'_, Result<Vec<Found>, Failure>> {
        Box::pin(async { Ok(self.list().await?.items.into_iter().map(Found::ours).collect()) })
    }

    /// Entries of others become ours, each only if it still is what was read, and so that nobody who looks meanwhile misses
    /// it. One outcome for each in the same order.
    fn adopt<'a>(&'a self, adoptions: &'a [Adoption]) -> BoxFuture<'a, Result<Vec<Outcome>, Failure>> {
        let _ = adoptions;
        let able = self.capabilities();
        Box::pin(async move { Err(unable(able.adopts, able.kind)) })
    }

    /// Takes out entries of others, each only if it still is what was read. One outcome for each in the same order.
    fn evict<'a>(&'a self, found: &'a [Found]) -> BoxFuture<'a, Result<Vec<Outcome>, Failure>> {
        let _ = found;
        let able = self.capabilities();
        Box::pin(async move { Err(unable(able.purges, able.kind)) })
    }

    /// Takes out what an owner of whom no entry is left wrote beside his entries, his epoch and the claim of his installation;
    /// what went, in the registry's own words. `owner` is one in a cluster and registry, or an installation as a whole.
    fn forget<'a>(&'a self, owner: &'a str) -> BoxFuture<'a, Result<Vec<String>, Failure>> {
        let _ = owner;
        Box::pin(async { Ok(Vec::new()) })
    }

    /// What was said of entries before, by whichever sidecar, when this one begins to keep the registry: for a driver that can
    /// read nothing back, it is all there is to know.
    fn recall(&self, said: &[Registration]) {
        let _ = said;
    }

    /// This sidecar keeps the registry no more, or stops: where the driver itself is what users ask, it falls silent.
    fn stand_down(&self) {}

    /// The side of it that keeps records of others beside ours, if it has one.
    fn host(&self) -> Option<&dyn Host> {
        None
    }

    /// Changes by others since a reading; never our own.
    fn drift(
        &self,
        since: u64,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Drift, Failure>>, Failure>> {
        let _ = since;
        Box::pin(async { Ok(Box::pin(futures::stream::pending()) as BoxStream<'static, _>) })
    }
}

/// A driver whose registry has room for records of others, such as those of an ExternalDNS. Calls are made as those of the
/// driver are: one at a time, and after [`Driver::fence`].
pub trait Host: Sync {
    /// Everything that is there, whoever wrote it.
    fn view(&self) -> BoxFuture<'_, Result<View, Failure>>;

    /// How many bytes it takes at once, as messages of DNS have them.
    fn room(&self) -> usize;

    /// Takes all of the steps, or none if something is not as it was: whether it did.
    fn edit<'a>(&'a self, steps: &'a [Step]) -> BoxFuture<'a, Result<bool, Failure>>;
}

/// Who writes: every entry carries it, and nobody else's entry is ever touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Name of the installation.
    pub platform: Name,
    /// Cluster whose instances are written.
    pub cluster: Name,
    /// The registry.
    pub registry: Name,
    /// Id of the installation: two that have the same name differ in it.
    pub installation: String,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.platform, self.cluster, self.registry)
    }
}

/// A driver was asked for what its kind cannot do.
fn unable(able: Able, kind: &str) -> Failure {
    Failure::Rejected(
        able.why_not(kind).unwrap_or_else(|| format!("a registry of kind {kind} does not do that yet")),
    )
}

/// Why nothing is written when the name of our installation belongs to another one; `mark` is where that is written.
fn taken(kind: &str, owner: &Name, ours: &str, other: &str, mark: &str) -> String {
    format!(
        "{kind}: the owner {owner} is another installation, {other}, and this one, {ours}, writes nothing: set another owner here, or \
         delete {mark} if the other one is gone for good"
    )
}

/// The driver that a registry document asks for.
pub fn open(spec: &RegistrySpec, owner: &Owner) -> Arc<dyn Driver> {
    match &spec.driver {
        registry::Driver::File(settings) => Arc::new(file::File::new(settings, owner)),
        registry::Driver::Dns(settings) => Arc::new(dns::Dns::new(settings.clone(), owner, Clock::system())),
        registry::Driver::Envoy(settings) => Arc::new(envoy::Envoy::new(settings.clone(), owner)),
        registry::Driver::Etcd(settings) => Arc::new(etcd::Etcd::new(settings.clone(), owner)),
        registry::Driver::Haproxy(settings) => Arc::new(haproxy::Haproxy::new(settings.clone(), owner)),
        registry::Driver::Nftables(settings) => Arc::new(nftables::Nftables::new(settings.clone(), owner)),
        registry::Driver::Postgres(settings) => Arc::new(postgres::Postgres::new(settings.clone(), owner)),
        registry::Driver::Redis(settings) => Arc::new(redis::Redis::new(settings.clone(), owner)),
        registry::Driver::Consul(settings) => consul::open(settings, &spec.zone, owner),
        registry::Driver::Nacos(settings) => Arc::new(nacos::Nacos::new(settings.clone(), &spec.zone, owner)),
        registry::Driver::Webhook(settings) => {
            Arc::new(webhook::Webhook::new(settings.clone(), &spec.zone, owner))
        }
        registry::Driver::Zookeeper(settings) => Arc::new(zookeeper::Zookeeper::new(settings.clone(), owner)),
        registry::Driver::Powerdns(settings) => {
            Arc::new(powerdns::PowerDns::new(settings.clone(), &spec.zone, owner))
        }
    }
}
