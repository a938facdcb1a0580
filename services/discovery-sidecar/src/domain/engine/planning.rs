//! Outputs to the registry: the next batch. Drains go first, for somebody waits for them; then additions; then what was
//! merely replaced, so that a service never shrinks for want of an addition that was ready to be made.

use super::{
    super::{Change, Now, Place, guard, ramp::WHOLE},
    Engine, Lanes, Timer,
    slot::{Need, Slot, Why},
};

impl Engine {
    /// Nothing should be there any more.
    pub(super) fn unwant(&mut self, place: &Place, why: Why, now: Now) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        if slot.want.take().is_some() {
            slot.fault = None;
        }
        if slot.why != why {
            slot.why = why;
            // It may stand in the lane of its former reason; standing in two does no harm.
            slot.queued = false;
        }
        match (why, slot.seen.is_some()) {
            (Why::Absent, true) => self.now_absent(place.clone(), now),
            _ => drop(self.absent.remove(place)),
        }
        self.enqueue(place, now);
        self.drop_if_empty(place);
    }

    /// An entry has no endpoint. Nothing that is absent goes before no more of them came for a while.
    pub(super) fn now_absent(&mut self, place: Place, now: Now) {
        if self.absent.insert(place) {
            self.settled_at = now.up + guard::SETTLE;
            if std::mem::take(&mut self.settled) {
                self.timers.insert((self.settled_at, Timer::Settled));
            }
        }
    }

    /// The last absence may have come after the timer was set.
    fn settle_absent(&mut self, now: Now) {
        self.settled = now.up >= self.settled_at;
        if !self.settled {
            self.timers.insert((self.settled_at, Timer::Settled));
        }
    }

    /// Puts a place into its lane if something has to be done there.
    pub(super) fn enqueue(&mut self, place: &Place, now: Now) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        self.touched.insert(slot.key.clone());
        let Some(need) = slot.need() else {
            return slot.is_right();
        };
        slot.since.get_or_insert(now.wall);
        // Nothing is taken out of the lanes then, and the next reading builds them anew.
        if !self.trusted {
            return;
        }
        if slot.queued || slot.fault.as_ref().is_some_and(|f| f.until > now.up) {
            return;
        }
        let lane = match (need, slot.why) {
            (Need::Put { .. }, _) => &mut self.lanes.puts,
            (_, Why::Left) => &mut self.lanes.drains,
            (_, Why::Replaced) => &mut self.lanes.removals,
            // They wait for the guard.
            (_, Why::Absent) => return,
        };
        slot.queued = true;
        lane.push_back(place.clone());
    }

    /// The next batch of `most` changes; empty when nothing can be done now.
    pub fn next_batch(&mut self, most: usize) -> Vec<Change> {
        if !self.trusted || self.incomplete() {
            return Vec::new();
        }
        while let Some(group) = self.bisect.next_group(most) {
            let batch: Vec<Change> = group.iter().filter_map(|place| self.send(place)).collect();
            if !batch.is_empty() {
                return ordered(batch);
            }
        }
        self.release_absent();
        let limit = self.ramp.limit().min(most);
        let mut batch = Vec::new();
        // Half a batch at least is kept for additions when there are any.
        let share = if self.lanes.puts.is_empty() { limit } else { limit.div_ceil(2) };
        self.fill(&mut batch, share, |lanes| &mut lanes.drains);
        self.fill(&mut batch, limit, |lanes| &mut lanes.puts);
        self.fill(&mut batch, limit, |lanes| &mut lanes.drains);
        self.fill(&mut batch, limit, |lanes| &mut lanes.removals);
        ordered(batch)
    }

    /// Whether more waits than goes into the next batch. A registry that is away is not written to.
    pub fn is_behind(&self) -> bool {
        let Lanes { drains, puts, removals } = &self.lanes;
        self.trusted && drains.len() + puts.len() + removals.len() > self.settings.batch
    }

    /// A registry that has to be told everything at once, and was told nothing yet, waits until everything is known.
    pub(super) fn incomplete(&self) -> bool {
        let told = || self.slots.values().any(|slot| slot.is_known());
        self.settings.batch == WHOLE && !self.cluster_known && !told()
    }

    fn fill(
        &mut self,
        batch: &mut Vec<Change>,
        limit: usize,
        lane: fn(&mut Lanes) -> &mut std::collections::VecDeque<Place>,
    ) {
        while batch.len() < limit {
            let Some(place) = lane(&mut self.lanes).pop_front() else { break };
            let Some(slot) = self.slots.get_mut(&place) else { continue };
            slot.queued = false;
            // A place can stand in two lanes; it must not get into a batch twice.
            if !slot.busy {
                batch.extend(self.send(&place));
            }
        }
    }

    /// Absent entries go when the guard lets them.
    fn release_absent(&mut self) {
        if self.absent.is_empty() || !self.settled || self.held().is_some() {
            return;
        }
        for place in std::mem::take(&mut self.absent) {
            if let Some(slot) = self.slots.get_mut(&place).filter(|slot| slot.why == Why::Absent) {
                slot.why = Why::Replaced;
                slot.queued = true;
                self.lanes.removals.push_back(place);
            }
        }
    }

    fn send(&mut self, place: &Place) -> Option<Change> {
        let change = self.change(place)?;
        self.slots.get_mut(place)?.busy = true;
        Some(change)
    }

    /// What has to be done about one place, now.
    fn change(&self, place: &Place) -> Option<Change> {
        let slot = self.slots.get(place)?;
        match slot.need()? {
            Need::Put { digest, over } => {
                let endpoint = self.instances.get(&slot.key)?.endpoint.as_ref()?;
                let entry = self.settings.naming.entry(endpoint)?;
                Some(Change::Put { place: place.clone(), entry, digest, over })
            }
            Need::Remove { .. } if slot.why == Why::Absent => None,
            Need::Remove { version } => Some(Change::Remove { place: place.clone(), version }),
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Now) {
        while self.timers.first().is_some_and(|(at, _)| *at <= now.up) {
            match self.timers.pop_first() {
                Some((_, Timer::Unready(key))) => self.settle(&key, now),
                Some((_, Timer::Retry(place))) => self.enqueue(&place, now),
                Some((_, Timer::Report(key))) => drop(self.touched.insert(key)),
                Some((_, Timer::Ask(key))) => drop(self.unproven.insert(key)),
                Some((_, Timer::Settled)) => self.settle_absent(now),
                None => (),
            }
        }
        self.tombs.prune(now.up);
    }

    /// A slot that says nothing any more is dropped.
    pub(super) fn drop_if_empty(&mut self, place: &Place) {
        if !self.slots.get(place).is_some_and(|slot| slot.empty()) {
            return;
        }
        let Some(slot) = self.slots.remove(place) else { return };
        self.absent.remove(place);
        self.touched.insert(slot.key.clone());
        if let Some(instance) = self.instances.get_mut(&slot.key) {
            instance.old.retain(|old| old != place);
        }
    }
}

impl Slot {
    fn empty(&self) -> bool {
        self.want.is_none() && !self.holds()
    }
}

/// Additions before removals, also within a batch: not every registry applies one atomically.
fn ordered(mut batch: Vec<Change>) -> Vec<Change> {
    batch.sort_by_key(|change| matches!(change, Change::Remove { .. }));
    batch
}
