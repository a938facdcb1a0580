//! What a registry holds, entries of others included, beside what belongs there: which are ours, which could become ours
//! because they are just what an instance of ours needs, and which are nobody's business. Pure.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use bcs_schemas::adoption::{EntryState, Pick, RegistryEntry};

use super::{Entry, Item, Place};

/// What should be there of one instance.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where.
    pub place: Place,
    /// What.
    pub entry: Entry,
    /// What the registry calls the name that clients ask for.
    pub called: String,
    /// Its fingerprint.
    pub digest: u64,
    /// Version of our own entry that is there; none: nothing of ours is.
    pub over: Option<u64>,
    /// Why it is not there, if the registry said so.
    pub refused: Option<String>,
}

/// An entry that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where, and never the same for two.
    pub place: Place,
    /// Host name, in lower case and without a last dot; empty where the registry does not tell.
    pub name: String,
    /// Another name under which clients find it.
    pub also: Option<String>,
    /// Address; none where it does not tell, or has something else.
    pub address: Option<IpAddr>,
    /// Port; none where it holds none, or where this entry does not say.
    pub port: Option<u16>,
    /// Whose it is.
    pub whose: Whose,
    /// The registry's own version of it, for compare-and-set; 0 where there is none.
    pub version: u64,
}

/// Whose an entry says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Ours.
    Ours(Item),
    /// This one's.
    Other(String),
    /// It does not say.
    Nobody,
}

/// An entry of somebody else that becomes the one that an instance of ours needs.
#[derive(Clone, Debug)]
pub struct Adoption {
    /// What should be there, and where ours lies.
    pub wanted: Wanted,
    /// What is there, as it was read.
    pub found: Found,
}

impl Found {
    /// One of ours, of a registry that tells no more about it.
    pub fn ours(item: Item) -> Self {
        Self {
            place: item.place.clone(),
            name: String::new(),
            also: None,
            address: None,
            port: None,
            version: item.version,
            whose: Whose::Ours(item),
        }
    }

    /// The owner that it names, ours or another.
    pub fn owner<'a>(&'a self, us: &'a str) -> Option<&'a str> {
        match &self.whose {
            Whose::Ours(_) => Some(us),
            Whose::Other(owner) => Some(owner),
            Whose::Nobody => None,
        }
    }
}

/// A name as it is compared.
pub fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

type Where<'a> = (&'a str, IpAddr);

/// What belongs there, by where clients find it.
struct Index<'a>(HashMap<Where<'a>, Vec<&'a Wanted>>);

/// What an entry of somebody else is to us.
enum Match<'a> {
    Exactly(&'a Wanted),
    /// Of a named owner.
    Theirs(&'a Wanted),
    OtherPort(&'a Wanted),
    OtherName(&'a Wanted),
    None,
}

impl<'a> Index<'a> {
    fn of(wanted: &'a [Wanted]) -> Self {
        let mut index = HashMap::<_, Vec<_>>::new();
        for wanted in wanted {
            index.entry((wanted.called.as_str(), wanted.entry.address)).or_default().push(wanted);
            // Under any name.
            index.entry(("", wanted.entry.address)).or_default().push(wanted);
        }
        Self(index)
    }

    fn all<'b>(&'b self, name: &'b str, address: IpAddr) -> &'b [&'a Wanted] {
        self.0.get(&(name, address)).map_or(&[], Vec::as_slice)
    }

    /// `from` is the owner whose entries may be taken.
    fn find(&self, found: &Found, from: Option<&str>) -> Match<'a> {
        let Some(address) = found.address else { return Match::None };
        let names = [Some(&found.name), found.also.as_ref()].into_iter().flatten();
        let names = names.filter(|name| !name.is_empty());
        let here =
            names.map(|name| self.all(name, address)).find(|here| !here.is_empty()).unwrap_or_default();
        let fits = |wanted: &&&Wanted| found.port.is_none_or(|port| port == wanted.entry.port);
        // Two incarnations can have one address for a moment: the one that is not there yet needs it.
        let exact = here.iter().filter(fits).min_by_key(|wanted| wanted.over.is_some());
        match (exact, here.first(), self.all("", address).first()) {
            (Some(wanted), ..) => match &found.whose {
                Whose::Other(owner) if from != Some(owner.as_str()) => Match::Theirs(wanted),
                _ => Match::Exactly(wanted),
            },
            (None, Some(wanted), _) => Match::OtherPort(wanted),
            (None, None, Some(wanted)) => Match::OtherName(wanted),
            (None, None, None) => Match::None,
        }
    }
}

/// Everything that is there or should be, in the order of its [`position`].
pub fn compare(us: &str, wanted: &[Wanted], found: &[Found]) -> Vec<RegistryEntry> {
    let index = Index::of(wanted);
    let by_place: HashMap<&Place, &Wanted> = wanted.iter().map(|wanted| (&wanted.place, wanted)).collect();
    let mut there = HashSet::new();
    let mut rows = BTreeMap::new();
    for found in found {
        let row = match &found.whose {
            Whose::Ours(item) => {
                let wanted = by_place.get(&item.place).copied();
                there.extend(wanted.map(|wanted| &wanted.place));
                of_ours(us, found, item, wanted)
            }
            _ => of_others(found, index.find(found, None), &mut there),
        };
        rows.insert(position(&row), row);
    }
    for wanted in wanted.iter().filter(|wanted| !there.contains(&wanted.place)) {
        let row = RegistryEntry {
            state: EntryState::Missing,
            note: Some(wanted.refused.clone().unwrap_or_else(|| "not written yet".to_owned())),
            ..row_of(wanted, us)
        };
        rows.insert(position(&row), row);
    }
    rows.into_values().collect()
}

/// Where an entry stands among all of them.
pub fn position(row: &RegistryEntry) -> String {
    format!("{} {}", row.name, row.place)
}

fn row_of(wanted: &Wanted, us: &str) -> RegistryEntry {
    RegistryEntry {
        state: EntryState::Same,
        name: wanted.entry.name.clone(),
        address: Some(wanted.entry.address),
        port: Some(wanted.entry.port).filter(|port| *port != 0),
        owner: Some(us.to_owned()),
        instance: Some(wanted.entry.key()),
        place: wanted.place.to_string(),
        note: None,
    }
}

fn of_ours(us: &str, found: &Found, item: &Item, wanted: Option<&Wanted>) -> RegistryEntry {
    let (state, note) = match wanted {
        Some(wanted) if wanted.digest == item.digest => (EntryState::Same, None),
        Some(_) => (EntryState::Changed, Some("not as it belongs there: it is about to be written again")),
        None => (EntryState::Extra, Some("no ready instance wants it")),
    };
    let row = RegistryEntry {
        state,
        name: found.name.clone(),
        address: found.address,
        port: found.port,
        owner: Some(us.to_owned()),
        instance: Some(item.key.to_string()),
        place: found.place.to_string(),
        note: note.map(ToOwned::to_owned),
    };
    match wanted.map(|wanted| row_of(wanted, us)) {
        // Where the registry does not tell, what was wanted of it does.
        Some(told) => RegistryEntry {
            name: if row.name.is_empty() { told.name } else { row.name },
            address: row.address.or(told.address),
            ..row
        },
        None => row,
    }
}

fn of_others<'a>(found: &Found, matched: Match<'a>, there: &mut HashSet<&'a Place>) -> RegistryEntry {
    let mut row = RegistryEntry {
        state: EntryState::Foreign,
        name: found.name.clone(),
        address: found.address,
        port: found.port,
        owner: found.owner("").map(ToOwned::to_owned),
        instance: None,
        place: found.place.to_string(),
        note: None,
    };
    let (wanted, note) = match matched {
        Match::Exactly(wanted) => {
            row.state = EntryState::Adoptable;
            // It is what is missing, and not missing beside it.
            there.insert(&wanted.place);
            row.name.clone_from(&wanted.entry.name);
            let beside = "beside an entry of ours for the same instance: adopting leaves one of the two";
            (wanted, wanted.over.map(|_| beside.to_owned()))
        }
        Match::Theirs(wanted) => {
            row.name.clone_from(&wanted.entry.name);
            let owner = row.owner.clone().unwrap_or_default();
            (wanted, Some(format!("what this instance needs; if {owner} is gone for good: --from {owner}")))
        }
        Match::OtherPort(wanted) => {
            row.name.clone_from(&wanted.entry.name);
            let (theirs, ours) = (found.port.unwrap_or_default(), wanted.entry.port);
            (wanted, Some(format!("the port is {theirs}, and {ours} at this instance")))
        }
        Match::OtherName(wanted) => {
            (wanted, Some(format!("the address of this instance, which we call {}", wanted.entry.name)))
        }
        Match::None => return row,
    };
    row.instance = Some(wanted.entry.key());
    row.note = note;
    row
}

/// The adoptions that are meant, one for each pick; or why there is none.
pub fn adoptions(
    wanted: &[Wanted],
    found: &[Found],
    picks: &[Pick],
    from: Option<&str>,
) -> Vec<Result<Adoption, String>> {
    let index = Index::of(wanted);
    let at: HashMap<(&str, IpAddr), &Found> =
        found.iter().filter_map(|found| Some(((&*found.place, found.address?), found))).collect();
    let mut taken = HashSet::<Arc<str>>::new();
    let picked = picks.iter().map(|pick| {
        let Some(found) = at.get(&(pick.place.as_str(), pick.address)) else {
            return Err("it is not there any more, or has another address by now: look again".to_owned());
        };
        if matches!(found.whose, Whose::Ours(_)) {
            return Err("it is ours already".to_owned());
        }
        let wanted = match index.find(found, from) {
            Match::Exactly(wanted) => wanted,
            Match::Theirs(_) => {
                let owner = found.owner("").unwrap_or_default();
                return Err(format!(
                    "it belongs to {owner}: take it with --from {owner} if that one is gone for good"
                ));
            }
            Match::OtherPort(wanted) => {
                return Err(format!("its port is another one than that of {}", wanted.entry.key()));
            }
            Match::OtherName(wanted) => {
                return Err(format!(
                    "{} has this address, and the name {}",
                    wanted.entry.key(),
                    wanted.entry.name
                ));
            }
            Match::None => return Err("no ready instance of ours has this name and address".to_owned()),
        };
        if !taken.insert(wanted.place.clone()) {
            return Err(format!(
                "{} was given another one of these: look again afterwards",
                wanted.entry.key()
            ));
        }
        Ok(Adoption { wanted: wanted.clone(), found: (*found).clone() })
    });
    picked.collect()
}
