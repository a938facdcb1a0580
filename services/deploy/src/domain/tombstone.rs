//! Deleted applications of which something may be left: in clusters that were removed from the platform, or gave no news
//! when the application was let go, or may not have shown yet what they were asked to start. What is left there is stopped
//! when it is seen.

use std::collections::BTreeSet;

use bcs_schemas::Name;
use serde::{Deserialize, Serialize};

use super::{app::App, observed::Observed};

/// A deleted application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tombstone {
    /// As it was. What is left of it is drained and stopped as it asked for.
    pub app: App,
    /// Where something of it may be left; never empty.
    pub clusters: BTreeSet<Name>,
}

impl Tombstone {
    /// None when nothing can be left anywhere.
    pub fn of(app: App, leftovers: &BTreeSet<Name>) -> Option<Self> {
        // Nobody watches over it any more: what passes its deadline goes on.
        let app = App { forced: true, ..app };
        (!leftovers.is_empty()).then(|| Self { app, clusters: leftovers.clone() })
    }

    /// None when nothing is left in any other.
    #[must_use]
    pub fn without(mut self, clusters: &BTreeSet<Name>) -> Option<Self> {
        self.clusters.retain(|cluster| !clusters.contains(cluster));
        (!self.clusters.is_empty()).then_some(self)
    }

    /// Clusters that are back and hold nothing, and where nothing is in doubt.
    pub fn empty(&self, observed: &Observed, doubtful: &BTreeSet<Name>) -> BTreeSet<Name> {
        let empty = |name: &&Name| observed.empty(name) && !doubtful.contains(*name);
        self.clusters.iter().filter(empty).cloned().collect()
    }
}
