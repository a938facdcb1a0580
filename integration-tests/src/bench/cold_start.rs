//! How soon a service answers that has much in its journal: after a clean stop, which leaves a snapshot, and after a kill,
//! when every event is folded. The floor reads the same rows and does nothing with them.

use std::time::Duration;

use anyhow::{Context, Result};
use bcs_schemas::{Name, query::Query};
use futures::{StreamExt, TryStreamExt, stream};
use sqlx::{AnyConnection, AssertSqlSafe, Connection};
use tokio::time::{Instant, sleep};

use super::{
    apart::{Apart, LONGEST},
    machine,
    report::{Report, Row, Target},
    sample::Rounds,
    usage::Watched,
};
use crate::harness::{Lab, Postgres};

/// Applications in the journal.
const APPS: usize = 30_000;
/// Commands in flight while they are asked for.
const IN_FLIGHT: usize = 256;
/// Between two questions to a service that does not answer yet.
const PAUSE: Duration = Duration::from_millis(2);

/// Where the journal lies.
struct Journal {
    on: &'static str,
    url: String,
    /// What stands before the names of its tables.
    schema: &'static str,
}

/// Runs the scenario.
pub(super) async fn run(lab: &Lab, rounds: usize) -> Result<Report> {
    sqlx::any::install_default_drivers();
    let file = format!("sqlite:{}", lab.path().join("deploy.db").display());
    let mut rows = compare(lab, &Journal { on: "SQLite", url: file, schema: "" }, rounds).await?;
    match Postgres::start(lab).await {
        Ok(server) => {
            let url = server.url().to_owned();
            let journal = Journal { on: "PostgreSQL", url, schema: "bcs_deploy." };
            rows.extend(compare(lab, &journal, rounds).await?);
        }
        Err(error) => rows.push(Row::not_run("PostgreSQL", Some("the same"), &format!("{error:#}"))),
    }
    let versions = vec![
        machine::version("nats-server", "NATS_SERVER_BIN", "--version"),
        machine::version("postgres", "POSTGRES_BIN", "--version"),
        "from the start of the process to its first answer; floor: select of all events, over a connection of its own".to_owned(),
    ];
    Ok(Report { rows, versions, ..Report::default() })
}

async fn compare(lab: &Lab, journal: &Journal, rounds: usize) -> Result<Vec<Row>> {
    let (apart, mut deploy) = Apart::start(lab, journal.on, journal.url.clone()).await?;
    let asked = (0..APPS).map(|number| {
        let apart = &apart;
        async move { apart.apply(&name(number)).await }
    });
    stream::iter(asked).buffer_unordered(IN_FLIGHT).try_collect::<()>().await?;
    let (mut folded, mut kept, mut decided) = (Rounds::default(), Rounds::default(), Rounds::default());
    let (mut floor, mut events, mut peak) = (Rounds::default(), 0, 0.0_f64);
    for round in 0..rounds {
        deploy.kill().await?;
        journal.forget_snapshots().await?;
        let begin = Instant::now();
        deploy = apart.deploy(lab, journal.on)?;
        folded.add(&[answers(&apart, begin).await?])?;
        apart.apply(&format!("after-a-kill-{round}")).await?;
        peak = peak.max(Watched::new("deploy", deploy.pid()?).peak()?);
        deploy.stop(LONGEST).await?;
        let begin = Instant::now();
        deploy = apart.deploy(lab, journal.on)?;
        kept.add(&[answers(&apart, begin).await?])?;
        apart.apply(&format!("after-a-stop-{round}")).await?;
        decided.add(&[begin.elapsed()])?;
        let (took, found) = journal.read().await?;
        floor.add(&[took])?;
        events = found;
    }
    let on = journal.on;
    Ok(vec![
        Row::quantile(&format!("{on}: killed, no snapshot: first answer"), 0.5, &folded, &floor)
            .target(Target::Below(5000.0)),
        Row::quantile(&format!("{on}: stopped, with its snapshot: first answer"), 0.5, &kept, &floor)
            .target(Target::Below(5000.0)),
        Row::new(format!("{on}: stopped, with its snapshot: first decision, p50"), "ms", decided.millis(0.5)),
        Row::new(format!("{on}: applications in the journal"), "", APPS as f64),
        Row::new(format!("{on}: events in the journal"), "", events as f64),
        Row::new(format!("{on}: peak RSS of the service, no snapshot"), "MiB", peak),
    ])
}

fn name(number: usize) -> String {
    format!("app-{number}")
}

/// How long after `begin` the service says what it has of an application.
async fn answers(apart: &Apart, begin: Instant) -> Result<Duration> {
    let query = Query {
        project: Some(Name::new("bench")?),
        name: Some(Name::new(name(APPS - 1))?),
        ..Query::default()
    };
    loop {
        match apart.client.app(&query).await {
            Ok(answered) => {
                answered.data.context("an application is missing after a start")?;
                return Ok(begin.elapsed());
            }
            Err(error) if begin.elapsed() > LONGEST => return Err(error).context("no answer"),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

impl Journal {
    async fn connect(&self) -> Result<AnyConnection> {
        AnyConnection::connect(&self.url).await.context(self.on)
    }

    /// As if none had ever been kept.
    async fn forget_snapshots(&self) -> Result<()> {
        let delete = format!("DELETE FROM {}snapshots", self.schema);
        sqlx::query(AssertSqlSafe(delete)).execute(&mut self.connect().await?).await?;
        Ok(())
    }

    /// Reads every event, and says how long that took and how many there are.
    async fn read(&self) -> Result<(Duration, usize)> {
        let begin = Instant::now();
        let mut connection = self.connect().await?;
        let select = format!(
            "SELECT seq, id, target, kind, decided_at, actor, command_id, correlation_id, payload FROM {}events ORDER BY shard, seq",
            self.schema
        );
        let mut rows = sqlx::query(AssertSqlSafe(select)).fetch(&mut connection);
        let mut count = 0;
        while rows.try_next().await?.is_some() {
            count += 1;
        }
        Ok((begin.elapsed(), count))
    }
}
