//! Which clusters hold an application, and how many instances each.

use std::collections::BTreeMap;

use bcs_schemas::{
    FieldError, Name,
    resource::{AppSpec, Labels},
    share,
};
use imbl::OrdMap;

/// Clusters that the platform has, with their labels.
pub type Clusters = OrdMap<Name, Labels>;

/// The shares that `spec` asks for. A named cluster that does not exist, and a selector that fits none, are errors of
/// the spec.
pub fn shares(spec: &AppSpec, clusters: &Clusters) -> Result<BTreeMap<Name, u32>, Vec<FieldError>> {
    let weights = match &spec.placement.selector {
        Some(_) => selected(spec, clusters),
        None => named(spec, clusters)?,
    };
    if weights.values().all(|weight| *weight == 0) {
        let wanted = spec.placement.selector.iter().flat_map(|s| &s.match_labels);
        let wanted: Vec<String> = wanted.map(|(k, v)| format!("{k}={v}")).collect();
        let problem = format!("no cluster carries {}: {}", wanted.join(" and "), known(clusters));
        return Err(vec![FieldError::new("spec.placement.selector", problem)]);
    }
    Ok(share::shares(spec.replicas, &weights))
}

/// The shares after clusters came or went: what does not exist any more gets nothing, and that is no error.
pub fn shares_now(spec: &AppSpec, clusters: &Clusters) -> BTreeMap<Name, u32> {
    share::shares(spec.replicas, &selected(spec, clusters))
}

fn named(spec: &AppSpec, clusters: &Clusters) -> Result<BTreeMap<Name, u32>, Vec<FieldError>> {
    let named = &spec.placement.clusters;
    let unknown = named.iter().enumerate().filter(|(_, c)| !clusters.contains_key(&c.name));
    let errors: Vec<FieldError> = unknown
        .map(|(i, c)| {
            let field = format!("spec.placement.clusters[{i}].name");
            FieldError::new(field, format!("there is no cluster {}: {}", c.name, known(clusters)))
        })
        .collect();
    if errors.is_empty() {
        Ok(named.iter().map(|c| (c.name.clone(), c.weight)).collect())
    } else {
        Err(errors)
    }
}

fn selected(spec: &AppSpec, clusters: &Clusters) -> BTreeMap<Name, u32> {
    let Some(selector) = &spec.placement.selector else { return BTreeMap::new() };
    let fits = |labels: &Labels| selector.match_labels.iter().all(|(k, v)| labels.get(k) == Some(v));
    let weight = |name: &Name| selector.weights.get(name).copied().unwrap_or(1);
    clusters.iter().filter(|(_, labels)| fits(labels)).map(|(name, _)| (name.clone(), weight(name))).collect()
}

fn known(clusters: &Clusters) -> String {
    let names: Vec<&str> = clusters.keys().map(Name::as_str).take(20).collect();
    if names.is_empty() {
        "no cluster was imported yet".to_owned()
    } else {
        format!("known are {}", names.join(", "))
    }
}
