//! Input from programs that are not ours: JSON, MessagePack by hand, and what is neither.

use bcs_client::{Client, Error, Raw};
use bcs_kit::quarantine::{self, Replay};
use bcs_schemas::{
    codec::{self, ContentType},
    deploy::ScaleApp,
    envelope::header,
    outcome::{Outcome, RejectionCode},
    stream,
};

use crate::harness::{LONG, Running, Server, accepted, rejected, until};

const SCALE: &str = "bcs.cmd.deploy.local.demo.app.shop.scale";

fn raw(payload: impl Into<Vec<u8>>) -> Raw {
    Raw { subject: SCALE.to_owned(), payload: payload.into().into(), ..Raw::default() }
}

async fn outcome(client: &Client, raw: Raw) -> Outcome {
    let (_, outcome) = client.publish_raw(raw, Some(LONG)).await.expect("is answered");
    outcome.expect("an outcome")
}

#[tokio::test]
async fn json_and_message_pack_are_understood_with_and_without_a_content_type() {
    let server = Server::start();
    let service = Running::start(&server).await;
    let client = server.client().await;
    let packed = codec::encode(&ScaleApp { replicas: 2, ..ScaleApp::default() }).expect("encodes");
    accepted(outcome(&client, raw(r#"{"replicas": 1}"#)).await);
    accepted(outcome(&client, raw(packed.to_vec())).await);
    let json = Raw { content_type: Some(ContentType::Json), ..raw(r#" {"replicas":3}"#) };
    accepted(outcome(&client, json).await);
    let message_pack = Raw { content_type: Some(ContentType::MessagePack), ..raw(packed.to_vec()) };
    accepted(outcome(&client, message_pack).await);
    assert_eq!(service.effects(), [1, 2, 3, 2]);
}

#[tokio::test]
async fn the_answer_has_the_form_of_the_question() {
    let server = Server::start();
    let _service = Running::start(&server).await;
    let client = server.bus("other").await;
    let inbox = client.client().new_inbox();
    let mut answers = client.client().subscribe(inbox.clone()).await.expect("subscribes");
    let mut headers = async_nats::HeaderMap::new();
    headers.insert(header::REPLY_TO, inbox);
    client
        .client()
        .publish_with_headers(SCALE, headers, r#"{"replicas":1}"#.into())
        .await
        .expect("publishes");
    let answer = futures::StreamExt::next(&mut answers).await.expect("an answer");
    let answer: serde_json::Value = serde_json::from_slice(&answer.payload).expect("is JSON");
    assert_eq!(answer["outcome"], "accepted");
}

#[tokio::test]
async fn what_cannot_be_read_is_answered_with_the_field_and_what_was_expected() {
    let server = Server::start();
    let service = Running::start(&server).await;
    let client = server.client().await;
    let with = |name: &str, value: &str| Raw {
        headers: vec![(name.to_owned(), value.to_owned())],
        ..raw(r#"{"replicas":1}"#)
    };
    let at = |subject: &str| Raw { subject: subject.to_owned(), ..raw(r#"{"replicas":1}"#) };
    let truncated = codec::encode(&ScaleApp { replicas: 70_000, ..ScaleApp::default() }).expect("encodes");
    let truncated = raw(truncated[..truncated.len() - 2].to_vec());
    use RejectionCode::{Invalid, Unsupported};
    let cases = [
        (raw(r#"{"replicas":-1}"#), Invalid, "replicas", "-1"),
        (raw(r#"{"replicas":1,"colour":"red"}"#), Invalid, "colour", "unknown field"),
        (raw(r#"{}"#), Invalid, "", "replicas"),
        (raw(r#"{"replicas":"#), Invalid, "", ""),
        (truncated, Invalid, "", ""),
        (raw(vec![0xc1; 50_000]), Invalid, "", ""),
        (with(header::TYPE, "bcs.deploy.app.scale.v9"), Unsupported, header::TYPE, "expected v1"),
        (with(header::TYPE, "bcs.deploy.app.apply.v1"), Invalid, header::TYPE, "does not fit"),
        (with(header::MESSAGE_ID, "17"), Invalid, header::MESSAGE_ID, "a UUID"),
        (with(header::MODE, "try"), Invalid, header::MODE, "apply or plan"),
        (with(header::EXPECTED_REVISION, "x"), Invalid, header::EXPECTED_REVISION, "an integer"),
        (with(header::CONTENT_TYPE, "text/xml"), Invalid, header::CONTENT_TYPE, "application/json"),
        (at("bcs.cmd.deploy.local.demo.app.shop.explode"), Unsupported, "subject", "app.scale"),
        (at("bcs.cmd.deploy.local.demo.app.Shop.scale"), Invalid, "subject", "DNS label"),
        (at("bcs.cmd.deploy.shop"), Invalid, "subject", "another form"),
    ];
    for (raw, code, field, words) in cases {
        let shown = format!("{raw:?}").chars().take(200).collect::<String>();
        let refused = rejected(outcome(&client, raw).await);
        assert_eq!(refused.code, code, "{shown}: {refused:?}");
        let fits = |e: &bcs_schemas::FieldError| e.field.contains(field) && e.problem.contains(words);
        assert!(refused.fields.iter().any(fits), "{shown}: {refused:?}");
    }
    assert!(service.effects().is_empty());
    accepted(outcome(&client, raw(r#"{"replicas":1}"#)).await);
}

#[tokio::test]
async fn garbage_that_nobody_waits_for_lies_in_quarantine_and_blocks_nothing() {
    let server = Server::start();
    let service = Running::start(&server).await;
    let client = server.client().await;
    client.publish_raw(raw(vec![0xff; 1_000]), None).await.expect("is kept");
    accepted(outcome(&client, raw(r#"{"replicas":1}"#)).await);
    until(|| async {
        let letters = quarantine::list(&service.bus).await.map_err(|e| e.to_string())?;
        if letters.len() == 1 { Ok(()) } else { Err(format!("{letters:?}")) }
    })
    .await;
    let (seq, letter) = quarantine::list(&service.bus).await.expect("a list").remove(0);
    assert_eq!((letter.code.as_str(), letter.subject.as_str()), ("undecodable", SCALE));
    assert_eq!(quarantine::unhex(&letter.payload_hex), vec![0xff; 1_000]);
    assert!(quarantine::drop_letter(&service.bus, seq).await.expect("drops"));
    assert!(!quarantine::drop_letter(&service.bus, seq).await.expect("is gone"));
    assert!(quarantine::list(&service.bus).await.expect("a list").is_empty());
}

#[tokio::test]
async fn a_letter_is_replayed_as_a_new_command_that_names_the_old_one() {
    let server = Server::start();
    let service = Running::start(&server).await;
    let client = server.client().await;
    let wrong =
        Raw { headers: vec![(header::MODE.to_owned(), "try".to_owned())], ..raw(r#"{"replicas":1}"#) };
    let (old, _) = client.publish_raw(wrong, None).await.expect("is kept");
    until(|| async {
        match quarantine::list(&service.bus).await.map_err(|e| e.to_string())?.len() {
            1 => Ok(()),
            n => Err(format!("{n} letters")),
        }
    })
    .await;
    let (seq, letter) = quarantine::list(&service.bus).await.expect("a list").remove(0);
    assert!(letter.headers.contains(&(header::MESSAGE_ID.to_owned(), old.clone())), "{letter:?}");
    let new = client.fresh_id();
    let replay = Replay { actor: "grace".to_owned(), id: new, now: client.clock().now() };
    assert_eq!(quarantine::replay(&service.bus, seq, replay).await.expect("replays"), Some(new));
    // It is as wrong as before, so it comes back as another letter: nothing is lost on the way.
    until(|| async {
        let letters = quarantine::list(&service.bus).await.map_err(|e| e.to_string())?;
        let says = |headers: &[(String, String)], name: &str, what: &str| {
            headers.iter().any(|(other, value)| other == name && value == what)
        };
        let names = |headers: &[(String, String)]| {
            says(headers, header::REPLAY_OF, &old)
                && says(headers, header::ACTOR, "grace replaying anonymous")
        };
        match letters.as_slice() {
            [(other, letter)] if *other > seq && names(&letter.headers) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn two_mebibytes_are_refused_with_both_numbers_before_they_are_sent() {
    let server = Server::start();
    let _service = Running::start(&server).await;
    let client = server.client().await;
    let error = client.publish_raw(raw(vec![b'x'; 2 << 20]), Some(LONG)).await.expect_err("too large");
    let limit = usize::try_from(stream::MAX_MESSAGE_SIZE).expect("fits");
    assert!(matches!(error, Error::TooLarge { size, limit: l } if size > 2 << 20 && l == limit), "{error}");
    let error = client.publish_raw(raw(vec![b'x'; limit]), None).await.expect_err("too large");
    assert!(error.to_string().contains("262144"), "{error}");
    accepted(outcome(&client, raw(r#"{"replicas":1}"#)).await);
}

#[tokio::test]
async fn what_the_bus_cannot_carry_and_what_cannot_be_answered_is_refused_before_it_is_sent() {
    let server = Server::start();
    let service = Running::start(&server).await;
    let client = server.client().await;
    let with = |name: &str, value: &str| Raw {
        headers: vec![(name.to_owned(), value.to_owned())],
        ..raw(r#"{"replicas":1}"#)
    };
    for (name, value) in [("bad name", "x"), ("a:b", "x"), ("", "x"), ("Ümlaut", "x"), ("note", "a\r\nb: c")]
    {
        let error = client.publish_raw(with(name, value), Some(LONG)).await.expect_err(name);
        assert!(matches!(&error, Error::Header { name: said } if said == name), "{error}");
    }
    for subject in ["", "bcs.cmd.deploy.local.demo.app.shop.sc ale", "bcs..cmd", "bcs.cmd."] {
        let error = client.publish_raw(Raw { subject: subject.to_owned(), ..raw("{}") }, Some(LONG)).await;
        assert!(matches!(error, Err(Error::Subject { .. })), "{subject:?}: {error:?}");
    }
    let error = client.publish_raw(with(header::REPLY_TO, "foo"), Some(LONG)).await.expect_err("no inbox");
    assert!(matches!(error, Error::ReplyTo(_)) && error.to_string().contains("_INBOX"), "{error}");
    // The outcome goes to another inbox, and we find the stored one.
    accepted(outcome(&client, with(header::REPLY_TO, "_INBOX.other")).await);
    assert_eq!(service.effects(), [1]);
}

#[tokio::test]
async fn a_repeat_whose_outcome_cannot_be_found_says_so_at_once() {
    let server = Server::start();
    let service = Running::start(&server).await;
    let client = server.client().await;
    let named = || Raw {
        headers: vec![(header::MESSAGE_ID.to_owned(), "monday".to_owned())],
        ..raw(r#"{"replicas":1}"#)
    };
    assert_eq!(rejected(outcome(&client, named()).await).code, RejectionCode::Invalid);
    let error = client.publish_raw(named(), Some(LONG)).await.expect_err("is dropped by the bus");
    assert!(matches!(&error, Error::Repeated { command_id } if command_id == "monday"), "{error}");
    assert!(service.effects().is_empty());
}
