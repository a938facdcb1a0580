//! The rules of what a pod asks of its neighbourhood: spread over domains, affinity.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    object::{int, items, text},
    status::Cause,
};

const POSITIVE: &str = "must be greater than zero";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn check(spec: &Value, field: &str, causes: &mut Vec<Cause>) {
    spread(spec, field, causes);
    for kind in ["podAffinity", "podAntiAffinity"] {
        let affinity = &spec["affinity"][kind];
        let field = format!("{field}.affinity.{kind}");
        for (at, one) in items(affinity, &format!("/{REQUIRED}")).iter().enumerate() {
            term(one, &format!("{field}.{REQUIRED}[{at}]"), causes);
        }
        for (at, one) in items(affinity, &format!("/{PREFERRED}")).iter().enumerate() {
            let field = format!("{field}.{PREFERRED}[{at}]");
            weight(one, &field, causes);
            term(&one["podAffinityTerm"], &format!("{field}.podAffinityTerm"), causes);
        }
    }
    let nodes = items(&spec["affinity"]["nodeAffinity"], &format!("/{PREFERRED}"));
    for (at, one) in nodes.iter().enumerate() {
        weight(one, &format!("{field}.affinity.nodeAffinity.{PREFERRED}[{at}]"), causes);
    }
}

fn spread(spec: &Value, field: &str, causes: &mut Vec<Cause>) {
    let mut seen = BTreeSet::new();
    for (at, constraint) in items(spec, "/topologySpreadConstraints").iter().enumerate() {
        let field = format!("{field}.topologySpreadConstraints[{at}]");
        let (topology, action) = (text(constraint, "/topologyKey"), text(constraint, "/whenUnsatisfiable"));
        let skew = int(constraint, "/maxSkew").unwrap_or(0);
        if skew <= 0 {
            causes.push(Cause::invalid(&format!("{field}.maxSkew"), &skew.to_string(), POSITIVE));
        }
        if topology.is_empty() {
            causes.push(Cause::required(&format!("{field}.topologyKey"), "can not be empty"));
        }
        one_of(action, &["DoNotSchedule", "ScheduleAnyway"], &format!("{field}.whenUnsatisfiable"), causes);
        if let Some(least) = int(constraint, "/minDomains") {
            let field = format!("{field}.minDomains");
            if least <= 0 {
                causes.push(Cause::invalid(&field, &least.to_string(), POSITIVE));
            }
            if action == "ScheduleAnyway" {
                let why = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                causes.push(Cause::invalid(&field, &least.to_string(), &why));
            }
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            if let Some(found) = constraint[policy].as_str() {
                one_of(found, &["Honor", "Ignore"], &format!("{field}.{policy}"), causes);
            }
        }
        if !seen.insert((topology, action)) {
            let pair = format!("{{{topology}, {action}}}");
            causes.push(Cause::duplicate(&format!("{field}.{{topologyKey, whenUnsatisfiable}}"), &pair));
        }
    }
}

fn term(term: &Value, field: &str, causes: &mut Vec<Cause>) {
    if text(term, "/topologyKey").is_empty() {
        causes.push(Cause::required(&format!("{field}.topologyKey"), "can not be empty"));
    }
}

fn weight(preference: &Value, field: &str, causes: &mut Vec<Cause>) {
    let weight = int(preference, "/weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        let why = "must be in the range 1-100";
        causes.push(Cause::invalid(&format!("{field}.weight"), &weight.to_string(), why));
    }
}

fn one_of(found: &str, supported: &[&str], field: &str, causes: &mut Vec<Cause>) {
    if !supported.contains(&found) {
        let list: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        let message = format!("Unsupported value: {found:?}: supported values: {}", list.join(", "));
        causes.push(Cause { reason: "FieldValueNotSupported", field: field.to_owned(), message });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn impossible_wishes_are_refused_with_the_field() {
        let fields = |spec: Value| -> Vec<String> {
            let mut causes = Vec::new();
            check(&spec, "spec", &mut causes);
            causes.into_iter().map(|cause| cause.field.trim_start_matches("spec.").to_owned()).collect()
        };
        let constraint = |more: Value| {
            let base = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"});
            json!({"topologySpreadConstraints": [crate::patch::merge(&base, &more)]})
        };
        for (spec, expected) in [
            (constraint(json!({"minDomains": 2, "nodeTaintsPolicy": "Honor"})), vec![]),
            (constraint(json!({"maxSkew": 0})), vec!["maxSkew"]),
            (constraint(json!({"topologyKey": ""})), vec!["topologyKey"]),
            (constraint(json!({"whenUnsatisfiable": "Never"})), vec!["whenUnsatisfiable"]),
            (constraint(json!({"minDomains": 0})), vec!["minDomains"]),
            (constraint(json!({"minDomains": 2, "whenUnsatisfiable": "ScheduleAnyway"})), vec!["minDomains"]),
            (constraint(json!({"nodeAffinityPolicy": "Perhaps"})), vec!["nodeAffinityPolicy"]),
        ] {
            let expected: Vec<String> =
                expected.into_iter().map(|field| format!("topologySpreadConstraints[0].{field}")).collect();
            assert_eq!(fields(spec.clone()), expected, "{spec}");
        }
        let twice = json!([{"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule"}, {"maxSkew": 2, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule"}]);
        let found = fields(json!({"topologySpreadConstraints": twice}));
        assert_eq!(found, ["topologySpreadConstraints[1].{topologyKey, whenUnsatisfiable}"]);
        let liked =
            json!({"affinity": {"podAffinity": {PREFERRED: [{"weight": 101, "podAffinityTerm": {}}]}}});
        let field = format!("affinity.podAffinity.{PREFERRED}[0]");
        assert_eq!(
            fields(liked),
            [format!("{field}.weight"), format!("{field}.podAffinityTerm.topologyKey")]
        );
    }
}
