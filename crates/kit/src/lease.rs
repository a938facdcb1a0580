//! Leases: of several processes that can do the same work, one does it, and another takes over within 5 s when that one is
//! gone.
//!
//! A lease is a key in the bucket `leases`. Its holder writes it again every second, by compare-and-set on the revision;
//! whoever waits for it takes it, again by compare-and-set, when it is given away, which it hears at once, or did not change
//! for 3.5 s. No clock is ever compared with another one: a waiting one measures on its own monotonic clock how long it sees
//! the same revision, and does not count time in which it sees nothing. A holder measures on its own how old its last
//! renewal is, from the moment it was sent, and stops to act after 2.5 s, which is sooner ([`Lease::holds`]). It finds that
//! out by itself, after any pause and without the bus; what it had begun it may resume when the bus comes back and nobody
//! took the lease meanwhile. [`Lease::lost`] is told only when somebody did.
//!
//! What no lease can rule out: a process that stops for seconds between the question whether it holds and the act itself,
//! and a request that is on its way meanwhile. And a bucket that lost its data is open to whoever comes first: a holder
//! that was alive finds out with its next renewal, at most 2.5 s later. For both there is [`Lease::epoch`]: whatever must
//! never hear an old holder compares it (a registry does), or compares what it is about to change (a cluster's API does).

use std::{sync::Arc, time::Duration};

use async_nats::Subscriber;
use bcs_schemas::{bucket::LEASES, codec};
use futures::StreamExt;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Bus, Clock, Tasks, bus::Error, kv::Store, telemetry::chain};

/// Between two renewals.
const RENEW: Duration = Duration::from_secs(1);
/// A renewal that did not succeed is tried again after this long.
const AGAIN: Duration = Duration::from_millis(200);
/// How long a holder may act after the sending of its last renewal.
const TERM: Duration = Duration::from_millis(2_500);
/// How long a lease must be seen unchanged before somebody else takes it.
const PATIENCE: Duration = Duration::from_millis(3_500);
/// Nobody takes a lease sooner after its holder froze or was cut off.
pub(crate) const SOONEST: Duration = PATIENCE.saturating_sub(RENEW);
/// Between two looks of one who waits.
const LOOK: Duration = Duration::from_millis(500);
/// The first look after hearing that it was given away; each further one takes twice as long, up to the usual.
const SOON: Duration = Duration::from_millis(10);
/// The bus answers within this time or counts as away.
const ANSWER: Duration = Duration::from_secs(1);
/// How long work may wind down before the lease is given away all the same.
const WIND_DOWN: Duration = Duration::from_secs(5);
/// Pause before work that did not start is tried again.
const RESTART: Duration = Duration::from_secs(2);

/// What stands under a key: the holder, empty when it gave the lease away, and the revision.
type Entry = Option<(String, u64)>;

/// One who wants a lease.
#[derive(Clone, Debug)]
pub struct Candidate {
    bus: Bus,
    clock: Clock,
    key: String,
}

/// A lease that was got. Clones share it; when the last is dropped, it is given away.
#[derive(Clone, Debug)]
pub struct Lease {
    shared: Arc<Shared>,
    _guard: Arc<DropGuard>,
}

#[derive(Debug)]
struct Shared {
    key: String,
    holder: String,
    epoch: u64,
    /// Until when its holder may act.
    until: watch::Sender<Instant>,
    lost: CancellationToken,
    released: CancellationToken,
    /// Nothing is written any more.
    ended: CancellationToken,
}

impl Lease {
    /// The revision of the write that took it: higher than that of any holder before, as long as the bucket keeps its
    /// data. Who fences with it takes care to be above what the other side has heard already.
    pub fn epoch(&self) -> u64 {
        self.shared.epoch
    }

    /// Whether its holder may act right now. Asked before each act.
    pub fn holds(&self) -> bool {
        self.shared.holds()
    }

    /// Cancelled once somebody else has it.
    pub fn lost(&self) -> CancellationToken {
        self.shared.lost.clone()
    }

    /// Gives it away, so that nobody has to wait. To be called after the work has ended.
    pub async fn release(self) {
        self.shared.released.cancel();
        self.shared.ended.cancelled().await;
    }
}

impl Shared {
    fn holds(&self) -> bool {
        !self.lost.is_cancelled() && !self.released.is_cancelled() && Instant::now() < *self.until.borrow()
    }
}

impl Candidate {
    /// Wants the lease `key`.
    pub fn new(bus: &Bus, clock: &Clock, key: impl Into<String>) -> Self {
        Self { bus: bus.clone(), clock: clock.clone(), key: key.into() }
    }

    /// Does some work whenever the lease is ours, until `tasks` stops. `start` begins it in the group that it is given,
    /// which is stopped when the lease is lost, and before it is given away. Work that does not start, or that panics,
    /// gives the lease away and begins again after a pause.
    pub async fn lead<F, Fut, E>(self, tasks: Tasks, start: F)
    where
        F: Fn(Lease, Tasks) -> Fut,
        Fut: Future<Output = Result<(), E>>,
        E: std::error::Error,
    {
        let stopping = tasks.stopping();
        while !stopping.is_cancelled() {
            let lease = tokio::select! {
                () = stopping.cancelled() => return,
                lease = self.acquire(&tasks) => lease,
            };
            let (group, lost) = (tasks.child(), lease.lost());
            let work = async {
                match start(lease.clone(), group.clone()).await {
                    // It ends when the service stops or when one of its tasks panics.
                    Ok(()) => group.stopping().cancelled().await,
                    Err(error) => {
                        tracing::warn!(
                            lease = self.key,
                            error = chain(&error),
                            "work did not start, trying again"
                        );
                    }
                }
            };
            tokio::select! {
                () = work => (),
                () = lost.cancelled() => (),
            }
            group.stop(WIND_DOWN).await;
            let pause = !lost.is_cancelled();
            lease.release().await;
            if pause {
                tokio::select! {
                    () = stopping.cancelled() => (),
                    () = tokio::time::sleep(RESTART) => (),
                }
            }
        }
    }

    /// Waits until the lease is ours. It is renewed in `tasks` until it is dropped, released or lost; that the group stops
    /// does not end it, because its holder may still have something to finish.
    pub async fn acquire(&self, tasks: &Tasks) -> Lease {
        let holder = self.clock.fresh_id().to_string();
        let mut sight = Sight::default();
        let (mut told, mut pause) = (false, LOOK);
        let mut written = self.written().await;
        loop {
            match tokio::time::timeout(ANSWER, self.try_acquire(&holder, &mut sight)).await {
                Ok(Ok(Some((store, revision, sent)))) => {
                    tracing::info!(lease = self.key, epoch = revision, "got the lease");
                    return self.keep(tasks, store, holder, (revision, sent));
                }
                Ok(Ok(None)) if !told => {
                    tracing::info!(lease = self.key, "somebody else has the lease, waiting");
                    told = true;
                }
                Ok(Ok(None)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(
                        lease = self.key,
                        error = chain(&error),
                        "lease was not read, trying again"
                    );
                    sight.blind();
                }
                Err(_) => sight.blind(),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (2 * pause).min(LOOK),
                () = given_away(written.as_mut()) => pause = SOON,
            }
        }
    }

    /// What is written to the lease, as it goes over the bus. That is a hint to look, and none is needed.
    async fn written(&self) -> Option<Subscriber> {
        let subscribed = self.bus.client().subscribe(format!("$KV.{}.{}", LEASES.name, self.key)).await;
        subscribed.inspect_err(|error| tracing::debug!(%error, lease = self.key, "writes are not heard")).ok()
    }

    /// The store, the revision and the moment of the write that took it.
    async fn try_acquire(
        &self,
        holder: &String,
        sight: &mut Sight,
    ) -> Result<Option<(Store<String>, u64, Instant)>, Error> {
        let store = self.bus.bucket(LEASES).await?;
        let entry = store.get(&self.key).await?;
        if !sight.may_take(&entry, Instant::now()) {
            return Ok(None);
        }
        let sent = Instant::now();
        let taken = match entry {
            Some((_, revision)) => store.put_if(&self.key, holder, revision).await?,
            None => store.put_new(&self.key, holder).await?,
        };
        Ok(taken.map(|revision| (store, revision, sent)))
    }

    fn keep(
        &self,
        tasks: &Tasks,
        store: Store<String>,
        holder: String,
        (epoch, sent): (u64, Instant),
    ) -> Lease {
        let released = CancellationToken::new();
        let shared = Arc::new(Shared {
            key: self.key.clone(),
            holder,
            epoch,
            until: watch::Sender::new(sent + TERM),
            lost: CancellationToken::new(),
            released: released.clone(),
            ended: CancellationToken::new(),
        });
        let keeper = shared.clone();
        tasks.spawn("lease", async move {
            keeper.renew(&store).await;
            keeper.ended.cancel();
        });
        Lease { shared, _guard: Arc::new(released.drop_guard()) }
    }
}

/// Gives the lease `key` away in the name of its holder. Only for who knows that the holder is dead, and that nobody has
/// taken its place: the next one need not wait then.
pub async fn forfeit(bus: &Bus, key: &str) -> Result<(), Error> {
    bus.bucket(LEASES).await?.put_at(key, &String::new()).await.map(drop)
}

/// Returns when somebody gives a lease away.
async fn given_away(written: Option<&mut Subscriber>) {
    let Some(written) = written else { return std::future::pending().await };
    while let Some(message) = written.next().await {
        if codec::decode::<String>(&message.payload).is_ok_and(|holder| holder.is_empty()) {
            return;
        }
    }
    std::future::pending().await
}

/// What came of a renewal.
enum Renewed {
    /// This is the revision now.
    To(u64),
    /// It has another revision; perhaps our own, of a write whose answer was lost.
    Unclear,
    /// Somebody else has it.
    Lost,
}

impl Shared {
    async fn renew(&self, store: &Store<String>) {
        let (mut known, mut pause) = (Some(self.epoch), RENEW);
        loop {
            tokio::select! {
                () = self.released.cancelled() => return self.give_away(store, known).await,
                () = tokio::time::sleep(pause) => (),
            }
            // After a pause of ours the revision may be anybody's, if the bucket began anew meanwhile.
            let known_now = known.filter(|_| self.holds());
            let renewed = tokio::time::timeout(ANSWER, self.write(store, known_now)).await;
            (known, pause) = match renewed {
                Ok(Ok(Renewed::To(revision))) => (Some(revision), RENEW),
                Ok(Ok(Renewed::Unclear)) => (None, Duration::ZERO),
                Ok(Ok(Renewed::Lost)) => {
                    tracing::warn!(lease = self.key, epoch = self.epoch, "somebody else took the lease");
                    return self.lost.cancel();
                }
                Ok(Err(error)) => {
                    tracing::warn!(
                        lease = self.key,
                        error = chain(&error),
                        "lease was not renewed, trying again"
                    );
                    (None, AGAIN)
                }
                Err(_) => (None, AGAIN),
            };
        }
    }

    async fn write(&self, store: &Store<String>, known: Option<u64>) -> Result<Renewed, Error> {
        let found = match known {
            Some(revision) => Some(revision),
            None => match store.get(&self.key).await? {
                Some((holder, revision)) if holder == self.holder => Some(revision),
                Some(_) => return Ok(Renewed::Lost),
                None => None,
            },
        };
        let sent = Instant::now();
        let written = match found {
            Some(revision) => store.put_if(&self.key, &self.holder, revision).await?,
            None => store.put_new(&self.key, &self.holder).await?,
        };
        Ok(written.map_or(Renewed::Unclear, |revision| {
            self.until.send_replace(sent + TERM);
            Renewed::To(revision)
        }))
    }

    /// If it fails, those who wait have to wait a little longer.
    async fn give_away(&self, store: &Store<String>, known: Option<u64>) {
        let Some(revision) = known else { return };
        let given = tokio::time::timeout(ANSWER, store.put_if(&self.key, &String::new(), revision)).await;
        if !matches!(given, Ok(Ok(Some(_)))) {
            tracing::debug!(lease = self.key, "lease was not given away, it runs out");
        }
    }
}

/// What one who waits has seen of a lease.
#[derive(Debug, Default)]
struct Sight {
    /// What stands there, and since when it is seen so without a gap.
    unchanged: Option<(Entry, Instant)>,
    /// Whether there ever was a holder.
    met: bool,
}

impl Sight {
    fn may_take(&mut self, entry: &Entry, now: Instant) -> bool {
        self.met |= entry.is_some();
        let since = match &self.unchanged {
            Some((before, since)) if before == entry => *since,
            _ => now,
        };
        self.unchanged = Some((entry.clone(), since));
        let free = match entry {
            Some((holder, _)) => holder.is_empty(),
            // It was there and is not any more: the bucket lost it, and its holder may not know yet.
            None => !self.met,
        };
        free || now.duration_since(since) >= PATIENCE
    }

    /// Nothing can be seen: the holder may well have renewed.
    fn blind(&mut self) {
        self.unchanged = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(revision: u64) -> Entry {
        Some(("ada".to_owned(), revision))
    }

    #[test]
    fn only_what_is_free_or_was_seen_unchanged_for_long_may_be_taken() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let mut sight = Sight::default();
        assert!(sight.may_take(&None, at(0)), "there never was a holder");
        assert!(sight.may_take(&Some((String::new(), 4)), at(0)), "it was given away");
        assert!(!sight.may_take(&held(5), at(0)));
        assert!(!sight.may_take(&held(5), at(3_400)));
        assert!(!sight.may_take(&held(6), at(3_600)), "it was renewed");
        assert!(!sight.may_take(&held(6), at(7_000)));
        assert!(sight.may_take(&held(6), at(7_100)));
        sight.blind();
        assert!(!sight.may_take(&held(6), at(20_000)), "nobody looked, so nobody knows");
        assert!(!sight.may_take(&None, at(21_000)), "the bucket lost it, not the holder");
        assert!(sight.may_take(&None, at(24_500)));
    }

    #[test]
    fn a_holder_stops_to_act_before_anybody_takes_over_and_that_takes_less_than_5_s() {
        assert!(TERM > RENEW + ANSWER && PATIENCE > TERM);
        assert!(PATIENCE + LOOK + ANSWER <= Duration::from_secs(5));
    }
}
