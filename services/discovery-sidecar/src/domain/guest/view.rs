//! A zone as it stands, whoever wrote what.

use std::collections::{BTreeMap, BTreeSet};

use super::{Data, Domains, Kind, Set, Shown, within};

/// A zone as it stands. Names are in lower case and without a last dot.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The zone itself.
    pub zone: String,
    sets: BTreeMap<String, BTreeMap<Kind, Set>>,
    /// Names with records of other kinds.
    more: BTreeSet<String>,
    /// Whose names are, that a sidecar writes.
    owners: BTreeMap<String, String>,
}

impl View {
    /// A zone in which nothing was seen yet.
    pub fn of(zone: &str) -> Self {
        Self { zone: zone.to_owned(), ..Self::default() }
    }

    /// This record is there.
    pub fn saw(&mut self, name: String, ttl: u32, data: Data) {
        let set = self.sets.entry(name).or_default().entry(data.kind()).or_default();
        set.ttl = ttl;
        set.data.insert(data);
    }

    /// A record of another kind is there, or one that nobody can tell.
    pub fn saw_more(&mut self, name: String) {
        self.more.insert(name);
    }

    /// A sidecar writes this name.
    pub fn belongs(&mut self, name: String, owner: &str) {
        self.owners.entry(name).or_insert_with(|| owner.to_owned());
    }

    /// What stands in a set; nothing: it is not there.
    pub fn get(&self, name: &str, kind: Kind) -> Option<&Set> {
        self.sets.get(name)?.get(&kind)
    }

    /// Kinds of sets that are at a name.
    pub(crate) fn kinds(&self, name: &str) -> BTreeSet<Kind> {
        self.sets.get(name).into_iter().flat_map(BTreeMap::keys).copied().collect()
    }

    /// Whether something is at a name that is of none of our kinds.
    pub(super) fn has_more(&self, name: &str) -> bool {
        self.more.contains(name)
    }

    /// The sidecar that writes a name.
    pub(super) fn owner(&self, name: &str) -> Option<&str> {
        let marks = within(name, &self.marks());
        self.owners.get(name).map(String::as_str).or_else(|| marks.then_some("every sidecar"))
    }

    /// A name of a sidecar at this name or below it.
    pub(super) fn owned_within(&self, name: &str) -> Option<&str> {
        self.owners.keys().map(String::as_str).find(|owned| within(owned, name))
    }

    /// The zone of its own, below this one, in which a name lies.
    pub(super) fn delegated(&self, name: &str) -> Option<String> {
        let mut above = name;
        while above != self.zone && within(above, &self.zone) {
            if self.get(above, Kind::Ns).is_some() {
                return Some(above.to_owned());
            }
            above = above.split_once('.')?.1;
        }
        None
    }

    /// Where sidecars keep whose an entry is.
    fn marks(&self) -> String {
        format!("_bcs.{}", self.zone)
    }

    /// Every name that a sidecar writes.
    pub fn owned(&self) -> BTreeSet<String> {
        self.owners.keys().cloned().collect()
    }

    /// What is shown of it to those who may have records at these names.
    pub fn shown(&self, domains: &Domains) -> Vec<Shown> {
        let names = self.sets.iter().filter(|(name, _)| domains.hold(name) && self.owner(name).is_none());
        let sets = names.flat_map(|(name, sets)| sets.iter().map(move |(kind, set)| (name, *kind, set)));
        let others = sets.filter(|(name, kind, _)| *kind != Kind::Ns || **name != self.zone);
        others.map(|(name, kind, set)| Shown { name: name.clone(), kind, set: set.clone() }).collect()
    }
}
