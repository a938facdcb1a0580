//! One registry for one cluster: a loop that hears of endpoints, keeps one call to the registry under way, and reports.
//! While a call runs, changes accumulate; the next batch takes them all. No timer stands between a change and its write.

mod answer;
mod turn;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bcs_kit::{
    kv::{Change, Changes, Kept},
    pulse::Pulse,
};
use bcs_schemas::{
    Name, bucket,
    observation::{Endpoint, Registration, RegistryStatus},
    resource::Registry,
    subject,
};
use futures::{FutureExt, StreamExt, future::BoxFuture};
use tokio::time::{Instant, timeout};

use super::{
    Platform, Proof,
    board::Panel,
    call::{Call, Drifts},
    door::Door,
    lease::{Lease, Recalled, Watched},
    report::Outbox,
};
use crate::{
    OnStop,
    config::REPORT_AFTER,
    domain::{Engine, Naming, Now, Settings, guard},
    driver::{self, Driver, Owner},
    externaldns::Place,
};

/// How often a replaced sidecar looks whether it is needed.
const LOOK: Duration = Duration::from_millis(500);
/// The same beside an instance, where there are many of them.
const LOOK_BESIDE: Duration = Duration::from_secs(2);
/// How long giving the registry away may take at the end.
const RELEASE_WITHIN: Duration = Duration::from_secs(1);
/// Changes of endpoints taken in at once before anything else is done.
const AT_ONCE: usize = 512;

/// Where it stands.
enum Link {
    /// Wants to keep the registry.
    Applying,
    /// Another sidecar keeps it.
    Standby(Watched),
    /// Keeps it, not connected.
    Down,
    /// Keeps it and knows what it holds.
    Up,
}

/// What was found out about keys that are gone.
type Proofs = Vec<(Arc<str>, Proof)>;

struct Worker {
    platform: Platform,
    driver: Arc<dyn Driver>,
    engine: Engine,
    lease: Lease,
    outbox: Outbox,
    door: Door,
    /// Where an ExternalDNS is served, if one is.
    place: Option<Place>,
    /// Life time in seconds of what it says none of.
    ttl: u32,
    /// It had its turn: the engine has the next one.
    attended: bool,
    /// Who we are in the registry.
    us: String,
    prefix: String,
    link: Link,
    epoch: u64,
    call: Option<Call>,
    proving: Option<BoxFuture<'static, Proofs>>,
    recalling: Option<BoxFuture<'static, Recalled>>,
    drifts: Option<Drifts>,
    begun: Instant,
    /// Nothing is tried before.
    patience: Duration,
    read_at: Duration,
    beat_at: Duration,
    /// The registry was read as a whole.
    read_once: bool,
    /// Of the cluster.
    pulse: Pulse,
    status: RegistryStatus,
}

/// Starts the worker and its outbox.
pub(crate) fn spawn(platform: &Platform, cluster: &Name, registry: &Registry) {
    platform.board.show(cluster, &registry.metadata.name, Panel::default());
    let (keys, ending) = (bucket::of_cluster(cluster), bucket::of_registry(&registry.metadata.name));
    let kept = platform.registrations.kept(&keys, &ending);
    let worker = Worker::new(platform, cluster, registry, kept.clone());
    let outbox = worker.outbox.clone();
    platform.tasks.spawn("sidecar-reports", outbox.run(kept, platform.registries.clone()));
    platform.tasks.spawn("sidecar-worker", worker.run());
}

impl Worker {
    fn new(platform: &Platform, cluster: &Name, registry: &Registry, kept: Kept<Registration>) -> Self {
        let config = &platform.config;
        let owner = Owner {
            platform: config.owner.clone().unwrap_or_else(|| platform.site.clone()),
            cluster: cluster.clone(),
            registry: registry.metadata.name.clone(),
            installation: platform.installation.clone(),
        };
        let driver = driver::open(&registry.spec, &owner);
        let us = owner.to_string();
        let subject = subject::registry(&platform.site, cluster, &owner.registry);
        let able = driver.capabilities();
        let settings = Settings {
            cluster: owner.cluster.clone(),
            registry: owner.registry.clone(),
            naming: Naming::of(&owner.registry, &registry.spec),
            unready_hold: config.unready_hold.std(),
            report_after: REPORT_AFTER,
            deregistration_delay: registry.spec.deregistration_delay().std(),
            guard: guard::Limits { percent: config.guard_percent, at_least: config.guard_at_least },
            batch: able.batch.saturating_mul(able.at_once),
            lists: able.list,
        };
        let status = RegistryStatus {
            cluster: owner.cluster,
            registry: owner.registry,
            driver: able.kind.to_owned(),
            scope: registry.spec.scope(),
            sidecar: config.name.clone(),
            reachable: false,
            reason: None,
            epoch: 0,
            entries: 0,
            pending: 0,
            oldest_pending_since: None,
            drift_repaired: 0,
            quarantined: 0,
            writes: 0,
            failures: 0,
            observed_at: platform.clock.now(),
        };
        let outbox = Outbox::default();
        Self {
            engine: Engine::new(settings, driver.clone()),
            lease: Lease::new(platform, &status, kept, outbox.clone()),
            platform: platform.clone(),
            driver,
            outbox,
            door: Door::new(&platform.bus, &platform.tasks, subject),
            place: platform.desks.get(&registry.metadata.name).map(|desk| desk.sit(cluster)),
            ttl: u32::try_from(registry.spec.ttl.std().as_secs()).unwrap_or(u32::MAX).max(1),
            attended: false,
            us,
            prefix: format!("{cluster}."),
            // Beside an instance there are as many as there are instances: whoever keeps the registry goes on.
            link: match config.beside {
                Some(_) => Link::Standby(Watched::default()),
                None => Link::Applying,
            },
            epoch: 0,
            call: None,
            proving: None,
            recalling: None,
            drifts: None,
            begun: Instant::now(),
            patience: Duration::ZERO,
            read_at: Duration::ZERO,
            beat_at: Duration::ZERO,
            read_once: false,
            pulse: Pulse::default(),
            status,
        }
    }

    fn now(&self) -> Now {
        Now { wall: self.platform.clock.now(), up: self.begun.elapsed() }
    }

    async fn run(mut self) {
        let stopping = self.platform.tasks.stopping();
        // Asked for before the snapshot, so that nothing falls between the two.
        let mut changes = self.platform.endpoints.changes();
        tokio::select! {
            () = stopping.cancelled() => return self.outbox.close(),
            () = self.platform.endpoints.synced() => self.observe_all(),
        }
        let mut until = None;
        while until.is_none_or(|until| self.begun.elapsed() < until && !self.engine.idle()) {
            self.advance();
            let wake = self.begun + self.wake();
            tokio::select! {
                () = stopping.cancelled(), if until.is_none() => {
                    if self.platform.config.on_stop == OnStop::Keep || !self.leads() {
                        break;
                    }
                    self.engine.drain_all(self.now());
                    until = Some(self.begun.elapsed() + self.platform.config.drain_within.std());
                }
                change = changes.next(), if until.is_none() => self.observe(change, &mut changes),
                done = pending(self.call.as_mut()) => {
                    self.call = None;
                    self.answered(done);
                }
                drift = next(self.drifts.as_mut()), if self.call.is_none() => self.drifted(drift),
                proofs = pending(self.proving.as_mut()) => self.proved(proofs),
                recalled = pending(self.recalling.as_mut()) => self.recalled(recalled),
                () = self.door.knock() => (),
                () = knock(self.place.as_mut()) => (),
                () = tokio::time::sleep_until(wake) => (),
            }
        }
        self.door.keep_open(false);
        self.advance();
        self.call = None;
        self.driver.stand_down();
        if self.leads() {
            if until.is_some() {
                self.outbox.push(self.engine.take_back());
            }
            let released = timeout(RELEASE_WITHIN, Box::pin(self.lease.clone().release())).await;
            if !matches!(released, Ok(Ok(()))) {
                tracing::warn!(registry = %self.status.registry, "could not be given away: another sidecar waits for our silence");
            }
        }
        self.outbox.close();
    }

    /// Whatever follows from what is known now.
    fn advance(&mut self) {
        let now = self.now();
        let known = self.cluster_known(now);
        self.engine.cluster_known(known);
        self.engine.tick(now);
        if self.proving.is_none() && self.leads() {
            let keys = self.engine.take_unproven();
            if !keys.is_empty() {
                self.proving = Some(self.platform.clone().prove(keys).boxed());
            }
        }
        self.mind_the_door();
        self.mind_the_place();
        if self.call.is_none() {
            self.catch_up_on_drift();
            self.call = self.next_call(now);
        }
        self.report(now);
    }

    /// Another sidecar keeps the registry, and this one is ready to follow it.
    fn show_standby(&self) {
        if matches!(self.link, Link::Standby(_)) {
            let panel = Panel { ready: true, ..Panel::default() };
            self.platform.board.show(&self.status.cluster, &self.status.registry, panel);
        }
    }

    fn look_every(&self) -> Duration {
        if self.platform.config.beside.is_some() { LOOK_BESIDE } else { LOOK }
    }

    const fn leads(&self) -> bool {
        matches!(self.link, Link::Down | Link::Up)
    }

    fn wake(&self) -> Duration {
        let up = self.begun.elapsed();
        let mut wake = if self.leads() { self.beat_at.max(up) } else { up + self.look_every() };
        if self.call.is_none() && self.patience > up {
            wake = wake.min(self.patience);
        }
        if self.call.is_none() && self.read_at > up {
            wake = wake.min(self.read_at);
        }
        self.engine.wake().map_or(wake, |timer| wake.min(timer))
    }

    fn cluster_known(&mut self, now: Now) -> bool {
        let beats = self.platform.clusters.snapshot();
        let Some(beat) = beats.get(self.status.cluster.as_str()) else { return false };
        self.pulse.hear(beat.observed_at, now.up);
        let stale = self.platform.config.cluster_stale_after.std();
        beat.synced && beat.reachable && self.pulse.fresh(now.up, stale)
    }

    fn observe(&mut self, change: Option<Change<Endpoint>>, changes: &mut Changes<Endpoint>) {
        let mut next = change;
        for _ in 0..AT_ONCE {
            let Some(change) = next.take() else { return };
            self.observe_one(&change);
            next = changes.next().now_or_never().flatten();
        }
        // One more was taken out of the stream and must not be lost.
        next.iter().for_each(|change| self.observe_one(change));
    }

    /// A change says only that something changed: how it is now may be known already, and what is older must not come after it.
    fn observe_one(&mut self, change: &Change<Endpoint>) {
        if change.everything() {
            return self.observe_all();
        }
        if !change.key.starts_with(&self.prefix) {
            return;
        }
        match self.platform.endpoints.snapshot().get(&change.key) {
            Some(endpoint) => self.engine.observe(&change.key, endpoint.clone(), self.now()),
            None => self.engine.vanished(&change.key, self.now()),
        }
    }

    fn observe_all(&mut self) {
        let all: BTreeMap<String, Arc<Endpoint>> = self
            .platform
            .endpoints
            .snapshot()
            .into_iter()
            .filter(|(key, _)| key.starts_with(&self.prefix))
            .collect();
        let all = all.iter().map(|(key, endpoint)| (key.as_str(), endpoint.clone()));
        self.engine.observe_all(all, self.now());
    }

    fn report(&mut self, now: Now) {
        if !self.leads() {
            self.engine.follow();
            return self.show_standby();
        }
        self.outbox.give_way(self.engine.is_behind());
        let reports = self.engine.reports(now);
        self.outbox.push(reports);
        let (reachable, reason) = (matches!(self.link, Link::Up), self.engine.condition());
        let changed = (reachable, &reason, self.epoch)
            != (self.status.reachable, &self.status.reason, self.status.epoch);
        if !changed && now.up < self.beat_at {
            return;
        }
        self.beat_at = now.up + self.platform.config.beat_every.std();
        let counts = self.engine.counts();
        self.read_once |= reachable;
        let panel = Panel {
            ready: self.read_once,
            reason: reason.clone(),
            leads: true,
            reachable,
            entries: counts.entries,
            pending: counts.pending,
            quarantined: counts.quarantined,
            oldest: counts.oldest,
            writes: counts.writes,
            failures: counts.failures,
            drift_repaired: counts.drift_repaired,
        };
        self.platform.board.show(&self.status.cluster, &self.status.registry, panel);
        self.status = RegistryStatus {
            reachable,
            reason,
            epoch: self.epoch,
            entries: counts.entries,
            pending: counts.pending,
            oldest_pending_since: counts.oldest,
            drift_repaired: counts.drift_repaired,
            quarantined: counts.quarantined,
            writes: counts.writes,
            failures: counts.failures,
            observed_at: now.wall,
            ..self.status.clone()
        };
        self.outbox.status(self.status.clone());
    }
}

/// Waits for what may not be there.
async fn pending<T>(future: Option<&mut BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn knock(place: Option<&mut Place>) {
    match place {
        Some(place) => place.knock().await,
        None => std::future::pending().await,
    }
}

async fn next<T>(stream: Option<&mut futures::stream::BoxStream<'static, T>>) -> Option<T> {
    match stream {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}
