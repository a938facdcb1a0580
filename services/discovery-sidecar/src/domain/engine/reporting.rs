//! Outputs to the platform: what is to be said about each registration.

use std::time::Duration;

use bcs_schemas::{
    bucket::Keyed,
    observation::{Endpoint, EndpointPhase, Registration, RegistrationState},
};

use super::{
    super::{
        Now,
        entry::{address_text, fingerprint},
    },
    Engine, Key, Timer,
    slot::{Instance, Reported, Slot},
};

/// Seconds between two reasons for one wait.
const SAY_AGAIN: u32 = 5;

/// Something to write into the bucket `registrations`.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// Write it.
    Put(Registration),
    /// The instance is gone and confirmed out: remove the key.
    Delete(String),
}

struct Finding {
    state: RegistrationState,
    reason: Option<String>,
    retry: Option<Duration>,
}

impl Engine {
    /// Another sidecar may have kept the registry until now, and have taken out a moment ago whatever is not there.
    pub fn took_over(&mut self, now: Now) {
        let remembered = self.remembered(now);
        self.instances.values_mut().for_each(|instance| instance.remembered = remembered);
    }

    /// What the platform has of what was said, in an earlier life or before it lost its memory: it is neither repeated nor
    /// forgotten, and what is missing or says something else is said again.
    pub fn adopt(&mut self, registrations: impl IntoIterator<Item = Registration>, now: Now) {
        for instance in self.instances.values_mut() {
            instance.spoken_of |= instance.reported.take().is_some();
        }
        for registration in registrations.into_iter().filter(|r| r.registry == self.settings.registry) {
            let Some(key) = endpoint_key(&registration) else { continue };
            if matches!(registration.state, RegistrationState::Draining | RegistrationState::Drained) {
                // It was on its way out already; nothing brings that incarnation back.
                if !self.unready(&key, &registration.uid) {
                    self.tombs.insert(&registration.uid, now.up);
                }
            }
            let instance = self.instances.entry(key.clone()).or_default();
            let another = instance.endpoint.as_ref().is_some_and(|e| e.uid != registration.uid);
            if registration.state == RegistrationState::Drained && !another {
                instance.remembered = None;
            }
            instance.reported = Some(Reported {
                state: registration.state,
                since: registration.since,
                address: address_of(&registration.address),
                uid: fingerprint(&registration.uid.as_str()),
                reason: fingerprint(&registration.reason),
                retry: 0,
                said: 0,
            });
            if instance.endpoint.is_none() {
                self.unproven.insert(key.clone());
            }
        }
        self.touched.extend(self.instances.keys().cloned());
    }

    /// Words about these registrations were under way while it was read what stands there: which is the last one nobody knows.
    pub fn say_again(&mut self, keys: impl IntoIterator<Item = String>) {
        let ending = format!(".{}", self.settings.registry);
        for key in keys {
            let Some(key) = key.strip_suffix(&ending).and_then(|key| self.instances.get_key_value(key))
            else {
                continue;
            };
            let key = key.0.clone();
            if let Some(instance) = self.instances.get_mut(&key) {
                (instance.reported, instance.spoken_of) = (None, true);
                self.touched.insert(key);
            }
        }
    }

    /// Taken out only because it was not ready: that incarnation may come back.
    fn unready(&self, key: &Key, uid: &str) -> bool {
        let endpoint = self.instances.get(key).and_then(|i| i.endpoint.as_ref());
        endpoint.is_some_and(|e| {
            e.uid == uid
                && matches!(e.phase, EndpointPhase::Starting | EndpointPhase::Ready | EndpointPhase::Unknown)
        })
    }

    /// Everything that is to be said since the last time.
    pub fn reports(&mut self, now: Now) -> Vec<Report> {
        let touched = std::mem::take(&mut self.touched);
        touched.into_iter().filter_map(|key| self.report(&key, now)).collect()
    }

    fn report(&mut self, key: &Key, now: Now) -> Option<Report> {
        let finding = {
            let instance = self.instances.get(key)?;
            let Some(endpoint) = &instance.endpoint else { return self.report_gone(key, now) };
            if !self.settings.naming.takes(endpoint) {
                // As long as the registry was not read, nobody shall wait for what was never heard to be there.
                let unheard_of = instance.is_unspoken() && !self.lingers(instance, endpoint);
                if unheard_of || self.is_out(instance, now) {
                    return self.report_not_taken(key);
                }
            }
            self.finding(instance, endpoint, now)?
        };
        if finding.state == RegistrationState::Draining {
            let until = self.instances.get(key)?.remembered.filter(|until| now.up < *until);
            self.timers.extend(until.map(|until| (until, Timer::Report(key.clone()))));
        }
        if matches!(finding.state, RegistrationState::Pending | RegistrationState::Draining)
            && self.too_early(key, now)
        {
            return None;
        }
        let instance = self.instances.get_mut(key)?;
        instance.overdue = None;
        let endpoint = instance.endpoint.clone()?;
        let fresh = Reported {
            state: finding.state,
            since: now.wall,
            address: address_of(&address_text(&endpoint)),
            uid: fingerprint(&endpoint.uid.as_str()),
            reason: fingerprint(&finding.reason),
            retry: finding.retry.map_or(0, seconds),
            said: seconds(now.up),
        };
        let since = match instance.reported {
            Some(old) if old.same(&fresh) => return None,
            Some(old) if let Some(at) = old.too_soon(&fresh) => {
                self.timers.insert((at, Timer::Report(key.clone())));
                return None;
            }
            Some(old) if old.state == fresh.state && old.uid == fresh.uid => old.since,
            _ => now.wall,
        };
        instance.reported = Some(Reported { since, ..fresh });
        Some(Report::Put(self.registration(&endpoint, finding, since, now)))
    }

    fn registration(
        &self,
        endpoint: &Endpoint,
        finding: Finding,
        since: jiff::Timestamp,
        now: Now,
    ) -> Registration {
        let retry_at = finding.retry.and_then(|at| {
            let wait = jiff::SignedDuration::try_from(at.saturating_sub(now.up)).ok()?;
            now.wall.checked_add(wait).ok()
        });
        Registration {
            cluster: endpoint.cluster.clone(),
            project: endpoint.project.clone(),
            app: endpoint.app.clone(),
            instance: endpoint.instance.clone(),
            uid: endpoint.uid.clone(),
            registry: self.settings.registry.clone(),
            address: address_text(endpoint),
            state: finding.state,
            reason: finding.reason,
            since,
            retry_at,
            observed_at: now.wall,
        }
    }

    /// The key is removed when the registry is known to hold nothing of it. While the cluster is unknown it is kept, for
    /// the endpoint may only be out of sight.
    fn report_gone(&mut self, key: &Key, now: Now) -> Option<Report> {
        let instance = self.instances.get(key)?;
        if instance.is_remembered(now) {
            self.timers.extend(instance.remembered.map(|until| (until, Timer::Report(key.clone()))));
            return None;
        }
        if !self.is_out(instance, now)
            || !(instance.left || self.cluster_known)
            || self.unproven.contains(key)
        {
            return None;
        }
        let said = self.instances.remove(key).is_some_and(|i| i.reported.is_some() || i.spoken_of);
        said.then(|| Report::Delete(format!("{key}.{}", self.settings.registry)))
    }

    /// The registry holds nothing of it, and nobody remembers it.
    fn is_out(&self, instance: &Instance, now: Now) -> bool {
        let holds = |place| self.slots.get(place).is_some_and(|slot| slot.holds());
        self.trusted && !instance.is_remembered(now) && !instance.places().any(holds)
    }

    /// What does not belong into this registry, and is not there, is nobody's business: nothing is said of it.
    fn report_not_taken(&mut self, key: &Key) -> Option<Report> {
        let instance = self.instances.get_mut(key)?;
        let said = instance.reported.take().is_some() | std::mem::take(&mut instance.spoken_of);
        said.then(|| Report::Delete(format!("{key}.{}", self.settings.registry)))
    }

    /// Most transitions are over before anyone could read of them; only those that last are reported.
    fn too_early(&mut self, key: &Key, now: Now) -> bool {
        let Some(instance) = self.instances.get_mut(key) else { return false };
        let due = *instance.overdue.get_or_insert_with(|| rounded(now.up + self.settings.report_after));
        if now.up < due {
            self.timers.insert((due, Timer::Report(key.clone())));
        }
        now.up < due
    }

    fn finding(&self, instance: &Instance, endpoint: &Endpoint, now: Now) -> Option<Finding> {
        let slot = instance.place.as_ref().and_then(|place| self.slots.get(place));
        let plain = |state| Some(Finding { state, reason: None, retry: None });
        if let Some(fault) = slot.and_then(|s| s.fault.as_ref()) {
            let state = match (fault.waits, slot.is_some_and(|s| s.want.is_some())) {
                (false, _) => RegistrationState::Failed,
                (true, true) => RegistrationState::Pending,
                (true, false) => RegistrationState::Draining,
            };
            let retry = (!fault.waits).then_some(fault.until);
            return Some(Finding { state, reason: Some(fault.words.clone()), retry });
        }
        if let Some(slot) = slot.filter(|s| s.want.is_some()) {
            if self.confirmed(instance, endpoint, slot) {
                return plain(RegistrationState::Confirmed);
            }
            return Some(Finding {
                state: RegistrationState::Pending,
                reason: self.hindrance(),
                retry: None,
            });
        }
        let leaving = instance.left
            || matches!(endpoint.phase, EndpointPhase::Draining | EndpointPhase::Gone)
            || !self.settings.naming.takes(endpoint);
        let unready = |words: &str| Finding {
            state: RegistrationState::Pending,
            reason: Some(self.hindrance().unwrap_or_else(|| words.to_owned())),
            retry: None,
        };
        if self.lingers(instance, endpoint) {
            if !leaving {
                return Some(unready("being taken out: it is not ready"));
            }
            return Some(Finding {
                state: RegistrationState::Draining,
                reason: self.hindrance(),
                retry: None,
            });
        }
        match endpoint.phase {
            EndpointPhase::Ready if !leaving => Some(Finding {
                state: RegistrationState::Pending,
                reason: self.settings.naming.lacks(endpoint),
                retry: None,
            }),
            EndpointPhase::Starting | EndpointPhase::Unknown if instance.is_unspoken() => None,
            // Whoever waits for a drain would take an older word of the same incarnation for its end.
            _ if !leaving => Some(unready("taken out: it is not ready")),
            _ if self.trusted && instance.is_remembered(now) => Some(Finding {
                state: RegistrationState::Draining,
                reason: Some("out of the registry; clients may remember it a little longer".to_owned()),
                retry: None,
            }),
            _ if self.trusted => plain(RegistrationState::Drained),
            _ => Some(Finding { state: RegistrationState::Draining, reason: self.hindrance(), retry: None }),
        }
    }

    /// Something of this incarnation may still be there.
    fn lingers(&self, instance: &Instance, endpoint: &Endpoint) -> bool {
        instance
            .places()
            .filter_map(|place| self.slots.get(place))
            .any(|s| s.holds() && s.uid == fingerprint(&endpoint.uid.as_str()))
    }

    /// The registry said that it has the entry. One that only gets another weight stays confirmed meanwhile.
    fn confirmed(&self, instance: &Instance, endpoint: &Endpoint, slot: &Slot) -> bool {
        let Some(seen) = slot.seen else { return false };
        if Some(seen.digest) == slot.want {
            return self.trusted || instance.was(RegistrationState::Confirmed, endpoint);
        }
        instance.was(RegistrationState::Confirmed, endpoint)
    }
}

impl Instance {
    /// Somebody waits for it, or is about to be told so.
    pub(super) fn waits(&self) -> bool {
        self.overdue.is_some() || self.reported.is_some_and(|reported| reported.waits())
    }

    /// Clients may still use what was taken out.
    fn is_remembered(&self, now: Now) -> bool {
        self.remembered.is_some_and(|until| now.up < until)
    }

    /// Nothing was ever said of it.
    pub(super) const fn is_unspoken(&self) -> bool {
        self.reported.is_none() && !self.spoken_of
    }

    /// That this incarnation is out was said already.
    pub(super) fn was_drained(&self, endpoint: &Endpoint) -> bool {
        self.reported.as_ref().is_some_and(|r| {
            r.state == RegistrationState::Drained && r.uid == fingerprint(&endpoint.uid.as_str())
        })
    }

    /// This was said of this incarnation at this address.
    fn was(&self, state: RegistrationState, endpoint: &Endpoint) -> bool {
        self.reported.as_ref().is_some_and(|r| {
            r.state == state
                && r.uid == fingerprint(&endpoint.uid.as_str())
                && r.address == address_of(&address_text(endpoint))
        })
    }
}

impl Reported {
    fn same(&self, other: &Self) -> bool {
        (self.state, self.uid, self.address) == (other.state, other.uid, other.address)
            && (self.reason, self.retry) == (other.reason, other.retry)
    }

    const fn waits(&self) -> bool {
        matches!(self.state, RegistrationState::Pending | RegistrationState::Draining)
    }

    /// When another reason for the same wait can be said, if that is not now: reasons may change with every attempt.
    fn too_soon(&self, other: &Self) -> Option<Duration> {
        let same = (self.state, self.uid, self.address) == (other.state, other.uid, other.address);
        let at = self.said.saturating_add(SAY_AGAIN);
        (same && self.waits() && self.reason != fingerprint(&None::<String>) && other.said < at)
            .then(|| Duration::from_secs(at.into()))
    }
}

/// Whole ones, up.
fn seconds(at: Duration) -> u32 {
    u32::try_from(at.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}

/// Up to the next 20 ms, so that many reports share one waking.
fn rounded(at: Duration) -> Duration {
    const STEP: u64 = 20;
    let millis = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(millis.div_ceil(STEP).saturating_mul(STEP))
}

fn address_of(text: &str) -> Option<(std::net::IpAddr, u16)> {
    match text.parse::<std::net::SocketAddr>() {
        Ok(address) => Some((address.ip(), address.port())),
        Err(_) => text.parse().ok().map(|ip| (ip, 0)),
    }
}

/// Key of the endpoint that a registration is about.
fn endpoint_key(registration: &Registration) -> Option<Key> {
    let key = registration.key();
    key.strip_suffix(&format!(".{}", registration.registry)).map(Key::from)
}
