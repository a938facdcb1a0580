//! The PersistentVolumeClaims of a StatefulSet, and who takes them along when it ends.

use serde_json::{Value, json};

use super::{Pods, identity::claim_name, plan};
use crate::{
    controller::pod::Hands,
    kind,
    object::{self, Key, items, text},
    status::Status,
    store::Store,
};

/// Makes the claims of a pod that are not there yet; what is there is taken over with what is in it.
pub(super) async fn create(hands: &Hands, set: &Value, pod: &Value) -> Result<(), Status> {
    for template in items(set, "/spec/volumeClaimTemplates") {
        let name = claim_name(template, object::name(pod));
        let key = Key::new(object::namespace(set), &name);
        if hands.store.get(&kind::VOLUME_CLAIMS, &key).is_some() {
            continue;
        }
        let mut claim = template.clone();
        object::set(&mut claim, &["apiVersion"], json!("v1"));
        object::set(&mut claim, &["kind"], json!("PersistentVolumeClaim"));
        object::set(&mut claim, &["metadata", "name"], json!(name));
        object::set(&mut claim, &["metadata", "namespace"], json!(key.namespace));
        for (label, value) in set["spec"]["selector"]["matchLabels"].as_object().into_iter().flatten() {
            object::set(&mut claim, &["metadata", "labels", label], value.clone());
        }
        hands.make(&kind::VOLUME_CLAIMS, claim).await?;
        let message = format!(
            "create Claim {name} Pod {} in StatefulSet {} success",
            object::name(pod),
            object::name(set)
        );
        hands.note(set, "SuccessfulCreate", message);
    }
    Ok(())
}

/// Gives the claims the owners with whom they are to go: the set, or a pod that is one too many.
pub(super) fn retain(store: &Store, set: &Value, pods: &Pods) -> Result<(), Status> {
    for (ordinal, pod) in pods {
        let condemned = !plan::ordinals(set).contains(ordinal);
        let owner = owner(set, pod, condemned);
        for template in items(set, "/spec/volumeClaimTemplates") {
            let key = Key::new(object::namespace(set), &claim_name(template, object::name(pod)));
            let done = store.update(&kind::VOLUME_CLAIMS, &key, |seen| {
                let mut value = seen.clone();
                let ours = |o: &&Value| o["uid"] == object::uid(set) || o["uid"] == object::uid(pod);
                let others = object::owners(seen).iter().filter(|o| !ours(o)).cloned();
                let owners: Vec<Value> = others.chain(owner.clone()).collect();
                if owners.is_empty() {
                    object::unset(&mut value, &["metadata", "ownerReferences"]);
                } else {
                    object::set(&mut value, &["metadata", "ownerReferences"], Value::Array(owners));
                }
                Ok((value != *seen).then_some(value))
            });
            match done {
                Err(status) if status.code != 404 => return Err(status),
                _ => {}
            }
        }
    }
    Ok(())
}

fn owner(set: &Value, pod: &Value, condemned: bool) -> Option<Value> {
    let deletes =
        |when: &str| text(set, &format!("/spec/persistentVolumeClaimRetentionPolicy/{when}")) == "Delete";
    if condemned && deletes("whenScaled") {
        Some(object::owner_reference(&kind::PODS, pod))
    } else if !condemned && deletes("whenDeleted") {
        Some(object::owner_reference(&kind::STATEFUL_SETS, set))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_go_with_whom_the_policy_says() {
        let pod = json!({"metadata": {"name": "p", "uid": "p"}});
        for (scaled, deleted, condemned, expected) in [
            ("Retain", "Retain", false, None),
            ("Retain", "Delete", false, Some("set")),
            ("Retain", "Delete", true, None),
            ("Delete", "Retain", true, Some("p")),
            ("Delete", "Delete", true, Some("p")),
            ("Delete", "Retain", false, None),
        ] {
            let policy = json!({"whenScaled": scaled, "whenDeleted": deleted});
            let set = json!({"metadata": {"name": "set", "uid": "set"}, "spec": {"persistentVolumeClaimRetentionPolicy": policy}});
            let found = owner(&set, &pod, condemned);
            assert_eq!(found.as_ref().map(|o| text(o, "/uid")), expected, "{scaled} {deleted} {condemned}");
        }
    }
}
