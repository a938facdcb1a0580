//! What to do next for one application. Pure and level-triggered: the same world gives the same steps, whatever
//! happened before, and every step may be done twice.
//!
//! A new revision replaces the old one **surge first**: instances more than wanted are started, one unless the
//! application lets it be more, and old ones are taken out of service only when enough others are available. Nothing in service is stopped before its drain is
//! through, and nothing is done in a cluster of which there is no news.

use std::collections::{BTreeMap, BTreeSet};

use bcs_schemas::Name;
use jiff::{SignedDuration, Timestamp};

use super::{
    app::App,
    observed::{InCluster, Instance, Observed, Stage},
};

/// A step, and the cluster whose agent is asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedStep {
    /// The cluster.
    pub cluster: Name,
    /// The revision that it is about.
    pub revision: Name,
    /// What to do.
    pub action: Action,
}

/// What an agent is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Let the engine keep at least this many.
    ScaleUp(u32),
    /// Tell the instances in which registries they belong.
    Register,
    /// Tell the engine that every registry has confirmed these.
    Registered(Vec<Victim>),
    /// Take an instance out of service.
    Drain(Victim),
    /// Stop these, and let the engine keep fewer.
    ScaleDown {
        /// How many remain.
        keep: u32,
        /// How many it keeps, as far as is seen.
        from: u32,
        /// Which ones go.
        victims: Vec<Victim>,
    },
    /// Nothing is left: let the engine forget the revision.
    Remove,
}

/// An instance that a step is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Victim {
    /// Its name.
    pub name: String,
    /// Which incarnation.
    pub uid: String,
}

impl Victim {
    fn of(instance: &Instance) -> Self {
        Self { name: instance.name.clone(), uid: instance.uid.clone() }
    }
}

/// Replicas for which no instance showed up within this time are given up when too many are kept.
const SHOW_UP: SignedDuration = SignedDuration::from_secs(10);

/// The next steps. None: there is nothing to do now, or everything waits.
pub fn plan(app: &App, observed: &Observed, now: Timestamp) -> Vec<PlannedStep> {
    let world = World::of(app, observed);
    let mut steps = Vec::new();
    for (name, cluster) in observed.clusters.iter().filter(|(_, cluster)| cluster.unusable.is_none()) {
        stop_drained(app, name, cluster, now, &mut steps);
        forget_empty(app, name, cluster, &mut steps);
    }
    steps.extend(world.start_new(app));
    steps.extend(world.take_out(app));
    // The last, so that an agent which is too old for it can do everything else.
    for (name, cluster) in observed.clusters.iter().filter(|(_, cluster)| cluster.unusable.is_none()) {
        tell(app, name, cluster, &mut steps);
        open_gates(name, cluster, &mut steps);
    }
    steps
}

/// Stops what is out of service, and lets the engine keep what remains.
fn stop_drained(app: &App, name: &Name, cluster: &InCluster, now: Timestamp, steps: &mut Vec<PlannedStep>) {
    for (revision, kept) in &cluster.workloads {
        let of = |test: fn(&Stage) -> bool| {
            cluster.instances.iter().filter(move |i| i.revision == *revision && test(&i.stage))
        };
        let victims: Vec<Victim> = of(|s| matches!(s, Stage::Drained(_))).map(Victim::of).collect();
        let remaining = of(|s| !matches!(s, Stage::Drained(_) | Stage::Stopping)).count();
        let remaining = u32::try_from(remaining).unwrap_or(u32::MAX);
        let wanted = if *revision == app.revision { app.share(name) } else { 0 };
        // Replicas that show no instance: just started ones, unless that is long ago.
        let overdue = now.duration_since(kept.observed_at) > SHOW_UP;
        let unseen = kept.replicas.saturating_sub(remaining).saturating_sub(count(&victims));
        let keep = if overdue { remaining.max(wanted.min(kept.replicas)) } else { remaining + unseen };
        if !victims.is_empty() || keep < kept.replicas {
            let action = Action::ScaleDown { keep: keep.min(kept.replicas), from: kept.replicas, victims };
            steps.push(PlannedStep { cluster: name.clone(), revision: revision.clone(), action });
        }
    }
}

fn count<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

/// Lets the engine forget revisions that are over.
fn forget_empty(app: &App, name: &Name, cluster: &InCluster, steps: &mut Vec<PlannedStep>) {
    for (revision, kept) in &cluster.workloads {
        let over = *revision != app.revision || app.share(name) == 0;
        let empty = kept.replicas == 0 && cluster.instances.iter().all(|i| i.revision != *revision);
        if over && empty {
            steps.push(PlannedStep {
                cluster: name.clone(),
                revision: revision.clone(),
                action: Action::Remove,
            });
        }
    }
}

/// Tells instances that stay in which registries they belong, when that has changed. They keep running.
fn tell(app: &App, name: &Name, cluster: &InCluster, steps: &mut Vec<PlannedStep>) {
    if app.deleting_since.is_some() {
        return;
    }
    let ignorant = cluster.instances.iter().filter(|i| i.live() && !i.told).map(|i| &i.revision);
    for revision in ignorant.collect::<BTreeSet<_>>() {
        let (cluster, revision) = (name.clone(), revision.clone());
        steps.push(PlannedStep { cluster, revision, action: Action::Register });
    }
}

/// Tells the engine what it waits to hear. What was registered once stays so: that a registry is in trouble later is no
/// reason to take instances out of service.
fn open_gates(name: &Name, cluster: &InCluster, steps: &mut Vec<PlannedStep>) {
    let mut known: BTreeMap<&Name, Vec<Victim>> = BTreeMap::new();
    for instance in cluster.instances.iter().filter(|i| i.gated && i.available()) {
        known.entry(&instance.revision).or_default().push(Victim::of(instance));
    }
    for (revision, instances) in known {
        let (cluster, revision) = (name.clone(), revision.clone());
        steps.push(PlannedStep { cluster, revision, action: Action::Registered(instances) });
    }
}

/// The numbers that decisions are made on.
struct World<'a> {
    usable: BTreeMap<&'a Name, Part<'a>>,
    /// Instances that serve, where there is news of them: of those that stay, the available ones; of those that are to
    /// leave, the ready ones as well, for they may serve although a registry does not say so now.
    serving: u32,
    /// Instances of the wanted revision that served, within their cluster's share, where there is no news of them now.
    silent: u32,
    /// Instances of any revision that serve or shall serve, anywhere; those that did not show up yet included.
    live: u32,
    /// Whether another revision than the wanted one is still there, anywhere.
    rolling: bool,
}

/// One cluster in which something may be done.
struct Part<'a> {
    share: u32,
    /// Live instances of the wanted revision.
    new: Vec<&'a Instance>,
    /// Live instances of other revisions.
    old: Vec<&'a Instance>,
    /// Of the wanted revision, on their way out but still among the replicas that the engine keeps.
    leaving: u32,
    /// Replicas of the wanted revision that the engine keeps and that are not leaving. Those that may be stopped are
    /// among them until it has been told so.
    started: u32,
}

impl<'a> World<'a> {
    fn of(app: &App, observed: &'a Observed) -> Self {
        let part = |name: &'a Name, cluster: &'a InCluster| Part::of(app, name, cluster);
        let parts: BTreeMap<&Name, Part<'_>> =
            observed.clusters.iter().map(|(n, c)| (n, part(n, c))).collect();
        let live: u32 = parts.values().map(|p| p.started.max(count(&p.new)) + count(&p.old)).sum();
        let rolling = parts.values().any(|p| !p.old.is_empty());
        let told = |name: &Name| observed.clusters[name].unusable.is_none();
        let (usable, mute): (BTreeMap<&Name, Part<'_>>, BTreeMap<_, _>) =
            parts.into_iter().partition(|(name, _)| told(name));
        let serving = usable.values().map(|part| part.serving(&app.remove)).sum();
        let silent = mute.values().map(|part| available(&part.new).min(part.share)).sum();
        Self { usable, serving, silent, live, rolling }
    }

    /// Starts what is missing: all of it when there is nothing to replace, otherwise no more in all than may be there
    /// beyond what is wanted.
    fn start_new(&self, app: &App) -> Vec<PlannedStep> {
        let most = app.total().saturating_add(app.spec.update.max_surge.of(app.total()));
        let mut budget = if self.rolling { most.saturating_sub(self.live) } else { u32::MAX };
        let mut steps = Vec::new();
        for (name, part) in &self.usable {
            let missing = part.share.saturating_sub(part.started.max(count(&part.new))).min(budget);
            budget -= missing;
            // What is asked for must be above what leaves, or the engine would start nothing.
            let target = part.started.max(count(&part.new)) + part.leaving + missing;
            if missing > 0 {
                steps.push(PlannedStep {
                    cluster: (*name).clone(),
                    revision: app.revision.clone(),
                    action: Action::ScaleUp(target),
                });
            }
        }
        steps
    }

    /// Takes out of service what is too much: instances of the wanted revision above a cluster's share, and all of other
    /// revisions; both only as far as enough others are there, and enough of those serve.
    fn take_out(&self, app: &App) -> Vec<PlannedStep> {
        let mut leave = Leave {
            spare: self.live.saturating_sub(app.total()),
            // Where only the number was lowered, instances in a silent cluster count as they were last seen.
            surplus: (self.serving + self.silent).saturating_sub(app.total()),
            steps: Vec::new(),
        };
        for (name, part) in &self.usable {
            leave.some(name, &part.excess(&app.remove));
        }
        leave.surplus = leave.surplus.saturating_sub(self.silent);
        // Clusters that hold more than their share give first, so that no cluster runs low while others are full.
        let mut parts: Vec<_> = self.usable.iter().collect();
        parts.sort_by_key(|(_, p)| {
            std::cmp::Reverse(i64::from(count(&p.new) + count(&p.old)) - i64::from(p.share))
        });
        for (name, part) in parts {
            leave.some(name, &least_missed(&part.old, &app.remove));
        }
        leave.steps
    }
}

/// How many may leave, and who does.
struct Leave {
    /// Instances more than wanted.
    spare: u32,
    /// Instances that serve more than wanted.
    surplus: u32,
    steps: Vec<PlannedStep>,
}

impl Leave {
    fn some(&mut self, cluster: &Name, instances: &[&Instance]) {
        for instance in instances {
            let missed = u32::from(instance.serves());
            if self.spare > 0 && missed <= self.surplus {
                self.spare -= 1;
                self.surplus -= missed;
                self.steps.push(drain(cluster, instance));
            }
        }
    }
}

impl<'a> Part<'a> {
    /// Instances of the wanted revision above the share.
    fn excess(&self, remove: &[String]) -> Vec<&'a Instance> {
        let excess = count(&self.new).saturating_sub(self.share);
        least_missed(&self.new, remove).into_iter().take(excess as usize).collect()
    }

    /// See [`World::serving`].
    fn serving(&self, remove: &[String]) -> u32 {
        let excess = self.excess(remove);
        let leaving = excess.iter().chain(&self.old).filter(|i| i.serves()).count();
        available(&self.new) - available(&excess) + u32::try_from(leaving).unwrap_or(u32::MAX)
    }

    fn of(app: &App, name: &Name, cluster: &'a InCluster) -> Self {
        let live = |wanted: bool| {
            let fits = move |i: &&Instance| i.live() && (i.revision == app.revision) == wanted;
            cluster.instances.iter().filter(fits).collect::<Vec<_>>()
        };
        let mine = |i: &&Instance| i.revision == app.revision;
        let leaving =
            cluster.instances.iter().filter(mine).filter(|i| matches!(i.stage, Stage::Draining(_))).count();
        let leaving = u32::try_from(leaving).unwrap_or(u32::MAX);
        let kept = cluster.workloads.get(&app.revision).map_or(0, |kept| kept.replicas);
        Self {
            share: app.share(name),
            new: live(true),
            old: live(false),
            leaving,
            started: kept.saturating_sub(leaving),
        }
    }
}

fn available(instances: &[&Instance]) -> u32 {
    u32::try_from(instances.iter().filter(|i| i.available()).count()).unwrap_or(u32::MAX)
}

fn drain(cluster: &Name, instance: &Instance) -> PlannedStep {
    PlannedStep {
        cluster: cluster.clone(),
        revision: instance.revision.clone(),
        action: Action::Drain(Victim::of(instance)),
    }
}

/// Those that are missed least come first: the ones asked to go, then those that do not serve, then the youngest.
fn least_missed<'a>(instances: &[&'a Instance], remove: &[String]) -> Vec<&'a Instance> {
    let mut sorted = instances.to_vec();
    sorted.sort_by_key(|i| {
        (!remove.contains(&i.name), i.available(), std::cmp::Reverse(i.since), i.name.clone())
    });
    sorted
}

#[cfg(test)]
mod tests;
