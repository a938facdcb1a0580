//! `k8s/monitoring`: every metric that an alert or a panel names is exported by a running platform, Prometheus understands each
//! expression, and every command that an alert advises exists. And that traces go to a collector.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use bcs_integration_tests::harness::{
    Failed, Lab, NatsServer, NotYet, Options, Process, Ready, Up, built, find, wait_until,
};
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, net::TcpListener, process::Command, time::timeout};

use crate::{
    operations::commands_exist,
    raw::subject,
    world::{LONG, app, apply},
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../k8s/monitoring");

fn read(name: &str) -> Result<String> {
    let path = Path::new(FOLDER).join(name);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// Every name of a metric of ours in a text.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("bcs_")).map(str::to_owned).collect()
}

/// The names of all series, as Prometheus stores them; of those without any yet, too.
fn exported(scrape: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in scrape.lines() {
        match line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            Some((name, "counter")) => drop(names.insert(format!("{name}_total"))),
            Some((name, "histogram")) => {
                names.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
            }
            Some((name, _)) => drop(names.insert(name.to_owned())),
            None => (),
        }
    }
    names
}

/// The expressions of all panels.
fn panels(dashboard: &Value) -> Vec<String> {
    let targets = items(dashboard, "panels").flat_map(|panel| items(panel, "targets"));
    targets.filter_map(|target| target["expr"].as_str()).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_metric_that_an_alert_or_a_panel_names_is_exported() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let up = Up::start(lab, Options::default()).await?;
        apply(&up, &app("shop", &["sim-a", "sim-b"], 2, "v1", Value::Null), &["--wait"]).await?;
        let dashboard: Value = serde_json::from_str(&read("dashboard.json")?)?;
        let expressions = panels(&dashboard);
        ensure!(expressions.len() > 20, "the dashboard has {} expressions", expressions.len());
        let rules = read("rules.yaml")?;
        let wanted = named(&format!("{rules}{}", expressions.join("\n")));
        ensure!(wanted.len() > 20, "{wanted:?}");
        let url = format!("{}/metrics", up.health());
        wait_until(LONG, "every metric is exported", async || match reqwest::get(&url).await {
            Ok(answer) => {
                let exported = exported(&answer.text().await.unwrap_or_default());
                let missing: Vec<_> = wanted.difference(&exported).collect();
                if missing.is_empty() { Ready(()) } else { NotYet(format!("not exported: {missing:?}")) }
            }
            Err(error) => NotYet(error.to_string()),
        })
        .await?;
        let advised: Vec<&str> =
            rules.lines().filter(|line| line.trim_start().starts_with("description:")).collect();
        let alerts = rules.lines().filter(|line| line.trim_start().starts_with("- alert:")).count();
        ensure!(advised.len() == alerts && alerts > 10, "each of {alerts} alerts says what to do");
        ensure!(advised.iter().all(|line| line.contains("`bcs ")), "each names a command: {advised:#?}");
        commands_exist(&up.cli(), &advised.join("\n")).await
    })
    .await
}

#[tokio::test]
async fn prometheus_understands_the_rules_and_the_panels_and_alerts_fire_when_they_should()
-> Result<(), Failed> {
    Lab::run(async |lab| {
        let promtool = find("promtool", "PROMTOOL_BIN", "install Debian's prometheus")?;
        let dashboard: Value = serde_json::from_str(&read("dashboard.json")?)?;
        let rule = |expr: String| json!({ "record": "bcs:panel", "expr": expr });
        let rules: Vec<Value> = panels(&dashboard).into_iter().map(rule).collect();
        // Each rule of a group has to be another one.
        let groups: Vec<Value> = rules
            .into_iter()
            .enumerate()
            .map(|(number, rule)| json!({ "name": number.to_string(), "rules": [rule] }))
            .collect();
        let file = lab.path().join("panels.json");
        std::fs::write(&file, json!({ "groups": groups }).to_string())?;
        for arguments in [
            ["check", "rules", "rules.yaml"],
            ["test", "rules", "alerts.test.yaml"],
            ["check", "rules", file.to_str().context("a path of characters")?],
        ] {
            run(&promtool, &arguments).await?;
        }
        Ok(())
    })
    .await
}

async fn run(promtool: &PathBuf, arguments: &[&str]) -> Result<()> {
    let output = Command::new(promtool).args(arguments).current_dir(FOLDER).output().await?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    ensure!(output.status.success(), "promtool {arguments:?}: {}", said.concat());
    Ok(())
}

#[test]
fn each_alert_is_seen_to_fire_and_not_to_fire() -> Result<()> {
    let rules = read("rules.yaml")?;
    let names = rules.lines().filter_map(|line| line.trim_start().strip_prefix("- alert: "));
    let all: BTreeSet<String> = names.map(str::to_owned).collect();
    let (mut fire, mut do_not) = (BTreeSet::new(), BTreeSet::new());
    let cases: Value = serde_saphyr::from_str(&read("alerts.test.yaml")?)?;
    for case in items(&cases, "tests").flat_map(|test| items(test, "alert_rule_test")) {
        let name = case["alertname"].as_str().context("a case without an alert")?.to_owned();
        let seen = if items(case, "exp_alerts").next().is_some() { &mut fire } else { &mut do_not };
        seen.insert(name);
    }
    assert_eq!(fire, all);
    assert_eq!(do_not, all);
    Ok(())
}

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

#[tokio::test]
async fn a_service_that_is_told_of_a_collector_sends_its_spans_there() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let nats = NatsServer::start(lab, "nats").await?;
        let collector = TcpListener::bind("127.0.0.1:0").await?;
        let mut command = Command::new(built("bcs-deploy")?);
        command
            .env("BCS__BUS__URL", nats.url())
            .env("BCS__JOURNAL_URL", format!("sqlite:{}", lab.path().join("deploy.db").display()))
            .env("BCS__TELEMETRY__OTLP", format!("http://{}", collector.local_addr()?));
        let deploy = Process::start(lab, "deploy", command)?;
        wait_until(LONG, "it decides", async || {
            let said = deploy.output();
            if said.contains("this instance decides") { Ready(()) } else { NotYet(said) }
        })
        .await?;
        // Whatever is made of it, it is handled in a span.
        let client = async_nats::connect(nats.url()).await?;
        client.publish(subject("none", "scale"), "no command".into()).await?;
        client.flush().await?;
        let (mut stream, _) = timeout(LONG, collector.accept()).await.context("nobody came")??;
        let mut begins = [0; 14];
        timeout(LONG, stream.read_exact(&mut begins)).await.context("nothing came")??;
        ensure!(&begins == b"PRI * HTTP/2.0", "{begins:?} is no gRPC");
        // Nobody answers it, and it ends all the same.
        let ended = deploy.stop(LONG).await?;
        ensure!(ended.success(), "{ended}");
        Ok(())
    })
    .await
}
