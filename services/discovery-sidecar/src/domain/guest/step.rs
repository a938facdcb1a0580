//! What is done: each step takes one record set from what it is to what it should be. As many as a registry takes at once
//! go together.

use std::collections::{BTreeMap, BTreeSet};

use super::{Kind, Set, judge::owner};

/// A record set that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// In lower case and without a last dot.
    pub name: String,
    /// What all of it is.
    pub kind: Kind,
    /// As it is.
    pub before: Set,
    /// As it should be.
    pub after: Set,
    /// Kinds of the sets that are at the name already.
    pub beside: BTreeSet<Kind>,
}

/// Of a name, in bytes, with what stands beside it in a message.
const HEAD: usize = 12;

impl Step {
    /// At most so many bytes of a message of DNS: what is required, what goes, and what comes.
    fn weight(&self) -> usize {
        let weight = |set: &Set| {
            set.data.iter().map(|data| self.name.len() + data.content().len() + HEAD + 2).sum::<usize>()
        };
        // It is required as well which other sets are not there.
        weight(&self.before) * 2 + weight(&self.after) + 3 * (self.name.len() + HEAD)
    }

    /// The name that it belongs to: a text that says whose a record is stands at `a-web.x` for an A of `web.x`, unless
    /// an ExternalDNS was told to name it otherwise.
    fn belongs_to(&self) -> &str {
        let is_owners = [&self.before, &self.after].into_iter().any(|set| owner(Some(&set.data)).is_some());
        match self.name.split_once('-') {
            Some((kind, name)) if is_owners && Kind::of(&kind.to_ascii_uppercase()).is_some() => name,
            _ => &self.name,
        }
    }
}

/// The steps in as few rounds as have room for them (bytes). What belongs to one name is never parted. Where a text that says
/// whose a record is cannot be told by its name, texts come before everything and go after it, so that a round that does
/// not come leaves no record without an owner. Fails with the name that is too large.
pub fn parts(steps: Vec<Step>, room: usize) -> Result<Vec<Vec<Step>>, String> {
    let mut names: BTreeMap<String, Vec<Step>> = BTreeMap::new();
    for step in steps {
        names.entry(step.belongs_to().to_owned()).or_default().push(step);
    }
    let mut groups: Vec<Vec<Step>> = names.into_values().collect();
    groups.sort_by_key(|group| turn(group));
    let mut rounds: Vec<(usize, Vec<Step>)> = Vec::new();
    for group in groups {
        let name = group.first().map(|step| step.name.clone()).unwrap_or_default();
        // With it, it is required which other sets are not there.
        let weight = group.iter().map(Step::weight).sum::<usize>() + 4 * (name.len() + HEAD);
        if weight > room {
            return Err(format!(
                "{name}: is more than the registry takes at once: expected fewer or shorter records"
            ));
        }
        match rounds.last_mut().filter(|(filled, _)| filled + weight <= room) {
            Some((filled, round)) => {
                *filled += weight;
                round.extend(group);
            }
            None => rounds.push((weight, group)),
        }
    }
    Ok(rounds.into_iter().map(|(_, round)| round).collect())
}

fn turn(group: &[Step]) -> u8 {
    let texts = group.iter().all(|step| step.kind == Kind::Txt);
    let gone = group.iter().all(|step| step.after.data.is_empty());
    match (texts, gone) {
        (true, false) => 0,
        (false, _) => 1,
        (true, true) => 2,
    }
}
