//! Questions about access, which are asked by creating them: https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access

use serde_json::{Value, json};

use super::{Attributes, Identity, Tokens, rules};
use crate::{
    object::{self, items, text},
    status::Status,
    store::Store,
};

/// A resource that only answers.
#[derive(Debug)]
pub(crate) struct Review {
    pub group: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub namespaced: bool,
}

pub(crate) const VERSION: &str = "v1";

const fn review(
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    namespaced: bool,
) -> Review {
    Review { group, kind, plural, singular, namespaced }
}

pub(crate) static ALL: [Review; 6] = [
    review("authentication.k8s.io", "SelfSubjectReview", "selfsubjectreviews", "selfsubjectreview", false),
    review("authentication.k8s.io", "TokenReview", "tokenreviews", "tokenreview", false),
    review(
        "authorization.k8s.io",
        "LocalSubjectAccessReview",
        "localsubjectaccessreviews",
        "localsubjectaccessreview",
        true,
    ),
    review(
        "authorization.k8s.io",
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
        "selfsubjectaccessreview",
        false,
    ),
    review(
        "authorization.k8s.io",
        "SelfSubjectRulesReview",
        "selfsubjectrulesreviews",
        "selfsubjectrulesreview",
        false,
    ),
    review(
        "authorization.k8s.io",
        "SubjectAccessReview",
        "subjectaccessreviews",
        "subjectaccessreview",
        false,
    ),
];

/// The review that a path means, with its namespace.
pub(crate) fn find(path: &str) -> Option<(&'static Review, &str)> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, namespace, plural) = match parts.as_slice() {
        ["apis", group, VERSION, plural] => (*group, "", *plural),
        ["apis", group, VERSION, "namespaces", namespace, plural] => (*group, *namespace, *plural),
        _ => return None,
    };
    let found = ALL.iter().find(|review| review.group == group && review.plural == plural)?;
    (found.namespaced != namespace.is_empty()).then_some((found, namespace))
}

impl Review {
    pub(crate) fn attributes(&self, namespace: &str) -> Attributes {
        Attributes {
            verb: "create".to_owned(),
            group: self.group.to_owned(),
            resource: self.plural.to_owned(),
            namespace: namespace.to_owned(),
            ..Attributes::default()
        }
    }

    /// The question with its answer.
    pub(crate) fn answer(
        &self,
        store: &Store,
        tokens: &Tokens,
        who: &Identity,
        question: &Value,
    ) -> Result<Value, Status> {
        let spec = &question["spec"];
        let status = match self.kind {
            "SelfSubjectReview" => json!({"userInfo": who.user_info()}),
            "TokenReview" => match tokens.identity(store, text(spec, "/token")) {
                Some(found) => json!({"authenticated": true, "user": found.user_info()}),
                None => json!({"authenticated": false, "error": "the token is not known, or has ended"}),
            },
            "SelfSubjectRulesReview" => what_may_be_done(store, who, text(spec, "/namespace")),
            "SelfSubjectAccessReview" => access(store, who, spec)?,
            _ => access(store, &subject(spec)?, spec)?,
        };
        let mut answer = question.clone();
        answer["kind"] = json!(self.kind);
        answer["apiVersion"] = json!(format!("{}/{VERSION}", self.group));
        object::default(&mut answer, &["metadata"], json!({"creationTimestamp": null}));
        object::default(&mut answer, &["spec"], json!({}));
        answer["status"] = status;
        Ok(answer)
    }
}

fn subject(spec: &Value) -> Result<Identity, Status> {
    let groups: Vec<String> =
        items(spec, "/groups").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let name = text(spec, "/user").to_owned();
    if name.is_empty() && groups.is_empty() {
        return Err(Status::bad_request("spec.user or spec.groups: at least one is required"));
    }
    Ok(Identity { name, uid: text(spec, "/uid").to_owned(), groups })
}

fn access(store: &Store, who: &Identity, spec: &Value) -> Result<Value, Status> {
    let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let word = |of: &Value, name: &str| of[name].as_str().unwrap_or("").to_owned();
    let what = match (resource.is_object(), other.is_object()) {
        (true, false) => Attributes {
            verb: word(resource, "verb"),
            group: word(resource, "group"),
            resource: match word(resource, "subresource").as_str() {
                "" => word(resource, "resource"),
                sub => format!("{}/{sub}", word(resource, "resource")),
            },
            namespace: word(resource, "namespace"),
            name: word(resource, "name"),
            path: String::new(),
        },
        (false, true) => {
            Attributes { verb: word(other, "verb"), path: word(other, "path"), ..Attributes::default() }
        }
        _ => {
            let why = "exactly one of spec.resourceAttributes and spec.nonResourceAttributes is required";
            return Err(Status::bad_request(why));
        }
    };
    Ok(json!({"allowed": rules::is_allowed(store, who, &what)}))
}

fn what_may_be_done(store: &Store, who: &Identity, namespace: &str) -> Value {
    let mut found = rules::rules_of(store, who, namespace);
    if who.is_master() {
        found.push(json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}));
    }
    let (paths, resources): (Vec<Value>, Vec<Value>) =
        found.into_iter().partition(|rule| rule["nonResourceURLs"].is_array());
    json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false})
}
