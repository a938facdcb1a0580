//! Answers of the registry: what was confirmed, what was found instead, and what failed.

use std::time::Duration;

use super::{
    super::{Change, Failure, Item, Now, Outcome, Place, backoff, bisect::Verdict},
    Engine, Refusals, Timer,
    slot::{Fault, Seen},
};
use crate::domain::{change::unfinished, entry::fingerprint};

/// How soon a registry that needs time is looked at again, at first and at last.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const LOOK_AGAIN_CAP: Duration = Duration::from_millis(500);
/// So many entries, one after the other and nothing between, are not each refused for the same reason: the registry takes nothing.
const REFUSES_ALL: u32 = 5;

impl Engine {
    /// The batch was answered, one outcome per change.
    pub fn answered(&mut self, batch: Vec<Change>, outcomes: Vec<Outcome>, now: Now, jitter: f64) {
        self.ramp.up();
        self.failures = 0;
        self.trouble = None;
        self.refusals = Refusals::default();
        for (change, outcome) in batch.into_iter().zip(outcomes) {
            let place = change.place().clone();
            self.unbusy(&place);
            match (outcome, change) {
                (Outcome::Done(version), Change::Put { digest, .. }) => {
                    self.now_there(&place, Some(Seen { digest, version }));
                }
                // Ours is not there, and that is all that was asked for.
                (Outcome::Done(_) | Outcome::Foreign(_), Change::Remove { .. }) => {
                    self.went_out(&place, now);
                    self.now_there(&place, None);
                }
                (Outcome::Differs(item), _) => self.found(&place, item, now),
                (Outcome::Foreign(words), Change::Put { .. }) => {
                    self.found(&place, None, now);
                    self.quarantine(&place, words, now, jitter);
                }
                (Outcome::Refused(words), _) => self.quarantine(&place, words, now, jitter),
                (Outcome::Waits(words), change) => {
                    self.may_be_there(&place, &change);
                    self.wait(&place, words, now);
                }
                (Outcome::Again, _) => (),
            }
            self.enqueue(&place, now);
            self.drop_if_empty(&place);
        }
    }

    /// The batch failed as a whole.
    pub fn failed(&mut self, batch: &[Change], failure: &Failure, now: Now, jitter: f64) {
        match failure {
            Failure::Rejected(words) => {
                self.failures_ever += 1;
                batch.iter().for_each(|change| self.unbusy(change.place()));
                let places: Vec<Place> = batch.iter().map(|change| change.place().clone()).collect();
                if let Some(Verdict::Bad(place)) = self.bisect.rejected(places.clone()) {
                    // What is known to be bad says nothing new when it is tried again, and must not hold up what comes later.
                    let known = self.slots.get(&place).is_some_and(|slot| slot.fault.is_some());
                    self.quarantine(&place, words.clone(), now, jitter);
                    if !known {
                        self.refused(words, now);
                    }
                }
                places.iter().for_each(|place| self.drop_if_empty(place));
            }
            Failure::Unavailable(words) => self.lost(words.clone()),
            Failure::Fenced(_) => self.lost(failure.to_string()),
        }
    }

    /// The registry cannot be reached, or its last answer never came: nothing that is known of it can be believed until
    /// it is read again.
    pub fn lost(&mut self, words: String) {
        self.trusted = false;
        self.failures += 1;
        self.failures_ever += 1;
        self.trouble_is(words);
        self.ramp.down();
        self.bisect.clear();
    }

    /// One more is refused for itself. When they are many it is not their fault: the others are not tried now.
    fn refused(&mut self, words: &str, now: Now) {
        let same = self.refusals.words == fingerprint(&words);
        self.refusals.words = fingerprint(&words);
        self.refusals.in_a_row = if same { self.refusals.in_a_row + 1 } else { 1 };
        if self.refusals.in_a_row < REFUSES_ALL {
            return;
        }
        (self.refusals.in_a_row, self.refusals.times) = (0, self.refusals.times + 1);
        self.trouble_is(words.to_owned());
        self.ramp.down();
        self.bisect.give_up().iter().for_each(|place| self.enqueue(place, now));
    }

    /// Whoever waits is told why, when that changes.
    fn trouble_is(&mut self, words: String) {
        if self.trouble.as_ref() != Some(&words) {
            let waits = self.instances.iter().filter(|(_, instance)| instance.waits());
            self.touched.extend(waits.map(|(key, _)| key.clone()));
            self.trouble = Some(words);
        }
    }

    fn unbusy(&mut self, place: &Place) {
        if let Some(slot) = self.slots.get_mut(place) {
            slot.busy = false;
        }
    }

    /// Confirmed.
    fn now_there(&mut self, place: &Place, seen: Option<Seen>) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        (slot.seen, slot.doubted) = (seen, false);
        slot.fault = None;
        self.writes += 1;
        if std::mem::take(&mut slot.drifted) {
            self.drift_repaired += 1;
        }
        if seen.is_none() {
            self.absent.remove(place);
        }
    }

    /// Something else than expected lies there.
    fn found(&mut self, place: &Place, item: Option<Item>, now: Now) {
        if item.is_none() {
            self.went_out(place, now);
        }
        if let Some(slot) = self.slots.get_mut(place) {
            slot.seen = item.map(|i| Seen { digest: i.digest, version: i.version });
        }
    }

    /// The entry is seen there no more: for a while clients may still remember it.
    pub(super) fn went_out(&mut self, place: &Place, now: Now) {
        let Some(slot) = self.slots.get(place).filter(|slot| slot.seen.is_some()) else { return };
        let remembered = self.remembered(now);
        if let Some(instance) = self.instances.get_mut(&slot.key) {
            instance.remembered = remembered;
        }
    }

    /// Until when clients may still use what is taken out now.
    pub(super) fn remembered(&self, now: Now) -> Option<Duration> {
        let delay = self.settings.deregistration_delay;
        (!delay.is_zero()).then(|| now.up + delay)
    }

    /// An addition that is not done may be seen by some already: when it is not wanted any more, it has to be taken out.
    fn may_be_there(&mut self, place: &Place, change: &Change) {
        let (Some(slot), Change::Put { digest, .. }) = (self.slots.get_mut(place), change) else { return };
        slot.seen.get_or_insert_with(|| Seen { digest: unfinished(*digest), version: 0 });
    }

    /// The registry is at it: it is looked at again soon.
    fn wait(&mut self, place: &Place, words: String, now: Now) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        let attempts = slot.fault.as_ref().filter(|f| f.waits).map_or(0, |f| f.attempts) + 1;
        let until = now.up + LOOK_AGAIN.saturating_mul(attempts).min(LOOK_AGAIN_CAP);
        slot.fault = Some(Box::new(Fault { words, waits: true, attempts, until }));
        self.touched.insert(slot.key.clone());
        self.timers.insert((until, Timer::Retry(place.clone())));
    }

    /// The registry does not want this one: it is tried again on its own time.
    fn quarantine(&mut self, place: &Place, words: String, now: Now, jitter: f64) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        let attempts = slot.fault.as_ref().map_or(0, |f| f.attempts) + 1;
        // It starts where the registry's own backoff is after a few failures: it is not going to heal within milliseconds.
        let until = now.up + backoff::delay(attempts + 3, 0.5 + jitter / 2.0);
        slot.fault = Some(Box::new(Fault { words, waits: false, attempts, until }));
        self.touched.insert(slot.key.clone());
        self.timers.insert((until, Timer::Retry(place.clone())));
    }
}
