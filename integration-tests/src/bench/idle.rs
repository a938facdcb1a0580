//! What the platform costs when nobody wants anything of it: how soon `bcs up` is ready, and what it then holds and uses.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};

use super::{
    machine,
    report::{Report, Row, Target},
    sample::Rounds,
    usage::Watched,
};
use crate::harness::{Lab, NatsServer, NotYet, Options, Ready, Up, wait_until};

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(20);
/// What the start left behind has settled after this.
const SETTLED: Duration = Duration::from_secs(5);
const MIB_ALLOWED: f64 = 80.0;

/// Runs the scenario.
pub(super) async fn run(lab: &Lab, rounds: usize) -> Result<Report> {
    let (mut first, mut again, mut server) = (Rounds::default(), Rounds::default(), Rounds::default());
    for round in 0..rounds {
        let place = Lab::new()?;
        let begin = Instant::now();
        let mut up = start(&place).await?;
        first.add(&[begin.elapsed()])?;
        up.stop().await?;
        let begin = Instant::now();
        up.launch(&place)?;
        ready(&mut up).await?;
        again.add(&[begin.elapsed()])?;
        up.stop().await?;
        let begin = Instant::now();
        let nats = NatsServer::start(lab, &format!("nats-{round}")).await?;
        server.add(&[begin.elapsed()])?;
        drop(nats);
    }
    let mut rows = vec![
        Row::quantile("ready, in an empty directory", 0.5, &first, &server).target(Target::Below(1000.0)),
        Row::quantile("ready, where it was before", 0.5, &again, &server).target(Target::Below(1000.0)),
    ];
    rows.extend(at_rest(lab).await?);
    let versions = vec![
        machine::version("nats-server", "NATS_SERVER_BIN", "--version"),
        "floor of a start: nats-server alone answers".to_owned(),
    ];
    Ok(Report { rows, versions, ..Report::default() })
}

async fn at_rest(lab: &Lab) -> Result<Vec<Row>> {
    let mut up = start(lab).await?;
    sleep(SETTLED).await;
    let (bcs, nats) = (Watched::new("bcs up", up.pid()?), Watched::new("nats-server", up.nats_pid()?));
    let before = [bcs.cpu()?, nats.cpu()?];
    sleep(WATCHED).await;
    let percent = |before: f64, now: f64| (now - before) / WATCHED.as_secs_f64() * 100.0;
    let used = [percent(before[0], bcs.cpu()?), percent(before[1], nats.cpu()?)];
    let rows = vec![
        Row::new("RSS of bcs up", "MiB", bcs.resident()?).target(Target::Below(MIB_ALLOWED)),
        Row::new("peak RSS of bcs up", "MiB", bcs.peak()?).target(Target::Below(MIB_ALLOWED)),
        Row::new("CPU of bcs up over 20 s", "% of a core", used[0]).target(Target::Below(1.0)),
        Row::new("RSS of its nats-server", "MiB", nats.resident()?),
        Row::new("CPU of its nats-server over 20 s", "% of a core", used[1]),
    ];
    up.stop().await?;
    Ok(rows)
}

async fn start(lab: &Lab) -> Result<Up> {
    let mut up = Up::start(lab, Options { log: "warn".to_owned(), ..Options::default() }).await?;
    ready(&mut up).await?;
    Ok(up)
}

/// Up and saying so: readiness is what an operator waits for.
async fn ready(up: &mut Up) -> Result<()> {
    up.ready().await?;
    let readyz = format!("{}/readyz", up.health());
    let client = reqwest::Client::new();
    wait_until(Duration::from_secs(20), "bcs up is ready", async || match client.get(&readyz).send().await {
        Ok(answer) if answer.status().is_success() => Ready(()),
        Ok(answer) => NotYet(answer.status().to_string()),
        Err(error) => NotYet(error.to_string()),
    })
    .await
}
