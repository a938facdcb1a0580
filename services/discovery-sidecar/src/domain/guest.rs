//! Records of others that a registry keeps beside ours, such as those of an ExternalDNS: what is shown of a zone, and what
//! becomes of a change. Nothing is replaced but what whoever asks for it has seen, and nothing of ours is touched. Pure.

mod data;
mod judge;
mod step;
#[cfg(test)]
mod tests;
mod text;
mod view;

use std::collections::BTreeSet;

pub use self::{
    data::{Data, Kind, plain_name},
    judge::judge,
    step::{Step, parts},
    text::heritage,
    view::View,
};

/// A record set of a name: what stands there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Life time in seconds.
    pub ttl: u32,
    /// All of one kind; a set that is not there has none.
    pub data: BTreeSet<Data>,
}

/// A record set as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// In lower case and without a last dot.
    pub name: String,
    /// What all of it is.
    pub kind: Kind,
    /// What stands there.
    pub set: Set,
}

/// What is wanted of one record set, and what of it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// In lower case and without a last dot.
    pub name: String,
    /// What all of it is.
    pub kind: Kind,
    /// What whoever wants it saw there; nothing: it is to be made.
    pub told: Option<BTreeSet<Data>>,
    /// What is to be there; nothing: it is to go.
    pub wanted: Option<BTreeSet<Data>>,
    /// Life time in seconds, if it matters.
    pub ttl: Option<u32>,
}

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Asking again is of no use.
    Never(String),
    /// It is not as whoever asked has seen it: look again, and ask for what is wanted then.
    Changed(String),
}

/// Names that others may have records at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domains {
    /// At and below these.
    pub include: Vec<String>,
    /// Except at and below these.
    pub exclude: Vec<String>,
}

impl Domains {
    /// Whether the name is among them.
    pub fn hold(&self, name: &str) -> bool {
        let among = |domains: &[String]| domains.iter().any(|domain| within(name, domain));
        among(&self.include) && !among(&self.exclude)
    }
}

/// Whether a name is a domain or lies below it.
pub fn within(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
