//! What was found out, before anybody says what it means.

use std::{collections::BTreeMap, time::Duration};

use bcs_kit::bus::survey::{Found, Lag, Me, Room, Server};
use bcs_schemas::{
    Name, Service,
    observation::{ClusterHealth, RegistryStatus},
    query::{ClusterView, ServiceStatus},
};
use jiff::{SignedDuration, Timestamp};

/// An answer, or why there is none.
pub(crate) type Asked<T> = Result<T, String>;

/// Observations by key, each with the time at which the bus took it.
pub(crate) type Dated<T> = BTreeMap<String, (T, Timestamp)>;

/// All of it.
pub(crate) struct Facts {
    /// Where the bus is, without a password.
    pub(crate) url: String,
    /// Version of this program.
    pub(crate) version: &'static str,
    /// Site and project of the context.
    pub(crate) place: (Name, Name),
    /// This machine's clock, when everything was asked.
    pub(crate) now: Timestamp,
    pub(crate) server: Server,
    pub(crate) round_trip: Asked<Duration>,
    /// Until when the certificate of each server holds; none without TLS.
    pub(crate) certificates: Vec<(String, Asked<Timestamp>)>,
    pub(crate) me: Asked<At<Me>>,
    /// Streams and buckets; none for one that does not exist.
    pub(crate) parts: BTreeMap<String, Asked<Option<Found>>>,
    pub(crate) room: Asked<Room>,
    /// Consumers that take what waits for a service; none for one that does not exist.
    pub(crate) consumers: Vec<(Service, String, Asked<Option<Lag>>)>,
    pub(crate) services: Vec<(Service, Asked<At<ServiceStatus>>)>,
    pub(crate) leases: Asked<Dated<String>>,
    pub(crate) clusters: Asked<Vec<ClusterView>>,
    pub(crate) heartbeats: Asked<Dated<ClusterHealth>>,
    pub(crate) registries: Asked<Dated<RegistryStatus>>,
}

/// An answer and the time at which it was given: by the clock of whoever gave it, and by ours.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) answer: T,
    pub(crate) theirs: Timestamp,
    /// In the middle between question and answer.
    pub(crate) ours: Timestamp,
}

impl<T> At<T> {
    /// How far their clock is ahead of ours.
    pub(crate) fn ahead(&self) -> SignedDuration {
        self.theirs.duration_since(self.ours)
    }
}

impl Facts {
    /// What the bus's clock shows now: ages of what it keeps are counted on it. Ours, when it did not say.
    pub(crate) fn bus_now(&self) -> Timestamp {
        let ahead = self.me.as_ref().map_or(SignedDuration::ZERO, At::ahead);
        self.now.saturating_add(ahead).unwrap_or(self.now)
    }
}
