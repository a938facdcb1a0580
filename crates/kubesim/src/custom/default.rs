//! Defaults of a structural schema.

use serde_json::Value;

/// Fills in what an object leaves out, also inside of defaults.
pub(crate) fn fill(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            let properties = schema["properties"].as_object();
            for (name, property) in properties.into_iter().flatten() {
                let missing = match map.get(name) {
                    None => true,
                    Some(Value::Null) => property["nullable"] != true,
                    Some(_) => false,
                };
                if let Some(default) = property.get("default").filter(|_| missing) {
                    map.insert(name.clone(), default.clone());
                }
                if let Some(inner) = map.get_mut(name) {
                    fill(property, inner);
                }
            }
            if schema["additionalProperties"].is_object() {
                let known = |name: &str| properties.is_some_and(|all| all.contains_key(name));
                for (_, inner) in map.iter_mut().filter(|(name, _)| !known(name)) {
                    fill(&schema["additionalProperties"], inner);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|item| fill(&schema["items"], item)),
        _ => {}
    }
}

/// Whether a schema has a default anywhere. A field of this name has a schema of its own, and is no default.
pub(crate) fn fills(schema: &Value) -> bool {
    let within = |inner: &Value| fills(inner);
    schema.get("default").is_some()
        || schema["properties"].as_object().into_iter().flatten().any(|(_, inner)| within(inner))
        || ["items", "additionalProperties"]
            .iter()
            .any(|place| schema[*place].is_object() && within(&schema[*place]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_fills_in_something_if_a_default_is_anywhere_in_it() {
        let port = json!({"type": "integer", "default": 80});
        for (schema, expected) in [
            (json!({"properties": {"default": {"type": "string"}}}), false),
            (json!({"properties": {"a": {"items": {"properties": {"port": port}}}}}), true),
            (json!({"additionalProperties": port}), true),
            (json!({"additionalProperties": true}), false),
        ] {
            assert_eq!(fills(&schema), expected, "{schema}");
        }
    }

    #[test]
    fn what_is_left_out_is_filled_in_wherever_it_is() {
        let part = json!({"type": "object", "properties": {"port": {"type": "integer", "default": 80}}});
        let schema = json!({"properties": {
            "one": part, "list": {"items": part}, "map": {"additionalProperties": part},
            "made": {"default": {}, "properties": {"deep": {"default": "x"}}},
            "maybe": {"nullable": true, "default": 1},
        }});
        let mut value = json!({"one": {}, "list": [{}, {"port": 1}], "map": {"a": {}}, "maybe": null});
        fill(&schema, &mut value);
        let expected = json!({
            "one": {"port": 80}, "list": [{"port": 80}, {"port": 1}], "map": {"a": {"port": 80}},
            "made": {"deep": "x"}, "maybe": null,
        });
        assert_eq!(value, expected);
    }
}
