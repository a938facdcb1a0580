//! A bus that asks everybody for a key and speaks TLS only: the platform works on it as on an open one, whoever steps outside
//! of its rights is refused by the server, and whoever speaks for others by the services, whatever the program that it uses.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use async_nats::{ConnectErrorKind, ConnectOptions, Event, jetstream};
use bcs_client::{Client, Raw};
use bcs_integration_tests::harness::{Cli, Failed, Lab, Options, Up};
use bcs_kit::{actor::Identity, bus::BusConfig};
use bcs_schemas::{
    envelope::header,
    outcome::{Outcome, RejectionCode},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

const SHOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/shop.yaml");
const SCALE: &str = "bcs.cmd.deploy.local.demo.app.shop-web.scale";
/// All that our own code and those who handle secrets for it can say.
const EVERYTHING: &str = "debug,bcs_kit=trace,bcs_client=trace,bcs_cli=trace,bcs_cluster=trace,bcs_deploy=trace,bcs_network=trace,\
     bcs_metrics=trace,bcs_discovery_sidecar=trace,bcs_engines=trace,async_nats=trace,rustls=trace,tokio_rustls=trace";
/// Longer than a decision takes on a busy machine.
const DECIDED_WITHIN: Duration = Duration::from_secs(30);
/// The server refuses at once.
const REFUSED_WITHIN: Duration = Duration::from_secs(10);

/// A platform with keys, one of them for a second project and one for sidecars beside instances, and a command line that has the
/// operator's.
pub(crate) async fn platform(lab: &Lab, log: &str) -> Result<(Up, Cli)> {
    let keys = lab.path().join("data/bus");
    let home = lab.path().join("home");
    std::fs::create_dir_all(&home)?;
    let cli = Cli { nats: String::new(), home };
    cli.ok(&["bus", "credentials", "--out", text(&keys)?, "--tenant", "other", "--holder", "demo.sim-a"])
        .await?;
    let up = Up::start(lab, Options { secure: true, log: log.to_owned(), ..Options::default() }).await?;
    let cli = up.cli();
    add_context(&cli, "local", &up.with_key("operator")).await?;
    Ok((up, cli))
}

/// As a person does who was given a key.
pub(crate) async fn add_context(cli: &Cli, name: &str, bus: &BusConfig) -> Result<()> {
    let mut line = vec!["context", "add", name, "--url", &bus.url];
    for (option, file) in [("--credentials", &bus.credentials), ("--ca", &bus.ca)] {
        if let Some(file) = file {
            line.extend([option, text(file)?]);
        }
    }
    line.extend(bus.inbox.iter().flat_map(|inbox| ["--inbox", inbox]));
    cli.ok(&line).await.map(drop)
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
        let options = options.add_root_certificates(up.ca());
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
        let (mut up, cli) = platform(lab, EVERYTHING).await?;
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
            "-vv scale app shop-api --replicas 2 --wait",
            "-vv bus apply --context platform",
        ] {
            if line.contains("platform") {
                add_context(&cli, "platform", &up.with_key("platform")).await?;
            }
            let words: Vec<&str> = line.split(' ').collect();
            said += &cli.run(&words).await?.expect(0)?.text();
        }
        // Made again where the same keys and certificates are, which are kept.
        let secrets = secrets(&up)?;
        let ca = std::fs::read_to_string(up.ca())?;
        let keys = up.data().join("bus");
        let again = ["-vv", "bus", "credentials", "--tls", "--out", text(&keys)?];
        said += &cli.run(&again).await?.expect(0)?.text();
        // Started again, with everything as it was.
        up.stop().await?;
        up.start_again(lab).await?;
        ensure!(std::fs::read_to_string(up.ca())? == ca, "another authority");
        let apps = cli.ok(&["get", "apps", "-o", "name"]).await?;
        ensure!(apps.contains("shop-api") && !apps.contains("shop-web"), "{apps}");
        let server = std::fs::read_to_string(up.data().join("nats/log"))?;
        let overstepped: Vec<&str> = server.lines().filter(|line| line.contains("Violation")).collect();
        ensure!(overstepped.is_empty(), "somebody has too few rights: {overstepped:#?}");
        said += &server;
        said += &std::fs::read_to_string(lab.path().join("up.log"))?;
        said += &std::fs::read_to_string(up.data().join("nats/nats-server.conf"))?;
        said += &std::fs::read_to_string(up.data().join("bus/actors.toml"))?;
        ensure!(said.contains(" DEBUG ") && said.contains(" TRACE "), "the log is not at its most talkative");
        for (path, secret) in &secrets {
            ensure!(!said.contains(secret), "a secret of {} was shown", path.display());
        }
        // A journal and a stream are read by more people than a log.
        let kept = everything_below(&[up.data().join("journal"), up.data().join("nats")])?;
        for (path, secret) in &secrets {
            ensure!(!kept.contains(secret), "a secret of {} was kept", path.display());
        }
        Ok(())
    })
    .await
}

/// Whatever must never be shown: each seed, and each line of each private key.
fn secrets(up: &Up) -> Result<Vec<(PathBuf, String)>> {
    let (mut secrets, mut seeds, mut keys) = (Vec::new(), 0, 0);
    for entry in std::fs::read_dir(up.data().join("bus"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        seeds += usize::from(name.ends_with(".nk"));
        keys += usize::from(name.ends_with("-key.pem"));
        if name.ends_with(".nk") || name.ends_with("-key.pem") {
            let text = std::fs::read_to_string(&path)?;
            let lines =
                text.lines().map(str::trim).filter(|line| line.len() >= 16 && !line.starts_with("-----"));
            secrets.extend(lines.map(|line| (path.clone(), line.to_owned())));
        }
    }
    ensure!(seeds == 11, "platform, operator, 4 services, 2 sidecars, a holder, 2 projects: {seeds}");
    ensure!(keys == 2 && secrets.len() >= 10 + 2 * 2, "authority and server: {keys}, {}", secrets.len());
    Ok(secrets)
}

/// The text of all files in these directories, as far as it is one.
fn everything_below(directories: &[PathBuf]) -> Result<String> {
    let (mut open, mut bytes) = (directories.to_vec(), Vec::new());
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else {
                // What is rotated away meanwhile is not there any more.
                bytes.extend(std::fs::read(entry.path()).unwrap_or_default());
            }
        }
    }
    ensure!(!bytes.is_empty(), "nothing was kept");
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A conversation without TLS, as far as the server goes along.
async fn in_plain_text(up: &Up) -> Result<String> {
    let address = up.nats().trim_start_matches("tls://");
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let (mut reader, mut writer) = stream.split();
    let seen = async {
        // It may have hung up already.
        let _ = writer.write_all(b"CONNECT {\"verbose\":true}\r\nSUB > 1\r\nPING\r\n").await;
        let mut bytes = Vec::new();
        let _ = reader.read_to_end(&mut bytes).await;
        bytes
    };
    let bytes =
        tokio::time::timeout(Duration::from_secs(60), seen).await.context("the server goes on listening")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[tokio::test]
async fn nobody_is_understood_without_tls_and_whoever_does_not_trust_the_bus_is_told_why()
-> Result<(), Failed> {
    Lab::run(async |lab| {
        let (up, cli) = platform(lab, "info").await?;
        ensure!(up.nats().starts_with("tls://127.0.0.1:"), "{}", up.nats());
        let seen = in_plain_text(&up).await?;
        ensure!(seen.starts_with("INFO {") && seen.contains("\"tls_required\":true"), "{seen}");
        ensure!(!seen.contains("PONG") && !seen.contains("+OK") && !seen.contains("\nMSG"), "{seen}");
        let elsewhere = lab.path().join("elsewhere");
        cli.ok(&["bus", "credentials", "--tls", "--host", "bus.example", "--out", text(&elsewhere)?]).await?;
        let tls = std::fs::read_to_string(elsewhere.join("tls.conf"))?;
        ensure!(tls.contains("elsewhere/server.pem") && tls.contains("min_version"), "{tls}");
        let right = up.with_key("operator");
        let no_authority = BusConfig { ca: None, ..right.clone() };
        let wrong = BusConfig { ca: Some(elsewhere.join("ca.pem")), ..right.clone() };
        let no_certificate = BusConfig { ca: Some(elsewhere.join("tls.conf")), ..right.clone() };
        let plain = |bus: &BusConfig| BusConfig { url: bus.url.replace("tls://", "nats://"), ..bus.clone() };
        for (bus, words) in [
            (no_authority.clone(), "bcs context add --ca"),
            (plain(&no_authority), "bcs context add --ca"),
            (wrong.clone(), "is not signed by the authority in"),
            (no_certificate, "holds no certificate"),
        ] {
            add_context(&cli, "stranger", &bus).await?;
            let said = cli.run(&["get", "apps", "--context", "stranger"]).await?.expect(1)?.text();
            ensure!(said.contains(words), "expected {words:?}: {said}");
        }
        let named = BusConfig { url: right.url.replace("127.0.0.1", "localhost"), ..right.clone() };
        for bus in [plain(&right), named] {
            add_context(&cli, "friend", &bus).await?;
            cli.ok(&["get", "apps", "--context", "friend"]).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn history_says_who_vouches_for_whom_and_a_forged_name_is_refused() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let (up, cli) = platform(lab, "info").await?;
        cli.ok(&["apply", "-f", SHOP, "--wait"]).await?;
        let plan = lab.path().join("p.json");
        let file = text(&plan)?;
        cli.ok(&["scale", "app", "shop-web", "--replicas", "3", "--plan-file", file]).await?;
        cli.ok(&["apply", "--from-plan", file]).await?;
        let scaled = cli.json(&["publish", SCALE, r#"{"replicas": 4}"#]).await?;
        cli.ok(&["undo", scaled["command_id"].as_str().context("an id")?, "--yes"]).await?;
        add_context(&cli, "demo", &up.with_key("project-demo")).await?;
        let named = [SCALE, r#"{"replicas": 2}"#, "--header", "bcs-actor=ada", "--context", "demo"];
        cli.ok(&[&["publish"][..], &named].concat()).await?;
        let history = cli.ok(&["history", "app", "shop-web"]).await?;
        ensure!(history.contains("ada@project-demo") && history.contains("tester@operator"), "{history}");
        ensure!(!history.contains("anonymous") && !history.contains("ada@operator"), "{history}");
        let clusters = cli.ok(&["history", "cluster", "sim-a"]).await?;
        ensure!(clusters.contains("bcs up@platform"), "{clusters}");
        forged_names_are_refused(&up, &cli).await?;
        let app = cli.json(&["get", "app", "shop-web"]).await?;
        ensure!(app["spec"]["replicas"] == 2, "a forged command was carried out: {app}");
        Ok(())
    })
    .await
}

/// The operator may publish anything; the services believe no name that its key did not sign.
async fn forged_names_are_refused(up: &Up, cli: &Cli) -> Result<()> {
    let client = Client::connect(&up.with_key("operator"), "forger").await?;
    let seed = std::fs::read_to_string(up.data().join("bus/project-demo.nk"))?;
    let payload = r#"{"replicas": 7}"#;
    let mut headers = bcs_kit::bus::headers(vec![
        (header::MESSAGE_ID, client.fresh_id().to_string()),
        (header::ACTOR, "ada".to_owned()),
    ]);
    Identity::from_seed(seed.trim())?.vouch(SCALE, &mut headers, payload.as_bytes(), client.clock().now())?;
    let claim = headers.get(header::ACTOR_CLAIM).context("a claim")?;
    let claim = format!("{}={claim}", header::ACTOR_CLAIM);
    for (more, words) in [
        (vec!["-H", "bcs-actor=ada", "-H", &claim], "does not fit this command"),
        (vec!["-H", "bcs-actor=ada", "-H", "bcs-actor-claim=v1.let.me.in"], "expected v1."),
        (vec!["-H", &claim], "speaks for nobody"),
    ] {
        let said = cli.run(&[&["publish", SCALE, payload][..], &more].concat()).await?.expect(3)?.text();
        ensure!(said.contains(words) && said.contains("bcs-actor-claim"), "expected {words:?}: {said}");
    }
    let raw = Raw { subject: SCALE.to_owned(), payload: payload.into(), ..Raw::default() };
    let (_, outcome) = client.publish_raw(raw, Some(DECIDED_WITHIN)).await?;
    let code = match &outcome {
        Some(Outcome::Rejected(rejected)) => Some(rejected.code),
        _ => None,
    };
    ensure!(code == Some(RejectionCode::Forbidden), "nobody in particular was heard: {outcome:?}");
    Ok(())
}

#[tokio::test]
async fn whoever_oversteps_its_rights_is_refused() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let (up, cli) = platform(lab, "info").await?;
        let keyless = ConnectOptions::new().add_root_certificates(up.ca()).connect(up.nats()).await;
        let refused = keyless.err().map(|error| error.kind());
        ensure!(refused == Some(ConnectErrorKind::AuthorizationViolation), "nobody needs a key: {refused:?}");
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
    let client = Client::connect(&up.with_key("project-demo"), "tenant").await?;
    let target = "demo/app/shop-web".parse()?;
    let mut events =
        client.events_about(&target, &[bcs_schemas::Service::Deploy], bcs_client::Position::New).await?;
    let raw = Raw {
        subject: "bcs.cmd.deploy.local.demo.app.shop-web.restart".to_owned(),
        payload: "{}".into(),
        headers: vec![(header::ACTOR.to_owned(), "ada".to_owned())],
        ..Raw::default()
    };
    let (_, outcome) = client.publish_raw(raw, Some(DECIDED_WITHIN)).await?;
    ensure!(matches!(outcome, Some(Outcome::Accepted(_))), "{outcome:?}");
    let event = tokio::time::timeout(Duration::from_secs(30), events.next()).await;
    let event = event.context("no event came")?.context("the events ended")?;
    ensure!(event.subject.target == target && event.headers.actor == "ada@project-demo", "{event:?}");
    Ok(())
}
