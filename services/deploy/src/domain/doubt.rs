//! Where something of an application may still come into being although nothing is seen of it: an agent was asked to start
//! it, and what became of that is not visible yet. A deletion does not take such a cluster for empty.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bcs_schemas::Name;

use super::{
    app::{App, AppKey},
    observed::Observed,
};

/// After this time nothing comes of a start any more: an agent may begin it within 35 s, and take as long again.
pub const LONGEST: Duration = Duration::from_secs(75);

/// By application and cluster. Moments are counted from the start of the process.
#[derive(Clone, Debug, Default)]
pub struct Doubts(BTreeMap<AppKey, BTreeMap<Name, Doubt>>);

/// Until when it is doubtful, on account of what.
#[derive(Clone, Copy, Debug, Default)]
struct Doubt {
    /// A start that is under way.
    begun: Duration,
    /// One of which nobody knows what became of it.
    unknown: Duration,
    /// One that has succeeded: once something is seen there, all of it is.
    unseen: Duration,
}

impl Doubts {
    /// Whoever led before may have asked for starts in any cluster that holds something of these.
    pub fn inherit<'a>(
        &mut self,
        apps: impl Iterator<Item = (&'a AppKey, &'a BTreeSet<Name>)>,
        up: Duration,
    ) {
        let doubt = Doubt { unknown: up + LONGEST, ..Doubt::default() };
        self.0 = apps
            .map(|(key, held)| (key.clone(), held.iter().map(|cluster| (cluster.clone(), doubt)).collect()))
            .collect();
    }

    /// Something is asked to start. There is one start at a time.
    pub fn begin(&mut self, key: &AppKey, cluster: &Name, up: Duration) {
        self.of(key, cluster).begun = up + LONGEST;
    }

    /// The start has ended: well when `started`, otherwise nobody knows.
    pub fn end(&mut self, key: &AppKey, cluster: &Name, started: bool, up: Duration) {
        let doubt = self.of(key, cluster);
        doubt.begun = Duration::ZERO;
        *(if started { &mut doubt.unseen } else { &mut doubt.unknown }) = up + LONGEST;
    }

    fn of(&mut self, key: &AppKey, cluster: &Name) -> &mut Doubt {
        self.0.entry(key.clone()).or_default().entry(cluster.clone()).or_default()
    }

    /// Takes in what is seen. Returns where nothing can be told yet.
    pub fn look(&mut self, key: &AppKey, observed: &Observed, up: Duration) -> BTreeSet<Name> {
        let Some(doubts) = self.0.get_mut(key) else { return BTreeSet::new() };
        let seen = |cluster: &Name| observed.clusters.get(cluster).is_some_and(|c| !c.empty());
        doubts.retain(|cluster, doubt| {
            if seen(cluster) {
                doubt.unseen = Duration::ZERO;
            }
            up < doubt.begun.max(doubt.unknown).max(doubt.unseen)
        });
        let open = doubts.keys().cloned().collect();
        if doubts.is_empty() {
            self.0.remove(key);
        }
        open
    }
}

/// Clusters that may hold something of a deleted application: those where something is seen or nothing can be seen, and
/// those in doubt.
pub fn leftovers(app: &App, observed: &Observed, doubtful: &BTreeSet<Name>) -> BTreeSet<Name> {
    app.held.iter().filter(|name| !observed.empty(name) || doubtful.contains(*name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::observed::{InCluster, Kept},
        *,
    };

    const SECOND: Duration = Duration::from_secs(1);

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    fn key() -> AppKey {
        AppKey { project: name("demo"), name: name("web") }
    }

    /// What is seen in `sim-a`.
    fn observed(replicas: Option<u32>) -> Observed {
        let kept = |replicas| Kept { replicas, reason: None, observed_at: jiff::Timestamp::UNIX_EPOCH };
        let workloads = replicas.map(|replicas| (name("r1"), kept(replicas))).into_iter().collect();
        Observed { clusters: [(name("sim-a"), InCluster { workloads, ..InCluster::default() })].into() }
    }

    #[test]
    fn a_start_that_succeeded_is_in_doubt_until_it_is_seen() {
        let mut doubts = Doubts::default();
        doubts.end(&key(), &name("sim-a"), true, SECOND);
        assert_eq!(doubts.look(&key(), &observed(None), 2 * SECOND), [name("sim-a")].into());
        assert_eq!(doubts.look(&key(), &observed(Some(1)), 3 * SECOND), [].into());
        assert_eq!(doubts.look(&key(), &observed(None), 4 * SECOND), [].into(), "what is gone now was there");
    }

    #[test]
    fn a_start_of_which_nobody_knows_is_in_doubt_until_its_time_is_over_whatever_is_seen() {
        let mut doubts = Doubts::default();
        doubts.begin(&key(), &name("sim-a"), Duration::ZERO);
        doubts.end(&key(), &name("sim-a"), false, SECOND);
        // Another one that went well settles nothing of that.
        doubts.begin(&key(), &name("sim-a"), SECOND);
        doubts.end(&key(), &name("sim-a"), true, SECOND);
        for seen in [None, Some(1), None] {
            assert_eq!(doubts.look(&key(), &observed(seen), 2 * SECOND), [name("sim-a")].into());
        }
        assert_eq!(doubts.look(&key(), &observed(None), SECOND + LONGEST), [].into());
        assert!(doubts.0.is_empty(), "and forgotten");
    }

    #[test]
    fn what_a_former_leader_asked_for_is_in_doubt() {
        let mut doubts = Doubts::default();
        doubts.begin(&key(), &name("sim-b"), SECOND);
        let held = [name("sim-a")].into();
        doubts.inherit([(&key(), &held)].into_iter(), SECOND);
        assert_eq!(doubts.look(&key(), &observed(None), 2 * SECOND), held);
        let other = AppKey { name: name("other"), ..key() };
        assert_eq!(doubts.look(&other, &observed(None), 2 * SECOND), [].into());
    }
}
