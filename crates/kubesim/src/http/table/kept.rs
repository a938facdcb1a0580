//! The columns of objects that are kept for others: admission policies, requests for certificates, addresses, volumes of nodes.

use serde_json::{Value, json};

use super::{Column, workload::or};
use crate::{
    kind::Kind,
    object::{items, text},
};

pub(super) fn columns(kind: &Kind) -> Option<&'static [Column]> {
    Some(match kind.id {
        "validatingadmissionpolicies.admissionregistration.k8s.io" => {
            &[("Name", false), ("Validations", false), ("ParamKind", false), ("Age", false)]
        }
        "validatingadmissionpolicybindings.admissionregistration.k8s.io" => {
            &[("Name", false), ("PolicyName", false), ("ParamRef", false), ("Age", false)]
        }
        "certificatesigningrequests.certificates.k8s.io" => &[
            ("Name", false),
            ("Age", false),
            ("SignerName", false),
            ("Requestor", false),
            ("RequestedDuration", false),
            ("Condition", false),
        ],
        "servicecidrs.networking.k8s.io" => &[("Name", false), ("CIDRs", false), ("Age", false)],
        "ipaddresses.networking.k8s.io" => &[("Name", false), ("ParentRef", false)],
        "volumeattachments.storage.k8s.io" => &[
            ("Name", false),
            ("Attacher", false),
            ("PV", false),
            ("Node", false),
            ("Attached", false),
            ("Age", false),
        ],
        _ => return None,
    })
}

pub(super) fn cells(kind: &Kind, object: &Value, name: &Value, age: &Value) -> Option<Vec<Value>> {
    let word = |pointer: &str| json!(text(object, pointer));
    let mut row = match kind.id {
        "validatingadmissionpolicies.admissionregistration.k8s.io" => {
            let (version, of) =
                (text(object, "/spec/paramKind/apiVersion"), text(object, "/spec/paramKind/kind"));
            let asked = if of.is_empty() { String::new() } else { format!("{version}/{of}") };
            vec![json!(items(object, "/spec/validations").len()), or(&asked, "<unset>"), age.clone()]
        }
        "validatingadmissionpolicybindings.admissionregistration.k8s.io" => {
            vec![word("/spec/policyName"), or(text(object, "/spec/paramRef/name"), "<unset>"), age.clone()]
        }
        "certificatesigningrequests.certificates.k8s.io" => {
            let duration = object["spec"]["expirationSeconds"].as_i64().map(|seconds| format!("{seconds}s"));
            let duration = or(duration.as_deref().unwrap_or(""), "<none>");
            vec![age.clone(), word("/spec/signerName"), word("/spec/username"), duration, condition(object)]
        }
        "servicecidrs.networking.k8s.io" => {
            let ranges: Vec<&str> = items(object, "/spec/cidrs").iter().filter_map(Value::as_str).collect();
            vec![json!(ranges.join(",")), age.clone()]
        }
        "ipaddresses.networking.k8s.io" => {
            let parent = &object["spec"]["parentRef"];
            let part = |field: &str| text(parent, field);
            vec![json!(format!("{}/{}/{}", part("/resource"), part("/namespace"), part("/name")))]
        }
        "volumeattachments.storage.k8s.io" => vec![
            word("/spec/attacher"),
            word("/spec/source/persistentVolumeName"),
            word("/spec/nodeName"),
            json!(object["status"]["attached"] == true),
            age.clone(),
        ],
        _ => return None,
    };
    row.insert(0, name.clone());
    Some(row)
}

/// What became of a request for a certificate.
fn condition(request: &Value) -> Value {
    let mut words: Vec<&str> =
        items(request, "/status/conditions").iter().map(|condition| text(condition, "/type")).collect();
    if words.is_empty() {
        words.push("Pending");
    }
    if !text(request, "/status/certificate").is_empty() {
        words.push("Issued");
    }
    json!(words.join(","))
}
