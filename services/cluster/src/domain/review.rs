//! Questions of an API server about what is being made, and the answers: `AdmissionReview` of admission.k8s.io/v1.

use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use serde_json::{Value, json};

use super::inject::Injected;

const VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";
/// API servers cut longer warnings off, and all of them if together they are too long.
const LONGEST_WARNING: usize = 256;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    request: Option<Request>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    uid: String,
    #[serde(default)]
    kind: GroupKind,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    object: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct GroupKind {
    group: String,
    version: String,
    kind: String,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The `AdmissionReview` that goes back.
    pub review: Value,
    /// Whether the pod is changed.
    pub changed: bool,
    /// What whoever asked should know.
    pub warnings: Vec<String>,
}

/// Answers a question about a pod in a namespace by what `inject` makes of it. Nothing is ever refused: whatever else is
/// asked about is let through, with a warning. An error says why this is no question at all.
pub fn answer(body: &[u8], inject: impl FnOnce(&Pod, &str) -> Injected) -> Result<Answer, String> {
    let review: Review =
        serde_json::from_slice(body).map_err(|e| format!("the body is no {KIND} in JSON: {e}"))?;
    if (review.api_version.as_str(), review.kind.as_str()) != (VERSION, KIND) {
        let (found, kind) = (shown(&review.api_version), shown(&review.kind));
        return Err(format!("apiVersion and kind are {found} and {kind}: expected {VERSION} and {KIND}"));
    }
    let request = review.request.ok_or("request is missing: expected what is being made")?;
    if request.uid.is_empty() {
        return Err("request.uid is empty: expected the uid of the question".to_owned());
    }
    let injected = consider(&request, inject);
    let warnings: Vec<String> = injected.warnings.iter().map(|warning| abridged(warning)).collect();
    let mut response = json!({ "uid": request.uid, "allowed": true });
    if !warnings.is_empty() {
        response["warnings"] = json!(warnings);
    }
    let changed = !injected.patch.is_empty();
    if changed {
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(base64(&Value::Array(injected.patch).to_string()));
    }
    let review = json!({ "apiVersion": VERSION, "kind": KIND, "response": response });
    Ok(Answer { review, changed, warnings })
}

fn consider(request: &Request, inject: impl FnOnce(&Pod, &str) -> Injected) -> Injected {
    let unchanged = |why: String| Injected { warnings: vec![why], ..Injected::default() };
    let GroupKind { group, version, kind } = &request.kind;
    let asked = (group.as_str(), version.as_str(), kind.as_str(), request.operation.as_str());
    if asked != ("", "v1", "Pod", "CREATE") {
        let [kind, operation] = [kind, &request.operation].map(|text| shown(text));
        return unchanged(format!(
            "the webhook of BCS is asked about {operation} of {kind}: expected \"CREATE\" of \"Pod\" (v1)"
        ));
    }
    match serde_json::from_value::<Pod>(request.object.clone()) {
        Ok(pod) => inject(&pod, &request.namespace),
        Err(error) => unchanged(format!("the webhook of BCS does not understand this pod: {error}")),
    }
}

fn base64(text: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(text)
}

/// A word of a stranger, in quotes and not too long.
fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(80).collect::<String>())
}

fn abridged(text: &str) -> String {
    if text.len() <= LONGEST_WARNING {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(LONGEST_WARNING - 3)])
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    use super::*;

    fn question() -> Value {
        json!({
            "apiVersion": VERSION, "kind": KIND,
            "request": {
                "uid": "u1", "kind": { "group": "", "version": "v1", "kind": "Pod" },
                "namespace": "shop", "operation": "CREATE", "dryRun": true,
                "object": { "metadata": { "name": "web" }, "spec": { "containers": [] } },
            },
        })
    }

    fn ask(question: &Value) -> Result<Answer, String> {
        answer(question.to_string().as_bytes(), |pod, namespace| Injected {
            patch: vec![json!({ "op": "add", "path": "/x", "value": [pod.metadata.name, namespace] })],
            warnings: vec!["mind the gap".to_owned()],
        })
    }

    #[test]
    fn the_answer_has_the_uid_of_the_question_and_a_patch_in_base64() {
        let answer = ask(&question()).expect("an answer");
        let response = &answer.review["response"];
        assert_eq!((&response["uid"], &response["allowed"]), (&json!("u1"), &json!(true)));
        assert_eq!(response["warnings"], json!(["mind the gap"]));
        assert_eq!(response["patchType"], "JSONPatch");
        let patch = STANDARD.decode(response["patch"].as_str().expect("text")).expect("base64");
        assert_eq!(
            serde_json::from_slice::<Value>(&patch).expect("JSON"),
            json!([{ "op": "add", "path": "/x", "value": ["web", "shop"] }])
        );
        assert_eq!((&answer.review["apiVersion"], answer.changed), (&json!(VERSION), true));
    }

    #[test]
    fn whatever_is_no_new_pod_is_let_through_with_a_warning() {
        for (pointer, value, words) in [
            ("/request/kind/kind", json!("Deployment"), "asked about \"CREATE\" of \"Deployment\""),
            ("/request/operation", json!("UPDATE"), "asked about \"UPDATE\" of \"Pod\""),
            ("/request/object", json!(null), "does not understand this pod"),
            ("/request/object/spec/containers", json!("many"), "does not understand this pod"),
        ] {
            let mut question = question();
            *question.pointer_mut(pointer).expect("a field") = value;
            let answer = ask(&question).expect("an answer");
            let response = &answer.review["response"];
            assert_eq!((&response["allowed"], &response["patch"]), (&json!(true), &Value::Null), "{pointer}");
            assert!(answer.warnings[0].contains(words), "{:?}", answer.warnings);
        }
    }

    #[test]
    fn what_is_no_question_is_told_why() {
        for (pointer, value, words) in [
            ("/apiVersion", json!("admission.k8s.io/v1beta1"), "expected admission.k8s.io/v1"),
            ("/kind", json!("Pod"), "expected admission.k8s.io/v1 and AdmissionReview"),
            ("/request", json!(null), "request is missing"),
            ("/request/uid", json!(""), "request.uid is empty"),
            ("/request/uid", json!(7), "no AdmissionReview in JSON"),
        ] {
            let mut question = question();
            *question.pointer_mut(pointer).expect("a field") = value;
            let why = ask(&question).expect_err(pointer);
            assert!(why.contains(words), "{why}");
        }
        assert!(answer(b"{", |_, _| Injected::default()).is_err_and(|why| why.contains("EOF")));
    }

    proptest::proptest! {
        #[test]
        fn whatever_bytes_come_they_are_answered_or_told_why(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = answer(&body, |_, _| Injected::default());
        }

        #[test]
        fn a_question_with_anything_in_any_place_is_answered_or_told_why(place in 0..9_usize, value in "\\PC*") {
            let places = ["", "/apiVersion", "/request", "/request/uid", "/request/kind", "/request/kind/kind",
                "/request/namespace", "/request/object", "/request/object/spec"];
            let mut question = question();
            *question.pointer_mut(places[place]).expect("a place") = json!(value);
            if let Ok(answer) = ask(&question) {
                assert_eq!(answer.review["response"]["allowed"], true);
            }
        }
    }

    #[test]
    fn a_long_warning_is_cut_where_api_servers_would_cut_it() {
        let long = |pod: &Pod, _: &str| {
            drop(pod.clone());
            Injected { patch: vec![], warnings: vec!["ü".repeat(1000)] }
        };
        let answer = answer(question().to_string().as_bytes(), long).expect("an answer");
        assert!(answer.warnings[0].len() <= LONGEST_WARNING && answer.warnings[0].ends_with('…'));
        assert!(!answer.changed);
    }
}
