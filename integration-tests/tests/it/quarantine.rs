//! What can be neither handled nor answered is kept with its reason, blocks nobody, and can be sent again.

use anyhow::{Context, Result, ensure};
use bcs_integration_tests::harness::{Failed, Lab, NotYet, Options, Ready, Up, wait_until};
use serde_json::Value;

use crate::{
    raw::{Sender, subject},
    world::{LONG, agrees, app, apply},
};

/// What lies there: number and message.
async fn letters(up: &Up) -> Result<Vec<(u64, Value)>> {
    let found = up.cli().json(&["dlq", "ls"]).await?;
    let items = found.as_array().context("no list")?;
    items
        .iter()
        .map(|item| Ok((item["number"].as_u64().context("no number")?, item["message"].clone())))
        .collect()
}

async fn until_letters(up: &Up, count: usize) -> Result<Vec<(u64, Value)>> {
    wait_until(LONG, &format!("{count} messages lie in quarantine"), async || match letters(up).await {
        Ok(found) if found.len() == count => Ready(found),
        other => NotYet(format!("{other:?}")),
    })
    .await
}

#[tokio::test]
async fn what_cannot_be_answered_is_kept_with_its_reason_and_can_be_replayed() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let up = Up::start(lab, Options::default()).await?;
        apply(&up, &app("good", &["sim-a"], 1, "v1", Value::Null), &["--wait"]).await?;
        let (sender, scale) = (Sender::connect(up.nats()).await?, subject("good", "scale"));
        ensure!(letters(&up).await?.is_empty(), "something lies there already");
        // Nobody waits for an answer to these.
        let pack = [("ce-datacontenttype", "application/msgpack")];
        sender.tell(&scale, &pack, "{\"replicas\": 2}").await?;
        sender.tell(&scale, &[("ce-type", "bcs.deploy.app.scale.v9")], "{\"replicas\": 3}").await?;
        sender.tell(&scale, &[], vec![0xC1; 100 << 10]).await?;
        let found = until_letters(&up, 3).await?;
        for ((_, letter), words) in found.iter().zip(["application/msgpack", "v9", "application/msgpack"]) {
            let reason = letter["reason"].as_str().unwrap_or_default();
            ensure!(!reason.is_empty() && reason.contains(words), "{words:?} is not the reason in {letter}");
            ensure!(letter["subject"] == scale.as_str() && letter["stream"] == "CMD_DEPLOY", "{letter}");
        }
        let (first, last) = (found[0].0.to_string(), found[2].0.to_string());
        let shown = up.cli().ok(&["dlq", "show", &first]).await?;
        ensure!(
            shown.contains("application/msgpack")
                && shown.contains("\"replicas\": 2")
                && shown.contains(&scale),
            "{shown}"
        );
        let listed = up.cli().ok(&["dlq", "ls"]).await?;
        ensure!(listed.contains("undecodable") && listed.contains(&scale), "{listed}");
        up.cli().ok(&["scale", "app", "good", "--replicas", "3", "--wait"]).await?;
        agrees(&up, None, &[("good", 3, "v1")]).await?;
        // Still wrong, and still nobody waits: it comes back as another letter.
        up.cli().ok(&["dlq", "replay", &first]).await?;
        let again = until_letters(&up, 3).await?;
        ensure!(again.iter().all(|(number, _)| number.to_string() != first), "{again:?}");
        let returned = &again[2].1;
        ensure!(
            returned["headers"].to_string().contains("bcs-replay-of"),
            "the old one is not named: {returned}"
        );
        ensure!(returned["payload_hex"] == found[0].1["payload_hex"], "it was changed: {returned}");
        up.cli().ok(&["dlq", "drop", &last]).await?;
        until_letters(&up, 2).await?;
        up.cli().run(&["dlq", "show", &last]).await?.expect(1)?;
        Ok(())
    })
    .await
}
