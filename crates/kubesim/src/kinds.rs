//! The kinds that one cluster serves: those that are built in, and those of its custom resources.

use std::sync::{PoisonError, RwLock};

use crate::kind::{self, Kind};

#[derive(Default)]
pub(crate) struct Kinds {
    /// One for each served version. What was served once stays in memory: a watch may still read by it.
    custom: RwLock<Vec<&'static Kind>>,
}

impl Kinds {
    fn custom(&self) -> Vec<&'static Kind> {
        self.custom.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every kind in every version.
    pub(crate) fn all(&self) -> Vec<&'static Kind> {
        kind::published().iter().copied().chain(self.custom()).collect()
    }

    /// Every kind once, as it is stored.
    pub(crate) fn stored(&self) -> Vec<&'static Kind> {
        self.all().into_iter().filter(|kind| kind.is_stored()).collect()
    }

    fn find(&self, wanted: impl Fn(&Kind) -> bool) -> Option<&'static Kind> {
        kind::published().iter().copied().find(|kind| wanted(kind)).or_else(|| {
            self.custom
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
                .copied()
                .find(|kind| wanted(kind))
        })
    }

    pub(crate) fn by_path(&self, group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
        self.find(|k| k.plural == plural && k.group == group && k.version == version)
    }

    /// As it is stored.
    pub(crate) fn by_id(&self, id: &str) -> Option<&'static Kind> {
        self.find(|k| k.id == id && k.is_stored())
    }

    /// The kind that an `apiVersion` and `kind` of an object or of a reference name.
    pub(crate) fn by_type(&self, api_version: &str, name: &str) -> Option<&'static Kind> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.find(|k| k.kind == name && k.group == group && k.version == version)
    }

    /// Serves these versions of a custom resource from now on, and no others.
    pub(crate) fn serve(&self, id: &str, versions: Vec<&'static Kind>) {
        let mut custom = self.custom.write().unwrap_or_else(PoisonError::into_inner);
        custom.retain(|kind| kind.id != id);
        custom.extend(versions);
    }
}
