//! What we have in the zone, as we read it and wrote it since. Pure.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use hickory_proto::rr::{RData, rdata::TXT};

use super::layout::{Record, Zone, spelt};
use crate::domain::{Item, Place};

/// An address under a name.
pub(super) type Shared = (String, IpAddr);

/// Our entries: the TXT records at each place, and how many of them need each shared address.
#[derive(Debug, Default)]
pub(super) struct Held {
    places: HashMap<Place, Vec<TXT>>,
    uses: HashMap<Shared, u32>,
}

/// A zone as it is transferred.
#[derive(Debug, Default)]
pub(super) struct Transfer {
    places: HashMap<Place, Vec<TXT>>,
    records: HashSet<Record>,
}

impl Transfer {
    /// One record; what does not concern us is let go.
    pub(super) fn take(&mut self, zone: &Zone, name: String, data: RData) {
        match data {
            RData::TXT(txt) if below(&name, &zone.base) => {
                self.places.entry(Place::from(name)).or_default().push(txt);
            }
            RData::A(_) | RData::AAAA(_) | RData::SRV(_) => {
                self.records.insert(Record { name, data });
            }
            _ => (),
        }
    }

    /// What of it is ours.
    pub(super) fn finish(self, zone: &Zone) -> (Held, Vec<Item>) {
        let (mut held, mut items) = (Held::default(), Vec::new());
        for (place, found) in self.places {
            let Some(written) = found.iter().find_map(|txt| zone.ours(txt)) else { continue };
            let whole = written.records(&place).iter().all(|record| self.records.contains(record));
            items.extend(zone.item(&place, &found, whole));
            held.set(zone, &place, found);
        }
        (held, items)
    }
}

pub(super) fn below(name: &str, base: &str) -> bool {
    name.strip_suffix(base).is_some_and(|rest| rest.ends_with('.'))
}

impl Held {
    /// The TXT records at a place of ours.
    pub(super) fn get(&self, place: &str) -> Option<&Vec<TXT>> {
        self.places.get(place)
    }

    /// How many of our entries need this address.
    pub(super) fn uses(&self, shared: &Shared) -> u32 {
        self.uses.get(shared).copied().unwrap_or_default()
    }

    /// Whether an entry of ours needs this record.
    pub(super) fn needs(&self, zone: &Zone, record: &Record) -> bool {
        let shared =
            record.data.ip_addr().is_some_and(|address| self.uses(&(record.name.clone(), address)) > 0);
        // Hosts of services begin with the id of their entry.
        let host = match &record.data {
            RData::SRV(service) => spelt(&service.target),
            _ => record.name.clone(),
        };
        let id = host.split('.').next().unwrap_or_default();
        shared || self.places.contains_key(format!("{id}.{}", zone.base).as_str())
    }

    /// This is at the place now; it is forgotten when nothing of it is ours.
    pub(super) fn set(&mut self, zone: &Zone, place: &Place, found: Vec<TXT>) {
        if let Some(before) = self.places.remove(place) {
            self.count(zone, &before, false);
        }
        if found.iter().any(|txt| zone.ours(txt).is_some()) {
            self.count(zone, &found, true);
            self.places.insert(place.clone(), found);
        }
    }

    fn count(&mut self, zone: &Zone, found: &[TXT], more: bool) {
        let Some(shared) = shared(zone, found) else { return };
        let uses = self.uses.entry(shared.clone()).or_default();
        *uses = if more { *uses + 1 } else { uses.saturating_sub(1) };
        if *uses == 0 {
            self.uses.remove(&shared);
        }
    }
}

/// The shared address of an entry.
pub(super) fn shared(zone: &Zone, found: &[TXT]) -> Option<Shared> {
    let written = found.iter().find_map(|txt| zone.ours(txt))?;
    Some((written.name, written.address?))
}

#[cfg(test)]
mod tests {
    use super::{
        super::layout::tests::{entry, zone},
        *,
    };
    use crate::domain::Layout;

    #[test]
    fn a_transfer_gives_our_entries_and_whether_they_are_whole() {
        let (ours, theirs) = (zone("eu1", false), zone("eu2", false));
        let mut transfer = Transfer::default();
        for number in 1..=2 {
            let entry = entry(number);
            transfer.take(&ours, ours.place(&entry).to_string(), RData::TXT(ours.txt(&entry)));
        }
        let other = entry(3);
        transfer.take(&ours, theirs.place(&other).to_string(), RData::TXT(theirs.txt(&other)));
        transfer.take(&ours, entry(1).name, RData::from(entry(1).address));
        let (held, mut items) = transfer.finish(&ours);
        items.sort_by(|a, b| a.place.cmp(&b.place));
        assert_eq!(items.len(), 2);
        assert_eq!(items[0].digest, ours.digest(&entry(1)));
        assert_ne!(items[1].digest, ours.digest(&entry(2)), "its address is missing");
        assert!(held.get(&items[0].place).is_some() && held.get(&theirs.place(&other)).is_none());
    }

    #[test]
    fn an_address_that_two_entries_have_is_counted_twice() {
        let ours = zone("eu1", false);
        let second = crate::domain::Entry { address: entry(1).address, ..entry(2) };
        let shared = (entry(1).name, entry(1).address);
        let mut held = Held::default();
        for entry in [&entry(1), &second, &second] {
            held.set(&ours, &ours.place(entry), vec![ours.txt(entry)]);
        }
        assert_eq!(held.uses(&shared), 2);
        held.set(&ours, &ours.place(&second), vec![]);
        assert_eq!(held.uses(&shared), 1);
        held.set(&ours, &ours.place(&entry(1)), vec![super::super::layout::text("theirs")]);
        assert_eq!(held.uses(&shared), 0);
    }
}
