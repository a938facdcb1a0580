//! How soon nobody finds an instance any more that is to leave: from the moment when its drain is asked for until its registry
//! has confirmed that it is out and an outside client does not see it either. How long clients may remember it comes on top
//! in a real platform, as a setting, and is not measured. The floor deletes by hand and looks whether it is gone.

use std::time::Duration;

use anyhow::{Context, Result};
use bcs_schemas::observation::{EndpointPhase, RegistrationState};
use tokio::time::Instant;

use super::{
    load,
    place::{self, LOADS, LONGEST, Load, Place},
    registry::{Instance, Kind, Side},
    report::{Report, Row, Target},
    sample::Rounds,
};
use crate::harness::Lab;

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
    let (mut ours, mut floor, mut seen) = (Rounds::default(), Rounds::default(), Rounds::default());
    let mut stuck = 0;
    for _ in 0..rounds {
        place.warm().await?;
        let instances = place.fresh(Side::Ours, load.count);
        place.site.say_all(&instances, EndpointPhase::Ready).await?;
        place.site.confirmed.wait(&instances, RegistrationState::Confirmed, LONGEST).await;
        let begin = place.meter.begin()?;
        let turn = Box::pin(product(place, load, &instances)).await?;
        place.meter.end_of_ours(&begin)?;
        stuck += instances.len() - turn.confirmed.len();
        ours.add(&turn.confirmed)?;
        seen.add(&turn.gone)?;
        place.site.forget(&instances).await?;
        place.sidecar.pause()?;
        let instances = place.fresh(Side::ByHand, load.count);
        place.fill(&instances).await?;
        let begin = place.meter.begin()?;
        floor.add(&place.by_hand(load, &instances, false).await?)?;
        place.meter.end_of_floor(&begin)?;
        place.sidecar.resume()?;
    }
    let name = format!("{}, {}/s", place.name(), load.rate);
    let what = format!("{name}: drain asked → confirmed and gone");
    Ok(vec![
        Row::quantile(&what, 0.5, &ours, &floor),
        Row::quantile(&what, 0.99, &ours, &floor).target(Target::Below(1000.0)),
        Row::new(
            format!("{name}: of this until the outside client sees it no more, p50"),
            "ms",
            seen.millis(0.5),
        ),
        Row::new(format!("{name}: never confirmed or never gone"), "", stuck as f64)
            .target(Target::Exactly(0.0)),
    ])
}

/// What a turn gave.
struct Turn {
    /// Until both were so: confirmed on the bus, and not to be found.
    confirmed: Vec<Duration>,
    gone: Vec<Duration>,
}

async fn product(place: &Place, load: Load, instances: &[Instance]) -> Result<Turn> {
    let ask = |number: u32| {
        let one = instances[number as usize];
        async move {
            place.watch.expect(one, false);
            let at = Instant::now();
            place.site.say(one, EndpointPhase::Draining).await?;
            Ok((number, at))
        }
    };
    let mut asked = load::paced(load.rate, load.count, ask).await?;
    asked.sort_unstable_by_key(|(number, _)| *number);
    let gone = place.watch.wait(instances, false).await;
    let confirmed = place.site.confirmed.wait(instances, RegistrationState::Drained, LONGEST).await;
    let mut turn = Turn { confirmed: Vec::new(), gone: Vec::new() };
    for ((_, at), (gone, confirmed)) in asked.iter().zip(gone.iter().zip(&confirmed)) {
        if let (Some(gone), Some(confirmed)) = (gone, confirmed) {
            turn.gone.push(gone.duration_since(*at));
            turn.confirmed.push(gone.max(confirmed).duration_since(*at));
        }
    }
    Ok(turn)
}
