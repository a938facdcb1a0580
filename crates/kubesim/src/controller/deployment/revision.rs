//! How the ReplicaSets of a deployment are told apart: names, revisions, annotations. Pure.

use std::sync::Arc;

use serde_json::{Value, json};

use super::plan;
use crate::{
    clock, kind,
    object::{self, int},
};

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const HASH: &str = "pod-template-hash";

/// What a ReplicaSet does not take over from its deployment.
const OWN: [&str; 5] =
    [REVISION, DESIRED, MAXIMUM, HISTORY, "kubectl.kubernetes.io/last-applied-configuration"];

pub(super) fn of(set: &Value) -> i64 {
    object::annotation(set, REVISION).and_then(|r| r.parse().ok()).unwrap_or(0)
}

pub(super) fn highest(sets: &[Arc<Value>]) -> i64 {
    sets.iter().map(|s| of(s)).max().unwrap_or(0)
}

pub(super) fn same_template(deployment: &Value, set: &Value) -> bool {
    let mut template = set["spec"]["template"].clone();
    object::unset(&mut template, &["metadata", "labels", HASH]);
    template == deployment["spec"]["template"]
}

pub(super) fn new_set(deployment: &Value, number: i64) -> Value {
    let collisions = int(deployment, "/status/collisionCount").unwrap_or(0);
    let hash = template_hash(&deployment["spec"]["template"], collisions);
    let set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": format!("{}-{hash}", object::name(deployment)), "namespace": object::namespace(deployment),
            "ownerReferences": [object::owner_reference(&kind::DEPLOYMENTS, deployment)],
            "labels": deployment["spec"]["template"]["metadata"]["labels"],
        },
        "spec": {"replicas": 0, "selector": deployment["spec"]["selector"], "template": deployment["spec"]["template"]},
        "status": {"replicas": 0},
    });
    let mut set = dress(deployment, &set, number);
    for path in [
        &["metadata", "labels", HASH][..],
        &["spec", "selector", "matchLabels", HASH],
        &["spec", "template", "metadata", "labels", HASH],
    ] {
        object::set(&mut set, path, json!(hash));
    }
    note_number(deployment, &mut set);
    set
}

/// FNV over the template in its sorted form: equal templates get equal names.
fn template_hash(template: &Value, collisions: i64) -> String {
    let text = format!("{template}{}", if collisions > 0 { collisions.to_string() } else { String::new() });
    let hash = clock::fnv(text.as_bytes());
    format!("{}{}", clock::suffix_of(hash), clock::suffix_of(hash.rotate_left(29)))
}

/// The set of the current template as its deployment wants it. One that becomes current again (a rollback) gets a new
/// revision and remembers the one that it had.
pub(super) fn dress(deployment: &Value, set: &Value, number: i64) -> Value {
    let mut value = set.clone();
    for (key, text) in deployment["metadata"]["annotations"].as_object().into_iter().flatten() {
        if !OWN.contains(&key.as_str()) {
            object::set(&mut value, &["metadata", "annotations", key], text.clone());
        }
    }
    if of(set) < number {
        if let Some(before) = object::annotation(set, REVISION) {
            let known = object::annotation(set, HISTORY).filter(|h| !h.is_empty());
            let history = known.map_or_else(|| before.to_owned(), |h| format!("{h},{before}"));
            object::set(&mut value, &["metadata", "annotations", HISTORY], json!(history));
        }
        object::set(&mut value, &["metadata", "annotations", REVISION], json!(number.to_string()));
    }
    match int(deployment, "/spec/minReadySeconds").unwrap_or(0) {
        0 => object::unset(&mut value, &["spec", "minReadySeconds"]),
        seconds => object::set(&mut value, &["spec", "minReadySeconds"], json!(seconds)),
    }
    value
}

/// The number that the deployment wanted when it last scaled this set: how a change of that number is noticed.
pub(super) fn note_number(deployment: &Value, set: &mut Value) {
    let wanted = plan::wanted(deployment);
    let most = wanted + plan::bounds(deployment).0;
    for (key, number) in [(DESIRED, wanted), (MAXIMUM, most)] {
        object::set(set, &["metadata", "annotations", key], json!(number.to_string()));
    }
}

/// Old sets beyond the limit of the history that nobody needs any more.
pub(super) fn superfluous<'a>(deployment: &Value, old: &'a [Arc<Value>]) -> Vec<&'a Value> {
    let limit = usize::try_from(int(deployment, "/spec/revisionHistoryLimit").unwrap_or(10)).unwrap_or(10);
    let idle = |s: &&Value| plan::replicas(s) == 0 && int(s, "/status/replicas").unwrap_or(0) == 0;
    let mut idle: Vec<&Value> =
        old.iter().map(Arc::as_ref).filter(idle).filter(|s| !object::deleting(s)).collect();
    idle.sort_by_key(|s| of(s));
    idle.truncate(idle.len().saturating_sub(limit));
    idle
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_that_returns_remembers_its_earlier_revisions() {
        let deployment =
            json!({"metadata": {"annotations": {"kubernetes.io/change-cause": "why", REVISION: "9"}}});
        let set = json!({"metadata": {"annotations": {REVISION: "1"}}});
        let again = dress(&deployment, &set, 3);
        assert_eq!((of(&again), object::annotation(&again, HISTORY)), (3, Some("1")));
        assert_eq!(object::annotation(&again, "kubernetes.io/change-cause"), Some("why"));
        let third = dress(&deployment, &again, 5);
        assert_eq!(object::annotation(&third, HISTORY), Some("1,3"));
        assert_eq!(dress(&deployment, &third, 4), third);
    }

    #[test]
    fn only_idle_sets_beyond_the_limit_are_superfluous() {
        let set = |name: &str, revision: i64, replicas: i64| {
            Arc::new(json!({
                "metadata": {"name": name, "annotations": {REVISION: revision.to_string()}}, "spec": {"replicas": replicas},
            }))
        };
        let old = [set("c", 3, 0), set("a", 1, 2), set("b", 2, 0), set("d", 4, 0)];
        let found = superfluous(&json!({"spec": {"revisionHistoryLimit": 1}}), &old);
        assert_eq!(found.into_iter().map(object::name).collect::<Vec<_>>(), ["b", "c"]);
    }
}
