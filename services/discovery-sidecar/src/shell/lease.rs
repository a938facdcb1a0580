//! Which sidecar keeps a registry: the one that wrote the lease last. The revision of that write is its epoch. Nobody has
//! to trust the lease: the registry compares the epoch inside every write.

use std::time::Duration;

use bcs_kit::{
    bus,
    kv::{Contradictions, Kept},
    telemetry::chain,
};
use bcs_schemas::{
    bucket::Keyed,
    observation::{Registration, RegistryStatus},
};
use futures::StreamExt;
use jiff::Timestamp;
use tokio::time::timeout;

use super::{AGAIN, Platform, installation, report::Outbox};

/// How long reading all endpoints again may take.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// The lease of one worker.
#[derive(Clone)]
pub(crate) struct Lease {
    platform: Platform,
    key: String,
    status_key: String,
    registrations: Kept<Registration>,
    outbox: Outbox,
    holder: String,
}

/// A term of office.
pub(crate) struct Term {
    pub(crate) epoch: u64,
    /// What was said before.
    pub(crate) registrations: Vec<Registration>,
    /// Says when that is to be asked again.
    pub(crate) contradictions: Contradictions,
}

/// What the bus says of a term under way.
pub(crate) struct Recalled {
    /// Revision of the lease, when it is another's by now.
    pub(crate) successor: Option<u64>,
    pub(crate) registrations: Vec<Registration>,
    pub(crate) contradictions: Contradictions,
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
    pub(crate) fn new(
        platform: &Platform,
        status: &RegistryStatus,
        registrations: Kept<Registration>,
        outbox: Outbox,
    ) -> Self {
        let holder = platform.clock.fresh_id().to_string();
        let key = format!("sidecar.{}.{}", status.cluster, status.registry);
        Self { platform: platform.clone(), key, status_key: status.key(), registrations, outbox, holder }
    }

    /// Gives it away, so that another need not wait until this one was silent for long.
    pub(crate) async fn release(self) -> Result<(), bus::Error> {
        if let Some((holder, revision)) = self.platform.leases.get(&self.key).await?
            && holder == self.holder
        {
            self.platform.leases.put_if(&self.key, &String::new(), revision).await?;
        }
        Ok(())
    }

    /// A sidecar that starts takes over: the one before it is gone, or is being replaced.
    pub(crate) async fn take(self) -> Result<Term, bus::Error> {
        let epoch = self.platform.leases.put_at(&self.key, &self.holder).await?;
        Box::pin(self.begin(epoch)).await
    }

    /// A large future, as all that read a bucket are; where it is awaited should not become one.
    async fn begin(self, epoch: u64) -> Result<Term, bus::Error> {
        let contradictions = self.registrations.listen().await?;
        Ok(Term { epoch, registrations: self.said().await?, contradictions })
    }

    async fn said(&self) -> Result<Vec<Registration>, bus::Error> {
        self.outbox.begin_reading();
        let registrations = self.registrations.list().await?;
        Ok(registrations.into_values().collect())
    }

    /// Waits for a reason to doubt what the bus has of what was said: another sidecar spoke too, or the bus was away and may
    /// have lost some. Then asks whose turn it is, and what stands there.
    pub(crate) async fn recall(self, mut contradictions: Contradictions) -> Recalled {
        // They never end.
        let _ = contradictions.next().await;
        loop {
            match Box::pin(self.ask()).await {
                Ok((successor, registrations)) => {
                    return Recalled { successor, registrations, contradictions };
                }
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "registrations cannot be read, trying again");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    async fn ask(&self) -> Result<(Option<u64>, Vec<Registration>), bus::Error> {
        let leases = &self.platform.leases;
        installation::remind(leases, &self.platform.installation).await?;
        let held = leases.get(&self.key).await?;
        let successor = held.filter(|(holder, _)| *holder != self.holder).map(|(_, revision)| revision);
        Ok((successor, self.said().await?))
    }

    /// Replaced: whether it is our turn again. It is when the lease still names us or nobody, or when the other one is silent.
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
        if holder != self.holder && !holder.is_empty() && !silent {
            return Ok((watched, None));
        }
        // While this one only watched, nothing showed whether what it knows is old. A bus that does not tell it now is asked at the
        // next look, and nobody waits for a sidecar that keeps the registry and knows nothing.
        if timeout(READ_WITHIN, self.platform.endpoints.read_again()).await.is_err() {
            return Ok((watched, None));
        }
        let Some(taken) = self.platform.leases.put_if(&self.key, &self.holder, revision).await? else {
            return Ok((watched, None));
        };
        // Above what the registry holds even if the bucket of leases began anew.
        let term = Box::pin(self.begin(taken.max(watched.held + 1))).await?;
        Ok((watched, Some(term)))
    }
}
