//! Where the scenarios about one registry happen: the registry with its outside client, the sidecar that keeps it, and the
//! bus. Both sides write at the same pace; while one does, the other rests.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use bcs_schemas::observation::{EndpointPhase, RegistrationState};
use tokio::{task::JoinSet, time::Instant};

use super::{
    load, machine,
    registry::{App, Instance, Kind, Pen, Registry, Side, Watch, write_all},
    site::{Sidecar, Site},
    usage::{Meter, Watched},
};
use crate::harness::{Lab, NotYet, Ready, wait_until};

/// How many a second, and how many in a turn.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) rate: u32,
    pub(super) count: u32,
}

pub(super) const LOADS: [Load; 2] = [Load { rate: 50, count: 100 }, Load { rate: 1000, count: 2000 }];
/// Applications whose instances they are.
pub(super) const APPS: u32 = 100;
/// Nothing takes longer, or it is stuck.
pub(super) const LONGEST: Duration = Duration::from_secs(60);

/// A registry and its sidecar.
pub(super) struct Place {
    kind: Kind,
    pub(super) site: Site,
    pub(super) registry: Arc<dyn Registry>,
    pub(super) sidecar: Sidecar,
    pub(super) watch: Watch,
    pub(super) meter: Meter,
    /// Instances that there were so far: none comes twice.
    born: u32,
}

impl Place {
    pub(super) async fn start(lab: &Lab, kind: Kind) -> Result<Self> {
        let cluster = format!("in-{}", kind.name().to_ascii_lowercase());
        let registry = kind.start(lab, &cluster, APPS).await.with_context(|| kind.name())?;
        let site = Site::start(lab, &cluster).await?;
        let sidecar = site.sidecar(lab, &*registry)?;
        let watch = Watch::default();
        let (client, watched, stopping) = (registry.clone(), watch.clone(), site.tasks.stopping());
        site.tasks.spawn("outside-client", async move {
            tokio::select! {
                () = stopping.cancelled() => (),
                ended = client.follow(&watched) => eprintln!("the outside client ended: {ended:?}"),
            }
        });
        let mut processes =
            vec![Watched::new("nats-server", site.nats.pid()?), Watched::new("the sidecar", sidecar.pid()?)];
        processes.extend(registry.pid().map(|pid| Watched::new("the registry", pid)));
        processes.push(Watched::bench());
        Ok(Self { kind, site, registry, sidecar, watch, meter: Meter::new(processes), born: 0 })
    }

    pub(super) fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// Instances that nobody has heard of yet.
    pub(super) fn fresh(&mut self, side: Side, count: u32) -> Vec<Instance> {
        let first = self.born;
        self.born += count;
        (first..self.born).map(|number| Instance::new(side, number, APPS)).collect()
    }

    /// Nothing is measured before the sidecar keeps the registry, and has caught up.
    pub(super) async fn warm(&mut self) -> Result<()> {
        let one = self.fresh(Side::Ours, 1);
        self.watch.expect(one[0], true);
        self.site.say(one[0], EndpointPhase::Ready).await?;
        ensure!(self.watch.wait(&one, true).await[0].is_some(), "the sidecar does not write");
        ensure!(self.drain(&one).await? == 0, "the sidecar does not take out");
        Ok(())
    }

    /// Takes instances out of service and lets them be forgotten; how many are still found when all should have gone.
    pub(super) async fn drain(&self, instances: &[Instance]) -> Result<usize> {
        self.site.say_all(instances, EndpointPhase::Draining).await?;
        self.site.confirmed.wait(instances, RegistrationState::Drained, LONGEST).await;
        let left = self.registry.look(&App::all(Side::Ours, APPS)).await?.len();
        self.site.forget(instances).await?;
        Ok(left)
    }

    /// Writes entries by hand at a pace, or deletes them; how long each took to be seen by the outside client.
    pub(super) async fn by_hand(
        &self,
        load: Load,
        instances: &[Instance],
        put: bool,
    ) -> Result<Vec<Duration>> {
        let (pen, work) = Pen::new(self.registry.clone(), put);
        let mut hand = JoinSet::new();
        hand.spawn(work);
        let due = |number: u32| {
            let (one, pen) = (instances[number as usize], &pen);
            async move {
                self.watch.expect(one, put);
                let at = Instant::now();
                pen.due(one)?;
                Ok((number, at))
            }
        };
        let mut sent = load::paced(load.rate, load.count, due).await?;
        drop(pen);
        hand.join_next().await.context("nobody wrote")???;
        sent.sort_unstable_by_key(|(number, _)| *number);
        let seen = self.watch.wait(instances, put).await;
        let took: Vec<Duration> = seen
            .iter()
            .zip(&sent)
            .filter_map(|(seen, (_, at))| Some(seen.as_ref()?.duration_since(*at)))
            .collect();
        ensure!(took.len() == instances.len(), "the floor itself lost entries");
        Ok(took)
    }

    /// Puts entries by hand as fast as it goes, and waits until the outside client finds them.
    pub(super) async fn fill(&self, instances: &[Instance]) -> Result<()> {
        write_all(&*self.registry, instances).await?;
        let apps: BTreeSet<App> = instances.iter().map(|one| one.app).collect();
        wait_until(LONGEST, "everything is there", async || match self.registry.look(&apps).await {
            Ok(found) if found.len() == instances.len() => Ready(()),
            Ok(found) => NotYet(format!("{} of {}", found.len(), instances.len())),
            Err(error) => NotYet(format!("{error:#}")),
        })
        .await
    }

    /// Takes out what was written by hand.
    pub(super) async fn clear(&self, instances: &[Instance]) -> Result<()> {
        for some in instances.chunks(self.registry.style().bulk) {
            self.registry.delete(some).await?;
        }
        Ok(())
    }
}

/// The programs that took part.
pub(super) fn versions(registries: &[Kind]) -> Vec<String> {
    let mut versions = vec![machine::version("nats-server", "NATS_SERVER_BIN", "--version")];
    versions.extend(registries.iter().filter_map(|kind| kind.version()));
    versions.push(format!("endpoints of about 500 bytes, of {APPS} applications"));
    versions
}
