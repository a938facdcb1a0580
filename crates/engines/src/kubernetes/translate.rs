//! Pure: from what the Kubernetes API says to what BCS observes.

pub(crate) mod node;
pub(crate) mod pod;
pub(crate) mod quantity;
pub(crate) mod workload;

use std::collections::BTreeMap;

use bcs_schemas::{Name, step::WorkloadKey};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::label;

/// Where and when something was seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight<'a> {
    pub(crate) cluster: &'a Name,
    pub(crate) now: Timestamp,
}

/// Which revision of which application an object belongs to; none when it does not carry our labels, or carries those of
/// a project in whose namespace it does not lie: anybody can write a label, but only into a namespace of their own.
pub(crate) fn key_of(meta: &ObjectMeta) -> Option<WorkloadKey> {
    let labels = meta.labels.as_ref()?;
    let name = |key: &str| Name::new(labels.get(key)?.as_str()).ok();
    let project = name(label::PROJECT)?;
    if meta.namespace.as_deref() != Some(project.as_str()) {
        return None;
    }
    Some(WorkloadKey { project, app: name(label::APP)?, revision: name(label::REVISION)? })
}

/// The generation stamped on an object; 0 when there is none.
pub(crate) fn generation_of(meta: &ObjectMeta) -> u64 {
    annotation(meta, label::GENERATION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// An annotation of an object.
pub(crate) fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref().and_then(|all: &BTreeMap<_, _>| all.get(key)).map(String::as_str)
}

#[cfg(test)]
mod tests;
