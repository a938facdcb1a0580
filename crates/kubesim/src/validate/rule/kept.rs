//! The rules of objects that are kept for others, and of what pods are told by them: keys, budgets, classes, requests for certificates.

use std::{net::IpAddr, sync::LazyLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use regex::Regex;
use serde_json::Value;
use x509_parser::{certification_request::X509CertificationRequest, pem::parse_x509_pem, prelude::FromDer};

use crate::{
    kind::Kind,
    object::{self, int, items, text},
    status::Cause,
};

pub(super) fn check(kind: &Kind, value: &Value, causes: &mut Vec<Cause>) {
    match kind.id {
        "configmaps" => keys(value, &["data", "binaryData"], causes),
        "secrets" => keys(value, &["data"], causes),
        "poddisruptionbudgets.policy" => budget(value, causes),
        "ingresses.networking.k8s.io" => ingress(value, causes),
        "priorityclasses.scheduling.k8s.io" => priority(value, causes),
        "leases.coordination.k8s.io" => lease(value, causes),
        "certificatesigningrequests.certificates.k8s.io" => signing_request(value, causes),
        "ipaddresses.networking.k8s.io" => {
            let name = object::name(value);
            if name.parse::<IpAddr>().is_ok_and(|address| address.to_string() == name) {
                return;
            }
            causes.push(Cause::invalid(
                "metadata.name",
                name,
                "must be a valid IP address in canonical form",
            ));
        }
        _ => {}
    }
}

fn budget(value: &Value, causes: &mut Vec<Cause>) {
    if !value["spec"]["minAvailable"].is_null() && !value["spec"]["maxUnavailable"].is_null() {
        let why = "minAvailable and maxUnavailable cannot be both set";
        causes.push(Cause::invalid("spec", &value["spec"].to_string(), why));
    }
}

fn ingress(value: &Value, causes: &mut Vec<Cause>) {
    if items(value, "/spec/rules").is_empty() && value["spec"]["defaultBackend"].is_null() {
        let why = "either `defaultBackend` or `rules` must be specified";
        causes.push(Cause::invalid("spec", &value["spec"].to_string(), why));
    }
}

fn lease(value: &Value, causes: &mut Vec<Cause>) {
    if let Some(seconds) = int(value, "/spec/leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        let why = "must be greater than 0";
        causes.push(Cause::invalid("spec.leaseDurationSeconds", &seconds.to_string(), why));
    }
}

fn keys(value: &Value, fields: &[&str], causes: &mut Vec<Cause>) {
    let fits = |key: &str| {
        (1..=253).contains(&key.len())
            && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
            && key != "."
            && !key.starts_with("..")
    };
    for field in fields {
        for key in value[field].as_object().into_iter().flatten().map(|(key, _)| key) {
            if !fits(key) {
                let why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
                causes.push(Cause::invalid(&format!("{field}[{key}]"), key, why));
            }
        }
    }
}

/// Users have no more than a billion: what is above is the system's.
fn priority(class: &Value, causes: &mut Vec<Cause>) {
    const MOST: i64 = 1_000_000_000;
    let known = [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];
    let (name, value) = (object::name(class), int(class, "/value").unwrap_or(0));
    if name.starts_with("system-") {
        if !known.contains(&(name, value)) {
            let why = "priority class names with 'system-' prefix are reserved for system use only";
            causes.push(Cause::forbidden("metadata.name", why));
        }
    } else if value > MOST {
        let why = format!("maximum allowed value of a user defined priority is {MOST}");
        causes.push(Cause::forbidden("value", &why));
    }
}

fn signing_request(value: &Value, causes: &mut Vec<Cause>) {
    let given = text(value, "/spec/request");
    let pem = STANDARD.decode(given).unwrap_or_default();
    let parsed = parse_x509_pem(&pem).is_ok_and(|(_, pem)| {
        pem.label == "CERTIFICATE REQUEST" && X509CertificationRequest::from_der(&pem.contents).is_ok()
    });
    if !parsed {
        let why = "PEM block type must be CERTIFICATE REQUEST";
        causes.push(Cause::invalid("spec.request", given, why));
    }
    if items(value, "/spec/usages").is_empty() {
        causes.push(Cause::required("spec.usages", ""));
    }
    let signer = text(value, "/spec/signerName");
    if signer.split_once('/').is_none_or(|(domain, path)| !domain.contains('.') || path.is_empty()) {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        causes.push(Cause::invalid("spec.signerName", signer, why));
    }
    if let Some(seconds) = int(value, "/spec/expirationSeconds").filter(|seconds| *seconds < 600) {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        causes.push(Cause::invalid("spec.expirationSeconds", &seconds.to_string(), why));
    }
}

static SYSCTL: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$").ok()
});

/// The settings of the kernel that a pod asks for: only their names are known here.
pub(super) fn sysctls(spec: &Value, field: &str, causes: &mut Vec<Cause>) {
    for (at, sysctl) in items(spec, "/securityContext/sysctls").iter().enumerate() {
        let name = text(sysctl, "/name");
        if name.len() > 253 || SYSCTL.as_ref().is_some_and(|known| !known.is_match(name)) {
            let field = format!("{field}.securityContext.sysctls[{at}].name");
            causes.push(Cause::invalid(
                &field,
                name,
                "must have at most 253 characters and be the name of a setting",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::check, *};
    use crate::{kind, patch};

    #[test]
    fn kept_objects_are_refused_by_what_is_wrong_with_them() {
        let backend = json!({"service": {"name": "b", "port": {"number": 80}}});
        for (kind, object, refused) in [
            (&kind::CONFIG_MAPS, json!({"data": {"a.b_C-1": ""}}), None),
            (&kind::CONFIG_MAPS, json!({"data": {"": "x"}}), Some("data[]")),
            (&kind::CONFIG_MAPS, json!({"binaryData": {"a b": "x"}}), Some("binaryData[a b]")),
            (&kind::SECRETS, json!({"data": {"..": "x"}}), Some("data[..]")),
            (
                &kind::DISRUPTION_BUDGETS,
                json!({"spec": {"minAvailable": 1, "maxUnavailable": 1}}),
                Some("spec"),
            ),
            (&kind::INGRESSES, json!({"spec": {}}), Some("spec")),
            (&kind::INGRESSES, json!({"spec": {"defaultBackend": backend}}), None),
            (&kind::PRIORITY_CLASSES, json!({"value": 1_000_000_000}), None),
            (&kind::PRIORITY_CLASSES, json!({"value": 1_000_000_001}), Some("value")),
            (
                &kind::PRIORITY_CLASSES,
                json!({"metadata": {"name": "system-own"}, "value": 1}),
                Some("metadata.name"),
            ),
            (&kind::LEASES, json!({"spec": {"leaseDurationSeconds": 0}}), Some("spec.leaseDurationSeconds")),
            (&kind::IP_ADDRESSES, json!({"metadata": {"name": "10.0.0.1"}}), None),
            (&kind::IP_ADDRESSES, json!({}), Some("metadata.name")),
            (
                &kind::SIGNING_REQUESTS,
                json!({"spec": {"request": "eA==", "usages": ["any"], "signerName": "a.b/c"}}),
                Some("spec.request"),
            ),
        ] {
            let object = patch::merge(&json!({"metadata": {"name": "a"}}), &object);
            let answer = check(kind, &object);
            let field = answer.as_ref().err().and_then(|status| status.details.clone());
            let field = field.map(|details| details["causes"][0]["field"].clone());
            assert_eq!(field, refused.map(Value::from), "{} {object}", kind.id);
        }
    }
}
