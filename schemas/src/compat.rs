//! Whether a newer catalogue still understands an older one. Inside a version a message only ever grows: what was sent,
//! or lies in a journal, stays readable, and programs of before go on working. Anything else is a new version of it.

mod catalogue;
mod change;
mod shape;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::FieldError;

/// Where it says what to do.
const CHECKLIST: &str = "docs/changing-messages.md";

/// Generated files, by their path below `schemas/`: `json/<name>.json` and `asyncapi.yaml`.
pub type Tree = BTreeMap<String, Value>;

/// Which way a message goes between us and programs of other versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Others ask, we read strictly: commands, resources, queries. What was taken must go on being taken.
    Asked,
    /// We tell and keep, others read tolerantly: events, observations, answers; and what goes both ways, such as steps.
    /// What was told must stay readable, and readers of before must be able to read what is told now.
    Told,
}

/// What keeps the catalogue `new` from taking the place of `old`: one sentence each, with the file, the field, what
/// changed, and what to do.
pub fn tree(old: &Tree, new: &Tree) -> Vec<String> {
    let empty = Value::Null;
    let (before, after) =
        (old.get("asyncapi.yaml").unwrap_or(&empty), new.get("asyncapi.yaml").unwrap_or(&empty));
    let commands = catalogue::commands(before);
    let mut problems = Vec::new();
    for (file, schema) in old.iter().filter(|(file, _)| file.starts_with("json/")) {
        let Some(now) = new.get(file) else {
            problems.push(format!(
                "{file}: is gone, and programs of before send it or have kept it: keep the type, as a former version if \
                 there is a newer one ({CHECKLIST})"
            ));
            continue;
        };
        let name = file.trim_start_matches("json/").trim_end_matches(".json");
        for FieldError { field, problem } in self::schema(flow(name, &commands), schema, now) {
            let next = next_version(name);
            problems.push(format!(
                "{file}: {field}: {problem}: leave it as it was, and make {next} ({CHECKLIST})"
            ));
        }
    }
    problems
        .extend(catalogue::compare(before, after).into_iter().map(|error| format!("asyncapi.yaml: {error}")));
    problems
}

/// What keeps the JSON Schema `new` from taking the place of `old`, by field.
pub fn schema(flow: Flow, old: &Value, new: &Value) -> Vec<FieldError> {
    change::Comparison::new(flow, old, new).problems()
}

fn flow(name: &str, commands: &BTreeSet<String>) -> Flow {
    let asked = ["resource.", "query."].iter().any(|family| name.starts_with(family));
    if asked || commands.contains(name) { Flow::Asked } else { Flow::Told }
}

/// `bcs.deploy.app.scale.v2` after `bcs.deploy.app.scale.v1`.
fn next_version(name: &str) -> String {
    let next =
        name.rsplit_once(".v").and_then(|(stem, version)| Some((stem, version.parse::<u32>().ok()? + 1)));
    next.map_or_else(|| format!("a new version of {name}"), |(stem, version)| format!("{stem}.v{version}"))
}

/// Whether `new` is `old`, or `old` with more members in its objects: a default of a field that has grown.
fn grown(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            old.iter().all(|(key, value)| new.get(key).is_some_and(|now| grown(value, now)))
        }
        _ => old == new,
    }
}

#[cfg(test)]
mod tests;
