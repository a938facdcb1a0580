//! A rolling update under load: every instance of an application is replaced while users send requests, some through HAProxy
//! and some to the addresses that they resolve through BIND, which they remember as long as they may. Once as the product
//! does it, waiting for every registry to confirm a drain, and once told not to wait, by a setting of the application.

mod platform;
mod traffic;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::Instant;

use self::{
    platform::Platform,
    traffic::{Asked, Traffic},
};
use super::{
    machine,
    registry::Kind,
    report::{Report, Row, Target},
    usage::Watched,
};
use crate::harness::Lab;

/// How long an instance takes until it serves.
const START_UP: Duration = Duration::from_secs(5);
/// How many instances more than wanted there may be, in percent.
const SURGE: u32 = 10;
/// Requests a second, half of them each way.
const RATE: u32 = 200;
/// How long the load goes on when the update is over.
const AFTER: Duration = Duration::from_secs(2);

/// How an application waits for its registries when an instance leaves.
#[derive(Clone, Copy)]
enum Waits {
    /// As it comes.
    ForAll,
    /// It gives them no time.
    ForNone,
}

/// What an update gave.
struct Update {
    took: Duration,
    asked: Asked,
}

/// Runs the scenario.
pub(super) async fn run(lab: &Lab, instances: u32) -> Result<Report> {
    let platform = Box::pin(Platform::start(lab, instances)).await?;
    platform.apply(&spec(instances, "v1", Waits::ForAll)).await?;
    platform.available().await.context("the first version")?;
    let waiting = Box::pin(update(&platform, &spec(instances, "v2", Waits::ForAll))).await?;
    platform.apply(&spec(instances, "v2", Waits::ForNone)).await?;
    platform.available().await?;
    let hasty = Box::pin(update(&platform, &spec(instances, "v3", Waits::ForNone))).await?;
    let mut rows = rows("with drain confirmation", &waiting, instances, Target::Exactly(0.0));
    rows.extend(self::rows("without waiting", &hasty, instances, Target::AtLeast(1.0)));
    for (name, pid) in platform.processes()? {
        let watched = Watched::new(name, pid);
        rows.push(Row::new(format!("CPU of {name}"), "s", watched.cpu()?));
        rows.push(Row::new(format!("peak RSS of {name}"), "MiB", watched.peak()?));
    }
    let mut versions = vec![machine::version("nats-server", "NATS_SERVER_BIN", "--version")];
    versions.extend([Kind::Haproxy, Kind::Bind].iter().filter_map(|kind| kind.version()));
    versions.push(format!(
        "{instances} instances of a simulated cluster that answer HTTP, each {} s after it was made; maxSurge {SURGE}%; {RATE} \
         requests/s, each on a new connection, HAProxy without retries; TTL {}",
        START_UP.as_secs(),
        platform::TTL
    ));
    Ok(Report { rows, versions, ..Report::default() })
}

async fn update(platform: &Platform, spec: &Value) -> Result<Update> {
    let traffic = Traffic::start(platform.front(), platform.name_server(), RATE);
    let begin = Instant::now();
    platform.apply(spec).await?;
    platform.available().await.context("the update")?;
    let took = begin.elapsed();
    tokio::time::sleep(AFTER).await;
    let asked = traffic.stop().await?;
    ensure!(asked.haproxy.sent > 0 && asked.bind.sent > 0, "nobody asked for anything");
    Ok(Update { took, asked })
}

fn rows(how: &str, update: &Update, instances: u32, failed: Target) -> Vec<Row> {
    let surge = f64::from(instances * SURGE).div_euclid(100.0).max(1.0);
    let least = START_UP.as_secs_f64() * f64::from(instances) / surge;
    let took = update.took.as_secs_f64();
    let Asked { haproxy, bind } = &update.asked;
    let time =
        Row::new(format!("{how}: update of {instances} instances"), "s", took).beside(least, took / least);
    let both = Row::new(
        format!("{how}: failed requests of {}", haproxy.sent + bind.sent),
        "",
        (haproxy.failed() + bind.failed()) as f64,
    );
    for failed in haproxy.words.iter().chain(&bind.words) {
        eprintln!("{how}: {failed}");
    }
    let of = |what: &str, way: &traffic::Way| {
        Row::new(format!("{how}: of these {what}, of {}", way.sent), "", way.failed() as f64)
    };
    vec![
        both.target(failed),
        of("through HAProxy", haproxy),
        of("to addresses that BIND told", bind),
        if matches!(failed, Target::Exactly(_)) { time.target(Target::RatioAtMost(1.2)) } else { time },
    ]
}

fn spec(instances: u32, tag: &str, waits: Waits) -> Value {
    let mut spec = json!({
        "replicas": instances,
        "placement": { "clusters": [{ "name": super::clusters::name(0) }] },
        "image": { "repository": "registry.example/web", "tag": tag },
        "ports": [{ "name": "http", "port": 8080 }],
        "annotations": { "sim.bcs/startup": format!("{}s", START_UP.as_secs()) },
        "update": { "maxSurge": format!("{SURGE}%") },
    });
    if let Waits::ForNone = waits {
        spec["drain"] = json!({ "deadline": "0s" });
    }
    spec
}
