//! One Envoy's stream: what it asks for, what it was sent and what it said to it. One answer is under way at a time, so it is
//! always known what an acknowledgement means. Pure.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::google::protobuf::Any;

use super::snapshot::Snapshot;

/// What an Envoy says.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    pub(super) node: Option<String>,
    pub(super) names: Names,
    /// Of the answer that this is about; empty for none.
    pub(super) nonce: String,
    /// Why it does not take the answer.
    pub(super) error: Option<String>,
}

/// What an Envoy asks for.
#[derive(Clone, Debug)]
pub(super) enum Names {
    /// These and no others.
    All(Vec<String>),
    /// These as well, and those no more.
    Change { more: Vec<String>, less: Vec<String> },
}

impl Default for Names {
    fn default() -> Self {
        Self::Change { more: Vec::new(), less: Vec::new() }
    }
}

/// What it is sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Push {
    pub(super) version: String,
    pub(super) nonce: String,
    /// Name, version and assignment.
    pub(super) clusters: Vec<(String, String, Any)>,
}

/// What an Envoy said of a cluster at a number, as far as it said anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    Yes,
    No(&'a str),
    Nothing,
}

/// A stream.
#[derive(Debug, Default)]
pub(super) struct Session {
    node: String,
    wanted: BTreeSet<String>,
    sent: u64,
    under_way: Option<(String, BTreeMap<String, u64>)>,
    /// The nonce that was answered last.
    answered: String,
    acknowledged: BTreeMap<String, u64>,
    refused: BTreeMap<String, (u64, String)>,
    /// Refused together with others: sent one by one, to find out which of them is meant.
    apart: BTreeSet<String>,
    /// It was waited for in vain; nobody waits for it again before it says something.
    pub(super) late: bool,
}

impl Session {
    pub(super) fn node(&self) -> &str {
        if self.node.is_empty() { "without an id" } else { &self.node }
    }

    pub(super) fn wanted(&self) -> &BTreeSet<String> {
        &self.wanted
    }

    /// Takes in what it says; a refusal that is not told elsewhere is given back.
    pub(super) fn hear(&mut self, heard: Heard) -> Option<String> {
        if let Some(node) = heard.node {
            self.node = node;
        }
        let same = self.ask(heard.names);
        let Some((nonce, numbers)) = self.under_way.take() else {
            if same && !heard.nonce.is_empty() && heard.nonce == self.answered {
                // It took this answer before and asks for the same again: it forgot what it had.
                self.acknowledged.clear();
            }
            return None;
        };
        if nonce != heard.nonce {
            self.under_way = Some((nonce, numbers));
            return None;
        }
        (self.answered, self.late) = (nonce, false);
        let wanted = numbers.into_iter().filter(|(name, _)| self.wanted.contains(name));
        let Some(words) = heard.error else {
            for (name, number) in wanted {
                self.refused.remove(&name);
                self.apart.remove(&name);
                self.acknowledged.insert(name, number);
            }
            return None;
        };
        let wanted: Vec<_> = wanted.collect();
        if let [(name, number)] = &wanted[..] {
            self.apart.remove(name);
            self.acknowledged.remove(name);
            self.refused.insert(name.clone(), (*number, words.clone()));
            return Some(format!("{name}: {words}"));
        }
        self.apart.extend(wanted.into_iter().map(|(name, _)| name));
        None
    }

    /// Whether it asks for exactly what it asked for before.
    fn ask(&mut self, names: Names) -> bool {
        let wanted: BTreeSet<String> = match names {
            Names::All(names) => names.into_iter().collect(),
            Names::Change { more, less } => {
                // What is asked for anew is sent again: Envoy may have forgotten it.
                self.acknowledged.retain(|name, _| !more.contains(name));
                let kept = self.wanted.iter().filter(|name| !less.contains(name));
                let wanted = kept.cloned().chain(more).filter(|name| name != "*").collect();
                self.wanted = wanted;
                return false;
            }
        };
        let same = wanted == self.wanted;
        self.wanted = wanted;
        let wanted = &self.wanted;
        self.acknowledged.retain(|name, _| wanted.contains(name));
        self.refused.retain(|name, _| wanted.contains(name));
        self.apart.retain(|name| wanted.contains(name));
        same
    }

    /// What is to be sent now.
    pub(super) fn next(&mut self, snapshot: &mut Snapshot, epoch: u64) -> Option<Push> {
        if self.under_way.is_some() {
            return None;
        }
        let due = |name: &&String| {
            let number = snapshot.number(name);
            self.acknowledged.get(*name) != Some(&number)
                && self.refused.get(*name).map(|(number, _)| *number) != Some(number)
        };
        let alone = self.apart.iter().find(due).cloned();
        let names: Vec<String> = match alone {
            Some(name) => vec![name],
            None => self.wanted.iter().filter(due).cloned().collect(),
        };
        if names.is_empty() {
            return None;
        }
        self.sent += 1;
        let nonce = self.sent.to_string();
        let numbers = names.iter().map(|name| (name.clone(), snapshot.number(name))).collect();
        self.under_way = Some((nonce.clone(), numbers));
        let version = |number: u64| format!("{epoch}.{number}");
        let mut cluster = |name: String| {
            let (number, assignment) = (snapshot.number(&name), snapshot.assignment(&name));
            (name, version(number), assignment)
        };
        let clusters = names.into_iter().map(&mut cluster).collect();
        Some(Push { version: version(snapshot.last), nonce, clusters })
    }

    /// What it said to the cluster as it was at this number, or later.
    pub(super) fn said(&self, cluster: &str, number: u64) -> Said<'_> {
        if self.acknowledged.get(cluster).is_some_and(|had| *had >= number) {
            return Said::Yes;
        }
        match self.refused.get(cluster) {
            Some((had, words)) if *had >= number => Said::No(words),
            _ => Said::Nothing,
        }
    }
}

#[cfg(test)]
mod tests;
