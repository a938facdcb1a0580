//! Between what is served and those that ask for it: every stream looks here what to send next, and whoever changes
//! something waits here for what they say to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{
    session::{Heard, Push, Said, Session},
    snapshot::Snapshot,
};

/// What the Envoys made of a cluster as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All that ask for it have it.
    Acknowledged,
    /// Nobody asks for it.
    Unwanted,
    /// One refuses it, in its own words.
    Refused(String),
    /// One does not have it, and it is said which and why; the others may.
    Missing(String),
}

/// Shared by the driver and the streams.
pub(super) struct Hub {
    state: Mutex<State>,
    /// Wakes the streams.
    pushes: watch::Sender<u64>,
    /// Wakes whoever waits for answers.
    answers: watch::Sender<u64>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) epoch: u64,
    /// Since when there is something to serve; nothing is said before.
    pub(super) open: Option<Instant>,
    pub(super) snapshot: Snapshot,
    sessions: BTreeMap<u64, Session>,
    joined: u64,
    /// Cluster and node of streams that ended, and when.
    away: BTreeMap<(String, String), Instant>,
}

impl Hub {
    pub(super) fn new() -> Self {
        let (pushes, answers) = (watch::Sender::new(0), watch::Sender::new(0));
        Self { state: Mutex::default(), pushes, answers }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is served and lets the streams know.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state());
        self.pushes.send_modify(|count| *count += 1);
        changed
    }

    /// A stream begins.
    pub(super) fn join(&self) -> (u64, watch::Receiver<u64>) {
        let mut state = self.state();
        state.joined += 1;
        let id = state.joined;
        state.sessions.insert(id, Session::default());
        (id, self.pushes.subscribe())
    }

    pub(super) fn leave(&self, id: u64) {
        self.state().leave(id);
        self.answers.send_modify(|count| *count += 1);
    }

    pub(super) fn hear(&self, id: u64, heard: Heard) {
        let told = self.state().hear(id, heard);
        if let Some((node, words)) = told {
            tracing::warn!(node, refusal = words, "an Envoy refuses an assignment");
        }
        self.answers.send_modify(|count| *count += 1);
    }

    pub(super) fn next(&self, id: u64) -> Option<Push> {
        let state = &mut *self.state();
        state.open?;
        state.sessions.get_mut(&id)?.next(&mut state.snapshot, state.epoch)
    }

    /// Nothing is served any more, and nothing is remembered.
    pub(super) fn clear(&self) {
        self.change(|state| {
            let last = state.snapshot.last;
            *state = State { epoch: state.epoch, joined: state.joined, ..State::default() };
            state.snapshot.last = last;
        });
    }

    /// Waits for the Envoys: until all of them said something to each of the clusters, or one refused, or the time is over.
    /// `known` refused a cluster before it changed, which says nothing about the change.
    pub(super) async fn settled(
        &self,
        clusters: &BTreeMap<String, u64>,
        known: &BTreeSet<(u64, String)>,
        within: Duration,
    ) -> BTreeMap<String, Verdict> {
        let mut answers = self.answers.subscribe();
        let wait =
            async { while self.state().is_expected(clusters, known) && answers.changed().await.is_ok() {} };
        let in_time = tokio::time::timeout(within, wait).await.is_ok();
        let state = &mut *self.state();
        let verdicts = clusters.iter().map(|(c, number)| (c.clone(), state.verdict(c, *number, known)));
        let verdicts = verdicts.collect();
        if !in_time {
            state.give_up_on(clusters);
        }
        verdicts
    }
}

impl State {
    fn leave(&mut self, id: u64) {
        let Some(session) = self.sessions.remove(&id) else { return };
        let (now, node) = (Instant::now(), session.node().to_owned());
        for cluster in session.wanted() {
            self.away.insert((cluster.clone(), node.clone()), now);
            if !self.is_wanted(cluster) {
                self.snapshot.prune(cluster);
            }
        }
    }

    fn hear(&mut self, id: u64, heard: Heard) -> Option<(String, String)> {
        let session = self.sessions.get_mut(&id)?;
        let before = session.wanted().len();
        let refusal = session.hear(heard);
        if session.wanted().len() != before && !self.away.is_empty() {
            let (node, wanted) = (session.node(), session.wanted());
            self.away.retain(|(cluster, away), _| away != node || !wanted.contains(cluster));
        }
        refusal.map(|words| (session.node().to_owned(), words))
    }

    pub(super) fn is_wanted(&self, cluster: &str) -> bool {
        self.sessions.values().any(|session| session.wanted().contains(cluster))
    }

    fn of<'a>(&'a self, cluster: &'a str) -> impl Iterator<Item = (u64, &'a Session)> {
        let asks = |(_, session): &(&u64, &Session)| session.wanted().contains(cluster);
        self.sessions.iter().filter(asks).map(|(id, session)| (*id, session))
    }

    /// Streams whose last word to one of the clusters was a refusal.
    pub(super) fn refusing(&self, cluster: &str) -> Vec<u64> {
        let number = self.snapshot.number(cluster);
        let refuses = |session: &Session| matches!(session.said(cluster, number), Said::No(_));
        self.of(cluster).filter(|(_, session)| refuses(session)).map(|(id, _)| id).collect()
    }

    /// Whether an answer may still come that changes the verdict.
    fn is_expected(&self, clusters: &BTreeMap<String, u64>, known: &BTreeSet<(u64, String)>) -> bool {
        let expected = |(cluster, number): (&String, &u64)| {
            let new = |id| !known.contains(&(id, cluster.clone()));
            let said = || self.of(cluster).map(|(id, s)| (id, s.late, s.said(cluster, *number)));
            !said().any(|(id, _, said)| new(id) && matches!(said, Said::No(_)))
                && said().any(|(_, late, said)| said == Said::Nothing && !late)
        };
        clusters.iter().any(expected)
    }

    fn verdict(&self, cluster: &str, number: u64, known: &BTreeSet<(u64, String)>) -> Verdict {
        let mut verdict = Verdict::Unwanted;
        for (id, session) in self.of(cluster) {
            let node = session.node();
            match session.said(cluster, number) {
                Said::Yes if verdict == Verdict::Unwanted => verdict = Verdict::Acknowledged,
                Said::Yes => (),
                Said::No(words) if !known.contains(&(id, cluster.to_owned())) => {
                    return Verdict::Refused(format!("Envoy {node} refuses it: {words}"));
                }
                Said::No(words) => {
                    verdict =
                        Verdict::Missing(format!("Envoy {node} refuses what {cluster} had before: {words}"));
                }
                Said::Nothing => {
                    verdict = Verdict::Missing(format!("Envoy {node} has not acknowledged it"));
                }
            }
        }
        verdict
    }

    fn give_up_on(&mut self, clusters: &BTreeMap<String, u64>) {
        for session in self.sessions.values_mut() {
            let owes = |(c, n): (&String, &u64)| {
                session.wanted().contains(c) && session.said(c, *n) == Said::Nothing
            };
            session.late |= clusters.iter().any(owes);
        }
    }

    /// Who may still use what was taken out of the cluster, though no stream of it is there.
    pub(super) fn absent(&mut self, cluster: &str, forget_after: Duration) -> Option<String> {
        self.away.retain(|_, since| since.elapsed() < forget_after);
        if let Some((_, node)) = self.away.keys().find(|(of, _)| of == cluster) {
            return Some(format!("Envoy {node} went away and may come back with what it had"));
        }
        let young = self.open.is_some_and(|since| since.elapsed() < forget_after);
        young.then(|| "this sidecar began a moment ago: an Envoy may not have come back yet".to_owned())
    }
}
