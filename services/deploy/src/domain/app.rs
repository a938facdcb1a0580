//! An application as its events left it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use bcs_schemas::{
    Name,
    resource::{AppSpec, Labels, app::Template},
    subject::Target,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Kind of applications in subjects.
pub const KIND: &str = "app";

/// Who an application is: `demo/shop-web`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AppKey {
    /// Its project.
    pub project: Name,
    /// Its name, unique within the project.
    pub name: Name,
}

impl AppKey {
    /// The object in subjects and in the journal.
    pub fn target(&self) -> Target {
        bcs_kit::machine::target(&self.project, KIND, &self.name)
    }

    /// The application that a command or event speaks of.
    pub fn of(target: &Target) -> Self {
        Self { project: target.project.clone(), name: target.name.clone() }
    }
}

impl fmt::Display for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.name)
    }
}

impl FromStr for AppKey {
    type Err = bcs_schemas::name::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (project, name) = text.split_once('/').unwrap_or((text, ""));
        Ok(Self { project: Name::new(project)?, name: Name::new(name)? })
    }
}

impl TryFrom<String> for AppKey {
    type Error = bcs_schemas::name::Error;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AppKey> for String {
    fn from(key: AppKey) -> Self {
        key.to_string()
    }
}

/// An application as its events left it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct App {
    /// Free key-value pairs.
    pub labels: Labels,
    /// What is wanted.
    pub spec: AppSpec,
    /// Counts the accepted intents. Whatever carries out an older one is refused.
    pub generation: u64,
    /// How many restarts were accepted.
    pub restarts: u64,
    /// Which cluster holds how many instances.
    pub shares: BTreeMap<Name, u32>,
    /// The wanted revision.
    pub revision: Name,
    /// What its instances are.
    pub template: Template,
    /// The last revision that was available as a whole.
    pub healthy_revision: Option<Name>,
    /// Instances to remove first when the number shrinks.
    pub remove: Vec<String>,
    /// When it was first applied.
    pub created_at: Timestamp,
    /// When the wanted number or revision last changed: progress is measured from here.
    pub changed_at: Timestamp,
    /// Since when it is on its way out.
    pub deleting_since: Option<Timestamp>,
    /// Whether nothing shall hold up its deletion for ever.
    pub forced: bool,
    /// Every cluster that it was placed in: where something of it may be.
    pub held: BTreeSet<Name>,
    /// For which generation it was noted that the rollout does not move on.
    pub stalled_generation: Option<u64>,
}

impl App {
    /// How many instances `cluster` is to hold.
    pub fn share(&self, cluster: &Name) -> u32 {
        if self.deleting_since.is_some() { 0 } else { self.shares.get(cluster).copied().unwrap_or_default() }
    }

    /// How many instances all clusters are to hold.
    pub fn total(&self) -> u32 {
        if self.deleting_since.is_some() { 0 } else { self.shares.values().sum() }
    }
}
