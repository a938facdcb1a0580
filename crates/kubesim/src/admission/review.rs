//! The question that a webhook is asked (`AdmissionReview`), and how its answer is read. Pure.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::hook::Hook;
use crate::{
    access::Identity,
    clock,
    kind::Kind,
    object::{self, items, text},
    patch,
    status::Status,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }

    /// Of what kind its options are, where it has any.
    fn options(self) -> Option<&'static str> {
        match self {
            Self::Create => Some("CreateOptions"),
            Self::Update => Some("UpdateOptions"),
            Self::Delete => Some("DeleteOptions"),
            Self::Connect => None,
        }
    }
}

/// A request as webhooks are told of it.
pub(crate) struct Attributes<'a> {
    pub operation: Operation,
    pub kind: &'static Kind,
    pub subresource: &'a str,
    /// Of a namespace, its own name.
    pub namespace: &'a str,
    pub name: &'a str,
    pub who: &'a Identity,
    pub dry: bool,
}

pub(super) struct Question {
    pub document: Value,
    uid: String,
    api_version: String,
}

impl Question {
    pub(super) fn new(
        hook: &Hook,
        what: &Attributes<'_>,
        object: Option<&Value>,
        old: Option<&Value>,
    ) -> Self {
        let api_version = format!("admission.k8s.io/{}", hook.form());
        let uid = clock::uid();
        let mut request = request(what, &hook.version, object, old);
        request["uid"] = json!(uid);
        let document = json!({"kind": "AdmissionReview", "apiVersion": api_version, "request": request});
        Self { document, uid, api_version }
    }
}

/// A request as webhooks and policies see it.
pub(super) fn request(
    what: &Attributes<'_>,
    version: &str,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Value {
    let shown = |one: Option<&Value>| one.map_or(Value::Null, |one| in_version(one, what, version));
    let (object, old) = (shown(object), shown(old));
    // A binding or a scale is of another kind than what it is about.
    let subject = if object.is_null() { &old } else { &object };
    let (group, version) = split(version);
    let resource = json!({"group": group, "version": version, "resource": what.kind.plural});
    let asked = json!({"group": what.kind.group, "version": what.kind.version, "resource": what.kind.plural});
    let (group, version) = split(text(subject, "/apiVersion"));
    let kind = json!({"group": group, "version": version, "kind": subject["kind"]});
    let name = if what.name.is_empty() { object::name(&object) } else { what.name };
    let options = what.operation.options().map_or(Value::Null, |kind| {
        let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
        if what.dry {
            options["dryRun"] = json!(["All"]);
        }
        options
    });
    let mut request = json!({
        "kind": kind, "resource": resource, "requestKind": kind, "requestResource": asked,
        "operation": what.operation.name(), "userInfo": what.who.user_info(), "dryRun": what.dry,
        "object": object, "oldObject": old, "options": options,
    });
    for (field, found) in [
        ("name", name),
        ("namespace", what.namespace),
        ("subResource", what.subresource),
        ("requestSubResource", what.subresource),
    ] {
        if !found.is_empty() {
            request[field] = json!(found);
        }
    }
    request
}

fn split(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// Every version of a custom resource is the same but for its name.
fn in_version(object: &Value, what: &Attributes<'_>, version: &str) -> Value {
    let mut object = object.clone();
    object::default(&mut object, &["kind"], json!(what.kind.kind));
    if object["kind"] == what.kind.kind {
        object["apiVersion"] = json!(version);
    }
    object
}

/// What a webhook said.
#[derive(Debug)]
pub(super) struct Answer {
    pub warnings: Vec<String>,
    allowed: bool,
    status: Value,
    patch: Option<Value>,
}

impl Answer {
    /// From the document that it sent, unless that is no answer to the question.
    pub(super) fn read(document: &Value, question: &Question, mutating: bool) -> Result<Self, String> {
        let response = &document["response"];
        if !response.is_object() {
            return Err("webhook response was absent".to_owned());
        }
        let known = (text(document, "/apiVersion"), text(document, "/kind"));
        // The old form of answers had no type that everybody wrote.
        let old = question.api_version.ends_with("v1beta1");
        if !old && known != (&question.api_version, "AdmissionReview") {
            return Err(format!(
                "expected webhook response of {}, Kind=AdmissionReview, got {}, Kind={}",
                question.api_version, known.0, known.1
            ));
        }
        let uid = text(response, "/uid");
        if uid != question.uid && !(old && uid.is_empty()) {
            return Err(format!("expected response.uid={:?}, got {uid:?}", question.uid));
        }
        Ok(Self {
            warnings: items(response, "/warnings")
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            allowed: response["allowed"] == true,
            status: response["status"].clone(),
            patch: read_patch(response, mutating, old)?,
        })
    }

    /// A refusal in the words of the webhook.
    pub(super) fn verdict(&self, hook: &str) -> Result<(), Status> {
        if self.allowed {
            return Ok(());
        }
        let denied = format!("admission webhook {hook:?} denied the request");
        let message = match (text(&self.status, "/message"), text(&self.status, "/reason")) {
            ("", "") => format!("{denied} without explanation"),
            ("", reason) => format!("{denied}: {reason}"),
            (message, _) => format!("{denied}: {message}"),
        };
        let code = object::int(&self.status, "/code").and_then(|code| u16::try_from(code).ok()).unwrap_or(0);
        let code = if (400..600).contains(&code) { code } else { 400 };
        let mut status = Status::new(code, "", message);
        status.reason = text(&self.status, "/reason").to_owned().into();
        status.details = Some(self.status["details"].clone()).filter(|details| !details.is_null());
        Err(status)
    }

    /// The object with what the webhook changed.
    pub(super) fn outcome(&self, hook: &str, object: &Value) -> Result<Value, Status> {
        self.verdict(hook)?;
        let Some(wanted) = &self.patch else { return Ok(object.clone()) };
        patch::json(object, wanted.clone()).map_err(|status| {
            Status::internal(format!("Internal error occurred: the patch of webhook {hook:?}: {status}"))
        })
    }
}

fn read_patch(response: &Value, mutating: bool, old: bool) -> Result<Option<Value>, String> {
    let (patch, form) = (text(response, "/patch"), text(response, "/patchType"));
    match (mutating, patch, form) {
        (_, "", "") => return Ok(None),
        (false, "", _) => return Err("validating webhook may not return response.patchType".to_owned()),
        (false, ..) => return Err("validating webhook may not return response.patch".to_owned()),
        (true, "", _) => return Err("webhook returned response.patchType but not response.patch".to_owned()),
        (true, _, "") if !old => {
            return Err("webhook returned response.patch but not response.patchType".to_owned());
        }
        (true, _, "" | "JSONPatch") => {}
        (true, _, other) => return Err(format!("invalid response.patchType of {other:?}")),
    }
    let bytes = STANDARD.decode(patch).map_err(|error| format!("response.patch is not base64: {error}"))?;
    serde_json::from_slice(&bytes).map(Some).map_err(|error| format!("response.patch is not JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;

    fn hook(form: &str) -> Hook {
        let who = Identity::controller("x");
        let spec = json!({"name": "a.b.c", "admissionReviewVersions": [form], "rules": [
            {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]},
        ]});
        Hook::of(&spec, &what(&who), &[], true).expect("means everything")
    }

    fn what(who: &Identity) -> Attributes<'_> {
        let operation = Operation::Update;
        Attributes {
            operation,
            kind: &kind::DEPLOYMENTS,
            subresource: "scale",
            namespace: "shop",
            name: "web",
            who,
            dry: true,
        }
    }

    fn answer(form: &str, mutating: bool, change: impl Fn(&mut Value)) -> Result<Answer, String> {
        let who = Identity::controller("x");
        let scale = json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "spec": {"replicas": 2}});
        let question = Question::new(&hook(form), &what(&who), Some(&scale), Some(&scale));
        let mut document = json!({
            "kind": "AdmissionReview", "apiVersion": format!("admission.k8s.io/{form}"),
            "response": {"uid": question.uid, "allowed": true},
        });
        change(&mut document);
        Answer::read(&document, &question, mutating)
    }

    #[test]
    fn a_question_says_who_wants_what_of_which_object() {
        let who = Identity::controller("x");
        let scale = json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "spec": {"replicas": 2}});
        let question = Question::new(&hook("v1"), &what(&who), Some(&scale), None);
        let request = &question.document["request"];
        assert_eq!(request["kind"], json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}));
        assert_eq!(request["resource"], json!({"group": "apps", "version": "v1", "resource": "deployments"}));
        assert_eq!((&request["subResource"], &request["operation"]), (&json!("scale"), &json!("UPDATE")));
        assert_eq!((&request["name"], &request["namespace"]), (&json!("web"), &json!("shop")));
        assert_eq!(request["userInfo"]["username"], "system:serviceaccount:kube-system:x");
        assert_eq!((&request["dryRun"], &request["oldObject"]), (&json!(true), &Value::Null));
        assert_eq!(request["object"], scale);
        assert_eq!(request["options"]["kind"], "UpdateOptions");
    }

    #[test]
    fn an_answer_that_is_none_is_not_taken_for_one() {
        assert!(answer("v1", true, |_| {}).is_ok());
        for (mutating, pointer, value, expected) in [
            (true, "/response", json!(null), "webhook response was absent"),
            (true, "/apiVersion", json!("v1"), "expected webhook response of admission.k8s.io/v1"),
            (true, "/response/uid", json!("other"), "expected response.uid="),
            (true, "/response/patch", json!("W10="), "response.patch but not response.patchType"),
            (true, "/response/patchType", json!("JSONPatch"), "response.patchType but not response.patch"),
            (false, "/response/patch", json!("W10="), "validating webhook may not return response.patch"),
        ] {
            let found = answer("v1", mutating, |document| {
                let path: Vec<&str> = pointer.split('/').skip(1).collect();
                object::set(document, &path, value.clone());
            });
            let why = found.expect_err(pointer);
            assert!(why.contains(expected), "{pointer}: {why}");
        }
        for (patch, form, expected) in [
            ("%", "JSONPatch", "is not base64"),
            ("W10", "JSONPatch", "is not base64"),
            ("Ww==", "JSONPatch", "is not JSON"),
            ("W10=", "MergePatch", "invalid response.patchType"),
        ] {
            let found = answer("v1", true, |document| {
                document["response"]["patch"] = json!(patch);
                document["response"]["patchType"] = json!(form);
            });
            assert!(found.as_ref().is_err_and(|why| why.contains(expected)), "{patch}: {found:?}");
        }
        let old = answer("v1beta1", true, |document| *document = json!({"response": {"allowed": true}}));
        assert!(old.is_ok(), "{old:?}");
    }

    #[test]
    fn a_refusal_is_told_in_the_words_of_the_webhook() {
        for (status, code, message) in [
            (json!(null), 400, "admission webhook \"a.b.c\" denied the request without explanation"),
            (json!({"reason": "Taken"}), 400, "admission webhook \"a.b.c\" denied the request: Taken"),
            (
                json!({"code": 200, "message": "no"}),
                400,
                "admission webhook \"a.b.c\" denied the request: no",
            ),
            (
                json!({"code": 418, "message": "tea"}),
                418,
                "admission webhook \"a.b.c\" denied the request: tea",
            ),
        ] {
            let answer = answer("v1", false, |document| {
                document["response"]["allowed"] = json!(false);
                document["response"]["status"] = status.clone();
            });
            let refusal = answer.expect("an answer").verdict("a.b.c").expect_err("a refusal");
            assert_eq!((refusal.code, refusal.message.as_str()), (code, message), "{status}");
        }
    }
}
