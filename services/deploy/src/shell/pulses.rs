//! When each cluster was last heard of, by our own clock: the clock of its agent may be wrong, and ours may be set.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bcs_kit::pulse::Pulse;
use bcs_schemas::observation::ClusterHealth;
use imbl::OrdMap;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::domain::observed::SILENCE;

/// A pulse for each cluster. Clones share them.
#[derive(Clone)]
pub(crate) struct Pulses {
    begun: Instant,
    known: Arc<Mutex<BTreeMap<String, Pulse>>>,
}

impl Default for Pulses {
    fn default() -> Self {
        Self { begun: Instant::now(), known: Arc::default() }
    }
}

impl Pulses {
    /// Takes in what heartbeats say now. Whether one of them ends a silence.
    pub(crate) fn hear(&self, heartbeats: &OrdMap<String, Arc<ClusterHealth>>) -> bool {
        let (up, within) = (self.begun.elapsed(), SILENCE.unsigned_abs());
        let mut known = self.known();
        known.retain(|cluster, _| heartbeats.contains_key(cluster));
        let mut ended = false;
        for (cluster, health) in heartbeats {
            let pulse = known.entry(cluster.clone()).or_default();
            let silent = !pulse.fresh(up, within);
            pulse.hear(health.observed_at, up);
            ended |= silent && pulse.fresh(up, within);
        }
        ended
    }

    /// When a sign of life of each was last heard; those are missing of which only old news was read so far.
    pub(crate) fn heard(&self, now: Timestamp) -> BTreeMap<String, Timestamp> {
        let up = self.begun.elapsed();
        let at = |age: Duration| now.saturating_sub(SignedDuration::try_from(age).unwrap_or_default()).ok();
        let heard = |(cluster, pulse): (&String, &Pulse)| Some((cluster.clone(), at(pulse.age(up)?)?));
        self.known().iter().filter_map(heard).collect()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Pulse>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bcs_schemas::Name;

    use super::*;

    fn heartbeat(at: Timestamp) -> OrdMap<String, Arc<ClusterHealth>> {
        let health = ClusterHealth {
            cluster: Name::system(),
            reachable: true,
            reason: None,
            synced: true,
            version: None,
            nodes: 1,
            nodes_ready: 1,
            capacity: Default::default(),
            observed_at: at,
        };
        OrdMap::unit("sim-a".to_owned(), Arc::new(health))
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_is_heard_on_our_clock_whatever_its_own_says() {
        let second = |second| Timestamp::from_second(second).expect("a time");
        let (pulses, now) = (Pulses::default(), second(1_000_000));
        assert!(!pulses.hear(&heartbeat(second(5))), "what was there may be of last year");
        assert_eq!(pulses.heard(now), BTreeMap::new());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(pulses.hear(&heartbeat(second(7))), "the first sign of life");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(pulses.heard(now).get("sim-a"), Some(&second(999_990)));
        assert_eq!(pulses.heard(second(50)).get("sim-a"), Some(&second(40)), "our clock was set");
        assert!(!pulses.hear(&heartbeat(second(3))), "it was not silent, and its clock was set");
        tokio::time::advance(Duration::from_secs(41)).await;
        assert!(pulses.hear(&heartbeat(second(4))), "the end of a silence");
        pulses.hear(&OrdMap::new());
        assert_eq!(pulses.heard(now), BTreeMap::new(), "nobody speaks of it any more");
    }
}
