//! How soon an instance that became ready is found in a registry by somebody who only knows the registry. The product's
//! side begins where an agent writes the endpoint; the floor writes into the registry itself.

mod etcd;
mod file;
mod place;
mod seen;

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use super::{
    machine,
    report::{Report, Row, Target},
    sample::Rounds,
    usage::{Meter, Watched},
};
use crate::harness::Lab;
use place::Place;

/// How many a second, and how many in a turn.
const LOADS: [(u32, u32); 2] = [(50, 100), (1000, 2000)];

/// One who becomes ready.
struct Sent {
    uid: String,
    /// When that was said.
    at: Instant,
    /// How long until the one to whom it was said had kept it.
    kept: Duration,
}

/// A registry as an outside client sees it, and the way into it by hand.
trait Registry {
    const NAME: &'static str;
    /// The cluster whose sidecar keeps it.
    const CLUSTER: &'static str;

    /// Instances that the client sees come.
    fn seen(&self) -> &seen::Seen;
    /// Everything that is there now.
    async fn listed(&self) -> Result<Vec<String>>;
    /// Writes an entry by hand, at the moment that it gives back.
    async fn put(&self, uid: String) -> Result<Sent>;
    /// Takes out everything that was written by hand.
    async fn clear(&self) -> Result<()>;
}

/// Runs the scenario.
pub(super) async fn run(lab: &Lab, rounds: usize) -> Result<Report> {
    let place = Box::pin(Place::start(lab)).await?;
    let mut rows = Vec::new();
    let mut meter = Meter::new(vec![
        Watched::new("nats-server", place.nats.pid()?),
        Watched::new("etcd", place.etcd.pid()?),
        Watched::new("sidecar (etcd)", place.sidecars[0].pid()?),
        Watched::new("sidecar (file)", place.sidecars[1].pid()?),
        Watched::bench(),
    ]);
    let etcd = etcd::Registry::open(&place).await?;
    let file = file::Registry::open(&place)?;
    for load in LOADS {
        rows.extend(Box::pin(compare(&etcd, &place, load, rounds, &mut meter)).await?);
        rows.extend(Box::pin(compare(&file, &place, load, rounds, &mut meter)).await?);
    }
    rows.extend(meter.rows()?);
    let versions = vec![
        machine::version("nats-server", "NATS_SERVER_BIN", "--version"),
        machine::version("etcd", "ETCD_BIN", "--version"),
        "endpoints of about 500 bytes".to_owned(),
    ];
    Ok(Report { rows, versions, ..Report::default() })
}

async fn compare<R: Registry>(
    registry: &R,
    place: &Place,
    (rate, count): (u32, u32),
    rounds: usize,
    meter: &mut Meter,
) -> Result<Vec<Row>> {
    let (mut ours, mut floor, mut kept) = (Rounds::default(), Rounds::default(), Rounds::default());
    let (mut missing, mut extra) = (0, 0);
    for round in 0..rounds {
        let begin = meter.begin()?;
        let turn = Box::pin(place.turn(registry, round, rate, count)).await?;
        meter.end_of_ours(&begin)?;
        ours.add(&turn.took)?;
        kept.add(&turn.kept)?;
        missing += turn.missing;
        extra += turn.extra;
        let begin = meter.begin()?;
        floor.add(&by_hand(registry, round, rate, count).await?)?;
        meter.end_of_floor(&begin)?;
        registry.clear().await?;
    }
    let what = format!("{}, {rate}/s: ready → visible", R::NAME);
    let p50 = Row::quantile(&what, 0.5, &ours, &floor);
    let p99 = Row::quantile(&what, 0.99, &ours, &floor);
    let kept = Row::new(
        format!("{}, {rate}/s: of this until the bus has kept it, p50", R::NAME),
        "ms",
        kept.millis(0.5),
    );
    Ok(vec![
        p50.target(Target::Below(100.0)).target(Target::RatioAtMost(3.0)),
        p99.target(Target::Below(1000.0)),
        kept,
        Row::new(format!("{}, {rate}/s: missing", R::NAME), "", f64::from(missing))
            .target(Target::Exactly(0.0)),
        Row::new(format!("{}, {rate}/s: extra", R::NAME), "", f64::from(extra)).target(Target::Exactly(0.0)),
    ])
}

async fn by_hand<R: Registry>(registry: &R, round: usize, rate: u32, count: u32) -> Result<Vec<Duration>> {
    let put = |number| registry.put(format!("floor-{rate}-{round}-{number}"));
    let sent = super::load::paced(rate, count, put).await?;
    let took = registry.seen().wait(&sent).await;
    anyhow::ensure!(took.len() == sent.len(), "the floor itself lost entries");
    Ok(took)
}
