//! Nobody gives away more than they have: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping

use serde_json::Value;

use super::{Attributes, Identity, rules};
use crate::{
    http::Target,
    kind::{self, Kind},
    object::{self, items, text},
    status::Status,
    store::Store,
};

/// Whether somebody may write a role or a binding of this content.
pub(crate) fn check(store: &Store, who: &Identity, kind: &Kind, value: &Value) -> Result<(), Status> {
    let (verb, granted) = match kind.id {
        "roles.rbac.authorization.k8s.io" | "clusterroles.rbac.authorization.k8s.io" => {
            ("escalate", items(value, "/rules").to_vec())
        }
        "rolebindings.rbac.authorization.k8s.io" | "clusterrolebindings.rbac.authorization.k8s.io" => {
            let role = rules::role_of(store, value);
            ("bind", role.map(|role| items(&role, "/rules").to_vec()).unwrap_or_default())
        }
        _ => return Ok(()),
    };
    if who.is_master() || may(store, who, verb, kind, value) {
        return Ok(());
    }
    let own = rules::rules_of(store, who, object::namespace(value));
    let missing: Vec<Attributes> = granted
        .iter()
        .flat_map(each)
        .filter(|what| !own.iter().any(|rule| rules::allows(rule, what)))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = missing.iter().map(shown).collect();
    let why = format!(
        "user {:?} (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{}",
        who.name,
        who.groups,
        shown.join("\n")
    );
    Err(Status::forbidden(kind, object::name(value), &why))
}

/// Whether somebody may speak for the signer of a request for a certificate: approve it, or sign it.
pub(crate) fn check_signer(
    store: &Store,
    who: &Identity,
    target: &Target,
    current: &Value,
) -> Result<(), Status> {
    let verb = match target.subresource.as_str() {
        _ if *target.kind != kind::SIGNING_REQUESTS => return Ok(()),
        "approval" => "approve",
        "status" => "sign",
        _ => return Ok(()),
    };
    let signer = text(current, "/spec/signerName");
    let domain = format!("{}/*", signer.split('/').next().unwrap_or(""));
    let may = |name: &str| {
        let what = Attributes {
            verb: verb.to_owned(),
            group: target.kind.group.to_owned(),
            resource: "signers".to_owned(),
            name: name.to_owned(),
            ..Attributes::default()
        };
        rules::authorize(store, who, &what).is_ok()
    };
    if may(signer) || may(&domain) {
        return Ok(());
    }
    let why = format!("user not permitted to {verb} requests with signerName {signer:?}");
    Err(Status::forbidden(target.kind, &target.name, &why))
}

fn may(store: &Store, who: &Identity, verb: &str, kind: &Kind, value: &Value) -> bool {
    let of_role = verb == "bind";
    let (resource, name) = match text(value, "/roleRef/kind") {
        "ClusterRole" if of_role => ("clusterroles", text(value, "/roleRef/name")),
        "Role" if of_role => ("roles", text(value, "/roleRef/name")),
        _ => (kind.plural, object::name(value)),
    };
    let what = Attributes {
        verb: verb.to_owned(),
        group: kind.group.to_owned(),
        resource: resource.to_owned(),
        namespace: object::namespace(value).to_owned(),
        name: name.to_owned(),
        path: String::new(),
    };
    rules::is_allowed(store, who, &what)
}

/// Every single thing that a rule allows. A star is a thing of its own: only a star covers it.
fn each(rule: &Value) -> Vec<Attributes> {
    let list = |name: &str| -> Vec<String> {
        items(rule, name).iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let names = match list("/resourceNames") {
        names if names.is_empty() => vec![String::new()],
        names => names,
    };
    let mut all = Vec::new();
    for verb in list("/verbs") {
        let one = || Attributes { verb: verb.clone(), ..Attributes::default() };
        all.extend(list("/nonResourceURLs").into_iter().map(|path| Attributes { path, ..one() }));
        for group in list("/apiGroups") {
            for resource in list("/resources") {
                let on = |name: &String| Attributes {
                    group: group.clone(),
                    resource: resource.clone(),
                    name: name.clone(),
                    ..one()
                };
                all.extend(names.iter().map(on));
            }
        }
    }
    all
}

fn shown(what: &Attributes) -> String {
    if !what.path.is_empty() {
        return format!("{{NonResourceURLs:[{:?}], Verbs:[{:?}]}}", what.path, what.verb);
    }
    format!("{{APIGroups:[{:?}], Resources:[{:?}], Verbs:[{:?}]}}", what.group, what.resource, what.verb)
}
