//! What released versions left behind: their journals are opened, brought forward, and folded to the same state, by the
//! code and by the real programs, on both databases.

use anyhow::{Context, Result, ensure};
use bcs_integration_tests::{
    harness::{Cli, Failed, LONG, Lab, NatsServer, NotYet, Postgres, Process, Ready, built, wait_until},
    journals::{self, SERVICES, VERSION, cover, recording::Recording, state},
};
use bcs_kit::{
    Clock, Tasks,
    machine::{Machine, StateMachine},
};
use bcs_schemas::{CommandId, Service};
use serde_json::Value;
use sqlx::{AnyConnection, AssertSqlSafe, Connection};
use tokio::process::Command;

/// The journal of a service of a released version, in a database.
struct Left {
    version: String,
    service: Service,
    recording: Recording,
    state: String,
    url: String,
}

/// Puts every recording into a database of its own, on SQLite and on PostgreSQL.
async fn all(lab: &Lab, postgres: &Postgres) -> Result<Vec<Left>> {
    let mut left = Vec::new();
    for version in journals::versions()? {
        for url in [sqlite(lab, &version), database(postgres, &version).await?] {
            for service in SERVICES {
                let (recording, state) = journals::read(&version, service)?;
                let url =
                    if url.starts_with("sqlite:") { format!("{url}-{service}.db") } else { url.clone() };
                recording
                    .put(&url, service)
                    .await
                    .with_context(|| format!("{version} of {service}: {url}"))?;
                left.push(Left { version: version.clone(), service, recording, state, url });
            }
        }
    }
    Ok(left)
}

fn sqlite(lab: &Lab, version: &str) -> String {
    format!("sqlite:{}", lab.path().join(version).display())
}

/// A database for all services of a version.
async fn database(postgres: &Postgres, version: &str) -> Result<String> {
    sqlx::any::install_default_drivers();
    let name = format!("bcs_{}", version.replace('.', "_"));
    let mut server = AnyConnection::connect(postgres.url()).await?;
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut server).await?;
    let (place, settings) = postgres.url().split_once('?').context("the URL has no settings")?;
    let (server, _) = place.rsplit_once('/').context("the URL names no database")?;
    Ok(format!("{server}/{name}?{settings}"))
}

impl Left {
    /// Whether the state has the same shape today.
    fn same_shape(&self) -> bool {
        let today = match self.service {
            Service::Deploy => bcs_deploy::domain::state::Deploy::SNAPSHOT_VERSION,
            _ => bcs_cluster::domain::State::SNAPSHOT_VERSION,
        };
        self.recording.state_version() == today
    }

    async fn folds_as_recorded(&self) -> Result<()> {
        match self.service {
            Service::Deploy => self.folds::<bcs_deploy::domain::state::Deploy>().await,
            _ => self.folds::<bcs_cluster::domain::State>().await,
        }
    }

    /// The program that is built here reads what lies there: state, outcomes, and each state on the way.
    async fn folds<S: StateMachine>(&self) -> Result<()> {
        let (clock, tasks) = (Clock::system(), Tasks::new());
        let machine: Machine<S> = Machine::start(&self.url, &clock, &tasks).await?;
        let same_shape = self.same_shape();
        let recorded: Value = serde_json::from_str(&self.state)?;
        // What is folded onto the snapshot of that version, or from the beginning where its shape is another one.
        let live = machine.live();
        state::same(&recorded, &serde_json::to_value(&*live)?, same_shape).context("with its snapshot")?;
        if same_shape {
            ensure!(live.text()? == self.state, "the same state is written in another way");
        }
        let states = self.recording.states()?;
        ensure!(states.last() == Some(&recorded), "the recording contradicts itself");
        for (event, recorded) in self.recording.events()?.iter().zip(&states[1..]) {
            let folded = machine.replay(event.seq).await?;
            let what = || format!("after event {}, {}", event.seq, event.type_name);
            state::same(recorded, &serde_json::to_value(&*folded)?, same_shape).with_context(what)?;
        }
        for (command, recorded) in self.recording.outcomes() {
            let id: CommandId = command.parse()?;
            let outcome =
                machine.outcome(id).await?.with_context(|| format!("the outcome of {command} is lost"))?;
            let what = || format!("the outcome of {command}");
            state::same(recorded, &serde_json::to_value(outcome)?, false).with_context(what)?;
        }
        tasks.stop(LONG).await;
        Ok(())
    }
}

#[tokio::test]
async fn journals_of_released_versions_fold_to_the_same_states() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let postgres = Postgres::start(lab).await?;
        let left = all(lab, &postgres).await?;
        ensure!(left.len() >= 4, "no recordings were found");
        for left in &left {
            let what = || format!("{} of {}: {}", left.service, left.version, left.url);
            left.folds_as_recorded().await.with_context(what)?;
        }
        Ok(())
    })
    .await
}

#[test]
fn the_newest_recording_holds_everything_that_an_event_can_say() -> Result<()> {
    let version = journals::versions()?.pop().context("there are no recordings")?;
    let read = SERVICES.map(|service| journals::read(&version, service).map(|(recording, _)| recording));
    let recordings: Vec<Recording> = read.into_iter().collect::<Result<_>>()?;
    let missing = cover::missing(&recordings)?;
    ensure!(
        missing.is_empty(),
        "the recording of {version} lacks {missing:#?}: tell it in integration-tests/src/journals/story.rs and run \
         scripts/record-journal; {VERSION} is built here, and a version that was released is not recorded again: then raise \
         it in Cargo.toml first"
    );
    Ok(())
}

/// Starts the real program of a service on a journal.
fn program(lab: &Lab, nats: &NatsServer, left: &Left, called: &str) -> Result<Process> {
    let mut command = Command::new(built(&format!("bcs-{}", left.service))?);
    command.env("BCS__BUS__URL", nats.url()).env("BCS__JOURNAL_URL", &left.url);
    Process::start(lab, called, command)
}

#[tokio::test]
async fn the_programs_go_on_where_a_released_version_stopped() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let postgres = Postgres::start(lab).await?;
        let left = all(lab, &postgres).await?;
        for (number, pair) in left.chunks(SERVICES.len()).enumerate() {
            let nats = NatsServer::start(lab, &format!("nats-{number}")).await?;
            let cli = Cli { nats: nats.url(), home: lab.path().to_owned() };
            let started =
                pair.iter().map(|left| program(lab, &nats, left, &format!("{}-{number}", left.service)));
            let services: Vec<Process> = started.collect::<Result<_>>()?;
            for left in pair {
                let end = left.recording.events()?.last().context("no events")?.seq.to_string();
                let name = left.service.to_string();
                let replay = ["replay", "--service", &name, "--until", &end];
                let told = wait_until(LONG, "the service answers", async || match cli.ok(&replay).await {
                    Ok(told) => Ready(told),
                    Err(error) => NotYet(format!("{error:#}")),
                })
                .await?;
                let what = format!("{name} of {} on {}", left.version, left.url);
                ensure!(told == left.state || !left.same_shape(), "{what}: another state is told");
                state::same(&serde_json::from_str(&left.state)?, &serde_json::from_str(&told)?, false)
                    .context(what)?;
            }
            // And it decides: the journal goes on behind what was recorded.
            wait_until(LONG, "a command is decided", async || {
                let scaled = cli.run(&["scale", "app", "plain", "--replicas", "5"]).await;
                scaled.and_then(|ran| ran.expect(0)).into()
            })
            .await?;
            for service in services {
                ensure!(service.stop(LONG).await?.success(), "a service does not end well");
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_program_refuses_the_journal_of_a_newer_one_and_says_what_to_do() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let nats = NatsServer::start(lab, "nats").await?;
        let version = journals::versions()?.pop().context("there are no recordings")?;
        let (recording, state) = journals::read(&version, Service::Deploy)?;
        let event = recording.events()?.last().context("no events")?.seq.to_string();
        let unknown = "UPDATE events SET kind = 'bcs.deploy.app.teleported.v1' WHERE seq = ";
        for (number, (sql, words)) in [
            (
                "INSERT INTO schema_version (version) VALUES (999)".to_owned(),
                ["schema version 999", "run the newer program"],
            ),
            (format!("{unknown}{event}"), ["bcs.deploy.app.teleported.v1", "newer program, run that one"]),
        ]
        .into_iter()
        .enumerate()
        {
            let url = format!("sqlite:{}", lab.path().join(format!("newer-{number}.db")).display());
            recording.put(&url, Service::Deploy).await?;
            let mut database = AnyConnection::connect(&url).await?;
            sqlx::query(AssertSqlSafe(sql)).execute(&mut database).await?;
            database.close().await?;
            let left = Left {
                version: version.clone(),
                service: Service::Deploy,
                recording: recording.clone(),
                state: state.clone(),
                url: url.clone(),
            };
            let mut process = program(lab, &nats, &left, &format!("old-{number}"))?;
            let status = wait_until(LONG, "it ends", async || match process.ended() {
                Ok(Some(status)) => Ready(status),
                other => NotYet(format!("{other:?}: {}", process.output())),
            })
            .await?;
            let said = process.output();
            ensure!(!status.success() && !said.contains("panicked"), "it ended with {status}: {said}");
            for words in words {
                ensure!(said.contains(words), "{words:?} is not said: {said}");
            }
            let mut database = AnyConnection::connect(&url).await?;
            let all: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM events").fetch_one(&mut database).await?;
            ensure!(usize::try_from(all)? == recording.events()?.len(), "{all} events are left");
        }
        Ok(())
    })
    .await
}
