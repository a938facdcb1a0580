//! What goes wrong: whom it happens to, and how.

use std::fmt;

/// A process of the world. Services and sidecars may run twice, numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Part {
    /// The bus.
    Nats,
    /// The database of journals, in worlds that have one.
    Postgres,
    /// A registry.
    Etcd,
    /// An API server with its cluster.
    Api(usize),
    /// An instance of the service that decides about applications.
    Deploy(usize),
    /// An instance of the service that has the clusters.
    Cluster(usize),
    /// An instance of what keeps the registries.
    Sidecar(usize),
}

/// Something that goes wrong for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// `kill -9`; it is started again when the while is over.
    Kill(Part),
    /// It is asked to end, and started again when the while is over.
    Stop(Part),
    /// It stands still for the while.
    Pause(Part),
    /// Its wire to the bus holds everything; connections stay open.
    Partition(Part),
    /// Its wire to the bus is cut.
    Disconnect(Part),
    /// Every answer of the registry takes so much longer.
    SlowRegistry { ms: u32 },
    /// The registry cannot be reached.
    NoRegistry,
    /// The registry hears and does, and its answers are lost.
    DeafRegistry,
    /// An API server fails this share of requests, in percent, refuses as many changes as conflicts, and is slow.
    BadApi { cluster: usize, percent: u32, ms: u32 },
    /// An API server ends every watch.
    DropWatches { cluster: usize },
    /// An API server forgets its history: watches get 410.
    Compact { cluster: usize },
    /// The disk below the journals is full.
    FullDisk,
    /// Its clock is so many seconds fast, or slow when negative.
    Clock { part: Part, seconds: i32 },
}

impl Part {
    /// Whether it speaks to the bus, through a wire of its own.
    pub(super) fn wired(self) -> bool {
        matches!(self, Self::Deploy(_) | Self::Cluster(_) | Self::Sidecar(_))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nats => write!(f, "nats"),
            Self::Postgres => write!(f, "postgres"),
            Self::Etcd => write!(f, "etcd"),
            Self::Api(number) => write!(f, "api-{number}"),
            Self::Deploy(number) => write!(f, "deploy-{number}"),
            Self::Cluster(number) => write!(f, "cluster-{number}"),
            Self::Sidecar(number) => write!(f, "sidecar-{number}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(part) => write!(f, "{part} is killed"),
            Self::Stop(part) => write!(f, "{part} is stopped"),
            Self::Pause(part) => write!(f, "{part} stands still"),
            Self::Partition(part) => write!(f, "{part} is parted from the bus"),
            Self::Disconnect(part) => write!(f, "{part} loses its connections to the bus"),
            Self::SlowRegistry { ms } => write!(f, "etcd answers {ms} ms late"),
            Self::NoRegistry => write!(f, "etcd cannot be reached"),
            Self::DeafRegistry => write!(f, "the answers of etcd are lost"),
            Self::BadApi { cluster, percent, ms } => {
                write!(f, "api-{cluster} fails {percent} % and takes {ms} ms longer")
            }
            Self::DropWatches { cluster } => write!(f, "api-{cluster} drops its watches"),
            Self::Compact { cluster } => write!(f, "api-{cluster} forgets its history"),
            Self::FullDisk => write!(f, "the disk of the journals is full"),
            Self::Clock { part, seconds } => write!(f, "the clock of {part} is {seconds:+} s off"),
        }
    }
}
