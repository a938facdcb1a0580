//! Transactions: what the kernel is told, and whether it may be told so at all, by what lies there. Every transaction deletes the
//! set that is named after our epoch and makes it again, so that all of it fails when a newer sidecar took that away. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    layout::{Element, Held, Sets, value},
    ruleset::Reading,
};
use crate::domain::{Change, Entry, Outcome, Place};

/// Commands in the order in which they are carried out.
#[derive(Clone, Debug, Default)]
pub(super) struct Transaction {
    make_table: bool,
    delete_sets: Vec<String>,
    /// They must not be there.
    create_sets: Vec<String>,
    /// Name and type; they may be there.
    add_sets: BTreeMap<String, String>,
    delete: BTreeMap<String, Vec<String>>,
    /// Set, and in it element and comment.
    create: BTreeMap<String, Vec<(String, String)>>,
}

impl Transaction {
    /// Takes what is held of epochs away and says ours. Without the set that says whose the name is, it is made, so that of two
    /// sidecars that begin at once only one can.
    pub(super) fn raise(sets: &Sets, reading: &Reading, fence: &str, installation: &str) -> Self {
        let mut all = Self { make_table: true, ..Self::default() };
        all.delete_sets = sets.epochs(reading).map(|(name, _)| name.clone()).collect();
        if !reading.sets.contains_key(&sets.claim) {
            all.create_sets.push(sets.claim.clone());
            all.create.insert(sets.claim.clone(), vec![(CLAIM.to_owned(), installation.to_owned())]);
        }
        all.create_sets.push(fence.to_owned());
        all
    }

    /// Takes half of a claim away, which only somebody's hand can leave.
    pub(super) fn clear(sets: &Sets) -> Self {
        Self { delete_sets: vec![sets.claim.clone()], ..Self::default() }
    }

    /// What these changes are, when nothing stands in their way.
    pub(super) fn of(
        sets: &Sets,
        reading: &Reading,
        held: &BTreeMap<Place, Held>,
        fence: &str,
        changes: &[Change],
    ) -> Self {
        let fence = vec![fence.to_owned()];
        let mut all = Self { delete_sets: fence.clone(), create_sets: fence, ..Self::default() };
        for change in changes {
            for Element { set, text } in held.get(change.place()).iter().flat_map(|held| &held.elements) {
                all.delete.entry(set.clone()).or_default().push(text.clone());
            }
            let Change::Put { entry, .. } = change else { continue };
            let Element { set, text } = sets.element(entry);
            if !reading.sets.contains_key(&set) {
                all.add_sets.insert(set.clone(), sets.kind(entry));
            }
            all.create.entry(set).or_default().push((text, sets.comment(entry)));
        }
        all
    }

    /// An element that is to be made is there already, and goes before.
    pub(super) fn replace(&mut self, Element { set, text }: Element) {
        let delete = self.delete.entry(set).or_default();
        if !delete.contains(&text) {
            delete.push(text);
        }
    }

    pub(super) fn render(&self, family: &str, table: &str) -> Value {
        let set = |name: &str, kind: &str| {
            let kind = match kind.split(" . ").collect::<Vec<_>>() {
                // A list of one is another type than that one.
                parts if parts.len() > 1 => json!(parts),
                _ => json!(kind),
            };
            json!({ "set": { "family": family, "table": table, "name": name, "type": kind } })
        };
        let elements = |name: &str, all: Vec<Value>| json!({ "element": { "family": family, "table": table, "name": name, "elem": all } });
        let mut commands = Vec::new();
        if self.make_table {
            commands.push(json!({ "add": { "table": { "family": family, "name": table } } }));
        }
        commands.extend(self.delete_sets.iter().map(|name| json!({ "delete": set(name, MARK) })));
        commands.extend(self.create_sets.iter().map(|name| json!({ "create": set(name, MARK) })));
        commands.extend(self.add_sets.iter().map(|(name, kind)| json!({ "add": set(name, kind) })));
        for (name, all) in &self.delete {
            commands.push(json!({ "delete": elements(name, all.iter().map(|text| value(text)).collect()) }));
        }
        for (name, all) in &self.create {
            let all = all
                .iter()
                .map(|(text, comment)| json!({ "elem": { "val": value(text), "comment": comment } }));
            commands.push(json!({ "create": elements(name, all.collect()) }));
        }
        json!({ "nftables": commands })
    }
}

/// Type of the sets that only the sidecar reads, and their one element.
const MARK: &str = "mark";
pub(super) const CLAIM: &str = "1";

/// One outcome per change if anything stands in the way of one of them.
pub(super) fn obstacles(
    sets: &Sets,
    reading: &Reading,
    held: &BTreeMap<Place, Held>,
    changes: &[Change],
) -> Option<Vec<Outcome>> {
    // What other changes of the batch take away is free, and nothing can be put there twice.
    let freed: BTreeSet<&Place> = changes.iter().map(Change::place).collect();
    let mut put = BTreeMap::new();
    let outcomes: Vec<Option<Outcome>> = changes
        .iter()
        .map(|change| {
            let item = held.get(change.place()).map(|held| held.item(change.place()));
            let expected = change.expects();
            if item.as_ref().map(|item| item.version) != expected {
                return Some(Outcome::Differs(item));
            }
            let Change::Put { place, entry, .. } = change else { return None };
            let element = sets.element(entry);
            let before = put.insert(element.clone(), entry.key());
            standing(sets, reading, &freed, place, entry)
                .or_else(|| before.map(|key| Outcome::Waits(format!("{} is of {key}", shown(&element)))))
        })
        .collect();
    outcomes
        .iter()
        .any(Option::is_some)
        .then(|| outcomes.into_iter().map(|outcome| outcome.unwrap_or(Outcome::Again)).collect())
}

/// What stands in the way of an entry.
pub(super) fn standing(
    sets: &Sets,
    reading: &Reading,
    freed: &BTreeSet<&Place>,
    place: &Place,
    entry: &Entry,
) -> Option<Outcome> {
    if let Some(problem) = sets.problem(entry) {
        return Some(Outcome::Refused(problem));
    }
    let (element, kind) = (sets.element(entry), sets.kind(entry));
    let set = reading.sets.get(&element.set)?;
    if let Some(odd) = set.odd {
        return Some(Outcome::Refused(format!("the set {} has {odd}, expected a plain one", element.set)));
    }
    if let Some(found) = set.kind.as_ref().filter(|found| **found != kind) {
        return Some(Outcome::Refused(format!("the set {} is of {found}, expected {kind}", element.set)));
    }
    let comment = reading.comment(&element.set, &element.text)?;
    match sets.ours(&element.set, comment) {
        Some((_, holder)) if holder == *place || freed.contains(&holder) => None,
        Some((key, holder)) => {
            Some(Outcome::Waits(format!("{} is still of {key} ({holder})", shown(&element))))
        }
        None => {
            let whose = comment.map_or(String::new(), |comment| format!(", with the comment {comment:?}"));
            Some(Outcome::Foreign(format!("{} was put there by somebody else{whose}", shown(&element))))
        }
    }
}

fn shown(element: &Element) -> String {
    format!("{} in the set {}", element.text, element.set)
}
