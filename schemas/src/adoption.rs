//! What a person asks of a registry through the sidecar that keeps it: what it holds and whose that is, and that entries
//! change hands. Only the sidecar has the registry's credentials, so this is the one door.

use std::{fmt, net::IpAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Name;

/// Most entries that one question names or takes out, and most on one page.
pub const AT_ONCE: usize = 500;

/// A question to the sidecar that keeps a registry for a cluster, on `bcs.reg.<site>.<cluster>.<registry>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "ask", deny_unknown_fields)]
pub enum RegistryAsk {
    /// What the registry holds beside what belongs there. Nothing changes.
    Entries {
        /// At most so many, and no more than fit into one message; 500 when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
        /// Go on after the page that ended with this `next`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
    /// Entries of others that are what a ready instance of ours needs become ours; at most 500.
    Adopt {
        /// Those that are meant, as they were shown.
        entries: Vec<Pick>,
        /// Whose they may be; only those that say of nobody that they are his when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// Who asks, for the log.
        #[serde(default)]
        by: String,
    },
    /// The entries of an owner go, 500 at a time, and his marks with the last of them.
    Purge {
        /// `eu1.sim-a.dns`, or `eu1` for every cluster and registry of that installation.
        owner: String,
        /// Also if it is the one that writes this registry now.
        #[serde(default)]
        force: bool,
        /// Who asks, for the log.
        #[serde(default)]
        by: String,
    },
}

/// An entry that is meant, as it was shown: it counts only if it still is what it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pick {
    /// Where it lies, in the registry's own words.
    pub place: String,
    /// Its address.
    pub address: IpAddr,
}

/// The answer to a [`RegistryAsk`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "told")]
pub enum RegistryTold {
    /// What it holds.
    Entries(RegistryPage),
    /// What became of each entry that was named, in that order.
    Adopted {
        /// One for each.
        outcomes: Vec<Adopted>,
    },
    /// What went.
    Purged {
        /// Entries that were taken out now.
        removed: u64,
        /// How many of the owner are left: ask again. None: that was all.
        left: u64,
        /// Marks of the owner that went with the last of them.
        marks: Vec<String>,
        /// What could not be taken out, with the reason.
        #[serde(default)]
        kept: Vec<String>,
    },
}

/// Entries of a registry, and who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegistryPage {
    /// Who we are there: `eu1.sim-a.dns`.
    pub owner: String,
    /// Kind of the registry: `etcd`.
    pub driver: String,
    /// Why entries of others are not among them; they are when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blind: Option<String>,
    /// Why nothing can be adopted there; it can when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cannot_adopt: Option<String>,
    /// Why nobody's entries can be purged there; they can when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cannot_purge: Option<String>,
    /// In the order of their names.
    pub entries: Vec<RegistryEntry>,
}

/// An entry that a registry holds, or should hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegistryEntry {
    /// What it is to us.
    pub state: EntryState,
    /// Host name, without a last dot; empty where the registry knows none.
    pub name: String,
    /// Its address, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Its port, where the registry holds ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Whose it says it is: ours, another's, or nobody's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The instance of ours that it stands for or would: `sim-a.shop.web.web-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Where it lies, in the registry's own words.
    pub place: String,
    /// What else there is to say, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What an entry is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntryState {
    /// Ours, and as it belongs there.
    Same,
    /// Ours, and not as it belongs there.
    Changed,
    /// Ours, and no ready instance wants it.
    Extra,
    /// A ready instance wants it, and it is not there.
    Missing,
    /// Somebody else's, and exactly what a ready instance of ours needs.
    Adoptable,
    /// Somebody else's.
    Foreign,
    /// A state that this reader does not know yet.
    #[serde(other)]
    Unknown,
}

impl EntryState {
    /// Whether the registry holds it.
    pub const fn held(self) -> bool {
        !matches!(self, Self::Missing)
    }

    /// Whether it is not as BCS would have it. Entries of others that concern nobody are no difference.
    pub const fn differs(self) -> bool {
        matches!(self, Self::Changed | Self::Extra | Self::Missing | Self::Adoptable)
    }
}

impl fmt::Display for EntryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Same => "same",
            Self::Changed => "changed",
            Self::Extra => "extra",
            Self::Missing => "missing",
            Self::Adoptable => "adoptable",
            Self::Foreign => "foreign",
            Self::Unknown => "unknown",
        })
    }
}

/// What became of one entry that was to be adopted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Adopted {
    /// The entry.
    pub place: String,
    /// Its address.
    pub address: IpAddr,
    /// The instance that it is of now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Why it was not adopted; it was when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// Whether an owner, as a registry spells it, is the one that is meant: itself, or any cluster and registry of an
/// installation that is named alone.
pub fn is_of(owner: &str, meant: &str) -> bool {
    if owner == meant {
        return true;
    }
    let mut parts = owner.split('.').map(Name::new);
    let named = (parts.next(), parts.next(), parts.next(), parts.next());
    matches!(named, (Some(Ok(platform)), Some(Ok(_)), Some(Ok(_)), None) if platform.as_str() == meant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installation_is_all_its_clusters_and_registries_and_nothing_that_only_begins_like_it() {
        for (owner, meant, of) in [
            ("eu1.sim-a.dns", "eu1.sim-a.dns", true),
            ("eu1.sim-a.dns", "eu1", true),
            ("eu10.sim-a.dns", "eu1", false),
            ("eu1.sim-a.dns", "eu1.sim-a", false),
            ("eu1.sim-a", "eu1", false),
            ("eu1.sim-a.dns.x", "eu1", false),
            ("eu1.sim-a.DNS", "eu1", false),
            ("external-dns", "external-dns", true),
            ("eu1", "eu1", true),
            ("eu1.sim-a.dns", "", false),
            ("", "eu1", false),
        ] {
            assert_eq!(is_of(owner, meant), of, "{owner} of {meant}");
        }
    }

    #[test]
    fn a_question_reads_back_and_refuses_what_it_does_not_have() {
        let asks = [
            r#"{"ask":"entries"}"#,
            r#"{"ask":"adopt","entries":[{"place":"/skydns/x","address":"10.0.0.1"}]}"#,
            r#"{"ask":"purge","owner":"eu1"}"#,
        ];
        for text in asks {
            let ask: RegistryAsk = serde_json::from_str(text).expect(text);
            let back = serde_json::to_string(&ask).expect("is written");
            assert_eq!(serde_json::from_str::<RegistryAsk>(&back).expect("reads back"), ask);
        }
        for text in [
            r#"{"ask":"purge","owner":"eu1","forse":true}"#,
            r#"{"ask":"purge"}"#,
            r#"{"ask":"drop"}"#,
            r#"{"ask":"adopt","entries":[{"place":"x","address":"web"}]}"#,
            r#"{}"#,
        ] {
            assert!(serde_json::from_str::<RegistryAsk>(text).is_err(), "{text}");
        }
    }
}
