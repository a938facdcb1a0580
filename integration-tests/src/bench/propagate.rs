//! How soon an application that was asked for exists in its cluster: from the command on the bus to the ReplicaSet that
//! somebody sees who only watches the cluster's API. The floor creates the same ReplicaSet there itself.

mod watch;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bcs_client::Client;
use bcs_schemas::{Name, deploy::ApplyApp, outcome::Outcome};
use tokio::time::{Instant, sleep};

use super::{
    clusters::{self, Clusters},
    load, machine,
    report::{Report, Row, Target},
    sample::Rounds,
    usage::{Meter, Watched},
};
use crate::harness::{Lab, Options, Up};
use watch::Watch;

/// Numbers of clusters.
const CLUSTERS: [usize; 3] = [1, 10, 100];
/// How many a second, and how many in a turn.
const LOADS: [(u32, u32); 2] = [(1, 4), (100, 200)];
/// Project, and so namespace, of the product's objects.
const PROJECT: &str = "bench";
/// The bus has decided within this time, or the run is void.
const LONGEST: Duration = Duration::from_secs(30);
/// What a turn left to do is over after this, so that the next one stands for itself.
const BETWEEN: Duration = Duration::from_secs(1);

/// An object that was asked for.
struct Asked {
    name: String,
    at: Instant,
    /// How long until it was decided, or created by hand.
    answered: Duration,
}

struct Bench {
    client: Client,
    clusters: Clusters,
    watch: Watch,
}

/// Runs the scenario.
pub(super) async fn run(lab: &Lab, rounds: usize) -> Result<Report> {
    let up = Up::start(lab, Options { log: "warn".to_owned(), ..Options::default() }).await?;
    let most = CLUSTERS.into_iter().max().unwrap_or_default();
    let clusters = Clusters::start(lab, most).await?;
    let mut meter = Meter::new(vec![
        Watched::new("bcs up", up.pid()?),
        Watched::new("nats-server", up.nats_pid()?),
        Watched::new("clusters", clusters.pid()?),
        Watched::bench(),
    ]);
    let mut bench = Bench { client: up.client().await?, clusters, watch: Watch::default() };
    let mut rows = Vec::new();
    for count in CLUSTERS {
        Box::pin(bench.grow(count)).await.with_context(|| format!("{count} clusters"))?;
        for load in LOADS {
            rows.extend(Box::pin(bench.compare(count, load, rounds, &mut meter)).await?);
        }
    }
    rows.extend(meter.rows("")?);
    let versions = vec![
        machine::version("nats-server", "NATS_SERVER_BIN", "--version"),
        "all clusters simulated in one process on the same machine".to_owned(),
    ];
    Ok(Report { rows, versions, ..Report::default() })
}

impl Bench {
    /// Takes further clusters into the platform until there are so many, and lets each have its first application.
    async fn grow(&mut self, count: usize) -> Result<()> {
        let from = self.watch.clusters();
        for number in from..count {
            self.clusters.import(&self.client, number).await?;
            self.watch.add(self.clusters.api(number).await?);
        }
        self.clusters.healthy(&self.client, count).await?;
        for number in from..count {
            let sent = self.apply(format!("first-{number}"), number).await?;
            self.watch.seen(&sent.name, LONGEST).await?;
            self.watch.namespace(number).await?;
        }
        sleep(BETWEEN).await;
        Ok(())
    }

    async fn compare(
        &self,
        clusters: usize,
        (rate, count): (u32, u32),
        rounds: usize,
        meter: &mut Meter,
    ) -> Result<Vec<Row>> {
        let (mut ours, mut floor, mut decided) = (Rounds::default(), Rounds::default(), Rounds::default());
        for round in 0..rounds {
            let name = |side: &str, n: u32| format!("{side}-{clusters}-{rate}-{round}-{n}");
            let begin = meter.begin()?;
            let apply = |n: u32| self.apply(name("app", n), n as usize % clusters);
            let asked = load::paced(rate, count, apply).await?;
            ours.add(&self.took(&asked).await?)?;
            decided.add(&asked.iter().map(|one| one.answered).collect::<Vec<_>>())?;
            sleep(BETWEEN).await;
            meter.end_of_ours(&begin)?;
            let begin = meter.begin()?;
            let create = |n: u32| self.watch.create(name("raw", n), n as usize % clusters);
            floor.add(&self.took(&load::paced(rate, count, create).await?).await?)?;
            sleep(BETWEEN).await;
            meter.end_of_floor(&begin)?;
        }
        let what = format!("{clusters} clusters, {rate}/s: apply → object");
        let p50 = Row::quantile(&what, 0.5, &ours, &floor).target(Target::FloorPlus(5.0));
        let p99 = Row::quantile(&what, 0.99, &ours, &floor);
        let part = format!("{clusters} clusters, {rate}/s: of this until the outcome came back, p50");
        let decided = Row::new(part, "ms", decided.millis(0.5));
        let heaviest = clusters == 100 && rate == 100;
        Ok(vec![p50, if heaviest { p99.target(Target::Below(100.0)) } else { p99 }, decided])
    }

    /// Asks for an application of one instance in one cluster.
    async fn apply(&self, name: String, cluster: usize) -> Result<Asked> {
        let spec = clusters::app(cluster)?;
        let target = bcs_kit::machine::target(&Name::new(PROJECT)?, "app", &Name::new(&name)?);
        let command = self.client.command(target, ApplyApp { labels: Default::default(), spec });
        let at = Instant::now();
        match command.send(LONGEST).await? {
            Outcome::Accepted(_) => Ok(Asked { name, at, answered: at.elapsed() }),
            Outcome::Rejected(rejected) => bail!("{name} was rejected: {}", rejected.message),
        }
    }

    async fn took(&self, asked: &[Asked]) -> Result<Vec<Duration>> {
        let mut took = Vec::with_capacity(asked.len());
        for Asked { name, at, .. } in asked {
            took.push(self.watch.seen(name, LONGEST).await?.duration_since(*at));
        }
        Ok(took)
    }
}
