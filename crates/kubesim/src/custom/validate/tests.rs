use serde_json::json;

use super::*;

fn said(spec: &Value, value: &Value) -> Vec<String> {
    let mut causes = Vec::new();
    walk(spec, value, "spec", &mut causes);
    causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

#[test]
fn what_is_wrong_is_said_as_the_real_server_says_it() {
    for (schema, value, expected) in [
        (
            json!({"type": "integer"}),
            json!("x"),
            "spec: Invalid value: \"x\": spec in body must be of type integer: \"x\"",
        ),
        (
            json!({"type": "object"}),
            json!([]),
            "spec: Invalid value: \"array\": spec in body must be of type object: \"array\"",
        ),
        (
            json!({"type": "integer", "maximum": 10}),
            json!(11),
            "spec: Invalid value: 11: spec in body should be less than or equal to 10",
        ),
        (
            json!({"type": "integer", "minimum": 1, "exclusiveMinimum": true}),
            json!(1),
            "spec: Invalid value: 1: spec in body should be greater than 1",
        ),
        (
            json!({"type": "string", "pattern": "^a+$"}),
            json!("b"),
            "spec: Invalid value: \"b\": spec in body should match '^a+$'",
        ),
        (
            json!({"type": "string", "maxLength": 2}),
            json!("abc"),
            "spec: Too long: may not be more than 2 bytes",
        ),
        (
            json!({"type": "string", "minLength": 1}),
            json!(""),
            "spec: Invalid value: \"\": spec in body should be at least 1 chars long",
        ),
        (
            json!({"type": "string", "enum": ["a", "b"]}),
            json!("c"),
            "spec: Unsupported value: \"c\": supported values: \"a\", \"b\"",
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            json!("soon"),
            "spec: Invalid value: \"soon\": spec in body must be of type date-time: \"soon\"",
        ),
        (
            json!({"type": "array", "maxItems": 1, "items": {}}),
            json!([1, 2]),
            "spec: Too many: 2: must have at most 1 items",
        ),
        (
            json!({"type": "object", "required": ["a"], "properties": {"a": {}}}),
            json!({}),
            "spec.a: Required value",
        ),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!(true),
            "spec: Invalid value: true: spec in body must be of type integer,string: true",
        ),
        (
            json!({"anyOf": [{"required": ["a"]}, {"required": ["b"]}], "type": "object"}),
            json!({"c": 1}),
            "spec: Invalid value: \"object\": spec in body must validate at least one schema (anyOf)",
        ),
        (
            json!({"not": {"required": ["a"]}, "type": "object"}),
            json!({"a": 1}),
            "spec: Invalid value: \"object\": spec in body must not validate the schema (not)",
        ),
    ] {
        assert_eq!(said(&schema, &value), [expected], "{schema} of {value}");
    }
}

#[test]
fn what_fits_is_not_objected_to() {
    for (schema, value) in [
        (json!({"type": "integer", "format": "int32"}), json!(2_147_483_647)),
        (json!({"type": "number"}), json!(1.5)),
        (json!({"type": "string", "nullable": true}), json!(null)),
        (json!({"type": "object", "additionalProperties": {"type": "integer"}}), json!({"a": 1})),
        (json!({"x-kubernetes-int-or-string": true}), json!("25%")),
        (json!({"oneOf": [{"required": ["a"]}, {"required": ["b"]}], "type": "object"}), json!({"a": 1})),
    ] {
        assert_eq!(said(&schema, &value), [""; 0], "{schema} of {value}");
    }
}

#[test]
fn items_of_sets_and_keyed_lists_are_there_once() {
    for (schema, value, expected) in [
        (
            json!({"type": "array", "x-kubernetes-list-type": "set", "items": {}}),
            json!(["a", "a"]),
            "spec[1]: Duplicate value: \"a\"",
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {}}),
            json!([{"name": "a", "x": 1}, {"name": "a", "x": 2}]),
            "spec[1]: Duplicate value: {\"name\":\"a\"}",
        ),
    ] {
        assert_eq!(said(&schema, &value), [expected], "{schema} of {value}");
    }
}
