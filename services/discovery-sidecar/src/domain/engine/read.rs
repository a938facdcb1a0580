//! Readings of the registry: complete lists and single changes by others.

use std::sync::Arc;

use super::{
    super::{Item, Now, Place, change::unfinished, entry::fingerprint},
    Engine, Key, Lanes,
    slot::{Seen, Slot, Why},
};

impl Engine {
    /// Everything of ours that the registry holds. From here on it can be believed.
    pub fn registry_read(&mut self, items: Vec<Item>, now: Now) {
        let again = std::mem::replace(&mut self.trusted, true);
        self.failures = 0;
        self.trouble = None;
        self.reads += 1;
        self.lanes = Lanes::default();
        for item in items {
            self.read_item(item, again, now);
        }
        let reads = self.reads;
        let (mut places, mut out) = (Vec::new(), Vec::new());
        for (place, slot) in &self.slots {
            if slot.read != reads && slot.is_known() {
                out.push(place.clone());
            }
        }
        out.iter().for_each(|place| self.went_out(place, now));
        for (place, slot) in &mut self.slots {
            // What is only guessed to be there, no reading can show.
            if slot.read != reads && !slot.doubted && slot.seen.take().is_some() {
                slot.drifted |= again;
            }
            (slot.queued, slot.busy) = (false, false);
            if slot.need().is_some() || slot.want.is_none() {
                places.push((slot.key.clone(), place.clone()));
            } else {
                slot.is_right();
            }
        }
        // Instances of an application side by side, so that what is written as a whole, such as the records of a name, is not written
        // with every batch.
        places.sort_unstable();
        for (_, place) in places {
            self.enqueue(&place, now);
            self.drop_if_empty(&place);
        }
        if !self.settings.lists && !again {
            self.doubt_again(now);
        }
        // What waited to be confirmed while the registry was away can be told now.
        self.touched.extend(self.instances.keys().cloned());
    }

    fn read_item(&mut self, item: Item, again: bool, now: Now) {
        let seen = Seen { digest: item.digest, version: item.version };
        let reads = self.reads;
        if let Some(slot) = self.slots.get_mut(&item.place) {
            // What is being taken out is there for some until it is not: nobody else did that.
            let leaves = |before: Seen| slot.want.is_none() && seen.digest == unfinished(before.digest);
            let as_it_was = slot.seen.is_some_and(|before| before.digest == seen.digest || leaves(before));
            slot.drifted |= again && !as_it_was;
            (slot.seen, slot.read, slot.doubted) = (Some(seen), reads, false);
            if slot.why == Why::Absent && slot.want.is_none() && !self.unproven.contains(&slot.key) {
                self.now_absent(item.place, now);
            }
            return;
        }
        let mut slot = Box::new(Slot::new(item.key.clone(), fingerprint(&&*item.uid)));
        (slot.seen, slot.read, slot.drifted) = (Some(seen), reads, again);
        self.slots.insert(item.place.clone(), slot);
        self.orphan(&item.key, &item.uid, &item.place, now);
    }

    /// An entry of ours that no known instance wants: find out why.
    fn orphan(&mut self, key: &Key, uid: &Arc<str>, place: &Place, now: Now) {
        let left = self.tombs.contains(uid);
        let instance = self.instances.entry(key.clone()).or_default();
        if instance.place.as_ref() != Some(place) && !instance.old.contains(place) {
            instance.old.push(place.clone());
        }
        let why = match &instance.endpoint {
            Some(endpoint) if *endpoint.uid == **uid && instance.left => Why::Left,
            // Another name, another incarnation, or not ready.
            Some(_) => Why::Replaced,
            None if left || instance.left => Why::Left,
            None => Why::Absent,
        };
        if why == Why::Absent {
            self.unproven.insert(key.clone());
            if let Some(slot) = self.slots.get_mut(place) {
                // Not counted as absent before somebody looked whether its key was deleted.
                slot.why = Why::Absent;
            }
            return;
        }
        self.unwant(place, why, now);
    }

    /// Somebody else changed a place in the registry; `item` is what lies there now, if it is ours.
    pub fn drifted(&mut self, place: &Place, item: Option<Item>, now: Now) {
        if !self.trusted {
            return;
        }
        if item.is_none() {
            self.went_out(place, now);
        }
        match (self.slots.get_mut(place), item) {
            (Some(slot), item) => {
                let digest = item.as_ref().map(|i| i.digest);
                slot.drifted |= digest != slot.seen.map(|s| s.digest);
                slot.seen = item.map(|i| Seen { digest: i.digest, version: i.version });
                self.enqueue(place, now);
                self.drop_if_empty(place);
            }
            (None, Some(item)) => self.read_item(item, true, now),
            (None, None) => (),
        }
    }
}
