use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Strict {
    id: Uuid,
    inner: Inner,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inner {
    replicas: u32,
}

fn strict() -> Strict {
    Strict { id: Uuid::from_u128(7), inner: Inner { replicas: 3 } }
}

#[test]
fn a_message_survives_the_wire_and_reads_as_json() {
    let bytes = encode(&strict()).expect("encodes");
    assert_eq!(decode::<Strict>(&bytes), Ok(strict()));
    let json = to_json(ContentType::MessagePack, &bytes).expect("is JSON");
    assert_eq!(json["id"], "00000000-0000-0000-0000-000000000007");
    assert_eq!(decode_json::<Strict>(json.to_string().as_bytes()), Ok(strict()));
}

#[test]
fn an_error_names_the_field_and_what_was_expected() {
    let cases = [
        (r#"{"id":"00000000-0000-0000-0000-000000000007","inner":{"replicas":-1}}"#, "inner.replicas", "u32"),
        (r#"{"id":"x","inner":{"replicas":1}}"#, "id", "UUID"),
        (
            r#"{"id":"00000000-0000-0000-0000-000000000007","inner":{"replica":1}}"#,
            "inner.replica",
            "expected `replicas`",
        ),
        (r#"{"id":"00000000-0000-0000-0000-000000000007"}"#, ".", "missing field `inner`"),
    ];
    for (json, field, words) in cases {
        let error = decode_json::<Strict>(json.as_bytes()).expect_err(json);
        assert_eq!(error.field, field, "{error}");
        assert!(error.problem.contains(words), "{error}");
    }
}

#[test]
fn garbage_is_refused_and_never_panics() {
    let good = encode(&strict()).expect("encodes");
    for cut in 0..good.len() {
        assert!(decode::<Strict>(&good[..cut]).is_err(), "truncated at {cut}");
    }
    let mut longer = good.to_vec();
    longer.push(0);
    assert!(decode::<Strict>(&longer).expect_err("trailing").problem.contains("1 bytes follow"));
    assert!(decode::<serde_json::Value>(&vec![0x91; 100_000]).is_err(), "deep nesting");
    assert!(
        decode::<serde_json::Value>(&[0xdd, 0xff, 0xff, 0xff, 0xff]).is_err(),
        "a claim of four billion items"
    );
    assert!(decode_json::<serde_json::Value>(&vec![b'['; 100_000]).is_err(), "deep nesting in JSON");
    assert!(decode::<Strict>(br#"{"id":"x"}"#).is_err(), "JSON under a MessagePack header");
}

#[test]
fn a_payload_without_a_content_type_is_recognised() {
    assert_eq!(ContentType::guess(b"{}"), ContentType::Json);
    assert_eq!(ContentType::guess(b"  {}"), ContentType::Json);
    assert_eq!(ContentType::guess(&encode(&strict()).expect("encodes")), ContentType::MessagePack);
    assert!(ContentType::parse("text/plain").is_err());
    assert_eq!(ContentType::parse("application/json; charset=utf-8"), Ok(ContentType::Json));
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_give_an_error_and_nothing_worse(bytes: Vec<u8>) {
        let _ = decode::<Strict>(&bytes);
        let _ = decode_json::<Strict>(&bytes);
        let _ = decode::<serde_json::Value>(&bytes);
    }
}

#[test]
fn a_door_refuses_an_unknown_field_that_a_reader_skips() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Tolerant {
        inner: Option<Part>,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Part {
        size: u32,
    }
    let payload = br#"{"inner":{"size":1,"colour":"red"}}"#;
    assert_eq!(decode_json(payload), Ok(Tolerant { inner: Some(Part { size: 1 }) }));
    let error = decode_strict::<Tolerant>(ContentType::Json, payload).expect_err("strict");
    assert_eq!(error.field, "inner.colour");
}

#[test]
fn a_door_says_which_form_it_expected_when_the_bytes_are_of_none() {
    let good = encode(&strict()).expect("encodes");
    for (form, payload) in [
        (ContentType::Json, br#"{"id":"x""#.as_slice()),
        (ContentType::Json, b"\xff\xfe\x00"),
        (ContentType::MessagePack, br#"{"id":"x"}"#),
        (ContentType::MessagePack, &good[..good.len() - 1]),
        (ContentType::MessagePack, b"\xc1\xc1"),
        (ContentType::MessagePack, b""),
    ] {
        let error = decode_strict::<Strict>(form, payload).expect_err("is of no form");
        assert_eq!(error.field, "payload", "{error}");
        assert!(error.problem.contains(form.as_str()), "{error}");
    }
}

#[test]
fn a_door_refuses_a_field_that_is_there_twice() {
    let twice: &[(ContentType, &[u8], &str)] = &[
        (ContentType::Json, br#"{"a":1,"a":2}"#, "a"),
        (ContentType::Json, br#"{"a":[{},{"b":{"c":1,"c":1}}]}"#, "a[1].b.c"),
        (ContentType::MessagePack, b"\x82\xa1a\x01\xa1a\x02", "a"),
        (ContentType::MessagePack, b"\x91\x82\xa1a\x01\xa1a\x02", "[0].a"),
    ];
    for (form, payload, path) in twice {
        let error = decode_strict::<serde_json::Value>(*form, payload).expect_err(path);
        assert_eq!(
            (error.field.as_str(), error.problem.as_str()),
            (*path, "is there twice: expected it once")
        );
    }
}

#[test]
fn what_is_no_number_is_not_taken_for_nothing_at_a_door() {
    let one = |number: f64| encode(&std::collections::BTreeMap::from([("a", number)])).expect("encodes");
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let read = decode_strict::<serde_json::Value>(ContentType::MessagePack, &one(number));
        assert!(read.expect_err("no number").problem.contains("is no number"));
    }
    let read = decode_strict::<serde_json::Value>(ContentType::MessagePack, &one(0.5));
    assert_eq!(read, Ok(serde_json::json!({ "a": 0.5 })));
}

#[test]
fn a_number_is_read_as_it_was_written() {
    // A reader that is only nearly exact takes these for their neighbours.
    for text in ["2.2250738585072011e-308", "1.7976931348623157e308", "0.30000000000000004", "5e-324"] {
        let number: f64 = text.parse().expect("a number");
        let read = decode_json::<serde_json::Value>(text.as_bytes()).expect("a number");
        assert_eq!(read.as_f64(), Some(number), "{text}");
        assert_eq!(decode_json(read.to_string().as_bytes()), Ok(read), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn a_door_reads_what_everybody_reads(bytes: Vec<u8>) {
        for form in [ContentType::Json, ContentType::MessagePack] {
            let strict = decode_strict::<serde_json::Value>(form, &bytes);
            if let Ok(value) = &strict {
                let tolerant = decode_as::<serde_json::Value>(form, &bytes);
                proptest::prop_assert_eq!(tolerant.as_ref(), Ok(value));
            }
        }
    }
}
