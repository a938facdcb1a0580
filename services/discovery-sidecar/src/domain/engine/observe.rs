//! Inputs from the platform: endpoints come, change and go.

use std::sync::Arc;

use bcs_schemas::observation::{Endpoint, EndpointPhase, RegistrationState};

use super::{
    super::{Now, change::unfinished, entry::fingerprint},
    Engine, Key, Report, Timer,
    slot::{Instance, Seen, Slot, Why},
};

impl Engine {
    /// An endpoint as it is now.
    pub fn observe(&mut self, key: &str, endpoint: Arc<Endpoint>, now: Now) {
        let key: Key = self.instances.get_key_value(key).map_or_else(|| Key::from(key), |(k, _)| k.clone());
        let endpoint = self.settings.naming.seen_here(endpoint);
        self.unproven.remove(&key);
        let mut instance = self.instances.remove(&key).unwrap_or_default();
        let before = instance.endpoint.replace(endpoint.clone());
        if before.as_ref().is_some_and(|b| Arc::ptr_eq(b, &endpoint)) {
            // The very same observation, seen in a snapshot.
            self.instances.insert(key, instance);
            return;
        }
        let same = before.as_ref().is_some_and(|b| b.uid == endpoint.uid);
        if !same {
            self.incarnation_changed(&mut instance, before.as_deref(), now);
            // It may have been in the registry until a moment ago, by an earlier life of this sidecar.
            instance.remembered = self.remembered(now);
        }
        if matches!(endpoint.phase, EndpointPhase::Draining | EndpointPhase::Gone) {
            self.tombs.insert(&endpoint.uid, now.up);
            instance.left = true;
        }
        instance.left |= self.tombs.contains(&endpoint.uid);
        match endpoint.phase {
            EndpointPhase::Starting if same && before.is_some_and(|b| b.phase == EndpointPhase::Ready) => {
                let until = now.up + self.settings.unready_hold;
                instance.hold = Some(until);
                self.timers.insert((until, Timer::Unready(key.clone())));
            }
            EndpointPhase::Starting | EndpointPhase::Unknown => (),
            _ => instance.hold = None,
        }
        self.instances.insert(key.clone(), instance);
        self.settle(&key, now);
    }

    /// The uid under a key is another one: what stands for the old one goes, and the new one starts afresh.
    fn incarnation_changed(&mut self, instance: &mut Instance, before: Option<&Endpoint>, now: Now) {
        if let Some(before) = before {
            self.tombs.insert(&before.uid, now.up);
        }
        instance.old.extend(instance.place.take());
        (instance.left, instance.asked_out, instance.hold) = (false, false, None);
        for place in instance.old.clone() {
            self.unwant(&place, Why::Replaced, now);
        }
    }

    /// Everything that is known now, after changes were missed.
    pub fn observe_all<'a>(&mut self, all: impl IntoIterator<Item = (&'a str, Arc<Endpoint>)>, now: Now) {
        let mut there = std::collections::HashSet::new();
        for (key, endpoint) in all {
            there.insert(key);
            self.observe(key, endpoint, now);
        }
        let gone: Vec<Key> = self.instances.keys().filter(|key| !there.contains(&***key)).cloned().collect();
        gone.iter().for_each(|key| self.vanished(key, now));
    }

    /// The key of an endpoint is gone from a complete view. If the instance had not left before, it stays until somebody
    /// proves that the key was deleted: see [`Engine::take_unproven`].
    pub fn vanished(&mut self, key: &str, now: Now) {
        let Some((key, instance)) = self.instances.get_key_value(key) else { return };
        if instance.endpoint.is_none() {
            return;
        }
        let key = key.clone();
        if instance.left {
            self.deleted(&key, now);
        } else {
            self.unproven.insert(key);
        }
    }

    /// Somebody deleted the key of an endpoint: a fact. Its entries are taken out at once.
    pub fn deleted(&mut self, key: &str, now: Now) {
        self.gone(key, Why::Left, now);
    }

    /// The key of an endpoint is missing and nobody can say that it was deleted.
    pub fn missing(&mut self, key: &str, now: Now) {
        self.gone(key, Why::Absent, now);
    }

    /// Nobody could be asked about a key that is gone: it is asked about later.
    pub fn ask_again(&mut self, key: &str, now: Now) {
        let later = now.up + std::time::Duration::from_secs(1);
        self.timers.insert((later, Timer::Ask(Key::from(key))));
    }

    fn gone(&mut self, key: &str, why: Why, now: Now) {
        self.unproven.remove(key);
        let Some(instance) = self.instances.get_mut(key) else { return };
        let why = if instance.left { Why::Left } else { why };
        let uid = instance.endpoint.take().map(|e| e.uid.clone());
        (instance.hold, instance.left) = (None, why == Why::Left);
        let places: Vec<_> = instance.places().cloned().collect();
        if let (Some(uid), Why::Left) = (uid, why) {
            self.tombs.insert(&uid, now.up);
        }
        for place in places {
            self.unwant(&place, why, now);
        }
        if let Some((key, _)) = self.instances.get_key_value(key) {
            self.touched.insert(key.clone());
        }
    }

    /// For a sidecar that only follows another one: nothing is said, and what is gone is forgotten. Whoever takes over reads all of it
    /// again.
    pub fn follow(&mut self) {
        let gone = std::mem::take(&mut self.unproven);
        for key in std::mem::take(&mut self.touched) {
            if !gone.contains(&key) && self.instances.get(&key).is_some_and(|i| i.endpoint.is_some()) {
                continue;
            }
            self.forget(&key);
        }
        gone.iter().for_each(|key| self.forget(key));
    }

    fn forget(&mut self, key: &Key) {
        let Some(instance) = self.instances.remove(key) else { return };
        for place in instance.places() {
            self.slots.remove(place);
            self.absent.remove(place);
        }
    }

    /// Every entry goes, for a sidecar that takes them with it. Whoever left is on the way out already, and its drain is waited for.
    pub fn drain_all(&mut self, now: Now) {
        let there = self.instances.iter().filter(|(_, instance)| !instance.left);
        let keys: Vec<Key> = there.map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.deleted(&key, now);
        }
    }

    /// Words to take back when the entries went without their instances, and nobody keeps them any more. What was said of a drain
    /// stays: somebody waits for that.
    pub fn take_back(&mut self) -> Vec<Report> {
        let drains = |instance: &Instance| {
            let state = instance.reported.map(|reported| reported.state);
            matches!(state, Some(RegistrationState::Draining | RegistrationState::Drained))
        };
        let out = |instance: &Instance| {
            let holds = |place| self.slots.get(place).is_some_and(|slot| slot.holds());
            !instance.is_unspoken() && !drains(instance) && !instance.places().any(holds)
        };
        let out = self.instances.iter().filter(|(_, instance)| out(instance));
        out.map(|(key, _)| Report::Delete(format!("{key}.{}", self.settings.registry))).collect()
    }

    /// Brings the slot of an instance in line with its observation.
    pub(super) fn settle(&mut self, key: &Key, now: Now) {
        let Some(instance) = self.instances.get(key) else { return };
        let Some(endpoint) = instance.endpoint.clone() else { return };
        self.touched.insert(key.clone());
        let stays = match endpoint.phase {
            EndpointPhase::Ready => !instance.left,
            EndpointPhase::Starting => !instance.left && instance.hold.is_some_and(|until| now.up < until),
            // A newer agent says something that we do not understand: nothing changes.
            EndpointPhase::Unknown => return,
            EndpointPhase::Draining | EndpointPhase::Gone => false,
        };
        let why = if instance.left { Why::Left } else { Why::Replaced };
        let stays = stays && self.settings.naming.takes(&endpoint);
        let entry = if stays { self.settings.naming.entry(&endpoint) } else { None };
        let Some(entry) = entry else {
            self.doubt(key, &endpoint);
            let places: Vec<_> =
                self.instances.get(key).into_iter().flat_map(|i| i.places().cloned()).collect();
            return places.iter().for_each(|place| self.unwant(place, why, now));
        };
        let (place, digest) = (self.layout.place(&entry), self.layout.digest(&entry));
        self.move_to(key, &place, now);
        let uid = fingerprint(&endpoint.uid.as_str());
        let slot = self.slots.entry(place.clone()).or_insert_with(|| Box::new(Slot::new(key.clone(), uid)));
        if slot.uid != uid || slot.key != *key {
            (slot.uid, slot.key) = (uid, key.clone());
        }
        if slot.want != Some(digest) {
            // What was refused was another entry.
            slot.fault = None;
        }
        if slot.want.replace(digest).is_none() {
            // It may stand in the lane of removals.
            slot.queued = false;
        }
        self.absent.remove(&place);
        self.enqueue(&place, now);
    }

    /// A registry that cannot be read may hold an instance that nobody here put there: whoever kept it before did, and could not
    /// tell. So what leaves is taken out in so many words, once.
    fn doubt(&mut self, key: &Key, endpoint: &Arc<Endpoint>) {
        let Some(instance) = self.instances.get_mut(key) else { return };
        if self.settings.lists || !self.trusted || !instance.left || instance.asked_out {
            return;
        }
        instance.asked_out = true;
        let belongs = self.settings.naming.takes(endpoint) && !instance.was_drained(endpoint);
        let entry = self.settings.naming.entry(endpoint).filter(|_| belongs);
        let Some(entry) = entry else { return };
        let (place, digest) = (self.layout.place(&entry), self.layout.digest(&entry));
        if instance.places().all(|other| *other != place) {
            instance.old.push(place.clone());
        }
        let uid = fingerprint(&endpoint.uid.as_str());
        let slot = self.slots.entry(place).or_insert_with(|| Box::new(Slot::new(key.clone(), uid)));
        if slot.seen.is_none() {
            (slot.seen, slot.doubted) = (Some(Seen { digest: unfinished(digest), version: 0 }), true);
        }
    }

    /// The registry was read again, which says nothing about what left.
    pub(super) fn doubt_again(&mut self, now: Now) {
        self.instances.values_mut().for_each(|instance| instance.asked_out = false);
        let left: Vec<Key> =
            self.instances.iter().filter(|(_, i)| i.left).map(|(key, _)| key.clone()).collect();
        left.iter().for_each(|key| self.settle(key, now));
    }

    /// The entry of an instance lies elsewhere now.
    fn move_to(&mut self, key: &Key, place: &super::Place, now: Now) {
        let Some(instance) = self.instances.get_mut(key) else { return };
        instance.old.retain(|old| old != place);
        let before = instance.place.replace(place.clone()).filter(|before| before != place);
        if let Some(before) = before {
            instance.old.push(before.clone());
            self.unwant(&before, Why::Replaced, now);
        }
    }
}
