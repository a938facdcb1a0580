//! How soon an instance that became ready is found in a registry by somebody who only knows the registry. The product's
//! side begins where an agent writes the endpoint; the floor writes into the registry itself.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bcs_schemas::observation::EndpointPhase;
use tokio::time::Instant;

use super::{
    load,
    place::{self, LOADS, Load, Place},
    registry::{App, Instance, Kind, Side},
    report::{Report, Row, Target},
    sample::Rounds,
};
use crate::harness::Lab;

/// What a turn gave.
struct Turn {
    took: Vec<Duration>,
    /// How long the bus took to keep each.
    kept: Vec<Duration>,
    missing: usize,
    extra: usize,
}

/// Runs the scenario.
pub(super) async fn run(lab: &Lab, rounds: usize, registries: &[Kind]) -> Result<Report> {
    let mut rows = Vec::new();
    for kind in registries {
        let mut place = Box::pin(Place::start(lab, *kind)).await?;
        for load in LOADS {
            let compared = Box::pin(compare(&mut place, load, rounds)).await;
            rows.extend(compared.with_context(|| format!("{}, {}/s", kind.name(), load.rate))?);
        }
        rows.extend(place.meter.rows(place.name())?);
    }
    Ok(Report { rows, versions: place::versions(registries), ..Report::default() })
}

async fn compare(place: &mut Place, load: Load, rounds: usize) -> Result<Vec<Row>> {
    let (mut ours, mut floor, mut kept) = (Rounds::default(), Rounds::default(), Rounds::default());
    let (mut missing, mut extra) = (0, 0);
    for _ in 0..rounds {
        place.warm().await?;
        let begin = place.meter.begin()?;
        let instances = place.fresh(Side::Ours, load.count);
        let turn = Box::pin(product(place, load, &instances)).await?;
        place.meter.end_of_ours(&begin)?;
        ours.add(&turn.took)?;
        kept.add(&turn.kept)?;
        missing += turn.missing;
        extra += turn.extra + place.drain(&instances).await?;
        place.sidecar.pause()?;
        let begin = place.meter.begin()?;
        let instances = place.fresh(Side::ByHand, load.count);
        floor.add(&place.by_hand(load, &instances, true).await?)?;
        place.meter.end_of_floor(&begin)?;
        place.clear(&instances).await?;
        place.sidecar.resume()?;
    }
    let name = format!("{}, {}/s", place.name(), load.rate);
    let what = format!("{name}: ready → visible");
    let count = |what: &str, count: usize| {
        Row::new(format!("{name}: {what}"), "", count as f64).target(Target::Exactly(0.0))
    };
    Ok(vec![
        Row::quantile(&what, 0.5, &ours, &floor)
            .target(Target::Below(100.0))
            .target(Target::RatioAtMost(3.0)),
        Row::quantile(&what, 0.99, &ours, &floor).target(Target::Below(1000.0)),
        Row::new(format!("{name}: of this until the bus has kept it, p50"), "ms", kept.millis(0.5)),
        count("missing", missing),
        count("extra", extra),
    ])
}

/// Instances become ready one after the other, and are seen.
async fn product(place: &Place, load: Load, instances: &[Instance]) -> Result<Turn> {
    let ready = |number: u32| {
        let one = instances[number as usize];
        async move {
            place.watch.expect(one, true);
            let at = Instant::now();
            Ok((number, at, place.site.say(one, EndpointPhase::Ready).await?))
        }
    };
    let mut sent = load::paced(load.rate, load.count, ready).await?;
    sent.sort_by_key(|(number, ..)| *number);
    let seen = place.watch.wait(instances, true).await;
    let took: Vec<Duration> = seen
        .iter()
        .zip(&sent)
        .filter_map(|(seen, (_, at, _))| Some(seen.as_ref()?.duration_since(*at)))
        .collect();
    ensure!(!took.is_empty(), "no instance was ever seen");
    let found = place.registry.look(&App::all(Side::Ours, place::APPS)).await?;
    let there = instances.iter().filter(|one| found.contains(&one.number)).count();
    let missing = instances.len() - there.min(took.len());
    Ok(Turn {
        kept: sent.iter().map(|(.., kept)| *kept).collect(),
        missing,
        extra: found.len() - there,
        took,
    })
}
