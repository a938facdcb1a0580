//! The heart of a worker: what one registry should hold of one cluster, what it holds as far as is known, and so what has
//! to change. Level-triggered: an input only updates a slot and marks it; what follows is always computed from the slot.

mod observe;
mod planning;
mod read;
mod reporting;
mod settle;
mod slot;
#[cfg(test)]
mod tests;
mod wanted;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bcs_schemas::{Name, observation::RegistrationState};

use super::{Layout, Naming, Place, bisect::Bisect, guard, ramp::Ramp, tombs::Tombs};
pub use reporting::Report;
use slot::{Instance, Slot};

/// Key of an endpoint.
pub(crate) type Key = Arc<str>;

/// What an engine is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Cluster whose instances are written.
    pub cluster: Name,
    /// The registry.
    pub registry: Name,
    /// How instances are named there.
    pub naming: Naming,
    /// How long an instance that is not ready any more stays, in case it is ready again at once.
    pub unready_hold: Duration,
    /// How long a transition may last before it is reported: most are over within milliseconds.
    pub report_after: Duration,
    /// How long clients may still use an entry that is out.
    pub deregistration_delay: Duration,
    /// When removals by absence are held.
    pub guard: guard::Limits,
    /// Changes that the registry takes in calls that are made together.
    pub batch: usize,
    /// Whether a reading of the registry says everything that it holds.
    pub lists: bool,
}

/// Desired and observed state of one registry for one cluster.
pub struct Engine {
    settings: Settings,
    layout: Arc<dyn Layout>,
    /// Boxed: a table is up to twice as large as what it holds, and these are the bulk of a sidecar's memory.
    instances: HashMap<Key, Box<Instance>>,
    slots: HashMap<Place, Box<Slot>>,
    tombs: Tombs,
    lanes: Lanes,
    bisect: Bisect,
    ramp: Ramp,
    timers: BTreeSet<(Duration, Timer)>,
    touched: BTreeSet<Key>,
    unproven: BTreeSet<Key>,
    absent: BTreeSet<Place>,
    /// When the absent entries count as all that there are.
    settled_at: Duration,
    settled: bool,
    cluster_known: bool,
    /// Whether what is known of the registry can be believed: it was read and no call failed since.
    trusted: bool,
    reads: u32,
    failures: u32,
    failures_ever: u64,
    refusals: Refusals,
    writes: u64,
    drift_repaired: u64,
    trouble: Option<String>,
    /// Changes wait because the registry may not be asked for more now.
    held_back: bool,
}

/// Places that have to change, by urgency; each in the order in which they came.
#[derive(Default)]
struct Lanes {
    drains: VecDeque<Place>,
    puts: VecDeque<Place>,
    removals: VecDeque<Place>,
}

/// Changes that were refused, each for itself, since the registry last took one.
#[derive(Default)]
struct Refusals {
    /// Of the reason that they have in common.
    words: u64,
    in_a_row: u32,
    /// How often there were too many of them for it to be the fault of each.
    times: u32,
}

/// Something to look at again later.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Unready(Key),
    Retry(Place),
    Report(Key),
    Ask(Key),
    Settled,
}

/// Numbers about a registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries of ours that it holds, as far as is known.
    pub entries: u64,
    /// Changes not written yet.
    pub pending: u64,
    /// Since when the oldest of them waits.
    pub oldest: Option<jiff::Timestamp>,
    /// Entries changed by somebody else and repaired.
    pub drift_repaired: u64,
    /// Entries that the registry refuses.
    pub quarantined: u64,
    /// Changes that it confirmed.
    pub writes: u64,
    /// Calls of it that failed.
    pub failures: u64,
}

impl Engine {
    /// An engine that knows nothing yet and therefore plans nothing.
    pub fn new(settings: Settings, layout: Arc<dyn Layout>) -> Self {
        let ramp = Ramp::new(settings.batch);
        Self {
            settings,
            layout,
            instances: HashMap::new(),
            slots: HashMap::new(),
            tombs: Tombs::default(),
            lanes: Lanes::default(),
            bisect: Bisect::default(),
            ramp,
            timers: BTreeSet::new(),
            touched: BTreeSet::new(),
            unproven: BTreeSet::new(),
            absent: BTreeSet::new(),
            settled_at: Duration::ZERO,
            settled: true,
            cluster_known: false,
            trusted: false,
            reads: 0,
            failures: 0,
            failures_ever: 0,
            refusals: Refusals::default(),
            writes: 0,
            drift_repaired: 0,
            trouble: None,
            held_back: false,
        }
    }

    /// Whether the cluster's picture of itself is fresh and complete, so that absence means something.
    pub fn cluster_known(&mut self, known: bool) {
        if known && !self.cluster_known {
            // What is only a key without an endpoint can be told to be gone now.
            let gone =
                self.instances.iter().filter(|(_, i)| i.endpoint.is_none()).map(|(key, _)| key.clone());
            self.touched.extend(gone);
        }
        self.cluster_known = known;
    }

    /// Whether what is known of the registry can be believed.
    pub const fn trusted(&self) -> bool {
        self.trusted
    }

    /// Failed calls in a row.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// How often in a row the registry was found to refuse whatever it is asked for.
    pub const fn refuses_all(&self) -> u32 {
        self.refusals.times
    }

    /// When [`Engine::tick`] has something to do, on the scale of [`super::Now::up`].
    pub fn wake(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Keys that are gone without a known reason; somebody should find out whether they were deleted.
    pub fn take_unproven(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.unproven).into_iter().collect()
    }

    /// What people should know: why the last call failed, or what is held.
    pub fn condition(&self) -> Option<String> {
        let incomplete =
            || self.incomplete().then(|| "waits until the cluster is known as a whole".to_owned());
        self.hindrance().or_else(|| self.held()).or_else(incomplete)
    }

    /// Whether changes wait because the registry may not be asked for more now.
    pub const fn held_back(&mut self, held_back: bool) {
        self.held_back = held_back;
    }

    /// Why nothing of what waits can be done now, whatever it is.
    fn hindrance(&self) -> Option<String> {
        let rate = || self.held_back.then(|| "the rate that its account is given is used up".to_owned());
        self.trouble.clone().or_else(rate)
    }

    fn held(&self) -> Option<String> {
        if self.absent.is_empty() {
            return None;
        }
        guard::held(&self.absences(), self.cluster_known, self.settings.guard)
    }

    fn absences(&self) -> guard::Absent {
        let mut absent = guard::Absent { count: self.absent.len(), ..guard::Absent::default() };
        let mut apps: HashMap<&str, (usize, usize)> = HashMap::new();
        for (place, slot) in self.slots.iter().filter(|(_, slot)| slot.is_known()) {
            absent.ours += 1;
            let (gone, all) = apps.entry(app_of(&slot.key)).or_default();
            *gone += usize::from(self.absent.contains(place));
            *all += 1;
        }
        let whole = apps.into_iter().filter(|(_, (gone, all))| gone == all).map(|(app, _)| app).min();
        absent.whole = whole.map(ToOwned::to_owned);
        absent
    }

    /// Numbers for the heartbeat.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            drift_repaired: self.drift_repaired,
            writes: self.writes,
            failures: self.failures_ever,
            ..Counts::default()
        };
        for slot in self.slots.values() {
            counts.entries += u64::from(slot.is_known());
            counts.quarantined += u64::from(slot.fault.as_ref().is_some_and(|fault| !fault.waits));
            if slot.need().is_some() {
                counts.pending += 1;
                counts.oldest = match (counts.oldest, slot.since) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
        }
        counts
    }

    /// Whether nothing is left to do.
    pub fn idle(&self) -> bool {
        self.trusted && self.slots.values().all(|slot| slot.need().is_none() && !slot.busy)
    }

    /// How far the registration of `key` got, as last reported.
    pub fn reported(&self, key: &str) -> Option<RegistrationState> {
        self.instances.get(key)?.reported.as_ref().map(|r| r.state)
    }
}

/// `shop.web` of `sim-a.shop.web.web-1`.
fn app_of(key: &str) -> &str {
    let rest = key.split_once('.').map_or(key, |(_, rest)| rest);
    rest.match_indices('.').nth(1).map_or(rest, |(end, _)| &rest[..end])
}
