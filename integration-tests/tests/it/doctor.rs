//! `bcs doctor` on a real platform: nothing is said of one that is well, and whatever somebody breaks is found, by name, with what
//! to do.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::jetstream::{self, stream::Config};
use bcs_integration_tests::harness::{Cli, Failed, Lab, NotYet, Options, Ready, Up, wait_until};
use serde_json::Value;

use crate::{
    raw::{Sender, subject},
    secure::add_context,
    world::{LONG, app, apply},
};

/// What was found: check and object, verdict, and the words with the advice.
struct Found {
    path: String,
    verdict: String,
    words: String,
}

/// One look, whatever comes of it; also the exit code and how long it took.
async fn look(cli: &Cli, more: &[&str]) -> Result<(Vec<Found>, i32, Duration)> {
    let ran = cli.run(&[&["doctor", "-o", "json"], more].concat()).await?;
    let said: Value = serde_json::from_str(&ran.stdout).with_context(|| ran.to_string())?;
    let findings = said["findings"].as_array().context("no findings")?;
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let found = findings.iter().map(|finding| Found {
        path: format!("{}/{}", text(finding, "check"), text(finding, "about")),
        verdict: text(finding, "verdict"),
        words: format!("{} → {}", text(finding, "found"), text(finding, "advice")),
    });
    let took = Duration::from_millis(said["took_ms"].as_u64().context("no time")?);
    Ok((found.collect(), ran.code.context("was killed")?, took))
}

fn unwell(found: &[Found]) -> Vec<String> {
    let bad = found.iter().filter(|found| found.verdict != "ok");
    bad.map(|found| format!("{} {}: {}", found.verdict, found.path, found.words)).collect()
}

/// Waits until all is well; how long the look took.
pub(crate) async fn until_well(cli: &Cli, more: &[&str]) -> Result<Duration> {
    wait_until(LONG, "the doctor finds nothing", async || match look(cli, more).await {
        Ok((found, 0, took)) if unwell(&found).is_empty() => Ready(took),
        Ok((found, code, _)) => NotYet(format!("exit code {code}: {:#?}", unwell(&found))),
        Err(error) => NotYet(format!("{error:#}")),
    })
    .await
}

/// Waits until this is found, with all of these words.
async fn until_found(cli: &Cli, verdict: &str, path: &str, words: &[&str]) -> Result<()> {
    wait_until(LONG, &format!("the doctor finds {path}"), async || match look(cli, &[]).await {
        Ok((found, code, _)) => {
            let named = found.iter().any(|found| {
                found.path == path
                    && found.verdict == verdict
                    && words.iter().all(|w| found.words.contains(w))
            });
            let right = code == i32::from(verdict != "warning");
            if named && right {
                Ready(())
            } else {
                NotYet(format!("exit code {code}: {:#?}", unwell(&found)))
            }
        }
        Err(error) => NotYet(format!("{error:#}")),
    })
    .await
}

#[tokio::test]
async fn the_doctor_finds_nothing_where_all_is_well_and_whatever_somebody_breaks() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let up = Up::start(lab, Options::default()).await?;
        let cli = up.cli();
        apply(&up, &app("good", &["sim-a", "sim-b"], 2, "v1", Value::Null), &["--wait"]).await?;
        let took = until_well(&cli, &[]).await?;
        ensure!(took < Duration::from_secs(3), "a look took {took:?}");
        let table = cli.ok(&["doctor"]).await?;
        for check in
            ["bus", "server", "rights", "streams", "room", "quarantine", "services", "leaders", "lag"]
        {
            ensure!(table.lines().any(|line| line.starts_with(check)), "{check} is not in {table}");
        }
        ensure!(cli.ok(&["doctor", "-q"]).await?.is_empty(), "quiet is quiet");
        let three = look(&cli, &["--replicas", "3"]).await?.0;
        ensure!(unwell(&three).iter().any(|words| words.contains("num_replicas is 1, expected 3")), "copies");
        settings(&up, &cli).await?;
        letters(&up, &cli).await?;
        silence(&up, &cli).await?;
        nobody(&cli).await
    })
    .await
}

/// A stream that somebody set otherwise, and a bucket that somebody deleted.
async fn settings(up: &Up, cli: &Cli) -> Result<()> {
    let bus = jetstream::new(up.plain().await?);
    let mut stream = bus.get_stream("EVT_NETWORK").await?;
    let config = stream.info().await?.config.clone();
    bus.update_stream(Config { max_age: Duration::from_secs(3600), ..config }).await?;
    let words = ["max_age is 3600s, expected 2592000s", "bcs bus apply"];
    until_found(cli, "problem", "streams/EVT_NETWORK", &words).await?;
    bus.delete_key_value("workloads").await?;
    until_found(cli, "problem", "streams/KV_workloads", &["does not exist", "bcs bus apply"]).await?;
    cli.ok(&["bus", "apply"]).await?;
    until_well(cli, &[]).await.map(drop)
}

/// A message in quarantine.
async fn letters(up: &Up, cli: &Cli) -> Result<()> {
    let sender = Sender::connect(up.nats()).await?;
    sender.tell(&subject("good", "scale"), &[("ce-type", "bcs.deploy.app.scale.v9")], "{}").await?;
    until_found(cli, "problem", "quarantine/", &["1 messages", "bcs dlq show"]).await?;
    let listed = cli.json(&["dlq", "ls"]).await?;
    let number = listed[0]["number"].as_u64().context("a number")?.to_string();
    cli.ok(&["dlq", "drop", &number]).await?;
    until_well(cli, &[]).await.map(drop)
}

/// A cluster that nobody reaches.
async fn silence(up: &Up, cli: &Cli) -> Result<()> {
    let data = up.data().display().to_string();
    let fault = async |words: &[&str]| {
        cli.ok(&[&["sim", "fault", "--data", &data, "--cluster", "sim-a"], words].concat()).await
    };
    // Longer than anybody waits here: nobody can take it back from outside.
    fault(&["partition", "20s"]).await?;
    until_found(cli, "problem", "clusters/sim-a", &["API server does not answer", "bcs describe cluster"])
        .await?;
    until_well(cli, &[]).await.map(drop)
}

/// A bus that is not there.
async fn nobody(cli: &Cli) -> Result<()> {
    let nowhere = Cli { nats: "nats://127.0.0.1:1".to_owned(), home: cli.home.clone() };
    let (found, code, _) = look(&nowhere, &[]).await?;
    let [one] = found.as_slice() else { anyhow::bail!("{:#?}", unwell(&found)) };
    ensure!(code == 1 && one.path == "bus/" && one.words.contains("cannot be reached"), "{}", one.words);
    Ok(())
}

#[tokio::test]
async fn the_doctor_says_what_a_user_may_not_do_and_looks_at_the_rest() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let up = Up::start(lab, Options { secure: true, ..Options::default() }).await?;
        let cli = Cli { nats: String::new(), ..up.cli() };
        for user in ["operator", "project-demo"] {
            add_context(&cli, user, &up.with_key(user)).await?;
        }
        let took = until_well(&cli, &["--context", "operator"]).await?;
        ensure!(took < Duration::from_secs(3), "a look took {took:?}");
        let (found, code, took) = look(&cli, &["--context", "project-demo"]).await?;
        ensure!(code == 1 && took < Duration::from_secs(3), "exit code {code} after {took:?}");
        let rights = found.iter().find(|found| found.path == "rights/").context("no word of rights")?;
        ensure!(rights.verdict == "warning", "{}", rights.verdict);
        for words in ["look at streams and buckets", "list clusters", "the context of the operator"] {
            ensure!(rights.words.contains(words), "{words:?} is not in {}", rights.words);
        }
        for verdict in ["bus/ ok", "streams/ unknown", "clusters/ unknown", "clock/ ok"] {
            let named = found.iter().any(|found| format!("{} {}", found.path, found.verdict) == verdict);
            ensure!(named, "{verdict} is not in {:#?}", unwell(&found));
        }
        let certificate = found.iter().find(|found| found.path.starts_with("certificate/127.0.0.1:"));
        let certificate = certificate.context("no word of the certificate")?;
        ensure!(
            certificate.verdict == "ok" && certificate.words.contains("until 20"),
            "{}",
            certificate.words
        );
        let log = std::fs::read_to_string(up.data().join("nats/log"))?;
        ensure!(!log.contains("Violation"), "the doctor asked what it may not ask");
        Ok(())
    })
    .await
}
