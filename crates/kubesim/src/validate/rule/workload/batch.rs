//! The rules of jobs and of what makes them.

use serde_json::Value;

use super::{forbidden, labels, not_negative, one_of, pod_spec};
use crate::{
    controller::cron_job::schedule::{self, Schedule},
    object::{self, int, text},
    selector::Labels,
    status::Cause,
};

const NUMBERS: [&str; 8] = [
    "parallelism",
    "completions",
    "backoffLimit",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
    "activeDeadlineSeconds",
    "ttlSecondsAfterFinished",
    "successfulJobsHistoryLimit",
];

pub(super) fn job(value: &Value, causes: &mut Vec<Cause>) {
    let selector = Labels::from_object(&value["spec"]["selector"]);
    if selector.is_empty() {
        causes.push(Cause::required("spec.selector", ""));
    } else if !selector.matches(object::labels(&value["spec"]["template"])) {
        let found = value["spec"]["template"]["metadata"]["labels"].to_string();
        let why = "`selector` does not match template `labels`";
        causes.push(Cause::invalid("spec.template.metadata.labels", &found, why));
    }
    spec(value, causes);
}

/// What a job and the template of a job have in common.
fn spec(value: &Value, causes: &mut Vec<Cause>) {
    not_negative(value, &NUMBERS, causes);
    let template = &value["spec"]["template"];
    labels(object::labels(template), "spec.template.metadata.labels", causes);
    pod_spec(&template["spec"], "spec.template.spec", causes);
    let restart = "spec.template.spec.restartPolicy";
    match text(template, "/spec/restartPolicy") {
        "" | "Always" => causes.push(Cause::required(restart, "valid values: \"OnFailure\", \"Never\"")),
        _ => one_of(value, "/spec/template/spec/restartPolicy", &["OnFailure", "Never"], causes),
    }
    one_of(value, "/spec/completionMode", &["NonIndexed", "Indexed"], causes);
    one_of(value, "/spec/podReplacementPolicy", &["Failed", "TerminatingOrFailed"], causes);
    let indexed = text(value, "/spec/completionMode") == "Indexed";
    if indexed && value["spec"]["completions"].is_null() {
        causes.push(Cause::required("spec.completions", "when completion mode is Indexed"));
    }
    for field in ["backoffLimitPerIndex", "successPolicy"] {
        if !indexed && !value["spec"][field].is_null() {
            let why = "requires indexed completion mode";
            causes.push(Cause::invalid(&format!("spec.{field}"), &value["spec"][field].to_string(), why));
        }
    }
    if !value["spec"]["maxFailedIndexes"].is_null() && value["spec"]["backoffLimitPerIndex"].is_null() {
        causes.push(Cause::required("spec.backoffLimitPerIndex", "when maxFailedIndexes is specified"));
    }
    let policy = !value["spec"]["podFailurePolicy"].is_null();
    if policy && text(template, "/spec/restartPolicy") != "Never" {
        let why = "only \"Never\" is supported when podFailurePolicy is specified";
        causes.push(Cause::invalid(restart, text(template, "/spec/restartPolicy"), why));
    }
    if policy && text(value, "/spec/podReplacementPolicy") == "TerminatingOrFailed" {
        causes.push(forbidden("spec.podReplacementPolicy", "may only be \"Failed\" with podFailurePolicy"));
    }
}

/// The fields of a job that never change.
pub(super) fn fixed(old: &Value, new: &Value) -> Vec<&'static str> {
    let mut fields = vec![
        "selector",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "successPolicy",
        "managedBy",
    ];
    // An indexed job grows and shrinks, but only together with its parallelism.
    let together = new["spec"]["completions"] == new["spec"]["parallelism"];
    if text(old, "/spec/completionMode") != "Indexed" || !together {
        fields.push("completions");
    }
    // What is suspended and has no pods yet may still be told where to run.
    if old["spec"]["suspend"] != true || int(old, "/status/active").unwrap_or(0) > 0 {
        fields.push("template");
    }
    fields
}

pub(super) fn cron_job(value: &Value, causes: &mut Vec<Cause>) {
    if object::name(value).len() > 52 {
        causes.push(Cause::invalid(
            "metadata.name",
            object::name(value),
            "must be no more than 52 characters",
        ));
    }
    one_of(value, "/spec/concurrencyPolicy", &["Allow", "Forbid", "Replace"], causes);
    not_negative(
        value,
        &["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"],
        causes,
    );
    match Schedule::of(value) {
        Ok(_) => {}
        Err(schedule::Error::Zone(zone)) => {
            causes.push(Cause::invalid("spec.timeZone", &zone, "unknown time zone"));
        }
        Err(error) => {
            let found = text(value, "/spec/schedule");
            causes.push(Cause::invalid("spec.schedule", found, &error.to_string()));
        }
    }
    let mut inner = Vec::new();
    spec(&value["spec"]["jobTemplate"], &mut inner);
    causes.extend(inner.into_iter().map(|c| Cause { field: format!("spec.jobTemplate.{}", c.field), ..c }));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_fixed_depends_on_how_far_a_job_is() {
        let job = |mode: &str, parallelism: i64, suspend: bool| {
            let spec = json!({"completionMode": mode, "completions": 2, "parallelism": parallelism, "suspend": suspend});
            json!({"spec": spec})
        };
        for (what, old, new, field, expected) in [
            ("plain", job("NonIndexed", 2, false), job("NonIndexed", 2, false), "completions", true),
            ("grows", job("Indexed", 1, false), job("Indexed", 2, false), "completions", false),
            ("grows alone", job("Indexed", 1, false), job("Indexed", 1, false), "completions", true),
            ("runs", job("Indexed", 1, false), job("Indexed", 1, false), "template", true),
            ("has not begun", job("Indexed", 1, true), job("Indexed", 1, true), "template", false),
        ] {
            assert_eq!(fixed(&old, &new).contains(&field), expected, "{what}");
        }
    }
}
