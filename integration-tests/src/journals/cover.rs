//! Whether recordings hold everything that events can say: every type, every field, every variant.

use std::collections::BTreeMap;

use anyhow::Result;
use bcs_schemas::{MessageSet, MessageType, cluster::ClusterEvent, deploy::DeployEvent};
use serde_json::{Map, Value};

use super::recording::Recording;

/// What no event of these recordings says, each with its type and field.
pub fn missing<'a>(recordings: impl IntoIterator<Item = &'a Recording>) -> Result<Vec<String>> {
    let mut by_type: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for recording in recordings {
        for event in recording.events()? {
            by_type.entry(event.type_name).or_default().push(event.payload);
        }
    }
    let of_deploy = types::<DeployEvent>().chain(types::<ClusterEvent>());
    let mut missing = Vec::new();
    for (name, ty) in of_deploy {
        let Some(payloads) = by_type.get(&name) else {
            missing.push(format!("{name}: no such event"));
            continue;
        };
        let schema = (ty.schema)().to_value();
        let payloads: Vec<&Value> = payloads.iter().collect();
        Search { root: &schema, missing: &mut missing }.look(&name, &schema, &payloads);
    }
    Ok(missing)
}

fn types<M: MessageSet>() -> impl Iterator<Item = (String, &'static MessageType)> {
    M::TYPES.iter().map(|ty| (format!("bcs.{}.{}.{}.v{}", M::SERVICE, ty.kind, ty.verb, ty.version), ty))
}

struct Search<'a> {
    root: &'a Value,
    missing: &'a mut Vec<String>,
}

impl Search<'_> {
    /// Looks for everything that the schema describes at `path` among the values that were found there.
    fn look(&mut self, path: &str, schema: &Value, found: &[&Value]) {
        if found.is_empty() {
            return self.missing.push(format!("{path}: no value"));
        }
        if let Some(reference) = schema["$ref"].as_str() {
            let target = self.root.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Null);
            self.look(path, target, found);
        }
        if schema["type"] == "boolean" && !found.contains(&&Value::Bool(true)) {
            self.missing.push(format!("{path}: never true"));
        }
        for (name, inner) in members(schema, "properties") {
            let values: Vec<&Value> =
                found.iter().filter_map(|v| v.get(name)).filter(|v| !v.is_null()).collect();
            self.look(&format!("{path}: {name}"), inner, &values);
        }
        let patterns = members(schema, "patternProperties").map(|(_, inner)| inner);
        for inner in patterns.chain(schema.get("additionalProperties").filter(|inner| inner.is_object())) {
            let values: Vec<&Value> =
                found.iter().filter_map(|v| v.as_object()).flat_map(Map::values).collect();
            self.look(&format!("{path}.*"), inner, &values);
        }
        if let Some(inner) = schema.get("items") {
            let values: Vec<&Value> = found.iter().filter_map(|v| v.as_array()).flatten().collect();
            self.look(&format!("{path}[]"), inner, &values);
        }
        for inner in schema["oneOf"].as_array().into_iter().flatten() {
            // What a reader of before makes of it is never decided.
            let constant = &inner["const"];
            if !constant.is_null() && constant != "unknown" && !found.contains(&constant) {
                self.missing.push(format!("{path}: never {constant}"));
            }
        }
        if let Some([inner, null]) = schema["anyOf"].as_array().map(Vec::as_slice)
            && null["type"] == "null"
        {
            self.look(path, inner, found);
        }
    }
}

fn members<'a>(schema: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    schema[key].as_object().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_never_said_is_named() {
        let schema = json!({
            "$defs": { "Mood": { "oneOf": [{ "const": "good" }, { "const": "bad" }, { "const": "unknown" }] } },
            "properties": {
                "mood": { "$ref": "#/$defs/Mood" },
                "forced": { "type": "boolean" },
                "names": { "type": "array", "items": { "type": "string" } },
                "weights": { "type": "object", "additionalProperties": { "type": "integer" } },
                "maybe": { "anyOf": [{ "$ref": "#/$defs/Mood" }, { "type": "null" }] },
            },
        });
        let search = |found: &[Value]| {
            let mut missing = Vec::new();
            Search { root: &schema, missing: &mut missing }.look(
                "m",
                &schema,
                &found.iter().collect::<Vec<_>>(),
            );
            missing
        };
        let all = [
            json!({ "mood": "good", "maybe": "bad", "forced": true, "names": ["a"], "weights": { "a": 1 } }),
            json!({ "mood": "bad", "maybe": "good" }),
        ];
        assert_eq!(search(&all), Vec::<String>::new());
        let little = [json!({ "mood": "good", "maybe": null, "forced": false, "names": [], "weights": {} })];
        let expected = [
            "m: forced: never true",
            "m: maybe: no value",
            r#"m: mood: never "bad""#,
            "m: names[]: no value",
            "m: weights.*: no value",
        ];
        assert_eq!(search(&little), expected);
    }
}
