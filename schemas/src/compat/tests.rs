use Verdict::{Fine, Refused};
use serde_json::{Value, json};

use super::*;

#[derive(Clone, Copy, Debug)]
enum Verdict {
    Fine,
    /// With the field and these words.
    Refused(&'static str, &'static str),
}

/// A change, and what comes of it where we are asked and where we tell.
type Case = (&'static str, Value, Value, Verdict, Verdict);

fn check(cases: Vec<Case>) {
    for (name, old, new, asked, told) in cases {
        for (flow, expected) in [(Flow::Asked, asked), (Flow::Told, told)] {
            let found = schema(flow, &old, &new);
            match (expected, found.as_slice()) {
                (Fine, []) => (),
                (Refused(field, words), [one]) if one.field == field && one.problem.contains(words) => (),
                (_, found) => panic!("{name}, {flow:?}: expected {expected:?}, found {found:?}"),
            }
            assert_eq!(schema(flow, &old, &old), [], "{name}: nothing changed");
        }
    }
}

/// An object as schemars writes one.
fn object(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required })
}

/// A message with the field `f`, which is required.
fn with(f: Value) -> Value {
    object(json!({ "f": f }), &["f"])
}

/// An enum of plain variants, with documentation.
fn variants(values: &[&str]) -> Value {
    let all: Vec<Value> = values
        .iter()
        .map(|v| json!({ "const": v, "type": "string", "description": format!("{v}.") }))
        .collect();
    json!({ "oneOf": all })
}

const AND_READERS: &str = "readers of before do not understand that";
const AND_REFUSED: &str = "would be refused";
const AND_UNREADABLE: &str = "could not be read";

#[test]
fn fields_may_come_when_they_are_optional_and_never_go() {
    let (text, one) =
        (json!({ "type": "string" }), json!({ "type": "integer", "format": "uint32", "minimum": 0 }));
    let a = || object(json!({ "a": text }), &["a"]);
    let optional = || object(json!({ "a": text, "b": one }), &["a"]);
    let required = || object(json!({ "a": text, "b": one }), &["a", "b"]);
    let renamed = object(json!({ "c": text }), &["c"]);
    let closed = json!({ "type": "object", "properties": { "a": text }, "required": ["a"], "additionalProperties": false });
    let mut grown = closed.clone();
    grown["properties"]["b"] = one.clone();
    check(vec![
        ("a new optional field", a(), optional(), Fine, Fine),
        ("a new required field", a(), required(), Refused("b", AND_REFUSED), Refused("b", AND_UNREADABLE)),
        ("a removed field", optional(), a(), Refused("b", "is gone"), Refused("b", "is gone")),
        (
            "a field made required",
            optional(),
            required(),
            Refused("b", AND_REFUSED),
            Refused("b", AND_UNREADABLE),
        ),
        ("a field made optional", required(), optional(), Fine, Refused("b", AND_READERS)),
        ("a new field where readers are strict", closed, grown, Fine, Refused("b", AND_READERS)),
    ]);
    let found = schema(Flow::Told, &a(), &renamed);
    let fields: Vec<&str> = found.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["a", "c"], "a new name is another field");
}

#[test]
fn a_field_keeps_its_type_and_its_default() {
    let text = || with(json!({ "type": "string" }));
    let number = with(json!({ "type": "integer" }));
    let optional = || with(json!({ "type": ["string", "null"] }));
    let (name, maybe) = (
        json!({ "$ref": "#/$defs/Name" }),
        json!({ "anyOf": [{ "$ref": "#/$defs/Name" }, { "type": "null" }] }),
    );
    let defined = |f: &Value| {
        let mut message = with(f.clone());
        message["$defs"] =
            json!({ "Name": { "type": "string", "pattern": "^[a-z]+$", "description": "a name" } });
        message
    };
    let inline = with(json!({ "type": "string", "pattern": "^[a-z]+$" }));
    let default = |value: Value| object(json!({ "f": { "type": "integer", "default": value } }), &[]);
    let nested = |value: Value| object(json!({ "f": { "type": "object", "default": value } }), &[]);
    let words = json!({ "title": "T", "type": "object", "properties": { "f": { "type": "string", "description": "New words." } }, "required": ["f"] });
    check(vec![
        (
            "another type",
            text(),
            number,
            Refused("f", "is integer and was string"),
            Refused("f", "is integer and was string"),
        ),
        ("null becomes possible", text(), optional(), Fine, Refused("f", AND_READERS)),
        (
            "null is not possible any more",
            optional(),
            text(),
            Refused("f", AND_REFUSED),
            Refused("f", AND_UNREADABLE),
        ),
        ("the same by reference, nullable", defined(&name), defined(&maybe), Fine, Refused("f", AND_READERS)),
        ("written out in place of a reference", defined(&name), inline, Fine, Fine),
        ("other words", text(), words, Fine, Fine),
        (
            "another default",
            default(json!(1)),
            default(json!(2)),
            Refused("f", "is 2 when absent and was 1"),
            Refused("f", "was 1"),
        ),
        (
            "a default that has grown",
            nested(json!({ "a": 1 })),
            nested(json!({ "a": 1, "b": 2 })),
            Fine,
            Fine,
        ),
        (
            "a default that lost something",
            nested(json!({ "a": 1, "b": 2 })),
            nested(json!({ "a": 1 })),
            Refused("f", "when absent"),
            Refused("f", "when absent"),
        ),
    ]);
}

#[test]
fn bounds_are_never_narrowed_and_widened_only_where_we_are_asked() {
    let integer = |format: &str, bounds: Value| {
        let mut f = json!({ "type": "integer", "format": format });
        f.as_object_mut().expect("an object").extend(bounds.as_object().cloned().expect("bounds"));
        with(f)
    };
    let u16 = || integer("uint16", json!({ "minimum": 0, "maximum": 65535 }));
    let small = || integer("uint16", json!({ "minimum": 1, "maximum": 65535 }));
    let tiny = integer("uint16", json!({ "minimum": 0, "maximum": 10 }));
    let (u32, u64) =
        (|| integer("uint32", json!({ "minimum": 0 })), || integer("uint64", json!({ "minimum": 0 })));
    let text = |more: Value| {
        let mut f = json!({ "type": "string" });
        f.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("more"));
        with(f)
    };
    let list = |most: u32| with(json!({ "type": "array", "items": { "type": "string" }, "maxItems": most }));
    let (narrower, read) = (Refused("f", AND_REFUSED), Refused("f", AND_UNREADABLE));
    check(vec![
        ("a lower minimum", small(), u16(), Fine, Refused("f", AND_READERS)),
        ("a higher minimum", u16(), small(), narrower, read),
        ("a lower maximum", u16(), tiny, narrower, read),
        ("more bits", u32(), u64(), Fine, Refused("f", "uint64")),
        ("fewer bits", u64(), u32(), narrower, read),
        (
            "signed in place of unsigned",
            u32(),
            integer("int32", json!({ "minimum": 0 })),
            Refused("f", "something else"),
            Refused("f", "something else"),
        ),
        ("a length", text(json!({})), text(json!({ "maxLength": 63 })), narrower, read),
        ("more items", list(2), list(3), Fine, Refused("f", AND_READERS)),
        ("a pattern", text(json!({})), text(json!({ "pattern": "^a" })), narrower, read),
        ("no pattern", text(json!({ "pattern": "^a" })), text(json!({})), Fine, Refused("f", AND_READERS)),
        (
            "another pattern",
            text(json!({ "pattern": "^a" })),
            text(json!({ "pattern": "^b" })),
            Refused("f", "something else"),
            Refused("f", "something else"),
        ),
        (
            "another format",
            text(json!({ "format": "uuid" })),
            text(json!({ "format": "ip" })),
            Refused("f", "something else"),
            Refused("f", "something else"),
        ),
        (
            "a keyword that nobody knows",
            text(json!({})),
            text(json!({ "not": {} })),
            Refused("f", "something else"),
            Refused("f", "something else"),
        ),
    ]);
}

#[test]
fn variants_may_come_where_readers_have_something_to_read_them_as() {
    let plain = |values: &[&str]| with(variants(values));
    let undocumented = with(json!({ "type": "string", "enum": ["a", "b"] }));
    let outcome = |tags: &[&str]| {
        let all: Vec<Value> = tags
            .iter()
            .map(|tag| {
                object(
                    json!({ "result": { "const": tag, "type": "string" }, "n": { "type": "integer" } }),
                    &["result", "n"],
                )
            })
            .collect();
        json!({ "oneOf": all })
    };
    let driver = |names: &[&str]| {
        let all: Vec<Value> = names
            .iter()
            .map(|name| json!({ "type": "object", "properties": { *name: { "type": "string" } }, "required": [name], "additionalProperties": false }))
            .collect();
        with(json!({ "oneOf": all }))
    };
    let inside = with(json!({ "anyOf": [variants(&["a", "b"]), { "type": "null" }] }));
    check(vec![
        ("a variant", plain(&["a"]), plain(&["a", "b"]), Fine, Refused("f", AND_READERS)),
        ("a variant beside `unknown`", plain(&["a", "unknown"]), plain(&["a", "b", "unknown"]), Fine, Fine),
        (
            "a variant together with `unknown`",
            plain(&["a"]),
            plain(&["a", "unknown"]),
            Fine,
            Refused("f", AND_READERS),
        ),
        (
            "a variant less",
            plain(&["a", "b"]),
            plain(&["a"]),
            Refused("f", AND_REFUSED),
            Refused("f", r#""b" is not possible"#),
        ),
        ("variants without their documentation", plain(&["a", "b"]), undocumented, Fine, Fine),
        ("an enum that may be absent", plain(&["a", "b"]), inside, Fine, Refused("f", "null is possible")),
        (
            "a tagged variant",
            outcome(&["done"]),
            outcome(&["done", "late"]),
            Fine,
            Refused("the message", "late"),
        ),
        (
            "a tagged variant beside `unknown`",
            outcome(&["done", "unknown"]),
            outcome(&["done", "late", "unknown"]),
            Fine,
            Fine,
        ),
        (
            "a tagged variant less",
            outcome(&["done", "late"]),
            outcome(&["done"]),
            Refused("the message", "late"),
            Refused("the message", "late"),
        ),
        (
            "a variant named by its field",
            driver(&["file"]),
            driver(&["file", "etcd"]),
            Fine,
            Refused("f", "etcd"),
        ),
    ]);
}

#[test]
fn what_lies_deep_is_compared_too() {
    let old = json!({
        "$defs": { "Share": object(json!({ "weight": { "type": "integer", "format": "uint32" } }), &["weight"]) },
        "type": "object",
        "properties": {
            "list": { "type": "array", "items": { "$ref": "#/$defs/Share" } },
            "map": { "type": "object", "additionalProperties": { "$ref": "#/$defs/Share" } },
            "named": { "type": "object", "patternProperties": { "^[a-z]$": { "$ref": "#/$defs/Share" } }, "additionalProperties": false },
            "tagged": { "oneOf": [{
                "$ref": "#/$defs/Share", "type": "object",
                "properties": { "type": { "const": "share", "type": "string" } }, "required": ["type"],
            }] },
        },
    });
    let mut new = old.clone();
    new["$defs"]["Share"]["properties"] = json!({});
    new["$defs"]["Share"]["required"] = json!([]);
    let found = schema(Flow::Told, &old, &new);
    let fields: Vec<&str> = found.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["list.[].weight", "map.*.weight", "named.*.weight", "tagged.weight"]);
    let mut closed = old.clone();
    closed["properties"]["map"] = json!({ "type": "object", "additionalProperties": false });
    assert_eq!(schema(Flow::Asked, &old, &closed).len(), 1);
    let mut otherwise = old.clone();
    otherwise["properties"]["named"]["patternProperties"] = json!({ "^.*$": { "$ref": "#/$defs/Share" } });
    assert!(schema(Flow::Told, &old, &otherwise)[0].problem.contains("other names"));
    let recursive = json!({ "$defs": { "T": { "type": "array", "items": { "$ref": "#/$defs/T" } } }, "$ref": "#/$defs/T" });
    assert_eq!(schema(Flow::Told, &recursive, &recursive), []);
}

fn catalogue() -> Tree {
    let files = crate::asyncapi::files();
    files.into_iter().map(|(name, text)| (name, serde_json::from_str(&text).expect("is JSON"))).collect()
}

#[test]
fn a_catalogue_grows_and_nothing_of_it_goes() {
    let old = catalogue();
    assert_eq!(tree(&old, &old), Vec::<String>::new());
    let mut more = old.clone();
    more.insert("json/bcs.deploy.app.pause.v1.json".to_owned(), json!({ "type": "object" }));
    more.get_mut("asyncapi.yaml").expect("is there")["channels"]["cmd.deploy.app.pause"] =
        json!({ "address": "x" });
    assert_eq!(tree(&old, &more), Vec::<String>::new());
    assert!(!tree(&more, &old).is_empty(), "and not the other way round");

    type Spoil = fn(&mut Tree);
    let spoilt: [(&str, Spoil, &[&str]); 7] = [
        (
            "a type",
            |t| drop(t.remove("json/bcs.deploy.app.scaled.v1.json")),
            &["json/bcs.deploy.app.scaled.v1.json", "is gone"],
        ),
        (
            "a field of an event",
            |t| forget(t, "json/bcs.deploy.app.scaled.v1.json", "/properties", "replicas"),
            &[
                "json/bcs.deploy.app.scaled.v1.json: replicas: is gone",
                "make bcs.deploy.app.scaled.v2",
                "docs/changing-messages.md",
            ],
        ),
        (
            "a channel",
            |t| forget(t, "asyncapi.yaml", "/channels", "evt.deploy.app.scaled"),
            &["channels.evt.deploy.app.scaled", "is gone"],
        ),
        (
            "a subject",
            |t| forget(t, "asyncapi.yaml", "/channels/evt.deploy.app.scaled", "address"),
            &["another subject"],
        ),
        (
            "a message",
            |t| forget(t, "asyncapi.yaml", "/channels/evt.deploy.app.scaled", "messages"),
            &["takes no bcs.deploy.app.scaled.v1"],
        ),
        (
            "a stream",
            |t| forget(t, "asyncapi.yaml", "/x-jetstream", "streams"),
            &["x-jetstream.streams.CMD_DEPLOY", "never deleted"],
        ),
        (
            "a bucket",
            |t| forget(t, "asyncapi.yaml", "/x-jetstream", "buckets"),
            &["x-jetstream.buckets.endpoints"],
        ),
    ];
    for (name, spoil, words) in spoilt {
        let mut new = old.clone();
        spoil(&mut new);
        let found = tree(&old, &new).join("\n");
        for words in words {
            assert!(found.contains(words), "{name}: {words:?} is missing in {found:?}");
        }
    }
}

fn forget(tree: &mut Tree, file: &str, path: &str, key: &str) {
    let object = tree.get_mut(file).and_then(|document| document.pointer_mut(path));
    object.and_then(Value::as_object_mut).expect(path).remove(key).expect(key);
}

#[test]
fn commands_and_documents_are_asked_and_the_rest_is_told() {
    let commands = super::catalogue::commands(&catalogue()["asyncapi.yaml"]);
    for (name, expected) in [
        ("bcs.deploy.app.scale.v1", Flow::Asked),
        ("bcs.deploy.app.scaled.v1", Flow::Told),
        ("resource.app.v1", Flow::Asked),
        ("query.v1", Flow::Asked),
        ("query.past.v1", Flow::Asked),
        ("view.app.v1", Flow::Told),
        ("observation.endpoint.v1", Flow::Told),
        ("outcome.v1", Flow::Told),
        ("agent.mark-request.v1", Flow::Told),
        ("agent.step-request.v1", Flow::Told),
    ] {
        assert_eq!(flow(name, &commands), expected, "{name}");
    }
}
