//! What was decided can be looked at, explained, taken back, proved and folded again.

use anyhow::{Context, Result, ensure};
use bcs_integration_tests::harness::{Failed, Lab, Options, Poll, Up, wait_until};
use serde_json::Value;

use crate::world::{LONG, app, apply, until_view, view};

async fn history(up: &Up, kind: &str, name: &str) -> Result<Vec<Value>> {
    let found = up.cli().json(&["history", kind, name, "--all"]).await?;
    Ok(found["items"].as_array().cloned().unwrap_or_default())
}

/// The newest decision of this kind.
async fn newest(up: &Up, kind: &str, name: &str, fact: &str) -> Result<Value> {
    let found = history(up, kind, name).await?;
    let fits = |event: &&Value| event["type"].as_str().is_some_and(|t| t.contains(&format!(".{fact}.")));
    found.iter().find(fits).cloned().with_context(|| format!("no {fact} of {name}: {found:#?}"))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[tokio::test]
async fn every_decision_can_be_found_explained_and_seen_as_it_was() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let up = Up::start(lab, Options::default()).await?;
        let cli = up.cli();
        apply(&up, &app("shop", &["sim-a"], 2, "v1", Value::Null), &["--wait"]).await?;
        cli.ok(&["scale", "app", "shop", "--replicas", "4", "--wait"]).await?;
        apply(&up, &app("shop", &["sim-a"], 4, "v2", Value::Null), &["--wait"]).await?;
        until_view(&up, "shop", "is healthy", |v| v["status"]["healthy_revision"] == v["status"]["revision"])
            .await?;

        let all = history(&up, "app", "shop").await?;
        let seqs: Vec<u64> = all.iter().filter_map(|event| event["seq"].as_u64()).collect();
        ensure!(seqs.len() == all.len() && seqs.is_sorted_by(|a, b| a > b), "not the newest first: {seqs:?}");
        let table = cli.ok(&["history", "app/shop"]).await?;
        for words in ["applied: shop/it:v1, 2 instances", "scaled to 4 instances", "tester", "system"] {
            ensure!(table.contains(words), "{words}: {table}");
        }
        ensure!(
            cli.run(&["history", "app", "nobody"]).await?.code == Some(1),
            "there is a history of nothing"
        );

        let completed = newest(&up, "app", "shop", "rollout-completed").await?;
        let why = cli.json(&["why", text(&completed, "id")]).await?;
        let chain = why["items"].as_array().cloned().unwrap_or_default();
        let (first, last) = (chain.first().context("no chain")?, chain.last().context("no chain")?);
        ensure!(text(first, "because").contains("every wanted instance"), "{why}");
        ensure!(last["event"]["payload"]["spec"]["image"]["tag"] == "v2", "{why}");
        ensure!(text(last, "because") == "tester asked for it", "{why}");
        let scaled = newest(&up, "app", "shop", "scaled").await?;
        let why = cli.ok(&["why", text(&scaled, "command_id")]).await?;
        ensure!(why.contains("scaled to 4") && why.contains("tester asked for it"), "{why}");
        let why = cli.ok(&["why", "cluster/sim-a"]).await?;
        ensure!(why.contains("system/cluster/sim-a #"), "{why}");
        let healthy = wait_until(LONG, "the cluster's health is decided", async || {
            Poll::from(newest(&up, "cluster", "sim-a", "health-changed").await)
        })
        .await?;
        let why = cli.ok(&["why", text(&healthy, "id")]).await?;
        ensure!(why.contains("to healthy") && why.contains("rule: enough probes agree"), "{why}");

        let seq = scaled["seq"].as_u64().context("a position")?;
        let at = |revision: u64| revision.to_string();
        for (moment, replicas, tag) in
            [(at(seq - 1), 2, "v1"), (at(seq), 4, "v1"), ("0s".to_owned(), 4, "v2")]
        {
            let past = cli.json(&["get", "app", "shop", "--at", &moment]).await?;
            let found = (past["spec"]["replicas"].as_u64(), text(&past["spec"]["image"], "tag"));
            ensure!(found == (Some(replicas), tag), "at {moment}: {past}");
        }
        let then = cli.json(&["get", "app", "shop", "--at", text(&scaled, "time")]).await?;
        let found = (then["spec"]["replicas"].as_u64(), text(&then["spec"]["image"], "tag"));
        ensure!(found == (Some(4), "v1"), "at the instant of the scale: {then}");
        ensure!(
            cli.run(&["get", "app", "shop", "--at", "2020-01-01"]).await?.code == Some(1),
            "it was there"
        );
        Ok(())
    })
    .await
}

/// Takes a command about a cluster back. The cluster may change by itself between the plan and the deed: then whoever asked is told
/// to look again, and does.
async fn undone_again(up: &Up, event: &Value) -> Result<()> {
    for _ in 0..5 {
        let run = up.cli().run(&["undo", text(event, "command_id"), "--yes"]).await?;
        if run.stderr.contains("look again and repeat") {
            continue;
        }
        run.expect(0)?;
        return Ok(());
    }
    anyhow::bail!("it changes all the time")
}

#[tokio::test]
async fn a_command_is_taken_back_by_its_opposite_unless_something_else_was_wished_since() -> Result<(), Failed>
{
    Lab::run(async |lab| {
        let up = Up::start(lab, Options::default()).await?;
        let cli = up.cli();
        apply(&up, &app("shop", &["sim-a"], 2, "v1", Value::Null), &["--wait"]).await?;
        cli.ok(&["scale", "app", "shop", "--replicas", "3", "--wait"]).await?;
        let scaled = newest(&up, "app", "shop", "scaled").await?;
        apply(&up, &app("shop", &["sim-a"], 3, "v2", Value::Null), &["--wait"]).await?;
        let applied = newest(&up, "app", "shop", "applied").await?;
        let diff = cli.ok(&["diff", "app", "shop", "--from", &scaled["seq"].to_string()]).await?;
        ensure!(diff.contains("-     tag: v1") && diff.contains("+     tag: v2"), "{diff}");

        let (scale, change) = (text(&scaled, "command_id"), text(&applied, "command_id"));
        let late = cli.run(&["undo", scale, "--yes"]).await?.expect(1)?;
        ensure!(late.stderr.contains("changed since") && late.stderr.contains(change), "{}", late.stderr);
        let unasked = cli.run(&["undo", change]).await?.expect(2)?;
        ensure!(
            unasked.stdout.contains("would be changed") && unasked.stderr.contains("--yes"),
            "{unasked:?}"
        );
        ensure!(view(&up, "shop").await?["spec"]["image"]["tag"] == "v2", "done without being asked");
        cli.ok(&["undo", change, "--yes"]).await?;
        ensure!(view(&up, "shop").await?["spec"]["image"]["tag"] == "v1", "not taken back");
        let undone = newest(&up, "app", "shop", "applied").await?;
        ensure!(undone["correlation_id"] == *change && undone["command_id"] != *change, "{undone}");
        let why = cli.ok(&["why", text(&undone, "command_id")]).await?;
        ensure!(
            why.contains(&format!("on account of command {change}")) && why.contains("shop/it:v2"),
            "{why}"
        );

        cli.ok(&["label", "cluster", "sim-a", "zone=north"]).await?;
        let labelled = newest(&up, "cluster", "sim-a", "labelled").await?;
        let labels = async || anyhow::Ok(cli.json(&["get", "clusters", "sim-a"]).await?["labels"].clone());
        ensure!(labels().await?["zone"] == "north", "no label");
        cli.ok(&["cordon", "sim-a", "sim-a-node-1"]).await?;
        undone_again(&up, &labelled).await?;
        ensure!(labels().await?["zone"].is_null(), "still labelled");
        let cordoned = newest(&up, "cluster", "sim-a", "node-cordoned").await?;
        undone_again(&up, &cordoned).await?;
        newest(&up, "cluster", "sim-a", "node-uncordoned").await?;
        let imported = newest(&up, "cluster", "sim-a", "imported").await?;
        let never = cli.run(&["undo", text(&imported, "command_id"), "--yes"]).await?.expect(1)?;
        ensure!(never.stderr.contains("has no opposite"), "{}", never.stderr);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_audit_shows_when_it_was_touched_and_a_replay_is_the_same_whenever_it_is_made()
-> Result<(), Failed> {
    Lab::run(async |lab| {
        let mut up = Up::start(lab, Options::default()).await?;
        apply(&up, &app("shop", &["sim-a", "sim-b"], 3, "v1", Value::Null), &["--wait"]).await?;
        let cli = up.cli();
        let file = up.data().join("audit.jsonl");
        let path = file.to_str().context("a path")?;
        let said = cli.run(&["audit", "export", "--out", path]).await?.expect(0)?.stderr;
        let head = said.trim().rsplit(' ').next().context("a hash")?.to_owned();
        let whole = cli.json(&["audit", "verify", path, "--head", &head]).await?;
        let events = std::fs::read_to_string(&file)?;
        ensure!(whole["events"] == events.lines().count() - 2, "{whole}");
        ensure!(
            events.contains("bcs.cluster.cluster.imported.v1")
                && events.contains("bcs.deploy.app.applied.v1"),
            "{events}"
        );
        std::fs::write(&file, events.replacen("tester", "nobody", 1))?;
        let changed = cli.run(&["audit", "verify", path]).await?.expect(1)?;
        ensure!(changed.stderr.contains("was changed"), "{}", changed.stderr);
        let later = cli.run(&["audit", "export", "--since", "2100-01-01"]).await?.expect(0)?.stdout;
        ensure!(later.lines().count() == 2, "what is still to come was exported: {later}");

        let replay = |service: &'static str, until: u64| {
            let cli = up.cli();
            async move { cli.ok(&["replay", "--service", service, "--until", &until.to_string()]).await }
        };
        let seq = view(&up, "shop").await?["revision"].as_u64().context("a revision")?;
        let before = (replay("deploy", seq).await?, replay("cluster", 2).await?);
        ensure!(before.0.contains("demo/shop") && before.1.contains("sim-a"), "{before:?}");
        ensure!(replay("deploy", 1).await? != before.0, "--until is not heeded");
        ensure!(
            cli.run(&["replay", "--service", "deploy", "--until", "99999"]).await?.code == Some(2),
            "ahead"
        );
        up.stop().await?;
        up.start_again(lab).await?;
        let replay = |service: &'static str, until: u64| {
            let cli = up.cli();
            async move { cli.ok(&["replay", "--service", service, "--until", &until.to_string()]).await }
        };
        ensure!(before == (replay("deploy", seq).await?, replay("cluster", 2).await?), "another state");
        Ok(())
    })
    .await
}
