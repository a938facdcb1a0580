//! What is wrong is refused in words that name the field and what was expected, whoever sends it and however, and the
//! service goes on.

use anyhow::{Result, ensure};
use bcs_integration_tests::harness::{Failed, Lab, Options, Ran, Up};
use serde_json::{Value, json};

use crate::{
    raw::{Sender, msgpack, subject},
    world::{agrees, app, apply},
};

/// A platform with an application `good` on it.
async fn platform(lab: &Lab) -> Result<Up> {
    let up = Up::start(lab, Options::default()).await?;
    apply(&up, &app("good", &["sim-a"], 1, "v1", Value::Null), &["--wait"]).await?;
    Ok(up)
}

/// A good command right after the bad ones.
async fn goes_on(up: &Up) -> Result<()> {
    up.cli().ok(&["status"]).await?;
    up.cli().ok(&["scale", "app", "good", "--replicas", "2", "--wait"]).await?;
    agrees(up, None, &[("good", 2, "v1")]).await?;
    Ok(())
}

fn says(ran: &Ran, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(ran.text().contains(word), "{word:?} is not said by {ran}");
    }
    Ok(())
}

fn changed(path: &str, value: Value) -> String {
    let mut document = app("bad", &["sim-a"], 1, "v1", Value::Null);
    if let Some(place) = document.pointer_mut(path) {
        *place = value;
    } else if let Some((parent, field)) = path.rsplit_once('/') {
        document
            .pointer_mut(parent)
            .and_then(Value::as_object_mut)
            .map(|o| o.insert(field.to_owned(), value));
    }
    document.to_string()
}

#[tokio::test]
async fn a_wrong_file_is_refused_by_the_command_line_before_anything_is_sent() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let up = platform(lab).await?;
        let cases: [(String, &[&str]); 10] = [
            ("kind: App\n  name: [".to_owned(), &["line 2"]),
            ("just words".to_owned(), &["no resource", "apiVersion"]),
            (String::new(), &["holds no document"]),
            (changed("/kind", json!("Ape")), &["kind", "Ape", "App"]),
            (changed("/apiVersion", json!("bcs/v9")), &["apiVersion", "bcs/v9", "bcs/v1"]),
            (changed("/spec/replica", json!(3)), &["spec", "replica"]),
            (changed("/metadata/name", json!("No_Label")), &["metadata.name", "No_Label"]),
            (changed("/spec/replicas", json!(-1)), &["spec.replicas", "-1"]),
            (changed("/spec/ports/0/port", json!(70_000)), &["spec.ports[0].port", "70000"]),
            (format!("{}{}", "[".repeat(5_000), "]".repeat(5_000)), &["standard input"]),
        ];
        for (text, words) in cases {
            let ran = up.cli().run_with(&["apply", "-f", "-"], Some(text.as_bytes())).await?.expect(2)?;
            says(&ran, words)?;
        }
        let ran = up.cli().run(&["scale", "app", "good", "--replicas", "-1"]).await?.expect(2)?;
        says(&ran, &["--replicas", "-1"])?;
        goes_on(&up).await
    })
    .await
}

#[tokio::test]
async fn what_only_the_platform_can_know_is_rejected_with_its_field() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let up = platform(lab).await?;
        let nowhere = app("bad", &["sim-z"], 1, "v1", Value::Null).to_string();
        let ran = up.cli().run_with(&["apply", "-f", "-"], Some(nowhere.as_bytes())).await?.expect(3)?;
        says(&ran, &["spec.placement.clusters[0]", "sim-z", "sim-a"])?;
        let ran = up.cli().run(&["scale", "app", "goood", "--replicas", "1"]).await?.expect(3)?;
        says(&ran, &["goood", "not_found", "good"])?;
        let scale = subject("good", "scale");
        let ran = up.cli().run(&["publish", &scale, r#"{"replicas": -1}"#]).await?.expect(3)?;
        says(&ran, &["replicas", "-1"])?;
        let old = ["publish", &scale, r#"{"replicas": 1}"#, "--header", "bcs-expected-revision=1"];
        says(&up.cli().run(&old).await?.expect(3)?, &["revision_mismatch", "1"])?;
        let late =
            ["publish", &scale, r#"{"replicas": 1}"#, "--header", "bcs-not-after=2020-01-01T00:00:00Z"];
        says(&up.cli().run(&late).await?.expect(3)?, &["expired", "2020"])?;
        let garbage = vec![0xC1; 2 << 20];
        let ran = up.cli().run_with(&["publish", &scale, "-"], Some(&garbage)).await?;
        says(&ran, &["2097", "262144"])?;
        ensure!(ran.code == Some(2), "{ran}");
        goes_on(&up).await
    })
    .await
}

/// Headers, payload, and what the answer must contain: its code and words of its message.
type Case<'a> = (&'a [(&'a str, &'a str)], Vec<u8>, &'a str, &'a [&'a str]);

const JSON: (&str, &str) = ("ce-datacontenttype", "application/json");
const MSGPACK: (&str, &str) = ("ce-datacontenttype", "application/msgpack");

fn broken_payloads() -> Result<Vec<Case<'static>>> {
    let good = msgpack(&json!({ "replicas": 3, "remove": ["good-1"] }))?;
    let deep = format!("{{\"replicas\": {}1{}}}", "[".repeat(50_000), "]".repeat(50_000));
    let mut deep_pack = vec![0x81, 0xA8];
    deep_pack.extend(b"replicas");
    deep_pack.extend(vec![0x91; 100_000]);
    let mut trailing = good.clone();
    trailing.extend(b"more");
    Ok(vec![
        (&[], b"{\"replicas\": -1}".to_vec(), "invalid", &["replicas", "-1"]),
        (&[], b"{\"replicas\": \"three\"}".to_vec(), "invalid", &["replicas", "three"]),
        (&[], b"{\"replicas\": 1, \"colour\": \"red\"}".to_vec(), "invalid", &["colour"]),
        (&[], b"{}".to_vec(), "invalid", &["replicas"]),
        (&[], b"{\"replicas\": 1".to_vec(), "invalid", &["payload", "application/json"]),
        (&[MSGPACK], good[..good.len() - 3].to_vec(), "invalid", &["payload", "application/msgpack"]),
        (&[MSGPACK], trailing, "invalid", &["payload", "application/msgpack"]),
        (&[MSGPACK], b"{\"replicas\": 1}".to_vec(), "invalid", &["payload", "application/msgpack"]),
        (&[JSON], good, "invalid", &["payload", "application/json"]),
        (&[JSON], deep.into_bytes(), "invalid", &["application/json"]),
        (&[MSGPACK], deep_pack, "invalid", &["application/msgpack"]),
        (&[MSGPACK], vec![0xC1; 200 << 10], "invalid", &["payload", "application/msgpack"]),
        (&[JSON], vec![0xFF, 0xFE, 0x00], "invalid", &["payload", "application/json"]),
    ])
}

fn broken_headers() -> Vec<Case<'static>> {
    let good = || b"{\"replicas\": 3}".to_vec();
    vec![
        (&[("ce-type", "bcs.deploy.app.scale.v9")], good(), "unsupported", &["v9", "1"]),
        (&[("ce-type", "scale please")], good(), "invalid", &["ce-type", "scale please"]),
        (&[("ce-type", "bcs.deploy.app.delete.v1")], good(), "invalid", &["ce-type", "delete", "scale"]),
        (&[("ce-datacontenttype", "text/html")], good(), "invalid", &["ce-datacontenttype", "text/html"]),
        (&[("bcs-mode", "maybe")], good(), "invalid", &["bcs-mode", "maybe", "plan"]),
        (&[("bcs-expected-revision", "newest")], good(), "invalid", &["bcs-expected-revision", "newest"]),
        (&[("bcs-not-after", "tomorrow")], good(), "invalid", &["bcs-not-after", "tomorrow"]),
        (&[("Nats-Msg-Id", "seven")], good(), "invalid", &["Nats-Msg-Id", "seven", "UUID"]),
    ]
}

async fn refused(sender: &Sender, subject: &str, case: Case<'_>) -> Result<()> {
    let (headers, payload, code, words) = case;
    let begin = String::from_utf8_lossy(&payload[..payload.len().min(60)]).into_owned();
    let answer = sender.ask(subject, headers, payload).await?;
    let told = format!("{subject} {headers:?} {begin:?} was answered by {answer}");
    ensure!(answer["outcome"] == "rejected" && answer["code"] == code, "expected {code}: {told}");
    let said = format!("{} {}", answer["message"], answer["fields"]);
    ensure!(said.len() < 2_000, "nobody reads {} characters: {told}", said.len());
    for word in words {
        ensure!(said.contains(word), "{word:?} is not said: {told}");
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_message_is_answered_with_what_is_wrong() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let up = platform(lab).await?;
        let sender = Sender::connect(up.nats()).await?;
        let scale = subject("good", "scale");
        for case in broken_payloads()?.into_iter().chain(broken_headers()) {
            refused(&sender, &scale, case).await?;
        }
        let good = || b"{\"replicas\": 3}".to_vec();
        let subjects: [(&str, &str, &[&str]); 4] = [
            ("bcs.cmd.deploy.local.demo.app.good.explode", "unsupported", &["explode", "scale"]),
            ("bcs.cmd.deploy.local.demo.ape.good.scale", "unsupported", &["ape"]),
            ("bcs.cmd.deploy.local.demo.app.No_Label.scale", "invalid", &["No_Label"]),
            ("bcs.cmd.deploy.scale", "invalid", &["subject"]),
        ];
        for (subject, code, words) in subjects {
            refused(&sender, subject, (&[], good(), code, words)).await?;
        }
        let error = sender.ask(&scale, &[], vec![0xC1; 300 << 10]).await.err().map(|e| format!("{e:#}"));
        ensure!(error.as_ref().is_some_and(|e| e.contains("exceeds")), "300 KiB: {error:?}");
        let error = sender.ask(&scale, &[], vec![0xC1; 2 << 20]).await.err().map(|e| format!("{e:#}"));
        ensure!(error.is_some(), "2 MiB were taken");
        goes_on(&up).await
    })
    .await
}
