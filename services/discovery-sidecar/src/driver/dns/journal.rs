//! What happened in a zone since a serial number, as an incremental transfer tells it (IXFR, RFC 1995): version by version,
//! what was taken out and what was added. It tells changes by others that concern us from our own and from those that do
//! not. Pure.

use std::collections::HashSet;

use hickory_proto::rr::{RData, Record as Told};

use super::{
    held::{Held, below},
    layout::{Record, Zone, spelt},
};

/// One version of the zone, as far as it can concern us.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Version {
    /// Ownership records of ours changed, as they do with every change that we make.
    ours: bool,
    removed: HashSet<Record>,
    added: HashSet<Record>,
}

/// Versions as they come, record by record.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// The serial number at the end.
    last: Option<u32>,
    at: At,
    versions: Vec<Version>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Start,
    /// After the first SOA: nothing else, the journal, or the whole zone may follow.
    Open,
    Removed,
    /// Of the version with this serial number.
    Added(u32),
}

/// What a record says about the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    More,
    /// The zone is at this serial number, and everything until there is told.
    End(u32),
    /// The server tells the whole zone instead.
    Whole,
}

impl Journal {
    pub(super) fn take(&mut self, zone: &Zone, record: Told) -> Next {
        let soa = match &record.data {
            RData::SOA(soa) => Some(soa.serial),
            _ => None,
        };
        match (self.at, soa, self.last) {
            (At::Start, Some(serial), _) => {
                self.last = Some(serial);
                self.at = At::Open;
                Next::More
            }
            (At::Open, Some(from), Some(last)) if from != last => self.begin(),
            (At::Removed, Some(to), _) => {
                self.at = At::Added(to);
                Next::More
            }
            (At::Added(to), Some(serial), Some(last)) if to == last && serial == last => Next::End(last),
            (At::Added(_), Some(_), _) => self.begin(),
            (At::Removed | At::Added(_), None, _) => {
                self.note(zone, record);
                Next::More
            }
            _ => Next::Whole,
        }
    }

    /// After a message: a server that has nothing to tell sends one SOA.
    pub(super) fn up_to_date(&self) -> Option<u32> {
        self.last.filter(|_| self.at == At::Open)
    }

    fn begin(&mut self) -> Next {
        self.versions.push(Version::default());
        self.at = At::Removed;
        Next::More
    }

    fn note(&mut self, zone: &Zone, record: Told) {
        let Some(version) = self.versions.last_mut() else { return };
        let name = spelt(&record.name);
        match record.data {
            RData::TXT(_) => version.ours |= below(&name, &zone.base),
            data @ (RData::A(_) | RData::AAAA(_) | RData::SRV(_)) => {
                let side = if self.at == At::Removed { &mut version.removed } else { &mut version.added };
                side.insert(Record { name, data });
            }
            _ => (),
        }
    }

    /// Whether somebody else changed what is ours, when we made so many of these versions.
    pub(super) fn concerns(&self, zone: &Zone, held: &Held, own: u32) -> bool {
        let (ours, theirs): (Vec<_>, Vec<_>) = self.versions.iter().partition(|version| version.ours);
        let lost = |version: &&Version| {
            // A record whose life time changed goes and comes back.
            version.removed.difference(&version.added).any(|record| held.needs(zone, record))
        };
        u32::try_from(ours.len()) != Ok(own) || theirs.iter().any(lost)
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::SOA;

    use super::{
        super::layout::{
            name,
            tests::{entry, zone},
        },
        *,
    };
    use crate::domain::Layout;

    fn soa(serial: u32) -> Told {
        let name = name("corp.test").expect("a name");
        let data = RData::SOA(SOA::new(name.clone(), name.clone(), serial, 1, 1, 1, 1));
        Told::from_rdata(name, 1, data)
    }

    fn address(number: u32) -> Told {
        let entry = entry(number);
        Told::from_rdata(name(&entry.name).expect("a name"), 1, RData::from(entry.address))
    }

    fn ownership(platform: &str, number: u32) -> Told {
        let (zone, entry) = (zone(platform, false), entry(number));
        let place = name(&zone.place(&entry)).expect("a name");
        Told::from_rdata(place, 1, RData::TXT(zone.txt(&entry)))
    }

    fn read(told: Vec<Told>) -> (Journal, Next) {
        let (mut journal, mut next) = (Journal::default(), Next::More);
        for record in told {
            assert_eq!(next, Next::More);
            next = journal.take(&zone("eu1", false), record);
        }
        (journal, next)
    }

    /// We hold the first entry.
    fn concerns(told: Vec<Told>, own: u32) -> bool {
        let ours = zone("eu1", false);
        let mut held = Held::default();
        held.set(&ours, &ours.place(&entry(1)), vec![ours.txt(&entry(1))]);
        let (journal, next) = read(told);
        assert_eq!(next, Next::End(9));
        journal.concerns(&ours, &held, own)
    }

    #[test]
    fn nothing_new_and_a_whole_zone_are_told_from_a_journal() {
        let (journal, next) = read(vec![soa(9)]);
        assert_eq!((journal.up_to_date(), next), (Some(9), Next::More));
        assert_eq!(read(vec![soa(9), address(1)]).1, Next::Whole);
        assert_eq!(read(vec![soa(9), soa(9)]).1, Next::Whole);
        assert_eq!(read(vec![address(1)]).1, Next::Whole);
        let (journal, next) = read(vec![soa(9), soa(7), soa(8), soa(8), address(1), soa(9)]);
        assert_eq!((journal.up_to_date(), next, journal.versions.len()), (None, Next::More, 2));
    }

    #[test]
    fn only_what_others_did_to_ours_concerns_us() {
        let one = |removed: Vec<Told>, added: Vec<Told>| {
            let parts = [vec![soa(9), soa(8)], removed, vec![soa(9)], added, vec![soa(9)]];
            parts.into_iter().flatten().collect::<Vec<_>>()
        };
        let ours = || one(vec![], vec![address(1), ownership("eu1", 1)]);
        assert!(!concerns(ours(), 1), "our own change");
        assert!(concerns(ours(), 0), "somebody else wrote an ownership record of ours");
        assert!(concerns(one(vec![ownership("eu1", 1)], vec![]), 0));
        assert!(!concerns(one(vec![address(2), ownership("eu2", 2)], vec![]), 0), "another owner's");
        assert!(!concerns(one(vec![], vec![address(3)]), 0), "a stranger's");
        assert!(concerns(one(vec![address(1)], vec![]), 0), "our address is gone");
        assert!(!concerns(one(vec![address(1)], vec![address(1)]), 0), "it only lives longer");
    }
}
