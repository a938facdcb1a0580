//! The last status worked out for each application: what reads answer with.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use bcs_schemas::query::AppStatus;

use crate::domain::app::AppKey;

/// Statuses by application. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Statuses(Arc<RwLock<BTreeMap<AppKey, Known>>>);

/// A status and what the last step said when it failed.
#[derive(Clone, Default)]
pub(crate) struct Known {
    pub(crate) status: Option<AppStatus>,
    pub(crate) trouble: Option<String>,
}

impl Statuses {
    pub(crate) fn get(&self, key: &AppKey) -> Known {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned().unwrap_or_default()
    }

    pub(crate) fn set_status(&self, key: &AppKey, status: AppStatus) {
        self.change(key, |known| known.status = Some(status));
    }

    pub(crate) fn set_trouble(&self, key: &AppKey, trouble: Option<String>) {
        self.change(key, |known| known.trouble = trouble);
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
