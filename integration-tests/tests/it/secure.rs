//! A bus that asks everybody for a key: the platform works on it as on an open one, and whoever steps outside of its
//! rights is refused by the server, whatever the program that it uses.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use async_nats::{ConnectOptions, Event, jetstream};
use bcs_client::Client;
use bcs_integration_tests::harness::{Cli, Failed, Lab, Options, Up};
use bcs_kit::bus::BusConfig;
use tokio::sync::mpsc;

const SHOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/shop.yaml");
/// The server refuses at once.
const REFUSED_WITHIN: Duration = Duration::from_secs(10);

/// A platform with keys, one of them for a second project, and a command line that has the operator's.
async fn platform(lab: &Lab) -> Result<(Up, Cli)> {
    let keys = lab.path().join("data/bus");
    let home = lab.path().join("home");
    std::fs::create_dir_all(&home)?;
    let cli = Cli { nats: String::new(), home };
    cli.ok(&["bus", "credentials", "--out", text(&keys)?, "--tenant", "other"]).await?;
    let up = Up::start(lab, Options { secure: true, ..Options::default() }).await?;
    let cli = up.cli();
    let file = keys.join("operator.nk");
    let add = ["context", "add", "local", "--url", up.nats(), "--credentials", text(&file)?];
    cli.ok(&[&add[..], &["--inbox", "_INBOX.operator"]].concat()).await?;
    Ok((up, cli))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

/// A program that has a key, and what the server refuses it.
struct Program {
    client: async_nats::Client,
    refused: mpsc::UnboundedReceiver<String>,
}

impl Program {
    async fn connect(up: &Up, user: &str, inbox: &str) -> Result<Self> {
        let seed = std::fs::read_to_string(up.data().join(format!("bus/{user}.nk")))?;
        let (sender, refused) = mpsc::unbounded_channel();
        let options = ConnectOptions::with_nkey(seed.trim().to_owned()).custom_inbox_prefix(inbox);
        let options = options.event_callback(move |event| {
            if let Event::ServerError(error) = event {
                // The test may have ended.
                let _ = sender.send(error.to_string().to_lowercase());
            }
            async {}
        });
        Ok(Self { client: options.connect(up.nats()).await?, refused })
    }

    /// What the server says next of `subject`.
    async fn is_refused(&mut self, subject: &str) -> Result<()> {
        self.client.flush().await?;
        let words = async {
            while let Some(words) = self.refused.recv().await {
                if words.contains("permissions violation") && words.contains(&subject.to_lowercase()) {
                    return true;
                }
            }
            false
        };
        let refused = tokio::time::timeout(REFUSED_WITHIN, words).await;
        ensure!(refused == Ok(true), "{subject} was not refused");
        Ok(())
    }

    async fn cannot_publish(&mut self, subject: &str) -> Result<()> {
        self.client.publish(subject.to_owned(), "{}".into()).await?;
        self.is_refused(subject).await.context("publishing")
    }

    async fn cannot_hear(&mut self, subject: &str) -> Result<()> {
        let _subscription = self.client.subscribe(subject.to_owned()).await?;
        self.is_refused(subject).await.context("subscribing")
    }
}

#[tokio::test]
async fn the_whole_story_works_with_keys_and_nobody_oversteps_or_tells_them() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let (mut up, cli) = platform(lab).await?;
        let mut said = cli.ok(&["apply", "-f", SHOP, "--wait"]).await?;
        for line in [
            "scale app shop-web --replicas 8 --wait",
            "restart app shop-cache --wait",
            "delete app shop-web --wait",
            "get apps",
            "get registrations",
            "status",
            "events",
            "dlq ls",
            "context show",
            "-vv bus apply --context platform",
        ] {
            if line.contains("platform") {
                let file = up.data().join("bus/platform.nk");
                let add = ["context", "add", "platform", "--url", up.nats(), "--credentials", text(&file)?];
                said += &cli.ok(&[&add[..], &["--inbox", "_INBOX.platform"]].concat()).await?;
            }
            let words: Vec<&str> = line.split(' ').collect();
            said += &cli.run(&words).await?.expect(0)?.text();
        }
        // Started again with the same keys, and with everything as it was.
        up.stop().await?;
        up.start_again(lab).await?;
        let apps = cli.ok(&["get", "apps", "-o", "name"]).await?;
        ensure!(apps.contains("shop-api") && !apps.contains("shop-web"), "{apps}");
        let server = std::fs::read_to_string(up.data().join("nats/log"))?;
        let overstepped: Vec<&str> = server.lines().filter(|line| line.contains("Violation")).collect();
        ensure!(overstepped.is_empty(), "somebody has too few rights: {overstepped:#?}");
        said += &server;
        said += &std::fs::read_to_string(lab.path().join("up.log"))?;
        said += &std::fs::read_to_string(up.data().join("nats/nats-server.conf"))?;
        let mut seeds = 0;
        for entry in std::fs::read_dir(up.data().join("bus"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "nk") {
                seeds += 1;
                let seed = std::fs::read_to_string(&path)?;
                ensure!(!said.contains(seed.trim()), "the seed in {} was shown", path.display());
            }
        }
        ensure!(seeds == 10, "platform, operator, 4 services, 2 sidecars, 2 projects: {seeds}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn whoever_oversteps_its_rights_is_refused() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let (up, cli) = platform(lab).await?;
        ensure!(async_nats::connect(up.nats()).await.is_err(), "nobody needs a key");
        cli.ok(&["apply", "-f", SHOP, "--wait"]).await?;
        a_project_keeps_to_itself(&up).await?;
        parts_keep_to_their_work(&up).await?;
        let apps = cli.ok(&["get", "apps", "shop-web"]).await?;
        ensure!(apps.contains("6/6"), "somebody was heard: {apps}");
        a_project_commands_what_is_its_own(&up).await
    })
    .await
}

async fn a_project_keeps_to_itself(up: &Up) -> Result<()> {
    let mut other = Program::connect(up, "project-other", "_INBOX.project-other").await?;
    for subject in [
        "bcs.cmd.deploy.local.demo.app.shop-web.scale",
        "bcs.cmd.cluster.local.system.cluster.sim-a.remove",
        "bcs.evt.deploy.local.other.app.mine.scaled",
        "bcs.agt.local.sim-a.step",
        "$KV.endpoints.sim-a.demo.shop-web.x",
        "$JS.API.STREAM.DELETE.EVT_DEPLOY",
        "$JS.API.STREAM.MSG.GET.CMD_DEPLOY",
        "$JS.API.CONSUMER.CREATE.EVT_DEPLOY.mine.bcs.evt.deploy.*.demo.>",
    ] {
        other.cannot_publish(subject).await?;
    }
    for subject in
        ["bcs.cmd.deploy.>", "bcs.evt.deploy.local.demo.>", "_INBOX.project-demo.>", "_INBOX.>", "$KV.>"]
    {
        other.cannot_hear(subject).await?;
    }
    // Nor does a client library find a way to what is observed of others.
    let library = jetstream::new(other.client.clone());
    let opened = tokio::time::timeout(REFUSED_WITHIN, library.get_key_value("endpoints")).await;
    ensure!(!matches!(opened, Ok(Ok(_))), "a project opened the bucket of endpoints");
    other.is_refused("$JS.API.STREAM.INFO.KV_endpoints").await
}

async fn parts_keep_to_their_work(up: &Up) -> Result<()> {
    let mut sidecar = Program::connect(up, "sidecar-sim-a", "_INBOX_sidecar-sim-a").await?;
    for subject in [
        "bcs.evt.deploy.local.demo.app.shop-web.scaled",
        "bcs.cmd.deploy.local.demo.app.shop-web.delete",
        "$KV.endpoints.sim-a.demo.shop-web.x",
        "$KV.registrations.sim-b.demo.shop-web.x.file",
    ] {
        sidecar.cannot_publish(subject).await?;
    }
    let mut network = Program::connect(up, "network", "_INBOX_network").await?;
    for subject in [
        "bcs.evt.deploy.local.demo.app.shop-web.scaled",
        "bcs.cmd.deploy.local.demo.app.shop-web.delete",
        "$JS.API.CONSUMER.MSG.NEXT.CMD_DEPLOY.deploy-commands",
        "$JS.ACK.CMD_DEPLOY.deploy-commands.1.1.1.1.0",
    ] {
        network.cannot_publish(subject).await?;
    }
    network.cannot_hear("bcs.qry.deploy.app.list").await?;
    let mut operator = Program::connect(up, "operator", "_INBOX.operator").await?;
    operator.cannot_publish("bcs.evt.deploy.local.demo.app.shop-web.scaled").await
}

/// Its key opens what it is for: a command, its outcome, and the events about it.
async fn a_project_commands_what_is_its_own(up: &Up) -> Result<()> {
    let config = BusConfig {
        url: up.nats().to_owned(),
        credentials: Some(up.data().join("bus/project-demo.nk")),
        inbox: Some("_INBOX.project-demo".to_owned()),
        ..BusConfig::default()
    };
    let client = Client::connect(&config, "tenant").await?;
    let target = "demo/app/shop-web".parse()?;
    let mut events =
        client.events_about(&target, &[bcs_schemas::Service::Deploy], bcs_client::Position::New).await?;
    let raw = bcs_client::Raw {
        subject: "bcs.cmd.deploy.local.demo.app.shop-web.restart".to_owned(),
        payload: "{}".into(),
        ..Default::default()
    };
    let (_, outcome) = client.publish_raw(raw, Some(Duration::from_secs(30))).await?;
    ensure!(matches!(outcome, Some(bcs_schemas::outcome::Outcome::Accepted(_))), "{outcome:?}");
    let event = tokio::time::timeout(Duration::from_secs(30), events.next()).await;
    let event = event.context("no event came")?.context("the events ended")?;
    ensure!(event.subject.target == target, "{event:?}");
    Ok(())
}
