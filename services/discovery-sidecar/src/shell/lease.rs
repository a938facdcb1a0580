//! Which sidecar keeps a registry: the one that wrote the lease last. The revision of that write is its epoch. Nobody has
//! to trust the lease: the registry compares the epoch inside every write.

use std::time::Duration;

use bcs_kit::bus;
use bcs_schemas::{
    Name,
    bucket::Keyed,
    observation::{Registration, RegistryStatus},
};
use jiff::Timestamp;

use super::Platform;

/// The lease of one worker.
#[derive(Clone)]
pub(crate) struct Lease {
    platform: Platform,
    key: String,
    status_key: String,
    cluster: Name,
    holder: String,
}

/// A term of office.
pub(crate) struct Term {
    pub(crate) epoch: u64,
    /// What was said before.
    pub(crate) registrations: Vec<Registration>,
}

/// What a sidecar that was replaced watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watched {
    /// Epoch that the registry holds.
    pub(crate) held: u64,
    /// Last sign of life of the other one, and when we saw it.
    pub(crate) beat: Option<Timestamp>,
    pub(crate) heard: Duration,
}

impl Lease {
    pub(crate) fn new(platform: &Platform, status: &RegistryStatus) -> Self {
        let holder = platform.clock.fresh_id().to_string();
        let key = format!("sidecar.{}.{}", status.cluster, status.registry);
        let cluster = status.cluster.clone();
        Self { platform: platform.clone(), key, status_key: status.key(), cluster, holder }
    }

    /// A sidecar that starts takes over: the one before it is gone, or is being replaced.
    pub(crate) async fn take(self) -> Result<Term, bus::Error> {
        let epoch = self.platform.leases.put_at(&self.key, &self.holder).await?;
        self.begin(epoch).await
    }

    async fn begin(self, epoch: u64) -> Result<Term, bus::Error> {
        let filter = bcs_schemas::bucket::of_cluster(&self.cluster);
        // A listing is a large future; where it is awaited should not become one.
        let registrations = Box::pin(self.platform.registrations.list(&filter)).await?;
        Ok(Term { epoch, registrations: registrations.into_values().collect() })
    }

    /// Replaced: whether it is our turn again. It is when the lease still names us, or when the other one is silent.
    pub(crate) async fn look(
        self,
        mut watched: Watched,
        up: Duration,
    ) -> Result<(Watched, Option<Term>), bus::Error> {
        let (holder, revision) = self.platform.leases.get(&self.key).await?.unwrap_or_default();
        let beat =
            self.platform.registries.glance(&self.status_key).await?.map(|(status, _)| status.observed_at);
        if beat != watched.beat {
            (watched.beat, watched.heard) = (beat, up);
        }
        let silent = up.saturating_sub(watched.heard) >= self.platform.config.takeover_after.std();
        if holder != self.holder && !silent {
            return Ok((watched, None));
        }
        let Some(taken) = self.platform.leases.put_if(&self.key, &self.holder, revision).await? else {
            return Ok((watched, None));
        };
        // Above what the registry holds even if the bucket of leases began anew.
        let term = self.begin(taken.max(watched.held + 1)).await?;
        Ok((watched, Some(term)))
    }
}
