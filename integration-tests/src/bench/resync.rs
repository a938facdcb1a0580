//! A sidecar that begins with a registry that holds nothing, though there are many instances; and one that begins where
//! everything is as it should be. The floor reads the bus, lists what the registry holds and puts what is missing, in requests
//! as large as suit it, with nobody to tell afterwards.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use bcs_schemas::observation::{EndpointPhase, RegistrationState};
use tokio::time::{Instant, sleep, timeout};

use super::{
    place,
    registry::{App, Instance, Kind, Registry, Side, write_all},
    report::{Report, Row, Target},
    sample::Rounds,
    site::{Sidecar, Site},
    usage::Watched,
};
use crate::harness::Lab;

/// Instances of an application.
const OF_AN_APP: u32 = 100;
const SMALL: u32 = 10_000;
const LARGE: u32 = 100_000;
/// Longer than any of it takes.
const LONGEST: Duration = Duration::from_secs(900);
/// Memory is looked at when everything was quiet for so long: allocators give back within ten seconds what they do not need.
const SETTLED: Duration = Duration::from_secs(12);
/// Applications that the outside client asks for at a time, and how long it rests then.
const ASKED: usize = 50;
const REST: Duration = Duration::from_millis(10);

/// Numbers of instances that somebody would trust to one registry of a kind. One proxy process is not where a hundred
/// thousand backends lie; Nacos takes a call for each instance, and PowerDNS writes a comment into SQL for each: for so many
/// one would take another backend.
const fn sizes(kind: Kind) -> &'static [u32] {
    match kind {
        Kind::Etcd | Kind::File | Kind::Bind => &[SMALL, LARGE],
        Kind::Rnacos | Kind::PowerDns | Kind::Haproxy | Kind::Envoy => &[SMALL],
    }
}

/// Runs the scenario; with `most`, no larger sizes than this.
pub(super) async fn run(lab: &Lab, rounds: usize, registries: &[Kind], most: u32) -> Result<Report> {
    let mut rows = Vec::new();
    for kind in registries {
        for size in sizes(*kind).iter().map(|size| (*size).min(most)).collect::<BTreeSet<_>>() {
            rows.extend(Box::pin(measure(lab, *kind, size, rounds)).await.with_context(|| kind.name())?);
        }
    }
    let mut versions = place::versions(registries);
    versions.pop();
    versions.push(format!("endpoints of about 500 bytes, {OF_AN_APP} of each application"));
    Ok(Report { rows, versions, ..Report::default() })
}

/// What a turn of the product gave.
struct Turn {
    cold: Duration,
    confirmed: Duration,
    again: Duration,
    /// Of the sidecar with everything, in MiB, beyond that of one with nothing.
    memory: f64,
    writes: f64,
}

async fn measure(lab: &Lab, kind: Kind, size: u32, rounds: usize) -> Result<Vec<Row>> {
    let apps = size.div_ceil(OF_AN_APP);
    let name = kind.name().to_ascii_lowercase();
    let site = Site::start(lab, &format!("full-{name}-{size}")).await?;
    let empty = Box::pin(nothing(lab, kind, &name, size)).await?;
    let of = |side| (0..size).map(|number| Instance::new(side, number, apps)).collect::<Vec<_>>();
    let (ours, by_hand) = (of(Side::Ours), of(Side::ByHand));
    site.say_all(&ours, EndpointPhase::Ready).await?;
    let mut sides =
        [Rounds::default(), Rounds::default(), Rounds::default(), Rounds::default(), Rounds::default()];
    let (mut memory, mut writes) = (0.0_f64, 0.0);
    for _ in 0..rounds {
        let registry = kind.start(lab, &site.cluster, apps).await?;
        let turn = Box::pin(product(lab, &site, &registry, &ours)).await?;
        let registry = kind.start(lab, &site.cluster, apps).await?;
        let (cold, list) = by_hand_turn(&site, &*registry, &by_hand).await?;
        for (side, took) in sides.iter_mut().zip([turn.cold, cold, turn.again, list, turn.confirmed]) {
            side.add(&[took])?;
        }
        memory = memory.max(turn.memory - empty);
        writes += turn.writes;
    }
    let [cold, cold_floor, again, list, confirmed] = sides;
    let name = format!("{}, {} endpoints", kind.name(), size);
    Ok(vec![
        Row::quantile(&format!("{name}: cold start → all visible"), 0.5, &cold, &cold_floor)
            .target(Target::RatioAtMost(1.5)),
        Row::new(format!("{name}: cold start → all confirmed on the bus, p50"), "ms", confirmed.millis(0.5)),
        Row::quantile(&format!("{name}: start with nothing to do → ready"), 0.5, &again, &list),
        Row::new(format!("{name}: changes written with nothing to do"), "", writes)
            .target(Target::Exactly(0.0)),
        Row::new(
            format!("{name}: RSS of the sidecar for 10,000"),
            "MiB",
            memory * f64::from(SMALL) / f64::from(size),
        )
        .target(Target::Below(10.0)),
    ])
}

/// Memory of a sidecar that has nothing to keep, in MiB.
async fn nothing(lab: &Lab, kind: Kind, name: &str, size: u32) -> Result<f64> {
    let site = Site::start(lab, &format!("empty-{name}-{size}")).await?;
    let registry = kind.start(lab, &site.cluster, 1).await?;
    let sidecar = site.sidecar(lab, &*registry)?;
    ready(&sidecar).await?;
    let memory = settled(&sidecar).await?;
    sidecar.stop().await?;
    Ok(memory)
}

async fn settled(sidecar: &Sidecar) -> Result<f64> {
    sleep(SETTLED).await;
    Watched::new("sidecar", sidecar.pid()?).resident()
}

async fn product(
    lab: &Lab,
    site: &Site,
    registry: &Arc<dyn Registry>,
    instances: &[Instance],
) -> Result<Turn> {
    site.forget_confirmations().await?;
    let begin = Instant::now();
    let sidecar = site.sidecar(lab, &**registry)?;
    let cold = gather(&**registry, instances, begin).await?;
    let all = site.confirmed.wait(instances, RegistrationState::Confirmed, LONGEST).await;
    let confirmed = all.iter().flatten().max().context("nothing was confirmed")?.duration_since(begin);
    ensure!(all.iter().all(Option::is_some), "not everything was confirmed");
    let memory = settled(&sidecar).await?;
    sidecar.stop().await?;
    let begin = Instant::now();
    let sidecar = site.sidecar(lab, &**registry)?;
    ready(&sidecar).await?;
    let again = begin.elapsed();
    // What it would write, it would write soon.
    sleep(Duration::from_secs(2)).await;
    let (writes, entries) =
        (sidecar.metric("bcs_sidecar_writes_total").await?, sidecar.metric("bcs_sidecar_entries").await?);
    sidecar.stop().await?;
    ensure!(
        entries as usize == instances.len(),
        "after a start with nothing to do it counts {entries} entries"
    );
    Ok(Turn { cold, confirmed, again, memory, writes })
}

/// How long listing and putting takes by hand until all is visible, and how long listing alone when it is.
async fn by_hand_turn(
    site: &Site,
    registry: &dyn Registry,
    instances: &[Instance],
) -> Result<(Duration, Duration)> {
    let apps: BTreeSet<App> = instances.iter().map(|one| one.app).collect();
    let begin = Instant::now();
    ensure!(site.read_by_hand().await? == instances.len(), "the bus does not tell all endpoints");
    ensure!(registry.look(&apps).await?.is_empty(), "it is not empty");
    write_all(registry, instances).await?;
    let cold = gather(registry, instances, begin).await?;
    let begin = Instant::now();
    ensure!(site.read_by_hand().await? == instances.len(), "the bus does not tell all endpoints");
    ensure!(registry.look(&apps).await?.len() == instances.len(), "something is missing");
    Ok((cold, begin.elapsed()))
}

async fn ready(sidecar: &Sidecar) -> Result<()> {
    let looking = async {
        while !sidecar.ready().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONGEST, looking).await.context("the sidecar does not get ready")
}

/// Waits until an outside client finds them all, and nothing else; how long after `begin`. It asks for some applications
/// again and again, and then for the next, so that it is no load.
async fn gather(registry: &dyn Registry, instances: &[Instance], begin: Instant) -> Result<Duration> {
    let apps: BTreeSet<App> = instances.iter().map(|one| one.app).collect();
    let wanted: BTreeSet<u32> = instances.iter().map(|one| one.number).collect();
    let mut found = BTreeSet::new();
    let looking = async {
        let apps: Vec<App> = apps.into_iter().collect();
        for some in apps.chunks(ASKED) {
            let some: BTreeSet<App> = some.iter().copied().collect();
            // A registry that is read as a whole tells more than was asked for.
            let due: BTreeSet<u32> =
                instances.iter().filter(|one| some.contains(&one.app)).map(|one| one.number).collect();
            let mut seen = registry.look(&some).await?;
            while !due.is_subset(&seen) {
                sleep(REST).await;
                seen = registry.look(&some).await?;
            }
            found.extend(seen);
        }
        anyhow::Ok(())
    };
    timeout(LONGEST, looking).await.context("not everything came")??;
    ensure!(found == wanted, "others were found than were written");
    Ok(begin.elapsed())
}
