//! The last status worked out for each application: what reads answer with.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use bcs_schemas::{Name, query::AppStatus};
use jiff::Timestamp;

use crate::domain::{app::AppKey, progress::Progress};

/// Statuses by application. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Statuses(Arc<RwLock<BTreeMap<AppKey, Known>>>);

/// A status, and what the last steps that failed said, by cluster.
#[derive(Clone, Default)]
pub(crate) struct Known {
    pub(crate) status: Option<AppStatus>,
    pub(crate) progress: Option<Progress>,
    /// Of a deleted application: clusters that were back and held nothing, and since when that is seen.
    pub(crate) swept: BTreeMap<Name, Timestamp>,
    pub(crate) troubles: BTreeMap<Name, String>,
}

impl Statuses {
    pub(crate) fn get(&self, key: &AppKey) -> Known {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned().unwrap_or_default()
    }

    pub(crate) fn set_status(&self, key: &AppKey, status: AppStatus, progress: Progress) {
        self.change(key, |known| {
            known.status = Some(status);
            known.progress = Some(progress);
        });
    }

    pub(crate) fn set_swept(&self, key: &AppKey, swept: BTreeMap<Name, Timestamp>) {
        self.change(key, |known| {
            *known = Known { swept, troubles: std::mem::take(&mut known.troubles), ..Known::default() }
        });
    }

    /// Notes what became of the last step in a cluster. Whether that is news.
    pub(crate) fn set_trouble(&self, key: &AppKey, cluster: &Name, trouble: Option<String>) -> bool {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = all.get_mut(key) else { return false };
        let before = match &trouble {
            Some(words) => known.troubles.insert(cluster.clone(), words.clone()),
            None => known.troubles.remove(cluster),
        };
        before != trouble
    }

    /// Forgets what failed where nothing is to be done any more.
    pub(crate) fn keep_troubles(&self, key: &AppKey, of: impl Fn(&Name) -> bool) {
        if !self.get(key).troubles.keys().all(&of) {
            self.change(key, |known| known.troubles.retain(|cluster, _| of(cluster)));
        }
    }

    pub(crate) fn forget(&self, key: &AppKey) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    fn change(&self, key: &AppKey, change: impl FnOnce(&mut Known)) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(key) {
            Some(known) => change(known),
            None => change(all.entry(key.clone()).or_default()),
        }
    }
}
