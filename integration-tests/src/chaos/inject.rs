//! Makes things go wrong, and right again when their time is over.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::json;
use tokio::time::sleep;

use super::{
    fault::{Fault, Part},
    world::World,
};
use crate::harness::{LONG, Mood, Poll, wait_until};

/// One fault from its begin to its end.
pub(super) async fn inject(world: &World, fault: &Fault, lasting: Duration) -> Result<()> {
    run(world, fault, lasting).await.with_context(|| format!("{fault}: cannot be done"))
}

async fn run(world: &World, fault: &Fault, lasting: Duration) -> Result<()> {
    match *fault {
        Fault::Kill(part) => down(world, part, true, lasting).await,
        Fault::Stop(part) => down(world, part, false, lasting).await,
        Fault::Pause(part) => {
            let running = world.part(part).await?;
            running.signal(Signal::STOP)?;
            sleep(lasting).await;
            running.signal(Signal::CONT)
        }
        Fault::Partition(part) => wire(world, part, Mood::Hole, lasting).await,
        Fault::Disconnect(part) => wire(world, part, Mood::Cut, lasting).await,
        Fault::SlowRegistry { ms } => {
            registry(world, Mood::Slow(Duration::from_millis(ms.into())), lasting).await
        }
        Fault::NoRegistry => registry(world, Mood::Cut, lasting).await,
        Fault::DeafRegistry => registry(world, Mood::Deaf, lasting).await,
        Fault::BadApi { cluster, percent, ms } => {
            let rate = f64::from(percent) / 100.0;
            let bad = json!({ "api_errors": rate, "conflicts": rate, "latency_ms": ms });
            api(world, cluster, bad).await?;
            sleep(lasting).await;
            api(world, cluster, json!({ "api_errors": 0.0, "conflicts": 0.0, "latency_ms": 0 })).await
        }
        Fault::DropWatches { cluster } => api(world, cluster, json!({ "drop_watches": true })).await,
        Fault::Compact { cluster } => api(world, cluster, json!({ "compact": true })).await,
        Fault::FullDisk => {
            let disk = world.disk.as_ref().context("no small disk")?;
            disk.fill()?;
            sleep(lasting).await;
            disk.clear()
        }
        Fault::Clock { part, seconds } => {
            let clock = world.clock(part)?;
            clock.set(seconds.into())?;
            sleep(lasting).await;
            Ok(clock.set(0)?)
        }
    }
}

async fn down(world: &World, part: Part, killed: bool, lasting: Duration) -> Result<()> {
    let mut running = world.part(part).await?;
    if running.ended().is_none() {
        if killed { running.kill().await? } else { running.stop().await? }
    }
    sleep(lasting).await;
    running.start_again(&world.lab).await
}

async fn wire(world: &World, part: Part, mood: Mood, lasting: Duration) -> Result<()> {
    let wire = world.wire(part)?;
    wire.set(mood);
    sleep(lasting).await;
    wire.set(Mood::Open);
    Ok(())
}

async fn registry(world: &World, mood: Mood, lasting: Duration) -> Result<()> {
    world.etcd_wire.set(mood);
    sleep(lasting).await;
    world.etcd_wire.set(Mood::Open);
    Ok(())
}

/// It may be down or paused by another fault: then this one waits for it.
async fn api(world: &World, cluster: usize, faults: serde_json::Value) -> Result<()> {
    let server = world.clusters.get(cluster).context("no such cluster")?;
    wait_until(LONG, "the API server takes faults", async || Poll::from(server.faults(faults.clone()).await))
        .await
}
