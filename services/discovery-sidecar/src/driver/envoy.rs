//! Endpoints of Envoy's clusters, by its discovery (EDS). Here the Envoys come to us: the sidecar is the server, what it serves
//! lives in its memory, and a change is confirmed when every Envoy that asks for its cluster acknowledged it. An Envoy keeps what
//! it had as long as nobody answers, so nothing is said before everything is known.

mod hub;
mod layout;
mod service;
mod serving;
mod session;
mod snapshot;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bcs_schemas::{observation::Registration, resource::registry::EnvoyDriver};
use futures::future::BoxFuture;
use tokio::time::Instant;

use self::{
    hub::{Hub, Verdict},
    layout::{Clusters, Host, cluster_of},
    serving::Serving,
};
use super::{Able, Capabilities, Driver, Fence, Listing, Owner, OwnerSlot, WHOLE};
use crate::domain::{Change, Entry, Failure, Layout, Outcome, Place};

/// How long Envoys have to acknowledge a change.
const WITHIN: Duration = Duration::from_secs(3);

/// The driver.
pub struct Envoy {
    settings: EnvoyDriver,
    owner: Owner,
    clusters: Clusters,
    hub: Arc<Hub>,
    serving: Mutex<Option<Serving>>,
}

/// Changes of one cluster, by their number in the batch.
type Group = (String, Vec<usize>);

impl Envoy {
    /// Does not listen before it is told its epoch.
    pub fn new(settings: EnvoyDriver, owner: &Owner) -> Self {
        let clusters = Clusters { template: settings.cluster.clone() };
        Self {
            settings,
            owner: owner.clone(),
            clusters,
            hub: Arc::new(Hub::new()),
            serving: Mutex::default(),
        }
    }

    fn serving(&self) -> MutexGuard<'_, Option<Serving>> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn begin(&self, epoch: u64) -> Result<(), Failure> {
        let held = self.hub.state().epoch;
        if held > epoch {
            return Err(Failure::Fenced(held));
        }
        if self.serving().is_none() {
            let serving = Serving::begin(&self.settings, &self.hub).await;
            let serving = serving.map_err(|words| Failure::Unavailable(format!("envoy: {words}")))?;
            *self.serving() = Some(serving);
        }
        self.hub.state().epoch = epoch;
        Ok(())
    }

    async fn apply(&self, changes: &[Change]) -> Result<Vec<Outcome>, Failure> {
        if self.serving().is_none() {
            return Err(Failure::Unavailable("envoy: nothing is served".to_owned()));
        }
        let mut outcomes: Vec<Outcome> = changes.iter().map(|_| Outcome::Again).collect();
        let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (i, change) in changes.iter().enumerate() {
            match host(change) {
                Ok(_) => groups.entry(cluster_of(change.place()).to_owned()).or_default().push(i),
                Err(words) => outcomes[i] = Outcome::Refused(words),
            }
        }
        let known = self.prepare(groups.keys());
        let mut rounds: VecDeque<Vec<Group>> = VecDeque::from([groups.into_iter().collect()]);
        while let Some(round) = rounds.pop_front() {
            let verdicts = self.round(changes, &round, &known).await;
            for (cluster, group) in round {
                let verdict = verdicts.get(&cluster).cloned().unwrap_or(Verdict::Unwanted);
                if matches!(verdict, Verdict::Refused(_)) && group.len() > 1 {
                    // Whom it refuses is found by halves; the others are served.
                    let (first, second) = group.split_at(group.len() / 2);
                    rounds.push_back(vec![(cluster.clone(), first.to_vec())]);
                    rounds.push_back(vec![(cluster, second.to_vec())]);
                    continue;
                }
                for i in group {
                    outcomes[i] = self.outcome(&changes[i], &cluster, &verdict);
                }
            }
        }
        Ok(outcomes)
    }

    /// Before a batch: what was refused since the last one is taken back, so that it is not held against others. Then whoever
    /// still refuses does so for what was there before.
    fn prepare<'a>(&self, clusters: impl Iterator<Item = &'a String>) -> BTreeSet<(u64, String)> {
        self.hub.change(|state| {
            state.open.get_or_insert_with(Instant::now);
            let mut known = BTreeSet::new();
            for cluster in clusters {
                let refusing = state.refusing(cluster);
                if !refusing.is_empty() && state.snapshot.is_open(cluster) {
                    state.snapshot.undo(cluster);
                } else {
                    known.extend(refusing.into_iter().map(|id| (id, cluster.clone())));
                }
            }
            known
        })
    }

    /// Serves the changes and waits for what is said to them; what is refused is taken back.
    async fn round(
        &self,
        changes: &[Change],
        round: &[Group],
        known: &BTreeSet<(u64, String)>,
    ) -> BTreeMap<String, Verdict> {
        let numbers: BTreeMap<String, u64> = self.hub.change(|state| {
            let mut stage = |(cluster, group): &Group| {
                let hosts = group
                    .iter()
                    .filter_map(|i| Some((changes[*i].place().clone(), host(&changes[*i]).ok()?)));
                (cluster.clone(), state.snapshot.stage(cluster, hosts.collect()))
            };
            round.iter().map(&mut stage).collect()
        });
        let verdicts = self.hub.settled(&numbers, known, WITHIN).await;
        self.hub.change(|state| {
            for (cluster, verdict) in &verdicts {
                match verdict {
                    Verdict::Acknowledged => state.snapshot.settle(cluster),
                    Verdict::Refused(_) => state.snapshot.undo(cluster),
                    Verdict::Unwanted | Verdict::Missing(_) => (),
                }
            }
        });
        verdicts
    }

    fn outcome(&self, change: &Change, cluster: &str, verdict: &Verdict) -> Outcome {
        let removes = matches!(change, Change::Remove { .. });
        let mut state = self.hub.state();
        match verdict {
            Verdict::Refused(words) => Outcome::Refused(words.clone()),
            Verdict::Missing(words) => Outcome::Waits(words.clone()),
            Verdict::Unwanted if !removes => {
                Outcome::Waits(format!("no Envoy asks for the cluster {cluster}"))
            }
            Verdict::Acknowledged | Verdict::Unwanted if removes => {
                if let Some(words) = state.absent(cluster, self.settings.forget_after.std()) {
                    return Outcome::Waits(words);
                }
                state.snapshot.forget(cluster, change.place());
                if *verdict == Verdict::Unwanted {
                    state.snapshot.prune(cluster);
                }
                Outcome::Done(0)
            }
            Verdict::Acknowledged | Verdict::Unwanted => Outcome::Done(0),
        }
    }
}

/// What the change wants at its place, or why Envoy cannot be told.
fn host(change: &Change) -> Result<Option<Host>, String> {
    match change {
        Change::Put { entry, digest, .. } => Host::of(entry, *digest).map(Some),
        Change::Remove { .. } => Ok(None),
    }
}

impl Layout for Envoy {
    fn place(&self, entry: &Entry) -> Place {
        self.clusters.place(entry)
    }

    fn digest(&self, entry: &Entry) -> u64 {
        self.clusters.digest(entry)
    }
}

impl Driver for Envoy {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: "envoy",
            batch: WHOLE,
            at_once: 1,
            atomic: false,
            compare_and_set: false,
            owner: OwnerSlot::Container,
            fence: Fence::Lease,
            expires: false,
            drain_state: false,
            weight: true,
            metadata: true,
            list: false,
            watch: false,
            shows: Able::No("is told an assignment as a whole and tells nothing back"),
            adopts: Able::No("has no entries of others: an assignment has one source"),
            purges: Able::No("forgets by itself what nobody serves any more"),
        }
    }

    fn fence(&self, epoch: u64) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(self.begin(epoch))
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, Failure>> {
        Box::pin(async { Ok(Listing { items: self.hub.state().snapshot.items(), at: 0 }) })
    }

    fn apply<'a>(&'a self, changes: &'a [Change]) -> BoxFuture<'a, Result<Vec<Outcome>, Failure>> {
        Box::pin(self.apply(changes))
    }

    /// Served as it was until the engine knows better; a sidecar that serves already knows more.
    fn recall(&self, said: &[Registration]) {
        let mut state = self.hub.state();
        if state.open.is_none() {
            let ours =
                said.iter().filter(|r| r.registry == self.owner.registry && r.cluster == self.owner.cluster);
            let hosts = ours.filter_map(|said| self.clusters.recall(said)).collect();
            state.snapshot.recall(hosts);
        }
    }

    fn stand_down(&self) {
        *self.serving() = None;
        self.hub.clear();
    }
}
